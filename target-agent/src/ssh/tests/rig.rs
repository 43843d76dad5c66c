//! A server with exporters behind it, and clients of it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use onionscrape::address::ExporterAddress;
use onionscrape::metrics::{classic_text, registry};
use onionscrape::ssh::{ChannelStream, KeyFile};
use russh::client::{self, Handle};
use russh::keys::{Algorithm, PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{ChannelOpenFailure, Error};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::access::{Access, Sources};
use crate::admin::Pages;
use crate::config::{ExporterConfig, SshSettings};
use crate::exporters::Exporters;
use crate::metrics::Metrics;
use crate::ssh::{Server, Services};
use crate::status::AgentStatus;

pub(super) const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nup 1\n";

/// A server, exporters to reach through it, and a key that may log in.
pub(super) struct Rig {
    pub(super) server: Server,
    pub(super) access: Access,
    pub(super) exporters: Exporters,
    pub(super) metrics: Metrics,
    pub(super) pages: Pages,
    pub(super) key: Arc<PrivateKey>,
    pub(super) authorized_keys: PathBuf,
    /// Answers at once.
    pub(super) quick: SocketAddr,
    /// Is listed, but nobody listens there.
    pub(super) closed: SocketAddr,
    pub(super) shutdown: CancellationToken,
    /// Every session's task.
    pub(super) served: Mutex<Vec<JoinHandle<()>>>,
    pub(super) _folder: tempfile::TempDir,
}

pub(super) struct Trusting;

impl client::Handler for Trusting {
    type Error = Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Error> {
        Ok(true)
    }
}

pub(super) fn new_key() -> Arc<PrivateKey> {
    Arc::new(PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).expect("key"))
}

/// Answers every connection's first bytes with `answer`, and then closes it or is silent.
pub(super) async fn exporter(answer: &'static [u8], open_for: Duration) -> SocketAddr {
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
    pub(super) async fn new() -> Self {
        Self::with_grace(Duration::from_secs(60)).await
    }

    pub(super) async fn with_grace(login_grace: Duration) -> Self {
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

    pub(super) async fn connect(&self) -> Handle<Trusting> {
        let (near, far) = duplex(64 << 10);
        let server = self.server.clone();
        let served = tokio::spawn(async move { server.serve(far).await });
        self.served.lock().expect("lock").push(served);
        client::connect_stream(Arc::default(), near, Trusting).await.expect("key exchange")
    }

    pub(super) async fn log_in(&self) -> Handle<Trusting> {
        let mut session = self.connect().await;
        assert!(try_key(&mut session, &self.key).await, "the key is authorized");
        session
    }

    /// Waits until all sessions have ended, as they should.
    pub(super) async fn all_ended_well(&self) {
        let served = std::mem::take(&mut *self.served.lock().expect("lock"));
        for session in served {
            timeout(Duration::from_secs(10), session).await.expect("it ends").expect("no panic");
        }
    }

    pub(super) fn metric(&self, series: &str) -> String {
        let text = classic_text(&registry("0", |own| self.metrics.register(own)));
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| unreachable!("no series {series} in {text}")).to_owned()
    }

    pub(super) fn denied(&self, request: &str) -> String {
        self.metric(&format!("onionscrape_ssh_denied_total{{request=\"{request}\"}}"))
    }

    /// Waits for a series to have a value, since a session's end takes a moment.
    pub(super) async fn wait_for(&self, series: &str, value: &str) {
        let until = Instant::now() + Duration::from_secs(5);
        while self.metric(series) != value {
            assert!(Instant::now() < until, "{series} is {}, not {value}", self.metric(series));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

pub(super) async fn try_key(session: &mut Handle<Trusting>, key: &Arc<PrivateKey>) -> bool {
    let key = PrivateKeyWithHashAlg::new(key.clone(), None);
    session.authenticate_publickey("anybody", key).await.expect("an answer").success()
}

pub(super) async fn open(
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
pub(super) async fn get(stream: &mut ChannelStream, path: &str) -> std::io::Result<String> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Prometheus-Scrape-Timeout-Seconds: 1\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// A channel that is asked for before a login.
pub(super) trait NeverOpens {
    async fn now_or_never_opens(self) -> bool;
}

impl<F: Future<Output = Result<russh::Channel<client::Msg>, Error>>> NeverOpens for F {
    /// True if the channel was not opened within a moment.
    async fn now_or_never_opens(self) -> bool {
        !matches!(timeout(Duration::from_millis(300), self).await, Ok(Ok(_)))
    }
}
