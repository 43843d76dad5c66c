//! The bridge as one value: bind, look at the addresses, run until shutdown.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use onionscrape::compression::Dictionaries;
use onionscrape::files::StateDirectory;
use onionscrape::http::{HostNames, Listener, SocketAccess, serve, serve_proxy, serve_public};
use onionscrape::lifecycle::{self, Failure};
use onionscrape::tor::TorOnDemand;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::admin::Admin;
use crate::auto_port::AutoPorts;
use crate::config::{BridgeConfig, Entrance, TargetConfig, Transport};
use crate::discovery::{Place, SdFile};
use crate::fleet::{Fleet, Prepared, Room, Surroundings};
use crate::healing;
use crate::metrics::{Metrics, Surface};
use crate::reload::Reloader;
use crate::reverse::{self, Expected, Publication, Server};
use crate::surface::proxy::Proxy;

/// How long tasks may take to end after a shutdown.
const GRACE: Duration = Duration::from_secs(5);
/// The socket over which `probe` talks to a running bridge, in the state directory.
pub const CONTROL_SOCKET: &str = "control.sock";

/// A bridge whose listeners are bound and whose targets are being dialled. Dropping it stops it.
pub struct Bridge {
    admin: SocketAddr,
    proxy: Option<SocketAddr>,
    fleet: Arc<Fleet>,
    reloader: Reloader,
    tor: TorOnDemand,
    reverse: Option<SocketAddr>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    _stop: DropGuard,
    _state: StateDirectory,
}

impl Bridge {
    /// Binds all listeners, then starts Tor and a session to every target. `shutdown` ends it all.
    ///
    /// # Errors
    /// When a listener cannot be bound other than the port of an exporter, a key cannot be used, or the state
    /// directory is held by another process; nothing is left running then.
    pub async fn start(config: BridgeConfig, shutdown: CancellationToken) -> Result<Self, Failure> {
        // Stops everything below when it is dropped: on failure here, or with the bridge.
        let shutdown = shutdown.child_token();
        let guard = shutdown.clone().drop_guard();
        let state = StateDirectory::hold(&config.state_directory)?;
        let web = config.web()?;
        let scheme = web.scheme();
        let mut ports = AutoPorts::new(&config);
        let plan = ports.plan(&config.targets, &HashSet::new())?;
        let sockets = config.listen.sockets;
        let room = Room { ports: &plan, sockets, held: &HashSet::new(), ports_may_be_late: true };
        let mut targets = Vec::new();
        for target in &config.targets {
            targets.push(Prepared::new(target.clone(), &config.state_directory, room).await?);
        }
        let admin_listener =
            Listener::tcp(config.admin).await.map_err(|error| Failure(format!("admin: {error}")))?;
        let proxy_listener = match config.proxy {
            Some(address) => {
                Some(Listener::tcp(address).await.map_err(|error| Failure(format!("proxy: {error}")))?)
            }
            None => None,
        };
        let reverse = match config.reverse {
            Some(Entrance { listen, onion }) => {
                let host_key = reverse::host_key(state.path())?;
                if onion {
                    // An address that cannot be kept is found out about now.
                    reverse::onion_address(&config.tor)?;
                }
                let listener = match listen {
                    Some(address) => Some(reverse::bind(address).await?),
                    None => None,
                };
                Some((host_key, listener, onion))
            }
            None => None,
        };
        let control = Listener::unix(&control_socket(&config), SocketAccess::PRIVATE).map_err(Failure)?;
        ports.commit(plan)?;

        let metrics = Metrics::default();
        metrics.config.succeeded();
        let tor = TorOnDemand::new(config.tor.clone(), shutdown.clone());
        let expected = Expected::default();
        let keeping = config.compression;
        let dictionaries =
            keeping.enabled.then(|| Dictionaries::new(keeping.memory, metrics.dictionary_bytes.clone()));
        let around = Surroundings {
            tor: tor.clone(),
            expected: expected.clone(),
            metrics: metrics.clone(),
            limits: config.scrape,
            dictionaries,
            host_names: config.host_names.clone(),
            web: web.clone(),
            sockets,
            state_directory: config.state_directory.clone(),
            shutdown: shutdown.clone(),
        };
        let fleet = Arc::new(Fleet::new(around, ports));
        let reloader = Reloader::new(&config, fleet.clone(), metrics.clone());
        Box::pin(fleet.begin(targets)).await?;
        if config.targets.is_empty() {
            warn!("no target is configured, so there is nothing to scrape; run: scraper-bridge add");
        }
        let admin_address = admin_listener.tcp_address().unwrap_or(config.admin);
        info!(url = %format_args!("{scheme}://{admin_address}/"), "admin listening");
        let proxy_address = proxy_listener.as_ref().and_then(Listener::tcp_address);
        let (fleet_too, reloader_too) = (fleet.clone(), reloader.clone());
        let admin = Admin::new(&metrics, web.clone(), fleet_too, reloader_too, tor.clone(), proxy_address);
        let admin = if config.lifecycle { admin.with_lifecycle() } else { admin };
        let names = HostNames::of(admin_address, &config.host_names);
        let tasks = TaskTracker::new();
        tasks.spawn(follow_tor(tor.clone(), metrics.clone(), shutdown.clone()));
        tasks.spawn(reloader.clone().follow(shutdown.clone()));
        let healed = healing::keep(tor.clone(), fleet.clone(), metrics.clone());
        let stop = shutdown.clone();
        tasks.spawn(async move {
            stop.run_until_cancelled(healed).await;
        });
        let public = admin.clone().public();
        let refused = metrics.refusals_of(Surface::Admin);
        tasks.spawn(serve_public(admin_listener, names, web.clone(), refused, public, shutdown.clone()));
        if let Some((path, via)) = config.sd_file.clone() {
            let place = Place { admin: admin_address.to_string(), scheme };
            tasks.spawn(SdFile { path, via }.keep(fleet.clone(), place, shutdown.clone()));
        }
        if let (Some(listener), Some(address)) = (proxy_listener, proxy_address) {
            info!(url = %format_args!("{scheme}://{address}"), "proxy listening");
            let proxy = Proxy { fleet: fleet.clone(), metrics: metrics.clone() };
            let handler = move |request| proxy.clone().answer(request);
            let refused = metrics.refusals_of(Surface::Proxy);
            tasks.spawn(serve_proxy(listener, web.clone(), refused, handler, shutdown.clone()));
        }
        let mut reverse_address = None;
        if let Some((host_key, listener, onion)) = reverse {
            // One each, so that strangers at the one do not take the places of those at the other.
            let server = || Server::new(&host_key, expected.clone(), metrics.clone(), shutdown.clone());
            if onion {
                let comes = |target: &&TargetConfig| matches!(target.transport, Transport::Reverse(_));
                let publication = Publication {
                    tor: tor.get().await?,
                    server: server(),
                    targets: config.targets.iter().filter(comes).count(),
                    requests: metrics.reverse_rend_requests(),
                    shutdown: shutdown.clone(),
                };
                tasks.spawn(publication.keep());
            }
            if let Some(listener) = listener {
                reverse_address = listener.local_addr().ok();
                info!(address = %reverse_address.map(|address| address.to_string()).unwrap_or_default(), "listening for devices that come by themselves");
                tasks.spawn(server().listen(listener));
            }
        }
        tasks.spawn(serve(control, admin.control(), shutdown.clone()));
        tasks.close();
        Ok(Self {
            admin: admin_address,
            proxy: proxy_address,
            fleet,
            reloader,
            tor,
            reverse: reverse_address,
            tasks,
            shutdown,
            _stop: guard,
            _state: state,
        })
    }

