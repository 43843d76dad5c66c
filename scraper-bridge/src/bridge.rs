//! The bridge as one value: bind, look at the addresses, run until shutdown.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use onionscrape::address::Name;
use onionscrape::files::StateDirectory;
use onionscrape::http::{HostNames, Listener, serve, serve_public};
use onionscrape::lifecycle::{self, Failure};
use onionscrape::tor::Tor;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::admin::Admin;
use crate::config::BridgeConfig;
use crate::dial::OnionDial;
use crate::metrics::Metrics;
use crate::scrape::Scraper;
use crate::target::Target;

/// Targets dialled at the same time; each dial builds several circuits.
const MAX_DIALS: usize = 16;
/// How long tasks may take to end after a shutdown.
const GRACE: Duration = Duration::from_secs(5);
/// The socket over which `probe` talks to a running bridge, in the state directory.
pub const CONTROL_SOCKET: &str = "control.sock";

/// A bridge whose listeners are bound and whose targets are being dialled. Dropping it stops it.
pub struct Bridge {
    admin: SocketAddr,
    listening: Vec<Listening>,
    targets: Vec<Arc<Target>>,
    tor: Tor,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    _stop: DropGuard,
    _state: StateDirectory,
}

/// Where Prometheus finds an exporter.
#[derive(Clone, Debug)]
pub struct Listening {
    /// The target's name.
    pub target: Name,
    /// The exporter's name.
    pub exporter: Name,
    /// The local address; with the port that the kernel chose, if it was to choose.
    pub address: SocketAddr,
}

impl Bridge {
    /// Binds all listeners, then starts Tor and a session to every target. `shutdown` ends it all.
    ///
    /// # Errors
    /// When a listener cannot be bound, a key cannot be used, or the state directory is held by
    /// another process; nothing is left running then.
    pub async fn start(config: BridgeConfig, shutdown: CancellationToken) -> Result<Self, Failure> {
        // Stops everything below when it is dropped: on failure here, or with the bridge.
        let shutdown = shutdown.child_token();
        let guard = shutdown.clone().drop_guard();
        let state = StateDirectory::hold(&config.state_directory)?;
        let web = config.web()?;
        let scheme = web.scheme();
        let mut bound = Vec::new();
        for target in &config.targets {
            for exporter in &target.exporters {
                let listener = Listener::tcp(exporter.listen).await.map_err(|error| {
                    Failure(format!("target {}, exporter {}: {error}", target.name, exporter.name))
                })?;
                bound.push(listener);
            }
        }
        let admin_listener =
            Listener::tcp(config.admin).await.map_err(|error| Failure(format!("admin: {error}")))?;
        let control = Listener::unix(&control_socket(&config), 0o600).map_err(Failure)?;
        let keys = config
            .targets
            .iter()
            .map(|target| target.key(&config.state_directory))
            .collect::<Result<Vec<_>, _>>()?;

        let metrics = Metrics::default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        metrics.config_loaded(now.as_secs_f64());
        let tor = Tor::start(&config.tor, shutdown.clone()).await?;
        let tasks = TaskTracker::new();
        tasks.spawn(follow_tor(tor.clone(), metrics.clone(), shutdown.clone()));

        let dials = Arc::new(Semaphore::new(MAX_DIALS));
        let mut targets = Vec::new();
        let mut listening = Vec::new();
        let mut scrapers = Vec::new();
        let mut bound = bound.into_iter();
        for (target, key) in config.targets.into_iter().zip(keys) {
            let dial = Box::new(OnionDial::new(tor.clone(), target.onion.clone(), target.port));
            let target = Target::start(target, key, dial, dials.clone(), &metrics, &tasks, shutdown.clone());
            for (index, exporter) in target.config.exporters.iter().enumerate() {
                let scraper = Scraper::new(target.clone(), index, config.scrape);
                scrapers.push(scraper.clone());
                let Some(listener) = bound.next() else { break };
                let address = listener.tcp_address().unwrap_or(exporter.listen);
                let names = HostNames::of(address, &config.host_names);
                let (target, exporter) = (target.config.name.clone(), exporter.name.clone());
                info!(%target, %exporter, url = %format_args!("{scheme}://{address}/metrics"), "listening");
                listening.push(Listening { target, exporter, address });
                tasks.spawn(serve_public(listener, names, web.clone(), surface(scraper), shutdown.clone()));
            }
            targets.push(target);
        }

        if targets.is_empty() {
            warn!("no target is configured, so there is nothing to scrape");
        }
        let admin_address = admin_listener.tcp_address().unwrap_or(config.admin);
        info!(url = %format_args!("{scheme}://{admin_address}/"), "admin listening");
        let admin = Admin::new(&metrics, scrapers, tor.clone());
        let names = HostNames::of(admin_address, &config.host_names);
        let public = admin.clone().public();
        tasks.spawn(serve_public(admin_listener, names, web, public, shutdown.clone()));
        tasks.spawn(serve(control, admin.control(), shutdown.clone()));
        tasks.close();
        Ok(Self {
            admin: admin_address,
            listening,
            targets,
            tor,
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

    /// Where each exporter is, in the order of the configuration.
    pub fn listening(&self) -> &[Listening] {
        &self.listening
    }

    /// The targets, in the order of the configuration.
    pub fn targets(&self) -> &[Arc<Target>] {
        &self.targets
    }

    /// The Tor client.
    pub fn tor(&self) -> &Tor {
        &self.tor
    }

    /// Runs until shutdown; tasks that do not end within 5 s are left behind.
    pub async fn run(self) {
        self.shutdown.cancelled().await;
        let _ = tokio::time::timeout(GRACE, self.tasks.wait()).await;
    }
}

/// The control socket of a bridge with this configuration.
pub fn control_socket(config: &BridgeConfig) -> PathBuf {
    config.state_directory.join(CONTROL_SOCKET)
}

/// A port for one exporter.
fn surface(
    scraper: Scraper,
) -> impl Fn(
    hyper::Request<hyper::body::Incoming>,
) -> futures::future::BoxFuture<'static, hyper::Response<onionscrape::http::Body>>
+ Send
+ Sync
+ 'static {
    move |request| {
        let scraper = scraper.clone();
        Box::pin(async move { scraper.answer(request).await })
    }
}

async fn follow_tor(tor: Tor, metrics: Metrics, shutdown: CancellationToken) {
    let mut bootstrap = tor.bootstrap();
    loop {
        let now = bootstrap.borrow_and_update().clone();
        metrics.tor(&now);
        lifecycle::notify_status(&now.to_string());
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = bootstrap.changed() => if changed.is_err() { return },
        }
    }
}
