mod hostile;
mod reload;
mod rotation;
mod security_key;
mod trust;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use onionscrape::address::ExporterAddress;
use onionscrape::metrics::{classic_text, registry};
use onionscrape::ssh::{ChannelStream, KeyFile};
use russh::client::{self, Handle};
use russh::keys::{Algorithm, PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{ChannelMsg, ChannelOpenFailure, Error};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::{Server, Services};
use crate::access::{Access, Sources};
use crate::admin::Pages;
use crate::config::{ExporterConfig, SshSettings};
use crate::exporters::Exporters;
use crate::metrics::Metrics;
use crate::status::AgentStatus;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nup 1\n";

/// A server, exporters to reach through it, and a key that may log in.
struct Rig {
    server: Server,
    access: Access,
    exporters: Exporters,
    metrics: Metrics,
    pages: Pages,
    key: Arc<PrivateKey>,
    authorized_keys: PathBuf,
    /// Answers at once.
    quick: SocketAddr,
    /// Is listed, but nobody listens there.
    closed: SocketAddr,
    shutdown: CancellationToken,
    /// Every session's task.
    served: Mutex<Vec<JoinHandle<()>>>,
    _folder: tempfile::TempDir,
}

struct Trusting;

impl client::Handler for Trusting {
    type Error = Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Error> {
        Ok(true)
    }
}

fn new_key() -> Arc<PrivateKey> {
    Arc::new(PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).expect("key"))
}

/// Answers every connection's first bytes with `answer`, and then closes it or is silent.
async fn exporter(answer: &'static [u8], open_for: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                // A close with unread bytes would be a reset.
                let _ = stream.read_buf(&mut Vec::with_capacity(4096)).await;
                let _ = stream.write_all(answer).await;
                let _ = timeout(open_for, stream.read_to_end(&mut Vec::new())).await;
            });
        }
    });
    address
}

impl Rig {
    async fn new() -> Self {
        Self::with_grace(Duration::from_secs(60)).await
    }

    async fn with_grace(login_grace: Duration) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let quick = exporter(OK, Duration::ZERO).await;
        let slow = exporter(b"", Duration::from_secs(60)).await;
        let dying =
            exporter(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nup", Duration::from_millis(100)).await;
        let closed = TcpListener::bind("127.0.0.1:0").await.expect("bind").local_addr().expect("address");
        let exporters: Vec<_> = [("quick", quick), ("slow", slow), ("dying", dying), ("closed", closed)]
            .into_iter()
            .map(|(name, address)| {
                ExporterConfig::at(name.parse().expect("name"), ExporterAddress::Tcp(address))
            })
            .collect();
        let metrics = Metrics::new();
        let (_, status) = watch::channel(AgentStatus::Bootstrapping);
        let pages = Pages::new(&metrics, &exporters, status);
        let exporters = Exporters::new(&exporters, &metrics);
        let authorized_keys = folder.path().join("authorized_keys");
        let key = new_key();
        std::fs::write(&authorized_keys, key.public_key().to_openssh().expect("line")).expect("write");
        let sources = Sources::in_state(folder.path());
        let access = Access::new(sources);
        tokio::spawn(access.clone().keep_up(CancellationToken::new()));
        let host_key = KeyFile::open_or_make(&folder.path().join("host"), "").expect("host key");
        let services = Services { exporters: exporters.clone(), pages: pages.clone() };
        let shutdown = CancellationToken::new();
        let settings = SshSettings { login_grace };
        let server =
            Server::new(settings, &host_key, access.clone(), services, metrics.clone(), shutdown.clone());
        Self {
            server,
            access,
            exporters,
            metrics,
            pages,
            key,
            authorized_keys,
            quick,
            closed,
            shutdown,
            served: Mutex::default(),
            _folder: folder,
        }
    }

    async fn connect(&self) -> Handle<Trusting> {
        let (near, far) = duplex(64 << 10);
        let server = self.server.clone();
        let served = tokio::spawn(async move { server.serve(far).await });
        self.served.lock().expect("lock").push(served);
        client::connect_stream(Arc::default(), near, Trusting).await.expect("key exchange")
    }

    async fn log_in(&self) -> Handle<Trusting> {
        let mut session = self.connect().await;
        assert!(try_key(&mut session, &self.key).await, "the key is authorized");
        session
    }

