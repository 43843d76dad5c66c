//! An agent in memory, and targets that dial it.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use onionscrape::address::OnionAddress;
use onionscrape::metrics::{classic_text, registry};
use onionscrape::ssh::{KeyFile, LoginKey};
use target_agent::access::{Access, Sources};
use target_agent::admin::Pages;
use target_agent::config::SshSettings;
use target_agent::exporters::Exporters;
use target_agent::identity::Identity;
use target_agent::onion::ServiceName;
use target_agent::ssh::{Server, Services};
use target_agent::status::AgentStatus;
use tokio::io::{copy_bidirectional, duplex};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{
    self, Destination, ExporterConfig, HostTrust, LoginSettings, TargetConfig, Transport, Way,
};
use crate::dial::{Dial, DialFailure, Dialled, Stream};
use crate::inventory::kept::Kept;
use crate::metrics::{Metrics, Stage};
use crate::pool::Pool;
use crate::session::HostKeys;
use crate::succession::Succession;
use crate::target::{Dialling, Reach, State, Target, Turns};

pub(super) const ONION: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";
pub(super) const ELSEWHERE: &str = "duckduckgogg42xjoc72x3sjasowoarfbgcmvfimaftt6twagswzczad.onion";

/// What becomes of a dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    Answer,
    Fail,
    Hang,
}

/// An agent in memory, how it is dialled, and what a bridge needs to log in.
pub(super) struct Device {
    pub(super) folder: tempfile::TempDir,
    pub(super) server: Server,
    pub(super) stop: CancellationToken,
    pub(super) pages: Pages,
    pub(super) metrics: target_agent::metrics::Metrics,
    pub(super) manner: Mutex<Manner>,
    /// At any address but the configured one.
    pub(super) manner_elsewhere: Mutex<Manner>,
    pub(super) dials: AtomicUsize,
    /// One for each dial that was answered: cancelled, nothing goes through any more, and nobody is told.
    pub(super) frozen: Mutex<Vec<CancellationToken>>,
    /// How long a dial takes.
    pub(super) takes: Duration,
}

pub(super) struct MemoryDial(Arc<Device>);

impl Dial for MemoryDial {
    fn stages(&self) -> &'static [Stage] {
        &[Stage::Rendezvous]
    }

    fn ready<'a>(
        &'a self,
        _: &'a (dyn Fn(String) + Send + Sync),
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(std::future::ready(()))
    }

    fn dial<'a>(&'a self, onion: Option<&'a OnionAddress>) -> Dialled<'a> {
        Box::pin(async move {
            self.0.dials.fetch_add(1, Ordering::Relaxed);
            let manner = if onion.is_none_or(|onion| onion.unredacted() == ONION) {
                *self.0.manner.lock().expect("lock")
            } else {
                *self.0.manner_elsewhere.lock().expect("lock")
            };
            match manner {
                Manner::Answer => {
                    let ((near, mut here), (mut there, far)) = (duplex(64 << 10), duplex(64 << 10));
                    let server = self.0.server.clone();
                    tokio::spawn(async move { server.serve(far).await });
                    let frozen = CancellationToken::new();
                    self.0.frozen.lock().expect("lock").push(frozen.clone());
                    tokio::spawn(async move {
                        let copied = copy_bidirectional(&mut here, &mut there);
                        if frozen.run_until_cancelled(copied).await.is_none() {
                            std::future::pending::<()>().await;
                        }
                    });
                    sleep(self.0.takes).await;
                    Ok(Box::new(near) as Box<dyn Stream>)
                }
                Manner::Fail => {
                    Err(DialFailure { stage: Stage::Rendezvous, closed: false, what: "nobody there".into() })
                }
                Manner::Hang => std::future::pending().await,
            }
        })
    }
}

impl Device {
    pub(super) fn new(manner: Manner) -> Arc<Self> {
        Self::that_takes(Duration::ZERO, manner)
    }

