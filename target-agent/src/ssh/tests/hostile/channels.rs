//! Channels that are used against their rules, by somebody who is logged in.

use rawssh::Reader;

use super::*;

const REQUEST: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";

/// Opens a channel to "quick" with this window and size of packets; the far end's number.
async fn open_with(peer: &mut Peer<DuplexStream>, id: u32, window: u32, max_packet: u32) -> u32 {
    let destination = message::destination("quick", 80);
    peer.send(&message::open("direct-tcpip", id, window, max_packet, &destination)).await.expect("heard");
    let opened = peer.receive_one_of(&[message::CHANNEL_OPEN_CONFIRMATION]).await.expect("an answer");
    let mut reader = Reader::of(&opened);
    assert_eq!(reader.number().expect("ours"), id);
    reader.number().expect("theirs")
}

#[tokio::test]
async fn channels_that_were_never_opened_do_not_exist() {
    let rig = Rig::new().await;
    let (mut peer, _served) = rig.logged_in_peer().await;
    for id in [0, 7, u32::MAX] {
        for nonsense in [
            message::data(id, b"x"),
            message::extended_data(id, b"x"),
            message::adjust(id, u32::MAX),
            message::request(id, "shell", b""),
            message::request(id, "exit-status", &[0; 4]),
            message::about(message::CHANNEL_EOF, id),
            message::about(message::CHANNEL_CLOSE, id),
            message::about(message::CHANNEL_SUCCESS, id),
            message::about(message::CHANNEL_FAILURE, id),
            message::refuse(id, "no"),
        ] {
            peer.send(&nonsense).await.expect("heard");
        }
    }
    // The first answer is to the first request that could be answered.
    peer.send(&message::open_to("quick", 80, 5)).await.expect("heard");
    let answer = peer.receive().await.expect("the session goes on");
    assert_eq!(answer[..5], [message::CHANNEL_OPEN_CONFIRMATION, 0, 0, 0, 5], "{answer:?}");
    assert_eq!(rig.denied("channel_request"), "0");
    scrapes(&mut peer, 6).await;
    for id in [0, 7, u32::MAX] {
        let (mut peer, served) = rig.logged_in_peer().await;
        peer.send(&message::confirm(id, 0, 1, 1)).await.expect("heard");
        while peer.receive().await.is_ok() {}
        drop(peer);
        is_shown_out(served, "an answer to a channel that was not asked for").await;
    }
    rig.still_serves().await;
}

#[tokio::test]
async fn a_window_of_no_size_holds_up_nobody_else() {
    let rig = Rig::new().await;
    let (mut peer, served) = rig.logged_in_peer().await;
    let narrow = open_with(&mut peer, 1, 0, 32_768).await;
    let never = open_with(&mut peer, 2, 0, 32_768).await;
    for channel in [narrow, never] {
        peer.send(&message::data(channel, REQUEST)).await.expect("heard");
    }
    scrapes(&mut peer, 3).await;
    rig.still_serves().await;
    // What waited for its window comes when that opens.
    peer.send(&message::adjust(narrow, 1 << 20)).await.expect("heard");
    let mut answer = Vec::new();
    while !answer.ends_with(b"up 1\n") {
        let data = peer.receive_one_of(&[message::CHANNEL_DATA]).await.expect("the answer");
        let mut reader = Reader::of(&data);
        assert_eq!(reader.number().expect("a channel"), 1);
        answer.extend_from_slice(reader.string().expect("bytes"));
    }
    assert_eq!(rig.metric("onionscrape_ssh_channels"), "3");
    drop(peer);
    is_shown_out(served, "a channel that cannot be written to").await;
    rig.wait_for("onionscrape_ssh_channels", "0").await;
}