    /// Waits until all sessions have ended, as they should.
    async fn all_ended_well(&self) {
        let served = std::mem::take(&mut *self.served.lock().expect("lock"));
        for session in served {
            timeout(Duration::from_secs(10), session).await.expect("it ends").expect("no panic");
        }
    }

    fn metric(&self, series: &str) -> String {
        let text = classic_text(&registry("0", |own| self.metrics.register(own)));
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| unreachable!("no series {series} in {text}")).to_owned()
    }

    fn denied(&self, request: &str) -> String {
        self.metric(&format!("onionscrape_ssh_denied_total{{request=\"{request}\"}}"))
    }

    /// Waits for a series to have a value, since a session's end takes a moment.
    async fn wait_for(&self, series: &str, value: &str) {
        let until = Instant::now() + Duration::from_secs(5);
        while self.metric(series) != value {
            assert!(Instant::now() < until, "{series} is {}, not {value}", self.metric(series));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn try_key(session: &mut Handle<Trusting>, key: &Arc<PrivateKey>) -> bool {
    let key = PrivateKeyWithHashAlg::new(key.clone(), None);
    session.authenticate_publickey("anybody", key).await.expect("an answer").success()
}

async fn open(
    session: &Handle<Trusting>,
    host: &str,
    port: u32,
) -> Result<ChannelStream, ChannelOpenFailure> {
    match session.channel_open_direct_tcpip(host, port, "192.0.2.1", 1).await {
        Ok(channel) => Ok(ChannelStream::new(channel)),
        Err(Error::ChannelOpenFailure(failure)) => Err(failure),
        Err(error) => unreachable!("{host}:{port}: {error}"),
    }
}

/// Asks for a page and returns the whole answer, or the error that it ended in.
async fn get(stream: &mut ChannelStream, path: &str) -> std::io::Result<String> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Prometheus-Scrape-Timeout-Seconds: 1\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn both_kinds_of_channel_lead_to_the_exporter() {
    let rig = Rig::new().await;
    let session = rig.log_in().await;
    let mut by_address = open(&session, "127.0.0.1", rig.quick.port().into()).await.expect("listed");
    assert_eq!(get(&mut by_address, "/metrics").await.expect("whole").as_bytes(), OK);
    let mut by_name = open(&session, "quick", 80).await.expect("listed");
    let answer = get(&mut by_name, "/metrics").await.expect("whole");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nup 1\n"), "{answer}");
    let mut own = open(&session, "agent", 80).await.expect("own");
    let answer = get(&mut own, "/inventory").await.expect("whole");
    let port = rig.quick.port();
    let first = format!(r#""exporters":[{{"name":"quick","path":"/metrics","port":{port},"labels":{{}}}}"#);
    assert!(answer.contains(&first), "{answer}");
    let mut own = open(&session, "agent", 80).await.expect("own");
    let answer = get(&mut own, "/metrics").await.expect("whole");
    assert!(answer.contains("\nonionscrape_ssh_sessions 1\n"), "{answer}");
    assert!(answer.contains("\nonionscrape_exporter_requests_total{exporter=\"quick\"} 1\n"), "{answer}");
    drop((by_address, by_name, own, session));
    rig.wait_for("onionscrape_ssh_sessions", "0").await;
    rig.wait_for("onionscrape_ssh_channels", "0").await;
}

#[tokio::test]
async fn a_large_answer_arrives_whole_after_the_asker_said_all_it_has_to_say() {
    const SIZE: usize = 5 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let mut rig = Rig::new().await;
    rig.quick = listener.local_addr().expect("address");
    let config = ExporterConfig::at("large".parse().expect("name"), ExporterAddress::Tcp(rig.quick));
    let (_, status) = watch::channel(AgentStatus::Bootstrapping);
    let pages = Pages::new(&rig.metrics, &[], status);
    let services = Services { exporters: Exporters::new(&[config], &rig.metrics), pages };
    let settings = SshSettings { login_grace: Duration::from_secs(60) };
    let access = rig.access.clone();
    let host_key = KeyFile::open_or_make(&rig.authorized_keys.with_file_name("host"), "").expect("host key");
    rig.server =
        Server::new(settings, &host_key, access, services, rig.metrics.clone(), rig.shutdown.clone());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accept");
        stream.read_to_end(&mut Vec::new()).await.expect("the asker's end");
        stream.write_all(&vec![b'x'; SIZE]).await.expect("write");
    });
    let session = rig.log_in().await;
    let mut channel = open(&session, "127.0.0.1", rig.quick.port().into()).await.expect("listed");
    channel.write_all(b"all?").await.expect("write");
    channel.shutdown().await.expect("half close");
    let mut body = Vec::new();
    channel.read_to_end(&mut body).await.expect("a clean end");
    assert_eq!(body.len(), SIZE);
}

#[tokio::test]
async fn what_is_not_listed_is_refused() {
    let rig = Rig::new().await;
    let session = rig.log_in().await;
    let port = u32::from(rig.quick.port());
    let mut refused = 0;
    for host in [
        "0.0.0.0",
        "::ffff:127.0.0.1",
        "::1",
        "127.1",
        "127.0.0.2",
        "2130706433",
        "0x7f.1",
        "localhost",
        "LOCALHOST.",
        "",
        "169.254.169.254",
        "quick",
        "[127.0.0.1]",
        "127.0.0.1 ",
    ] {
        let refusal = open(&session, host, port).await.err();
        assert_eq!(refusal, Some(ChannelOpenFailure::AdministrativelyProhibited), "{host:?}");
        refused += 1;
    }
    for (host, port) in [
        ("127.0.0.1", port - 1),
        ("127.0.0.1", 65_536 + port),
        ("127.0.0.1", 0),
        ("quick", 81),
        ("quick", 65_536 + 80),
        ("QUICK", 80),
        ("quick.", 80),
        ("other", 80),
        ("agent", 22),
        ("", 80),
    ] {
        assert!(open(&session, host, port).await.is_err(), "{host}:{port}");
        refused += 1;
    }
    assert_eq!(rig.denied("direct_tcpip"), refused.to_string());
    assert!(open(&session, "quick", 80).await.is_ok(), "the session goes on");
}

#[tokio::test]
async fn every_other_request_is_refused_and_counted() {
    let rig = Rig::new().await;
    let session = rig.log_in().await;
    assert!(session.channel_open_session().await.is_err());
    assert!(session.channel_open_x11("192.0.2.1", 1).await.is_err());
    assert!(session.channel_open_direct_streamlocal("/run/docker.sock").await.is_err());
    assert!(session.tcpip_forward("127.0.0.1", 0).await.is_err());
    assert!(session.streamlocal_forward("/tmp/x").await.is_err());
    let counted = ["session", "x11", "streamlocal", "tcpip_forward"].map(|kind| rig.denied(kind));
    assert_eq!(counted, ["1", "1", "2", "1"]);

    let mut channel = session.channel_open_direct_tcpip("quick", 80, "", 0).await.expect("listed");
    channel.exec(true, "id").await.expect("sent");
    channel.request_shell(true).await.expect("sent");
    channel.request_subsystem(true, "sftp").await.expect("sent");
    channel.set_env(true, "LD_PRELOAD", "x").await.expect("sent");
    channel.request_pty(true, "xterm", 80, 24, 0, 0, &[]).await.expect("sent");
    channel.request_x11(true, false, "x", "y", 0).await.expect("sent");
    channel.agent_forward(true).await.expect("sent");
    for answer in 0..7 {
        let message = timeout(Duration::from_secs(5), channel.wait()).await.expect("an answer");
        assert!(matches!(message, Some(ChannelMsg::Failure)), "{answer}: {message:?}");
    }
    assert_eq!(rig.denied("channel_request"), "7");
}

#[tokio::test]
async fn only_listed_keys_log_in() {
    let rig = Rig::new().await;
    let mut session = rig.connect().await;
    let stranger = new_key();
    assert!(!try_key(&mut session, &stranger).await, "an unknown key");
    assert!(!session.authenticate_none("root").await.expect("an answer").success(), "no key");
    assert!(!session.authenticate_password("root", "").await.expect("an answer").success(), "a password");
    assert_eq!(rig.metric("onionscrape_ssh_auth_failures_total"), "2");
    assert!(session.channel_open_direct_tcpip("quick", 80, "", 0).now_or_never_opens().await);
    let mut session = rig.connect().await;
    let lines = format!("{}\n", stranger.public_key().to_openssh().expect("line"));
    std::fs::write(&rig.authorized_keys, lines).expect("write");
    assert!(try_key(&mut session, &stranger).await, "a key that was added counts without a restart");
    let mut session = rig.connect().await;
    assert!(!try_key(&mut session, &rig.key).await, "and one that was removed counts no more");
}

/// A channel that is asked for before a login.
trait NeverOpens {
    async fn now_or_never_opens(self) -> bool;
}

impl<F: Future<Output = Result<russh::Channel<client::Msg>, Error>>> NeverOpens for F {
    /// True if the channel was not opened within a moment.
    async fn now_or_never_opens(self) -> bool {
        !matches!(timeout(Duration::from_millis(300), self).await, Ok(Ok(_)))
    }
}

#[tokio::test]
async fn guessing_ends_the_session() {
    let rig = Rig::new().await;
    let mut session = rig.connect().await;
    let key = PrivateKeyWithHashAlg::new(new_key(), None);
    for _ in 0..7 {
        assert!(!session.is_closed());
        let answer = session.authenticate_publickey("root", key.clone()).await;
        assert!(answer.is_err() || answer.is_ok_and(|answer| !answer.success()));
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(session.is_closed(), "guessing goes on");
}

#[tokio::test]
async fn a_silent_stranger_is_shown_out() {
    let rig = Rig::with_grace(Duration::from_millis(300)).await;
    let (mut near, far) = duplex(4096);
    let serving = tokio::spawn({
        let server = rig.server.clone();
        async move { server.serve(far).await }
    });
    let mut heard = Vec::new();
    timeout(Duration::from_secs(5), near.read_to_end(&mut heard)).await.expect("shown out").expect("read");
    assert!(heard.starts_with(b"SSH-2.0-onionscrape\r\n"));
    serving.await.expect("no panic");
    // One who exchanges keys and then only waits is shown out as well.
    let session = rig.connect().await;
    let gone = async {
        while !session.is_closed() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(5), gone).await.expect("shown out");
    // And one who talks nonsense does no harm.
    let (mut near, far) = duplex(4096);
    near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("write");
    timeout(Duration::from_secs(5), rig.server.serve(far)).await.expect("ended");
    let rig_still_works = rig.log_in().await;
    drop(rig_still_works);
}

#[tokio::test]
async fn strangers_sessions_and_channels_are_few() {
    let rig = Rig::new().await;
    let session = rig.log_in().await;
    let mut channels = Vec::new();
    for _ in 0..16 {
        channels.push(open(&session, "agent", 80).await.expect("room"));
    }
    let refusal = open(&session, "agent", 80).await.err();
    assert_eq!(refusal, Some(ChannelOpenFailure::ResourceShortage));
    assert_eq!(
        (rig.denied("channels_cap"), rig.metric("onionscrape_ssh_channels")),
        ("1".into(), "16".into())
    );
    drop(channels);
    rig.wait_for("onionscrape_ssh_channels", "0").await;
    open(&session, "agent", 80).await.expect("room again");

    let mut sessions = vec![session];
    while sessions.len() < 8 {
        sessions.push(rig.log_in().await);
    }
    let mut ninth = rig.connect().await;
    let key = PrivateKeyWithHashAlg::new(rig.key.clone(), None);
    let _ = ninth.authenticate_publickey("x", key).await;
    rig.wait_for("onionscrape_ssh_denied_total{request=\"sessions_cap\"}", "1").await;
    assert!(ninth.channel_open_direct_tcpip("agent", 80, "", 0).now_or_never_opens().await);
    drop(sessions);
    rig.wait_for("onionscrape_ssh_sessions", "0").await;
    rig.log_in().await;

    let rig = Rig::new().await;
    let mut strangers = Vec::new();
    for _ in 0..17 {
        let (near, far) = duplex(4096);
        let server = rig.server.clone();
        tokio::spawn(async move { server.serve(far).await });
        strangers.push(near);
    }
    let mut nothing = Vec::new();
    let last = strangers.last_mut().expect("17 strangers");
    timeout(Duration::from_secs(5), last.read_to_end(&mut nothing)).await.expect("closed").expect("read");
    assert!(nothing.is_empty());
    assert_eq!(rig.denied("sessions_cap"), "1");
}

#[tokio::test]
async fn a_slow_exporter_delays_nobody_else() {
    let rig = Rig::new().await;
    let session = rig.log_in().await;
    let mut slow = open(&session, "slow", 80).await.expect("listed");
    let started = Instant::now();
    let slow = tokio::spawn(async move { get(&mut slow, "/metrics").await });
    let mut quick = open(&session, "quick", 80).await.expect("listed");
    get(&mut quick, "/metrics").await.expect("whole");
    assert!(started.elapsed() < Duration::from_millis(700), "{:?}", started.elapsed());
    let answer = slow.await.expect("no panic").expect("whole");
    assert!(answer.starts_with("HTTP/1.1 504 exporter slow did not answer in time\r\n"), "{answer}");
}

#[tokio::test]
async fn an_exporter_that_dies_is_an_error_and_not_an_end() {
    let rig = Rig::new().await;
    let session = rig.log_in().await;
    let mut dying = open(&session, "dying", 80).await.expect("listed");
    let error = get(&mut dying, "/metrics").await.expect_err("cut short");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let series = "onionscrape_exporter_failures_total{exporter=\"dying\",reason=\"aborted\"}";
    assert_eq!(rig.metric(series), "1");
}

#[tokio::test]
async fn a_listed_address_that_nobody_serves_is_a_failed_connection() {
    let rig = Rig::new().await;
    let session = rig.log_in().await;
    let refusal = open(&session, "127.0.0.1", rig.closed.port().into()).await.err();
    assert_eq!(refusal, Some(ChannelOpenFailure::ConnectFailed));
}

#[tokio::test]
async fn a_shutdown_ends_every_session() {
    let rig = Rig::new().await;
    let session = rig.log_in().await;
    rig.wait_for("onionscrape_ssh_sessions", "1").await;
    rig.shutdown.cancel();
    rig.wait_for("onionscrape_ssh_sessions", "0").await;
    assert!(session.channel_open_direct_tcpip("quick", 80, "", 0).now_or_never_opens().await);
}

/// Runs the installed `ssh` against the server with `arguments` and `input`; its exit code and output.
async fn stock_ssh(rig: &Rig, arguments: &[&str], input: &'static [u8]) -> (Option<i32>, String) {
    use std::io::{Read as _, Write as _};
    use std::process::{Command, Stdio};

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("address").port().to_string();
    let server = rig.server.clone();
    tokio::spawn(async move { server.serve(listener.accept().await.expect("accept").0).await });
    let key = rig.authorized_keys.with_file_name("id");
    let text = rig.key.to_openssh(russh::keys::ssh_key::LineEnding::LF).expect("key");
    let _ = onionscrape::files::create_private(&key, text.as_bytes());
    let mut command = Command::new("ssh");
    command.args(["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
    command.args(["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-p", &port, "-i"]).arg(key);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let run = tokio::task::spawn_blocking(move || {
        let mut ssh = command.spawn().expect("ssh is installed");
        let mut stdin = ssh.stdin.take().expect("stdin");
        let _ = stdin.write_all(input);
        drop(stdin);
        let mut output = String::new();
        let _ = ssh.stdout.take().expect("stdout").read_to_string(&mut output);
        let _ = ssh.stderr.take().expect("stderr").read_to_string(&mut output);
        (ssh.wait().expect("ended").code(), output)
    });
    timeout(Duration::from_secs(20), run).await.expect("in time").expect("no panic")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stock_client_gets_both_kinds_of_channel_and_nothing_else() {
    const REQUEST: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let rig = Rig::new().await;
    let address = format!("127.0.0.1:{}", rig.quick.port());
    for to in [address.as_str(), "quick:80"] {
        let (_, output) = stock_ssh(&rig, &["-W", to, "x@127.0.0.1"], REQUEST).await;
        println!("{to}: {output}");
        assert!(output.contains("200 OK") && output.contains("up 1"), "{to}: {output}");
    }
    for arguments in [
        &["-W", "localhost:22", "x@127.0.0.1"][..],
        &["x@127.0.0.1", "id"],
        &["-s", "x@127.0.0.1", "sftp"],
        &["-o", "ExitOnForwardFailure=yes", "-N", "-R", "0:127.0.0.1:1", "x@127.0.0.1"],
    ] {
        let (code, output) = stock_ssh(&rig, arguments, b"").await;
        assert_ne!(code, Some(0), "{arguments:?}: {output}");
        println!("{arguments:?}: {code:?} {output}");
    }
}
