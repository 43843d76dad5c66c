//! Peers that a good client would never be, byte by byte. After each of them the server still serves.

mod before_login;
mod channels;
mod flipped;
mod floods;
mod key_exchange;

use rawssh::{Key, Message, Peer, message};
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;

use super::*;

impl Rig {
    /// A client that keeps no rule and has said nothing yet, and the task that serves it.
    fn peer(&self) -> (Peer<DuplexStream>, JoinHandle<()>) {
        let (stream, served) = self.raw();
        (Peer::client(stream), served)
    }

    /// The key that may log in, for such a client.
    fn raw_key(&self) -> Key {
        let pair = self.key.key_data().ed25519().expect("an ed25519 key");
        Key::of(pair.private.to_bytes())
    }

    /// Such a client that is logged in.
    async fn logged_in_peer(&self) -> (Peer<DuplexStream>, JoinHandle<()>) {
        let (mut peer, served) = self.peer();
        peer.log_in(&self.raw_key()).await.expect("let in");
        (peer, served)
    }

    /// A byte stream to the server, and the task that serves it.
    fn raw(&self) -> (DuplexStream, JoinHandle<()>) {
        let (near, far) = duplex(64 << 10);
        let server = self.server.clone();
        (near, tokio::spawn(async move { server.serve(far).await }))
    }

    /// Proves that everybody else is served as ever.
    async fn still_serves(&self) {
        let session = self.log_in().await;
        let mut channel = open(&session, "quick", 80).await.expect("listed");
        assert!(get(&mut channel, "/metrics").await.expect("whole").contains("up 1"));
    }
}

/// The server gives up on this peer, soon and without a panic.
async fn is_shown_out(served: JoinHandle<()>, what: &str) {
    let ended = timeout(Duration::from_secs(5), served).await;
    ended
        .unwrap_or_else(|_| unreachable!("{what}: still served"))
        .unwrap_or_else(|error| unreachable!("{what}: {error}"));
}

/// Asks "quick" for its metrics on a channel of its own, which proves that the session goes on.
async fn scrapes(peer: &mut Peer<DuplexStream>, id: u32) {
    const REQUEST: &str = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    let scraping = async {
        let theirs = peer.open_to("quick", 80, id).await.expect("the session goes on").expect("listed");
        peer.ask(theirs, REQUEST, "up 1\n").await.expect("an answer")
    };
    let answer = timeout(Duration::from_secs(10), scraping).await.expect("in time");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

/// Memory of this process, in bytes.
fn memory() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("statm");
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("pages") * 4096
}

/// A binary packet before encryption (RFC 4253, section 6).
fn packet(payload: &[u8]) -> Vec<u8> {
    let padding = 8 - (payload.len() + 5) % 8 + 8;
    let mut packet = u32::try_from(payload.len() + padding + 1).expect("short").to_be_bytes().to_vec();
    packet.push(u8::try_from(padding).expect("short"));
    packet.extend_from_slice(payload);
    packet.resize(packet.len() + padding, 0);
    packet
}

/// SSH_MSG_KEXINIT with these algorithms (RFC 4253, section 7.1).
fn key_exchange_init(kex: &str, host_key: &str, cipher: &str, mac: &str, compression: &str) -> Vec<u8> {
    let mut payload = vec![20];
    payload.extend_from_slice(&[7; 16]);
    for list in [kex, host_key, cipher, cipher, mac, mac, compression, compression, "", ""] {
        payload.extend_from_slice(&u32::try_from(list.len()).expect("short").to_be_bytes());
        payload.extend_from_slice(list.as_bytes());
    }
    payload.extend_from_slice(&[0; 5]);
    packet(&payload)
}

/// Reads whatever comes until the server has nothing more to say.
async fn drain(stream: &mut DuplexStream) -> Vec<u8> {
    let mut said = Vec::new();
    let _ = timeout(Duration::from_secs(5), stream.read_to_end(&mut said)).await;
    said
}

const HELLO: &[u8] = b"SSH-2.0-hostile\r\n";