    pub(super) fn that_takes(takes: Duration, manner: Manner) -> Arc<Self> {
        let folder = tempfile::tempdir().expect("folder");
        let metrics = target_agent::metrics::Metrics::new();
        let (_, status) = watch::channel(AgentStatus::Bootstrapping);
        let pages = Pages::new(&metrics, &[], status);
        let services = Services { exporters: Exporters::new(&[], &metrics), pages: pages.clone() };
        let authorized_keys = folder.path().join("authorized_keys");
        let access = Access::new(Sources::in_state(folder.path()));
        let settings = SshSettings { login_grace: Duration::from_secs(60) };
        let host_key = KeyFile::open_or_make(&folder.path().join("host"), "").expect("host key");
        let stop = CancellationToken::new();
        let server = Server::new(settings, &host_key, access, services, metrics.clone(), stop.clone());
        let device = Self {
            folder,
            server,
            stop,
            pages,
            metrics,
            manner: Mutex::new(manner),
            manner_elsewhere: Mutex::new(Manner::Fail),
            dials: AtomicUsize::new(0),
            frozen: Mutex::default(),
            takes,
        };
        std::fs::write(authorized_keys, device.key().public_line()).expect("write");
        Arc::new(device)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn key(&self) -> KeyFile {
        KeyFile::open_or_make(&self.path("key"), "bridge").expect("key")
    }

    pub(super) fn set(&self, manner: Manner) {
        *self.manner.lock().expect("lock") = manner;
    }

    pub(super) fn dials(&self) -> usize {
        self.dials.load(Ordering::Relaxed)
    }

    /// Has nothing go through any session that there is.
    pub(super) fn freeze(&self) {
        self.frozen.lock().expect("lock").iter().for_each(CancellationToken::cancel);
    }

    /// Sessions that the device has.
    pub(super) fn sessions(&self) -> String {
        let text = classic_text(&registry("0", |own| self.metrics.register(own)));
        let line = text.lines().find_map(|line| line.strip_prefix("onionscrape_ssh_sessions "));
        line.expect("counted").to_owned()
    }

    /// Announces that it will be elsewhere.
    pub(super) fn announce_elsewhere(&self) {
        let onion: OnionAddress = ELSEWHERE.parse().expect("onion");
        let identity = Identity {
            service: ServiceName::first(),
            onion: ONION.parse().expect("onion"),
            host_key: KeyFile::open_or_make(&self.path("host"), "").expect("host key"),
            next_onion: Some(onion.clone()),
            next_host_key: None,
        };
        self.pages.announce(&identity);
        self.pages.can_be_reached(&onion);
    }
}

/// Targets that share what targets of one bridge share.
pub(super) struct Rig {
    pub(super) metrics: Metrics,
    pub(super) turns: Arc<Turns>,
    pub(super) tasks: TaskTracker,
    pub(super) shutdown: CancellationToken,
}

impl Rig {
    pub(super) fn new(at_once: usize) -> Self {
        Self {
            metrics: Metrics::default(),
            turns: Arc::new(Turns::new(at_once)),
            tasks: TaskTracker::new(),
            shutdown: CancellationToken::new(),
        }
    }

    pub(super) fn target(&self, name: &str, device: &Arc<Device>) -> Arc<Target> {
        self.target_with_host_key(name, device, "host")
    }

    pub(super) fn target_with_host_key(
        &self,
        name: &str,
        device: &Arc<Device>,
        host_key: &str,
    ) -> Arc<Target> {
        self.start(name, device, host_key, false)
    }

    pub(super) fn target_with_standby(&self, name: &str, device: &Arc<Device>) -> Arc<Target> {
        self.start(name, device, "host", true)
    }

    pub(super) fn start(
        &self,
        name: &str,
        device: &Arc<Device>,
        host_key: &str,
        standby: bool,
    ) -> Arc<Target> {
        let host_key = KeyFile::open_or_make(&device.path(host_key), "").expect("host key");
        let dialled = config::Dialled {
            to: Destination::Onion {
                address: ONION.parse().expect("onion"),
                port: 22,
                client_auth_file: None,
            },
            host_key: HostTrust::Pinned(host_key.fingerprint().parse().expect("pin")),
            user: "scrape".into(),
            login: LoginSettings {
                key_file: Some(device.path("key")),
                passphrase: None,
                ssh_agent: None,
                certificate_file: None,
            },
        };
        let name = name.parse().expect("name");
        let succession = Succession::open(device.path("succession/target.toml"));
        let reach = Reach::Dialled(Arc::new(Dialling {
            user: dialled.user.clone(),
            key: LoginKey::in_file(device.key(), None).expect("key"),
            host_keys: Arc::new(HostKeys::new(&name, &dialled, succession)),
            dial: Arc::new(MemoryDial(device.clone())),
            tls: Arc::new([None]),
            turns: self.turns.clone(),
            inventory: Arc::new(Kept::none()),
        }));
        let config = TargetConfig {
            name,
            transport: Transport::Dialled(dialled),
            labels: Default::default(),
            schedule: None,
            standby,
            exporters: vec![ExporterConfig {
                name: "agent".parse().expect("name"),
                listen: crate::config::Listen::Nowhere,
                way: Way::Name,
                tls: None,
                path: "/metrics".into(),
            }],
        };
        let shutdown = self.shutdown.clone();
        Target::start(config, reach, &self.metrics, &self.tasks, shutdown)
    }

    pub(super) fn metric(&self, series: &str) -> String {
        let text = classic_text(&registry("0", |own| self.metrics.register(own)));
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| unreachable!("no series {series} in {text}")).to_owned()
    }
}

pub(super) async fn up(target: &Target) {
    let mut state = target.state();
    let up = state.wait_for(|state| state.pool().is_some());
    timeout(Duration::from_secs(600), up).await.expect("up in time").expect("still kept");
}

/// Waits for another session than that of `pool`.
pub(super) async fn replaced(target: &Target, pool: &Arc<Pool>) {
    let mut state = target.state();
    let fresh = |state: &State| state.pool().is_some_and(|now| !Arc::ptr_eq(now, pool));
    state.wait_for(fresh).await.expect("kept");
}
