//! The agent as one value: everything tied together.

use std::future::ready;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use onionscrape::address::OnionAddress;
use onionscrape::files::StateDirectory;
use onionscrape::http::{self, HostNames, Listener};
use onionscrape::lifecycle::Failure;
use onionscrape::ssh::KeyFile;
use onionscrape::tor::{ClientAuthKey, Tor};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

use crate::access::Access;
use crate::admin::Pages;
use crate::config::{AgentConfig, FrontConfig};
use crate::control::{self, Control};
use crate::exporters::Exporters;
use crate::forward::Forward;
use crate::healing::Healer;
use crate::identity::Identity;
use crate::metrics::Metrics;
use crate::outside::{Met, meet};
use crate::publication::{Door, Front, Publication};
use crate::reload::{Reached, Reloader};
use crate::rotation::keeper::Keeper;
use crate::ssh::{Server, Services};
use crate::status::{self, AgentStatus};

/// How long tasks may take to end after a shutdown.
const GRACE: Duration = Duration::from_secs(5);
/// Pause between dials of an address that is to come.
const REACH_PAUSE: Duration = Duration::from_secs(5);

/// A running agent.
pub struct Agent {
    identity: Identity,
    status: watch::Receiver<AgentStatus>,
    admin_address: Option<SocketAddr>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    gave_up: CancellationToken,
    tor: Tor,
    state: StateDirectory,
    reloader: Reloader,
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
        pages.announce(&identity);
        let tasks = TaskTracker::new();
        let admin_address = match config.admin {
            Some(address) => serve_admin(address, pages.clone(), &tasks, &shutdown).await?,
            None => None,
        };
        let access = Access::new(config.sources.clone());
        let tor = Box::pin(Tor::start(&config.tor, shutdown.clone())).await?;
        let (identities, seen) = watch::channel(Arc::new(identity.clone()));
        let exporters = Exporters::compressing(&config.exporters, config.compression, &metrics);
        let front = match config.front.clone() {
            FrontConfig::Forward(to) => Front::Forward(Forward::new(to)),
            FrontConfig::Ssh(settings) => {
                let services = Services { exporters: exporters.clone(), pages: pages.clone() };
                access.warn_if_none();
                let (key, access) = (&identity.host_key, access.clone());
                let server = Server::new(settings, key, access, services, metrics.clone(), shutdown.clone());
                tasks.spawn(show(seen.clone(), server.clone(), pages.clone(), shutdown.clone()));
                Front::Ssh(server)
            }
        };
        // The agent's own way to read the descriptor, for its dials from outside.
        let own_key = ClientAuthKey::generate();
        let forward = match &front {
            Front::Forward(forward) => Some(forward.clone()),
            Front::Ssh(_) => None,
        };
        let door = Door { settings: config.onion, own_key: own_key.public(), guests: access.guests() };
        let publication = Publication {
            tor: tor.clone(),
            door,
            front,
            metrics: metrics.clone(),
            shutdown: shutdown.clone(),
        };
        let first = publication.begin(identity.service).await?;
        let probe = {
            let (tor, seen, own_key) = (tor.clone(), seen.clone(), own_key.clone());
            move || meet(tor.clone(), seen.borrow().onion.clone(), own_key.clone())
        };
        let (bootstrap, published) = (tor.bootstrap(), first.0.published());
        let (look, gave_up) = (Arc::new(Notify::new()), CancellationToken::new());
        let (hindrance, hindered) = watch::channel(None);
        let healer = Healer {
            tor: tor.clone(),
            look: look.clone(),
            hindrance,
            status: status.clone(),
            metrics: metrics.clone(),
            forward,
            gave_up: gave_up.clone(),
        };
        tasks.spawn(healer.keep(shutdown.clone()));
        let signs = status::Signs { bootstrap, hindrance: hindered, look, low_power: config.tor.low_power() };
        let following = status::follow(signs, published, probe, tell, metrics.clone(), shutdown.clone());
        tasks.spawn(following);
        tasks.spawn(publication.keep((identity.service, first), seen.clone()));
        let tor_held = tor.clone();
        let (tor_kept, own_key_kept) = (tor.clone(), own_key.clone());
        tasks.spawn(tell_when_reachable(tor, seen, pages.clone(), own_key, shutdown.clone()));
        let (reached, count) = (access.clone(), metrics.clone());
        let reached =
            Reached { exporters: exporters.clone(), pages: pages.clone(), access: reached, metrics: count };
        let reloader = Reloader::new(config.clone(), reached);
        tasks.spawn(reloader.clone().follow(shutdown.clone()));
        let control = Control::new(control::Parts {
            config: config.clone(),
            tor: tor_kept,
            identity: identities.subscribe(),
            own_key: own_key_kept,
            access: access.clone(),
            exporters,
            metrics,
            status: status.clone(),
        });
        control.serve(&tasks, &shutdown);
        let rotations = Keeper::new(config, access.clone(), identities, pages.learnt());
        tasks.spawn(rotations.keep(shutdown.clone()));
        tasks.spawn(access.keep_up(shutdown.clone()));
        tasks.close();
        Ok(Self { identity, status, admin_address, tasks, shutdown, gave_up, tor: tor_held, state, reloader })
    }

    /// The onion service's address at the start; a rotation may have changed it since.
    pub fn onion(&self) -> &OnionAddress {
        &self.identity.onion
    }

    /// The SSH server's host key at the start; a rotation may have changed it since.
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

    /// Reads the configuration again.
    pub fn reloader(&self) -> &Reloader {
        &self.reloader
    }

    /// Works until the shutdown, then waits at most 5 s for everything to end.
    ///
    /// # Errors
    /// When the device cannot be reached though Tor works, and nothing helped that the agent itself can
    /// do: a new process may.
    pub async fn run(self) -> Result<(), Failure> {
        let gave_up = tokio::select! {
            () = self.shutdown.cancelled() => false,
            () = self.gave_up.cancelled() => true,
        };
        self.shutdown.cancel();
        if timeout(GRACE, self.tasks.wait()).await.is_err() {
            info!("some connections did not end in time");
        }
        if let Err(failure) = self.tor.stop().await {
            info!("{failure}");
        }
        // Only now may another process take it.
        drop(self.state);
        if gave_up {
            Err(Failure("the device cannot be reached; start the agent again".into()))
        } else {
            Ok(())
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

/// Shows and tells what belongs to the device's identity, whenever that changes.
async fn show(
    mut identity: watch::Receiver<Arc<Identity>>,
    server: Server,
    pages: Pages,
    shutdown: CancellationToken,
) {
    while let Some(Ok(())) = shutdown.run_until_cancelled(identity.changed()).await {
        let now = identity.borrow_and_update().clone();
        pages.announce(&now);
        server.show(&now.host_key);
    }
}

/// Tells bridges of an address that is to come as soon as it leads here.
async fn tell_when_reachable(
    tor: Tor,
    mut identity: watch::Receiver<Arc<Identity>>,
    pages: Pages,
    own_key: ClientAuthKey,
    shutdown: CancellationToken,
) {
    let telling = async {
        loop {
            let next = identity.borrow_and_update().next_onion.clone();
            let reaching = async {
                let Some(next) = next else { return std::future::pending().await };
                while meet(tor.clone(), next.clone(), own_key.clone()).await != Met::Ssh {
                    sleep(REACH_PAUSE).await;
                }
                pages.can_be_reached(&next);
            };
            tokio::select! {
                () = reaching => {}
                Ok(()) = identity.changed() => continue,
            }
            if identity.changed().await.is_err() {
                return;
            }
        }
    };
    shutdown.run_until_cancelled(telling).await;
}
