//! The agent as one value: everything tied together.

use std::future::ready;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use onionscrape::address::OnionAddress;
use onionscrape::files::StateDirectory;
use onionscrape::http::{self, HostNames, Listener};
use onionscrape::lifecycle::Failure;
use onionscrape::ssh::KeyFile;
use onionscrape::tor::{ClientAuthKey, ClientAuthPublicKey, Connector, Tor, TorStream};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::access::{Access, Guests};
use crate::admin::Pages;
use crate::config::{AgentConfig, FrontConfig, OnionSettings, Restricted};
use crate::exporter::Exporter;
use crate::forward::Forward;
use crate::identity::Identity;
use crate::metrics::Metrics;
use crate::onion::{Discovery, OnionService};
use crate::ssh::{Server, Services};
use crate::status::{self, AgentStatus};

/// How long tasks may take to end after a shutdown.
const GRACE: Duration = Duration::from_secs(5);
/// How long a dial to the own onion service may take, up to the SSH banner.
const PROBE_LIMIT: Duration = Duration::from_secs(30);
/// Pause before an onion service that arti ended is started again.
const RELAUNCH_PAUSE: Duration = Duration::from_secs(30);
/// Least time between two launches: each descriptor needs a higher revision, which arti makes of
/// the time in seconds, and directories drop the others.
const RELAUNCH_GAP: Duration = Duration::from_secs(2);

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    identity: Identity,
    status: watch::Receiver<AgentStatus>,
    admin_address: Option<SocketAddr>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    state: StateDirectory,
}

impl Agent {
    /// Starts an agent, which works until `shutdown`; needs a tokio runtime.
    ///
    /// # Errors
    /// When another process holds the state directory, a key cannot be used, the admin address is
    /// taken, or arti refuses to start. A network is not needed.
    pub async fn start(config: AgentConfig, shutdown: CancellationToken) -> Result<Self, Failure> {
        let state = StateDirectory::hold(&config.state_directory)?;
        let identity = Identity::open_or_make(&config)?;
        let metrics = Metrics::new();
        let (tell, status) = watch::channel(AgentStatus::Bootstrapping);
        let pages = Pages::new(&metrics, &config.exporters, status.clone());
        let tasks = TaskTracker::new();
        let admin_address = match config.admin {
            Some(address) => serve_admin(address, pages.clone(), &tasks, &shutdown).await?,
            None => None,
        };
        let access = Access::new(config.sources);
        let tor = Box::pin(Tor::start(&config.tor, shutdown.clone())).await?;
        // The agent's own way to read the descriptor, for its dials from outside.
        let own_key = ClientAuthKey::generate();
        let door = Door { settings: config.onion, own_key: own_key.public(), guests: access.guests() };
        let discovery = door.discovery();
        let service = OnionService::launch(&tor, &config.onion, &discovery)?;
        let front = match config.front {
            FrontConfig::Forward(to) => Front::Forward(Forward::new(to)),
            FrontConfig::Ssh(settings) => {
                let exporters = config.exporters.into_iter().map(|one| Exporter::new(one, &metrics));
                let services = Services { exporters: exporters.collect(), pages };
                access.warn_if_none();
                let (key, access) = (&identity.host_key, access.clone());
                Front::Ssh(Server::new(settings, key, access, services, metrics.clone(), shutdown.clone()))
            }
        };
        let probe = {
            let (tor, onion) = (tor.clone(), identity.onion.clone());
            move || reachable(tor.clone(), onion.clone(), own_key.clone())
        };
        let (bootstrap, published) = (tor.bootstrap(), service.published());
        tasks.spawn(status::follow(bootstrap, published, probe, tell, metrics.clone(), shutdown.clone()));
        tasks.spawn(access.keep_up(shutdown.clone()));
        tasks.spawn(publish(tor, service, discovery, door, front, metrics, shutdown.clone()));
        tasks.close();
        Ok(Self { identity, status, admin_address, tasks, shutdown, state })
    }

    /// The onion service's address.
    pub fn onion(&self) -> &OnionAddress {
        &self.identity.onion
    }

    /// The SSH server's host key.
    pub fn host_key(&self) -> &KeyFile {
        &self.identity.host_key
    }

    /// How the agent is; changes are seen as they happen.
    pub fn status(&self) -> watch::Receiver<AgentStatus> {
        self.status.clone()
    }

    /// Where the admin listener is, if there is one.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// Works until the shutdown, then waits at most 5 s for everything to end.
    pub async fn run(self) {
        self.shutdown.cancelled().await;
        if timeout(GRACE, self.tasks.wait()).await.is_err() {
            info!("some connections did not end in time");
        }
        // Only now may another process take it.
        drop(self.state);
    }
}

