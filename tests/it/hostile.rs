//! What SSH can ask of a device and does not get, asked by the stock client and by one that keeps no
//! rule, of a real agent through Tor. Each is refused and counted once, and the next scrape works.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use onionscrape::ssh::KeyFile;
use rawssh::{Key, Message, Peer, Signer as _, message};
use tokio::net::TcpStream;
use tokio::task::block_in_place;
use tokio::time::timeout;
use tornet::process::{self, Process};
use tornet::{CTorClient, ClientOptions};

use crate::exporters::{Exporter, Manner};
use crate::http::scrape;
use crate::leaks::start;
use crate::world::{World, run};

const PATIENCE: Duration = Duration::from_secs(60);
const AUTH_FAILURES: &str = "onionscrape_ssh_auth_failures_total";

/// Both programs as processes, a Tor client of somebody else, and two exporters.
struct Stage {
    folder: PathBuf,
    onion: String,
    /// Where the agent tells what it counts.
    admin: SocketAddr,
    /// Where the bridge offers the exporter.
    offered: SocketAddr,
    tor: CTorClient,
    raw_key: Key,
    listed: Exporter,
    unlisted: Exporter,
    agent: Process,
    bridge: Process,
}

impl Stage {
    async fn new(world: &World) -> Self {
        let listed = Exporter::start(Manner::Good("listed 1\n".into())).await;
        let unlisted = Exporter::start(Manner::Good("unlisted 1\n".into())).await;
        let folder = world.folder();
        let [admin, offered] = [(); 2].map(|()| tornet::ports::reserve().unwrap().addr());
        let raw_key = Key::of([11; 32]);
        let keys = format!("keys = [{:?}, {:?}]", world.key().public_line(), raw_key.line());
        let more = format!("[ssh]\n{keys}\n[admin]\nlisten = \"{admin}\"\n");
        let file = world.agent_file(&folder, &more, &[("app", listed.address)]);
        let agent = start("target-agent", &file, &folder.join("agent.log"));
        world.until("the device is reachable", || agent.log_text().contains("reachable")).await;
        let printed = run("target-agent", &["hostname", "--config.file", file.to_str().unwrap()]);
        let onion = String::from_utf8(printed.stdout).unwrap().trim().to_owned();
        let target = format!(
            "[[target]]\nname = \"pack\"\naddress = {onion:?}\ntrust_on_first_use = true\nkey_file = {:?}\n\
             [[target.exporter]]\nname = \"app\"\nlisten = \"{offered}\"\n",
            world.key_file(),
        );
        let file = world.bridge_file(&folder, "", &target);
        let bridge = start("scraper-bridge", &file, &folder.join("bridge.log"));
        let told = |what: &str| bridge.log_text().lines().any(|line| line.contains(what));
        world.until("the bridge connects", || told("message=connected") || !bridge.is_running()).await;
        assert!(told("message=connected"), "{}", bridge.log_text());
        let tor = block_in_place(|| world.network().c_tor_client(&ClientOptions::default())).unwrap();
        Self { folder, onion, admin, offered, tor, raw_key, listed, unlisted, agent, bridge }
    }

    /// What the agent refused so far, by series.
    async fn refused(&self) -> BTreeMap<String, u64> {
        let scraped = scrape(&self.admin.to_string()).await;
        let counters = scraped.text().lines().filter(|line| {
            line.starts_with("onionscrape_ssh_denied_total{") || line.starts_with(AUTH_FAILURES)
        });
        let split = counters.filter_map(|line| line.rsplit_once(' '));
        split.map(|(series, count)| (series.to_owned(), count.parse().unwrap())).collect()
    }

    /// Checks that a probe was counted once in this series, or nowhere, and that scrapes go on.
    async fn counted(&self, what: &str, series: Option<&str>, mut before: BTreeMap<String, u64>) {
        if let Some(series) = series {
            *before.get_mut(series).unwrap_or_else(|| panic!("no series {series}")) += 1;
        }
        assert_eq!(self.refused().await, before, "{what}");
        let scraped = scrape(&self.offered.to_string()).await;
        assert_eq!((scraped.status, scraped.text()), (200, "listed 1\n"), "after {what}: {}", scraped.reason);
    }

