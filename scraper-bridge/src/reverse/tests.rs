//! Devices that come by themselves, over streams in memory: russh's client in place of `ssh -R`. Time
//! is paused, so it passes only when nothing else can happen.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use onionscrape::metrics::{classic_text, registry};
use onionscrape::ssh::UserKey;
use russh::client::{self, AuthResult, ChannelOpenHandle, Handle};
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{Channel, ChannelOpenFailure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::{ExporterConfig, Listen, Way};
use crate::metrics::Metrics;
use crate::session::{ChannelFailure, Session};

const LATE: Duration = Duration::from_secs(600);

/// A bridge's listener, and keys of devices.
struct Rig {
    folder: tempfile::TempDir,
    expected: Expected,
    metrics: Metrics,
    server: Server,
    _stop: tokio_util::sync::DropGuard,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let (expected, metrics, stop) = (Expected::default(), Metrics::default(), CancellationToken::new());
        let host_key = host_key(folder.path()).expect("host key");
        let server = Server::new(&host_key, expected.clone(), metrics.clone(), stop.clone());
        Self { folder, expected, metrics, server, _stop: stop.drop_guard() }
    }

    fn key(&self, name: &str) -> KeyFile {
        KeyFile::open_or_make(&self.folder.path().join(name), name).expect("key")
    }

    /// A target whose device has the key of this name.
    fn expect(&self, name: &str, ports: &[u16]) -> Arrivals {
        let exporter = |port: &u16| ExporterConfig {
            name: format!("e{port}").parse().expect("name"),
            listen: Listen::Nowhere,
            way: Way::Forwarded(*port),
            tls: None,
            path: "/metrics".into(),
        };
        let exporters: Vec<_> = ports.iter().map(exporter).collect();
        self.expected.expect(&UserKey::of(self.key(name).private().public_key()), &exporters)
    }

    fn stream(&self) -> DuplexStream {
        let (near, far) = duplex(64 << 10);
        let server = self.server.clone();
        tokio::spawn(async move { server.serve(far, || ()).await });
        near
    }

    async fn connect(&self, refuses: bool) -> Handle<Device> {
        let asked = Arc::default();
        let device = Device { asked, refuses };
        client::connect_stream(Arc::default(), self.stream(), device).await.expect("greeted")
    }

    /// A device with the key of this name that forwards these ports.
    async fn device(&self, name: &str, ports: &[u32]) -> Handle<Device> {
        let mut handle = self.connect(false).await;
        assert!(self.log_in(&mut handle, name).await, "{name} is let in");
        for port in ports {
            handle.tcpip_forward("localhost", *port).await.expect("forwarded");
        }
        handle
    }

    async fn log_in(&self, handle: &mut Handle<Device>, name: &str) -> bool {
        let key = PrivateKeyWithHashAlg::new(self.key(name).private().clone(), None);
        let result = handle.authenticate_publickey("anybody", key).await.expect("an answer");
        matches!(result, AuthResult::Success)
    }

    fn refused(&self, request: &str) -> u32 {
        let text = classic_text(&registry("0", |own| self.metrics.register(own)));
        let series = format!("onionscrape_reverse_refusals_total{{request=\"{request}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(series.as_str()));
        line.and_then(|count| count.parse().ok()).expect("a count")
    }
}

/// Answers each channel with the port that it is for.
struct Device {
    asked: Arc<Mutex<Vec<String>>>,
    refuses: bool,
}

impl client::Handler for Device {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        channel: Channel<client::Msg>,
        address: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Self::Error> {
        self.asked.lock().expect("lock").push(address.to_owned());
        if self.refuses {
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
            return Ok(());
        }
        reply.accept().await;
        let said = format!("{address}:{port}");
        tokio::spawn(async move {
            let mut stream = channel.into_stream();
            let _ = stream.write_all(said.as_bytes()).await;
            let _ = stream.shutdown().await;
        });
        Ok(())
    }
}

async fn arrived(arrivals: &Arrivals) -> Session {
    timeout(LATE, arrivals.next()).await.expect("the device comes").session
}

/// What the device says on a channel for this port.
async fn ask(session: &Session, port: u16) -> Result<String, ChannelFailure> {
    let (mut channel, ()) = session.channel("localhost".into(), port, ()).await?;
    let mut said = String::new();
    channel.read_to_string(&mut said).await.expect("read to its end");
    Ok(said)
}

#[tokio::test(start_paused = true)]
async fn a_device_comes_and_its_ports_are_reached_by_what_it_named() {
    let rig = Rig::new();
    let arrivals = rig.expect("router", &[20001, 20002, 20003]);
    let device = rig.device("router", &[20001, 20002]).await;
    let session = arrived(&arrivals).await;
    assert_eq!(ask(&session, 20001).await.as_deref(), Ok("localhost:20001"));
    assert_eq!(ask(&session, 20002).await.as_deref(), Ok("localhost:20002"));
    assert_eq!(ask(&session, 20003).await, Err(ChannelFailure::NotForwarded));
    assert!(session.answers().await);
    device.cancel_tcpip_forward("localhost", 20002).await.expect("taken back");
    assert_eq!(ask(&session, 20002).await, Err(ChannelFailure::NotForwarded));
    device.disconnect(russh::Disconnect::ByApplication, "", "").await.expect("said");
    timeout(LATE, session.ended()).await.expect("it is noticed");
    assert!(!session.answers().await && !session.went_unanswered());
    assert_eq!(ask(&session, 20001).await, Err(ChannelFailure::Lost));
}

#[tokio::test(start_paused = true)]
async fn a_key_is_one_target_and_the_last_session_counts() {
    let rig = Rig::new();
    let (one, two) = (rig.expect("one", &[20001]), rig.expect("two", &[20001]));
    let _first = rig.device("one", &[20001]).await;
    let first = arrived(&one).await;
    let _second = rig.device("one", &[20001]).await;
    let second = arrived(&one).await;
    assert_eq!(ask(&second, 20001).await.as_deref(), Ok("localhost:20001"));
    assert!(timeout(LATE, two.next()).await.is_err(), "nothing came to the other target");
    first.cut();
    timeout(LATE, first.ended()).await.expect("the first is over");
    assert_eq!(ask(&second, 20001).await.as_deref(), Ok("localhost:20001"), "the second is not");
    drop(one);
    let mut late = rig.connect(false).await;
    assert!(!rig.log_in(&mut late, "one").await, "its target is gone");
    let _other = rig.device("two", &[20001]).await;
    arrived(&two).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_an_exporters_port_is_refused_and_counted() {
    let rig = Rig::new();
    let arrivals = rig.expect("router", &[20001]);
    let mut device = rig.connect(false).await;
    assert!(!rig.log_in(&mut device, "stranger").await);
    let password = device.authenticate_password("root", "secret").await.expect("an answer");
    assert!(!password.success());
    assert_eq!(rig.refused("login"), 2);
    assert!(rig.log_in(&mut device, "router").await);
    for (address, port) in [("localhost", 22), ("", 0), ("localhost", 20002), ("localhost", 85537)] {
        assert!(device.tcpip_forward(address, port).await.is_err(), "{address}:{port}");
    }
    let long = "x".repeat(256);
    assert!(device.tcpip_forward(long, 20001).await.is_err());
    assert_eq!(rig.refused("tcpip_forward"), 5);
    assert!(device.channel_open_session().await.is_err());
    assert!(device.channel_open_direct_tcpip("127.0.0.1", 9090, "127.0.0.1", 1).await.is_err());
    assert!(device.channel_open_direct_streamlocal("/run/x.sock").await.is_err());
    assert!(device.streamlocal_forward("/run/x.sock").await.is_err());
    for (request, count) in [("session", 1), ("direct_tcpip", 1), ("streamlocal", 2)] {
        assert_eq!(rig.refused(request), count, "{request}");
    }
    device.tcpip_forward("", 20001).await.expect("the exporter's port");
    assert!(device.tcpip_forward("localhost", 20001).await.is_err(), "it is taken already");
    let session = arrived(&arrivals).await;
    assert_eq!(ask(&session, 20001).await.as_deref(), Ok(":20001"));
}

#[tokio::test(start_paused = true)]
async fn who_forwards_nothing_or_says_nothing_is_shown_out() {
    let rig = Rig::new();
    let arrivals = rig.expect("router", &[20001]);
    let _device = rig.device("router", &[20001]).await;
    let good = arrived(&arrivals).await;
    let idle = rig.device("router", &[]).await;
    let mut silent: Vec<_> = (0..15).map(|_| rig.stream()).collect();
    let mut one_more = rig.stream();
    assert_eq!(timeout(LATE, one_more.read(&mut [0; 64])).await.expect("shown out").unwrap_or(0), 0);
    assert_eq!(rig.refused("sessions_cap"), 1);
    for stream in &mut silent {
        let mut said = Vec::new();
        timeout(LATE, stream.read_to_end(&mut said)).await.expect("shown out").unwrap_or(0);
    }
    timeout(LATE, async {
        while !idle.is_closed() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    })
    .await
    .expect("shown out");
    assert_eq!(ask(&good, 20001).await.as_deref(), Ok("localhost:20001"), "the one that is there stays");
}

#[tokio::test(start_paused = true)]
async fn an_exporter_that_is_down_is_not_the_sessions_fault() {
    let rig = Rig::new();
    let arrivals = rig.expect("router", &[20001]);
    let mut device = rig.connect(true).await;
    assert!(rig.log_in(&mut device, "router").await);
    device.tcpip_forward("*", 20001).await.expect("forwarded");
    let session = arrived(&arrivals).await;
    assert_eq!(ask(&session, 20001).await, Err(ChannelFailure::Unreachable));
    assert!(session.answers().await);
}

#[test]
fn what_is_to_be_run_and_known_is_written_out() {
    let rig = Rig::new();
    let key = host_key(rig.folder.path()).expect("the same key");
    let listen = |text: &str| text.parse().expect("address");
    let line = key.public_line();
    assert_eq!(known_hosts_line(&key, None, listen("127.0.0.1:2222")), format!("[127.0.0.1]:2222 {line}"));
    assert_eq!(
        known_hosts_line(&key, Some("Monitor.example"), listen("0.0.0.0:22")),
        format!("monitor.example {line}")
    );
    let onion = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";
    assert_eq!(known_hosts_line_of_onion(&key, &onion.parse().expect("address")), format!("{onion} {line}"));
}