/// What answers on port 22.
#[derive(Clone)]
enum Front {
    Ssh(Server),
    Forward(Forward),
}

impl Front {
    async fn answer(self, stream: TorStream) {
        match self {
            Self::Ssh(server) => server.serve(stream).await,
            Self::Forward(forward) => forward.serve(stream).await,
        }
    }
}

async fn serve_admin(
    address: SocketAddr,
    pages: Pages,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) -> Result<Option<SocketAddr>, Failure> {
    let listener = Listener::tcp(address).await.map_err(|error| Failure(format!("admin: {error}")))?;
    let bound = listener.tcp_address();
    let names = HostNames::of(bound.unwrap_or(address), &[]);
    let handler = move |request| ready(pages.to_admin(&names, &request));
    tasks.spawn(http::serve(listener, handler, shutdown.clone()));
    Ok(bound)
}

/// Who can find the device, by the configuration and by who may come in.
struct Door {
    settings: OnionSettings,
    own_key: ClientAuthPublicKey,
    guests: watch::Receiver<Arc<Guests>>,
}

impl Door {
    fn discovery(&self) -> Discovery {
        let guests = self.guests.borrow();
        let closed = match self.settings.restricted_discovery {
            Restricted::On => true,
            Restricted::Off => false,
            Restricted::Auto => guests.closed || guests.has_clients(),
        };
        if !closed {
            return Discovery::Open;
        }
        let readers = guests.readers(SystemTime::now());
        Discovery::Closed(readers.into_iter().chain([self.own_key.clone()]).collect())
    }

    /// Warns of keys that may log in and cannot find the device: those of people who paired by hand.
    fn warn_of_those_outside(&self) {
        let guests = self.guests.borrow();
        let by_hand = |name: &str| !guests.files.iter().any(|file| file.name.as_str() == name);
        let outside = guests.entries.iter().filter(|entry| by_hand(&entry.name)).count();
        if outside > guests.clients.len() {
            warn!(
                keys = outside,
                "keys in authorized_keys and the configuration need a file in authorized_clients to find this device"
            );
        }
    }

    /// Waits until it must be another than `now`.
    async fn changed_from(&mut self, now: &Discovery) {
        loop {
            self.guests.mark_unchanged();
            if self.discovery() != *now {
                return;
            }
            if self.guests.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Keeps the onion service up until `shutdown`, and published for whoever may find it.
async fn publish(
    tor: Tor,
    mut service: OnionService,
    mut discovery: Discovery,
    mut door: Door,
    front: Front,
    metrics: Metrics,
    shutdown: CancellationToken,
) {
    loop {
        match &discovery {
            Discovery::Open => info!("whoever knows the onion address can find this device"),
            Discovery::Closed(readers) => {
                info!(bridges = readers.len() - 1, "only invited bridges can find this device");
                door.warn_of_those_outside();
            }
        }
        let launched = Instant::now();
        let answer = {
            let front = front.clone();
            move |stream| -> futures::future::BoxFuture<'static, ()> {
                Box::pin(front.clone().answer(stream))
            }
        };
        let changed = door.changed_from(&discovery);
        let pause = if service.serve(answer, &metrics, changed, &shutdown).await {
            // Relaunched rather than reconfigured: arti publishes a change of configuration only
            // after a minute. Directories want a later second for each descriptor.
            RELAUNCH_GAP.saturating_sub(launched.elapsed())
        } else {
            RELAUNCH_PAUSE
        };
        if shutdown.run_until_cancelled(sleep(pause)).await.is_none() {
            return;
        }
        service = loop {
            discovery = door.discovery();
            match OnionService::launch(&tor, &door.settings, &discovery) {
                Ok(service) => break service,
                Err(failure) => error!("{failure}"),
            }
            if shutdown.run_until_cancelled(sleep(RELAUNCH_PAUSE)).await.is_none() {
                return;
            }
        };
    }
}

/// Dials the onion service as a stranger would, and waits for an SSH server's greeting.
async fn reachable(tor: Tor, onion: OnionAddress, key: ClientAuthKey) -> bool {
    let greeted = async {
        // A connector that was used before could hand out a circuit that is dead by now.
        let connector = Connector::new(&tor, &onion, Some(&key)).ok()?;
        let mut stream = connector.dial(22).await.ok()?;
        is_ssh(&mut stream).await.then_some(())
    };
    matches!(timeout(PROBE_LIMIT, Box::pin(greeted)).await, Ok(Some(())))
}

/// True if the first bytes are those of SSH (RFC 4253, section 4.2).
async fn is_ssh(stream: &mut (impl AsyncRead + Unpin)) -> bool {
    let mut greeting = [0; 8];
    stream.read_exact(&mut greeting).await.is_ok() && &greeting == b"SSH-2.0-"
}