    /// The stock client with these arguments, through C tor.
    fn ssh(&self, key: &Path, arguments: &[&str]) -> Command {
        let socks = self.tor.socks;
        let proxy =
            format!("ProxyCommand=socat STDIO SOCKS4A:{}:%h:%p,socksport={}", socks.ip(), socks.port());
        let mut command = Command::new(process::find("timeout").unwrap());
        command.arg(PATIENCE.as_secs().to_string()).arg(process::find("ssh").unwrap());
        command.args(["-F", "none", "-o", &proxy, "-o", "StrictHostKeyChecking=no"]);
        command.args(["-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"]);
        command.args(["-o", "IdentitiesOnly=yes", "-o", "ExitOnForwardFailure=yes", "-i"]).arg(key);
        command.args(arguments).env_remove("SSH_AUTH_SOCK").env("DISPLAY", ":9");
        command
    }

    /// Runs it to its end, which is a failure.
    fn fails(&self, key: &Path, arguments: &[&str]) -> Output {
        let place = format!("anybody@{}", self.onion);
        let arguments: Vec<_> =
            arguments.iter().map(|given| if *given == "DEVICE" { &place } else { *given }).collect();
        let output = block_in_place(|| self.ssh(key, &arguments).output()).unwrap();
        // 124 would be that it did not come to an end.
        assert!(!matches!(output.status.code(), Some(0 | 124)), "{arguments:?}: {output:?}");
        output
    }

    /// A client that keeps no rule, over a stream of its own, after its key exchange.
    async fn peer(&self) -> Peer<TcpStream> {
        let connect = || tornet::socks::connect(self.tor.socks, &self.onion, 22, None, PATIENCE);
        let stream = block_in_place(connect).unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut peer = Peer::client(TcpStream::from_std(stream).unwrap());
        timeout(PATIENCE, peer.begin()).await.expect("in time").unwrap();
        peer
    }
}

fn denied(request: &str) -> String {
    format!("onionscrape_ssh_denied_total{{request=\"{request}\"}}")
}