#[tokio::test]
async fn what_is_not_ssh_is_shown_out() {
    let rig = Rig::with_grace(Duration::from_secs(2)).await;
    let long_line = vec![b'x'; 1 << 20];
    let long_list = {
        let mut payload = vec![20];
        payload.extend_from_slice(&[0; 16]);
        payload.extend_from_slice(&u32::MAX.to_be_bytes());
        packet(&payload)
    };
    for (what, bytes) in [
        ("an HTTP request", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("SSH 1", b"SSH-1.5-old\r\n".to_vec()),
        ("a line without an end", long_line.clone()),
        ("a greeting without an end", [b"SSH-2.0-", &long_line[..]].concat()),
        ("zeros", vec![0; 4096]),
        ("a packet of 4 GiB", [HELLO, &[255; 64]].concat()),
        ("a packet of nothing", [HELLO, &[0; 64]].concat()),
        (
            "a packet with more padding than packet",
            [HELLO, &[0, 0, 0, 12, 255, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]].concat(),
        ),
        ("a list of 4 GiB of algorithms", [HELLO, &long_list[..]].concat()),
        (
            "a login before key exchange",
            [HELLO, &packet(b"\x32\0\0\0\x01a\0\0\0\x0essh-connection\0\0\0\x04none")].concat(),
        ),
        (
            "a channel before key exchange",
            [HELLO, &packet(b"\x5a\0\0\0\x07session\0\0\0\0\0\0\0\0\0\0\0\0")].concat(),
        ),
        (
            "a global request before key exchange",
            [HELLO, &packet(b"\x50\0\0\0\x0dtcpip-forward\x01")].concat(),
        ),
        ("new keys before key exchange", [HELLO, &packet(b"\x15")].concat()),
        ("a message that does not exist", [HELLO, &packet(b"\xff")].concat()),
    ] {
        let (mut stream, served) = rig.raw();
        // The server may close before all of it is sent.
        let _ = stream.write_all(&bytes).await;
        drain(&mut stream).await;
        drop(stream);
        is_shown_out(served, what).await;
    }
    rig.still_serves().await;
}

#[tokio::test]
async fn weak_algorithms_are_refused() {
    let rig = Rig::with_grace(Duration::from_secs(2)).await;
    const KEX: &str = "curve25519-sha256";
    const CIPHER: &str = "chacha20-poly1305@openssh.com";
    const MAC: &str = "hmac-sha2-256-etm@openssh.com";
    let ed25519 = "ssh-ed25519";
    for (what, init) in [
        (
            "SHA-1 key exchange",
            key_exchange_init("diffie-hellman-group14-sha1", ed25519, CIPHER, MAC, "none"),
        ),
        ("group 1", key_exchange_init("diffie-hellman-group1-sha1", ed25519, CIPHER, MAC, "none")),
        ("an RSA host key", key_exchange_init(KEX, "ssh-rsa,rsa-sha2-512", CIPHER, MAC, "none")),
        ("a DSA host key", key_exchange_init(KEX, "ssh-dss", CIPHER, MAC, "none")),
        ("CBC", key_exchange_init(KEX, ed25519, "aes256-cbc,3des-cbc", MAC, "none")),
        ("CTR", key_exchange_init(KEX, ed25519, "aes256-ctr", MAC, "none")),
        ("CTR without a MAC", key_exchange_init(KEX, ed25519, "aes256-ctr", "none", "none")),
        ("no cipher", key_exchange_init(KEX, ed25519, "none", MAC, "none")),
        ("RC4", key_exchange_init(KEX, ed25519, "arcfour256", MAC, "none")),
        ("compression", key_exchange_init(KEX, ed25519, CIPHER, MAC, "zlib,zlib@openssh.com")),
        ("nothing", key_exchange_init("", "", "", "", "")),
    ] {
        let (mut stream, served) = rig.raw();
        stream.write_all(&[HELLO, &init].concat()).await.expect("sent");
        let said = drain(&mut stream).await;
        drop(stream);
        is_shown_out(served, what).await;
        // The reply to an offer that can be taken would have a packet after the server's own offer:
        // SSH_MSG_KEX_ECDH_REPLY comes only after SSH_MSG_KEX_ECDH_INIT, so there must be none.
        let offer = String::from_utf8_lossy(&said);
        for weak in ["sha1", "cbc", "arcfour", "zlib", "ssh-rsa", "ssh-dss", "aes256-ctr", "group1-"] {
            assert!(!offer.contains(weak), "{what}: the server offers {weak}");
        }
        assert!(offer.contains("mlkem768x25519-sha256") && offer.contains("kex-strict-s-v00@openssh.com"));
    }
    rig.still_serves().await;
}

#[tokio::test]
async fn channels_and_requests_before_a_login_are_refused() {
    let rig = Rig::new().await;
    let session = rig.connect().await;
    let opened = session.channel_open_direct_tcpip("quick", 80, "192.0.2.1", 1).await;
    assert!(opened.is_err(), "a channel was opened before a login");
    assert_eq!(rig.metric("onionscrape_ssh_channel_opens_total"), "0");
    let session = rig.connect().await;
    assert!(session.tcpip_forward("127.0.0.1", 8080).await.is_err());
    assert_eq!(rig.metric("onionscrape_ssh_sessions"), "0");
    rig.still_serves().await;
}

#[tokio::test]
async fn ten_thousand_refused_channels_leave_nothing() {
    let rig = Rig::new().await;
    let session = rig.log_in().await;
    for number in 0..10_000_u32 {
        let port = 1 + number % 65_535;
        let refused = session.channel_open_direct_tcpip("192.0.2.1", port, "x", 1).await;
        assert!(matches!(refused, Err(Error::ChannelOpenFailure(_))), "{number}");
    }
    assert_eq!(rig.denied("direct_tcpip"), "10000");
    assert_eq!(rig.metric("onionscrape_ssh_channels"), "0");
    let mut channel = open(&session, "quick", 80).await.expect("the session is as good as ever");
    assert!(get(&mut channel, "/metrics").await.expect("whole").contains("up 1"));
}

#[tokio::test]
async fn a_thousand_channels_are_few_at_once() {
    let rig = Rig::new().await;
    let session = rig.log_in().await;
    let mut held = Vec::new();
    let mut refused = 0;
    for _ in 0..1000 {
        match open(&session, "slow", 80).await {
            Ok(channel) => held.push(channel),
            Err(ChannelOpenFailure::ResourceShortage) => refused += 1,
            Err(other) => unreachable!("{other:?}"),
        }
    }
    assert_eq!((held.len(), refused), (24, 976));
    assert_eq!(rig.denied("channels_cap"), "976");
    drop(held);
    rig.wait_for("onionscrape_ssh_channels", "0").await;
    assert!(open(&session, "quick", 80).await.is_ok());
}

#[tokio::test]
async fn every_way_to_write_another_destination_is_refused() {
    let rig = Rig::new().await;
    let session = rig.log_in().await;
    let port = u32::from(rig.quick.port());
    let mut tried = 0;
    for host in [
        "",
        "0.0.0.0",
        "::",
        "::ffff:127.0.0.1",
        "[::1]",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.0.0.1.",
        "127.0.0.01",
        " 127.0.0.1",
        "127.0.0.1\0",
        "localhost",
        "LOCALHOST.",
        "localhost.evil.example",
        "169.254.169.254",
        "192.168.1.1",
        "10.0.0.1",
        "metadata.google.internal",
        "127.0.0.2",
        "%6c",
        "quick.",
        "QUICK",
        "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion",
    ] {
        for port in [port, 80, 22] {
            if (host, port) == ("quick", 80) {
                continue;
            }
            tried += 1;
            assert!(open(&session, host, port).await.is_err(), "{host:?}:{port}");
        }
    }
    for port in [0, 22, port + 65_536, 65_536, u32::MAX] {
        tried += 1;
        assert!(open(&session, "127.0.0.1", port).await.is_err(), "127.0.0.1:{port}");
    }
    assert_eq!(rig.denied("direct_tcpip"), tried.to_string(), "each was counted once");
    assert_eq!(rig.metric("onionscrape_ssh_channel_opens_total"), "0");
}