    /// Where `/metrics` is.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Where the forward proxy is, if there is one.
    pub fn proxy(&self) -> Option<SocketAddr> {
        self.proxy
    }

    /// The targets and where their exporters are offered.
    pub fn fleet(&self) -> &Arc<Fleet> {
        &self.fleet
    }

    /// Reads the configuration again.
    pub fn reloader(&self) -> &Reloader {
        &self.reloader
    }

    /// Where devices that come by themselves are listened for, if they are.
    pub fn reverse(&self) -> Option<SocketAddr> {
        self.reverse
    }

    /// The Tor client, which runs if some target needs it, or `[reverse] onion`.
    pub fn tor(&self) -> &TorOnDemand {
        &self.tor
    }

    /// Runs until shutdown; tasks that do not end within 5 s are left behind.
    pub async fn run(self) {
        self.shutdown.cancelled().await;
        let ended = async { tokio::join!(self.tasks.wait(), self.fleet.ended()) };
        let _ = tokio::time::timeout(GRACE, ended).await;
    }
}

/// The control socket of a bridge with this configuration.
pub fn control_socket(config: &BridgeConfig) -> PathBuf {
    config.state_directory.join(CONTROL_SOCKET)
}

async fn follow_tor(tor: TorOnDemand, metrics: Metrics, shutdown: CancellationToken) {
    lifecycle::notify_status("no target needs Tor yet");
    let Some(tor) = shutdown.run_until_cancelled(tor.wait()).await else { return };
    let mut bootstrap = tor.bootstrap();
    loop {
        let now = bootstrap.borrow_and_update().clone();
        metrics.tor.note(&now);
        lifecycle::notify_status(&now.to_string());
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = bootstrap.changed() => if changed.is_err() { return },
        }
    }
}