#[tokio::test]
async fn packets_of_no_size_end_the_session() {
    let rig = Rig::new().await;
    for window in [0, 1 << 20] {
        let (mut peer, served) = rig.logged_in_peer().await;
        let destination = message::destination("quick", 80);
        peer.send(&message::open("direct-tcpip", 1, window, 0, &destination)).await.expect("heard");
        assert!(peer.receive_one_of(&[message::CHANNEL_OPEN_CONFIRMATION]).await.is_err());
        drop(peer);
        is_shown_out(served, "packets of no size").await;
    }
    // The same by a change of what was agreed.
    let (mut peer, _served) = rig.logged_in_peer().await;
    let channel = open_with(&mut peer, 1, 1 << 20, 32_768).await;
    peer.send(&message::confirm(channel, 1, 1 << 20, 0)).await.expect("heard");
    let _ = peer.send(&message::data(channel, REQUEST)).await;
    while peer.receive_one_of(&[message::CHANNEL_DATA]).await.is_ok() {}
    rig.wait_for("onionscrape_ssh_channels", "0").await;
    rig.still_serves().await;
}

#[tokio::test]
async fn a_window_has_a_largest_size() {
    let rig = Rig::new().await;
    let (mut peer, _served) = rig.logged_in_peer().await;
    let channel = open_with(&mut peer, 1, u32::MAX, u32::MAX).await;
    for _ in 0..3 {
        peer.send(&message::adjust(channel, u32::MAX)).await.expect("heard");
    }
    let answer = peer.ask(channel, std::str::from_utf8(REQUEST).expect("text"), "up 1\n").await;
    assert!(answer.expect("an answer").starts_with("HTTP/1.1 200 OK"));
    scrapes(&mut peer, 2).await;
    rig.still_serves().await;
}

/// Sends so much on a channel that nobody reads from, with no regard to its window.
async fn fills(peer: &mut Peer<DuplexStream>, channel: u32, bytes: usize) {
    let part = message::data(channel, &vec![b'x'; 32 << 10]);
    for _ in 0..bytes >> 15 {
        peer.send(&part).await.expect("heard");
    }
}

#[tokio::test]
async fn what_goes_past_a_window_is_bounded() {
    let rig = Rig::new().await;
    let (mut peer, _served) = rig.logged_in_peer().await;
    let slow = peer.open_to("slow", 80, 1).await.expect("an answer").expect("listed");
    peer.send(&message::data(slow, REQUEST)).await.expect("heard");
    let before = memory();
    fills(&mut peer, slow, 256 << 20).await;
    scrapes(&mut peer, 2).await;
    let grown = memory().saturating_sub(before);
    assert!(grown < 128 << 20, "{grown} bytes are kept");
    rig.wait_for("onionscrape_ssh_channels", "1").await;
    rig.still_serves().await;
}

#[tokio::test]
async fn extended_data_is_not_for_exporters() {
    let rig = Rig::new().await;
    let (mut peer, _served) = rig.logged_in_peer().await;
    let channel = open_with(&mut peer, 1, 1 << 20, 32_768).await;
    let before = memory();
    for _ in 0..8192 {
        peer.send(&message::extended_data(channel, &[b'x'; 32 << 10])).await.expect("heard");
    }
    let answer = peer.ask(channel, std::str::from_utf8(REQUEST).expect("text"), "up 1\n").await;
    assert!(answer.expect("an answer").starts_with("HTTP/1.1 200 OK"));
    let grown = memory().saturating_sub(before);
    assert!(grown < 128 << 20, "{grown} bytes are kept");
    rig.still_serves().await;
}

#[tokio::test]
async fn what_comes_after_an_end_is_nothing() {
    let rig = Rig::new().await;
    let (mut peer, _served) = rig.logged_in_peer().await;
    let channel = open_with(&mut peer, 1, 1 << 20, 32_768).await;
    peer.send(&message::about(message::CHANNEL_EOF, channel)).await.expect("heard");
    peer.send(&message::about(message::CHANNEL_EOF, channel)).await.expect("heard");
    peer.send(&message::data(channel, REQUEST)).await.expect("heard");
    let closed = peer.receive_one_of(&[message::CHANNEL_DATA, message::CHANNEL_CLOSE]).await;
    assert_eq!(
        closed.expect("an end").first(),
        Some(&message::CHANNEL_CLOSE),
        "it was answered after its end"
    );
    for _ in 0..3 {
        peer.send(&message::about(message::CHANNEL_CLOSE, channel)).await.expect("heard");
        peer.send(&message::data(channel, REQUEST)).await.expect("heard");
        peer.send(&message::about(message::CHANNEL_EOF, channel)).await.expect("heard");
    }
    let channel = open_with(&mut peer, 2, 1 << 20, 32_768).await;
    for _ in 0..3 {
        peer.send(&message::about(message::CHANNEL_CLOSE, channel)).await.expect("heard");
        peer.send(&message::data(channel, REQUEST)).await.expect("heard");
    }
    scrapes(&mut peer, 3).await;
    rig.wait_for("onionscrape_ssh_channels", "1").await;
    assert_eq!(rig.metric("onionscrape_exporter_requests_total{exporter=\"quick\"}"), "1");
    rig.still_serves().await;
}