pub async fn the_stock_client_gets_nothing_else(world: &World) {
    let stage = Stage::new(world).await;
    let key = world.key_file();
    let port = stage.listed.address.port();
    let unlisted = stage.unlisted.address.to_string();
    let everywhere = [format!("0.0.0.0:{port}"), format!("localhost:{port}"), format!("127.1:{port}")];
    let backwards = format!("0:{unlisted}");
    let socket = format!("/tmp/x.sock:{unlisted}");
    let probes: [(&[&str], &str); 15] = [
        (&["-W", &unlisted, "DEVICE"], "direct_tcpip"),
        (&["-W", &everywhere[0], "DEVICE"], "direct_tcpip"),
        (&["-W", &everywhere[1], "DEVICE"], "direct_tcpip"),
        (&["-W", &everywhere[2], "DEVICE"], "direct_tcpip"),
        (&["-W", "169.254.169.254:80", "DEVICE"], "direct_tcpip"),
        (&["-W", "agent:22", "DEVICE"], "direct_tcpip"),
        (&["-N", "-R", &backwards, "DEVICE"], "tcpip_forward"),
        (&["-N", "-R", &socket, "DEVICE"], "streamlocal"),
        (&["-T", "DEVICE"], "session"),
        (&["DEVICE", "id"], "session"),
        (&["-s", "DEVICE", "sftp"], "session"),
        (&["-tt", "DEVICE"], "session"),
        (&["-o", "SetEnv=LD_PRELOAD=/tmp/x.so", "DEVICE", "id"], "session"),
        (&["-X", "DEVICE", "id"], "session"),
        (&["-A", "DEVICE", "id"], "session"),
    ];
    for (arguments, series) in probes {
        let before = stage.refused().await;
        stage.fails(&key, arguments);
        stage.counted(&format!("{arguments:?}"), Some(&denied(series)), before).await;
    }
    let stranger = stage.folder.join("stranger");
    KeyFile::open_or_make(&stranger, "").unwrap();
    let before = stage.refused().await;
    let output = stage.fails(&stranger, &["-W", "app:80", "DEVICE"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("Permission denied (publickey)"), "{output:?}");
    stage.counted("a wrong key", Some(AUTH_FAILURES), before).await;
    for (what, option, said) in [
        ("no key", "PreferredAuthentications=none", "Permission denied"),
        ("a password", "PreferredAuthentications=password,keyboard-interactive", "Permission denied"),
        ("CBC", "Ciphers=aes256-cbc", "no matching cipher"),
        ("CTR", "Ciphers=aes256-ctr", "no matching cipher"),
        ("SHA-1", "KexAlgorithms=diffie-hellman-group14-sha1", "no matching key exchange method"),
        ("RSA", "HostKeyAlgorithms=rsa-sha2-512", "no matching host key type"),
    ] {
        let before = stage.refused().await;
        let output = stage.fails(&key, &["-o", option, "-W", "app:80", "DEVICE"]);
        assert!(String::from_utf8_lossy(&output.stderr).contains(said), "{what}: {output:?}");
        stage.counted(what, None, before).await;
    }
    forwarded_from_here(world, &stage, &key).await;
    assert_eq!(stage.unlisted.requests.load(std::sync::atomic::Ordering::SeqCst), 0);
    assert!(stage.agent.is_running() && stage.bridge.is_running());
}

/// Ports and sockets of this machine that lead to the device.
async fn forwarded_from_here(world: &World, stage: &Stage, key: &Path) {
    let place = format!("anybody@{}", stage.onion);
    let local = tornet::ports::reserve().unwrap().addr();
    let ssh = stage.ssh(key, &["-N", "-D", &local.to_string(), &place]);
    let dynamic = process::spawn(&ssh, &world.folder().join("ssh.log")).unwrap();
    world.until("ssh -D listens", || std::net::TcpStream::connect(local).is_ok()).await;
    let before = stage.refused().await;
    let unlisted = stage.unlisted.address;
    let through =
        || tornet::socks::connect(local, &unlisted.ip().to_string(), unlisted.port(), None, PATIENCE);
    assert!(block_in_place(through).is_err(), "ssh -D leads somewhere");
    stage.counted("ssh -D", Some(&denied("direct_tcpip")), before).await;
    drop(dynamic);

    let socket = stage.folder.join("docker.sock");
    let to = format!("{}:/var/run/docker.sock", socket.display());
    let ssh = stage.ssh(key, &["-N", "-L", &to, &place]);
    let forwarding = process::spawn(&ssh, &world.folder().join("ssh.log")).unwrap();
    world.until("ssh -L listens", || socket.exists()).await;
    let before = stage.refused().await;
    let mut said = Vec::new();
    let read = || {
        let mut stream = UnixStream::connect(&socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        std::io::Read::read_to_end(&mut stream, &mut said)
    };
    let _ = block_in_place(read);
    assert!(said.is_empty());
    stage.counted("a Unix socket", Some(&denied("streamlocal")), before).await;
    drop(forwarding);
}

pub async fn one_that_keeps_no_rule_gets_nothing_else(world: &World) {
    let stage = Stage::new(world).await;
    logins_that_are_none(&stage).await;
    let mut peer = stage.peer().await;
    peer.ask_to_log_in().await.unwrap();
    assert!(peer.try_key("anybody", &stage.raw_key).await.unwrap());
    let port = stage.listed.address.port().into();
    for host in ["::ffff:127.0.0.1", "2130706433", "0x7f.1", "127.0.0.1.", "LOCALHOST", "", "192.168.1.1"] {
        let before = stage.refused().await;
        let opened = timeout(PATIENCE, peer.open_to(host, port, 1)).await.expect("in time");
        assert_eq!(opened.unwrap(), None, "{host}");
        stage.counted(host, Some(&denied("direct_tcpip")), before).await;
    }
    let channel = peer.open_to("agent", 80, 9).await.unwrap().expect("listed");
    let address = Message::blob().string("0.0.0.0").number(8080).done();
    let path = Message::blob().string("/var/run/docker.sock").done();
    let socket = Message::blob().raw(&path).string("").number(0).done();
    let screen = Message::blob().string("127.0.0.1").number(6000).done();
    let forwarded = message::destination("127.0.0.1", 22);
    let pair = Message::blob().string("A").string("b").done();
    let open = |kind: &str, rest: &[u8]| message::open(kind, 2, 1 << 20, 32_768, rest);
    let command = Message::blob().string("id").done();
    let (not_open, no, failure) =
        (message::CHANNEL_OPEN_FAILURE, message::REQUEST_FAILURE, message::CHANNEL_FAILURE);
    for (what, said, answer, series) in [
        ("a session", open("session", b""), not_open, "session"),
        ("X11", open("x11", &screen), not_open, "x11"),
        ("a port of its own", open("forwarded-tcpip", &forwarded), not_open, "forwarded_tcpip"),
        ("a socket", open("direct-streamlocal@openssh.com", &socket), not_open, "streamlocal"),
        ("a port", message::global_request("tcpip-forward", &address), no, "tcpip_forward"),
        ("no port", message::global_request("cancel-tcpip-forward", &address), no, "tcpip_forward"),
        ("a path", message::global_request("streamlocal-forward@openssh.com", &path), no, "streamlocal"),
        ("a shell", message::request(channel, "shell", b""), failure, "channel_request"),
        ("a command", message::request(channel, "exec", &command), failure, "channel_request"),
        ("a subsystem", message::request(channel, "subsystem", &command), failure, "channel_request"),
        ("a variable", message::request(channel, "env", &pair), failure, "channel_request"),
        (
            "an agent",
            message::request(channel, "auth-agent-req@openssh.com", b""),
            failure,
            "channel_request",
        ),
    ] {
        let before = stage.refused().await;
        peer.send(&said).await.unwrap();
        timeout(PATIENCE, peer.receive_one_of(&[answer])).await.expect("in time").unwrap();
        stage.counted(what, Some(&denied(series)), before).await;
    }
    peer.exchange_keys().await.unwrap();
    let opened = timeout(PATIENCE, peer.open_to("app", 80, 3)).await.expect("in time");
    assert!(opened.unwrap().is_some(), "the session is as good as ever");
    assert_eq!(stage.unlisted.requests.load(std::sync::atomic::Ordering::SeqCst), 0);
    assert!(stage.agent.is_running() && stage.bridge.is_running());
}

/// What is tried before a login, and instead of one.
async fn logins_that_are_none(stage: &Stage) {
    let mut peer = stage.peer().await;
    let before = stage.refused().await;
    peer.exchange_keys().await.unwrap();
    peer.send(&message::open_to("app", 80, 1)).await.unwrap();
    peer.send(&message::global_request("tcpip-forward", &[0; 8])).await.unwrap();
    peer.send(&message::service_request("ssh-userauth")).await.unwrap();
    let answer = timeout(PATIENCE, peer.receive()).await.expect("in time").unwrap();
    assert_eq!(answer.first(), Some(&message::SERVICE_ACCEPT), "{answer:?}");
    stage.counted("a channel before a login", None, before).await;
    let password = Message::blob().boolean(false).string("secret").done();
    let interactive = Message::blob().string("").string("").done();
    for (method, rest, series) in [
        ("none", Vec::new(), None),
        ("password", password, Some(AUTH_FAILURES)),
        ("keyboard-interactive", interactive, Some(AUTH_FAILURES)),
    ] {
        let before = stage.refused().await;
        peer.send(&message::userauth("root", "ssh-connection", method, &rest)).await.unwrap();
        let answer = timeout(PATIENCE, peer.receive_one_of(&[message::USERAUTH_FAILURE, 52])).await;
        assert_eq!(answer.expect("in time").unwrap().first(), Some(&message::USERAUTH_FAILURE), "{method}");
        stage.counted(method, series, before).await;
    }
    let before = stage.refused().await;
    let tried = timeout(PATIENCE, peer.try_key("root", &Key::of([12; 32]))).await;
    assert!(!tried.expect("in time").unwrap());
    stage.counted("a wrong key", Some(AUTH_FAILURES), before).await;
}