#[tokio::test]
async fn answers_that_nobody_asked_for_end_no_more_than_their_channel() {
    let rig = Rig::new().await;
    let (mut peer, _served) = rig.logged_in_peer().await;
    // As if the server had asked for the channel that the client did.
    let channel = open_with(&mut peer, 1, 1 << 20, 32_768).await;
    peer.send(&message::confirm(channel, 9, 1 << 20, 32_768)).await.expect("heard");
    let answer = peer.ask(channel, std::str::from_utf8(REQUEST).expect("text"), "up 1\n").await;
    assert!(answer.expect("an answer").starts_with("HTTP/1.1 200 OK"));
    peer.send(&message::refuse(channel, "no")).await.expect("heard");
    rig.wait_for("onionscrape_ssh_channels", "0").await;
    for answer in [&[message::REQUEST_SUCCESS][..], &[message::REQUEST_FAILURE]] {
        for _ in 0..100 {
            peer.send(answer).await.expect("heard");
        }
    }
    scrapes(&mut peer, 2).await;
    rig.still_serves().await;
}

#[tokio::test]
async fn a_program_is_not_to_be_had_on_any_channel() {
    let rig = Rig::new().await;
    let (mut peer, _served) = rig.logged_in_peer().await;
    let channel = open_with(&mut peer, 1, 1 << 20, 32_768).await;
    let sizes = Message::blob().number(80).number(24).number(0).number(0).done();
    let pty = Message::blob().string("xterm").raw(&sizes).string([0]).done();
    let x11 = Message::blob().boolean(false).string("a").string("b").number(0).done();
    let pair = Message::blob().string("LD_PRELOAD").string("/tmp/x.so").done();
    let one = |text: &str| Message::blob().string(text).done();
    let requests = [
        ("shell", Vec::new()),
        ("exec", one("id")),
        ("subsystem", one("sftp")),
        ("subsystem", one("netconf")),
        ("env", pair),
        ("pty-req", pty),
        ("x11-req", x11),
        ("auth-agent-req@openssh.com", Vec::new()),
        ("signal", one("KILL")),
        ("window-change", sizes),
    ];
    for (kind, rest) in &requests {
        peer.send(&message::request(channel, kind, rest)).await.expect("heard");
        let answer = peer.receive().await.expect("an answer");
        assert_eq!(answer.first(), Some(&message::CHANNEL_FAILURE), "{kind}: {answer:?}");
    }
    assert_eq!(rig.denied("channel_request"), requests.len().to_string());
    peer.send(&message::request(channel, "nonsense@example.com", b"")).await.expect("heard");
    let answer = peer.receive().await.expect("an answer");
    assert_eq!(answer.first(), Some(&message::CHANNEL_FAILURE), "{answer:?}");
    for kind in ["session", "x11", "forwarded-tcpip", "auth-agent@openssh.com", "tun@openssh.com", ""] {
        let rest = match kind {
            "x11" => Message::blob().string("192.0.2.1").number(1).done(),
            "forwarded-tcpip" => message::destination("127.0.0.1", 22),
            _ => Vec::new(),
        };
        peer.send(&message::open(kind, 2, 1 << 20, 32_768, &rest)).await.expect("heard");
        // Russh refuses kinds that it does not know twice over.
        let answer = peer.receive().await.expect("an answer");
        assert_eq!(answer.first(), Some(&message::CHANNEL_OPEN_FAILURE), "{kind}: {answer:?}");
    }
    let counted = ["session", "x11", "forwarded_tcpip"].map(|kind| rig.denied(kind));
    assert_eq!(counted, ["1", "1", "1"]);
    scrapes(&mut peer, 3).await;
}
