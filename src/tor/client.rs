//! One arti client for the whole program, which can be started anew.
//!
//! - `learning`: how it learns the network.
//! - `renewal`: how it begins, ends, and takes another's place.

mod learning;
mod renewal;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arti_client::{DormantMode, TorClientConfig};
use futures::future::BoxFuture;
use rustix::fs::{Access, access};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};
use tor_rtcompat::{CompoundRuntime, PreferredRuntime};
use tracing::{info, warn};

use super::introduced::{Introduced, Unintroduced};
use super::links::Links;
use super::skew::Skew;
use super::tasks::Tasks;
use super::tcp::TcpProvider;
use super::{Bootstrap, TorError, TorSettings};

/// How often it is looked whether a state that could not be written can be.
const WRITABLE_TICK: Duration = Duration::from_secs(5);

/// Arti's client on our runtime.
pub type TorClient = arti_client::TorClient<Runtime>;

/// Tokio, with tasks that end with the client, and connections to relays of our own making.
pub type Runtime = CompoundRuntime<
    Tasks,
    PreferredRuntime,
    PreferredRuntime,
    TcpProvider,
    PreferredRuntime,
    PreferredRuntime,
    PreferredRuntime,
>;

/// What came of having everything looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poked {
    /// Connections to relays that were closed.
    pub closed: usize,
    /// Whether onion services are launched again.
    pub relaunched: bool,
}

/// A Tor client that bootstraps in the background for as long as it takes; clones are the same.
#[derive(Clone)]
pub struct Tor(Arc<Shared>);

struct Shared {
    settings: TorSettings,
    links: Links,
    /// The client of this moment; `None` while one takes another's place.
    now: watch::Sender<Option<Running>>,
    bootstrap: watch::Sender<Bootstrap>,
    poked: watch::Sender<()>,
    introduced: Introduced,
    /// Held while one client takes another's place; with what completes when the last has let go of the
    /// state, if it had not in time.
    renewing: Mutex<Option<BoxFuture<'static, ()>>>,
    /// When it was begun anew for damage last.
    mended: std::sync::Mutex<Option<Instant>>,
    /// Whether nothing could be written to the state when that was looked at last.
    read_only: AtomicBool,
    shutdown: CancellationToken,
}

struct Running {
    client: Client,
    /// Ends the client's tasks with it, and tells whoever holds on to it.
    _over: DropGuard,
}

/// The client of one moment. Whoever holds on to it, or to a part of it, keeps another from taking its
/// place, and lets go when it is `over`.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) arti: Arc<TorClient>,
    pub(super) config: Arc<TorClientConfig>,
    parts: Parts,
    /// Cancelled when another is to take its place.
    pub(super) over: CancellationToken,
    /// Told when onion services must be launched again.
    pub(super) poked: watch::Receiver<()>,
    /// Told whether clients can be introduced to them.
    pub(super) introduced: Introduced,
    /// What its first relay said of the clock.
    pub(super) skew: Skew,
}

/// What a runtime for tasks of a client is made of.
#[derive(Clone)]
struct Parts {
    plain: PreferredRuntime,
    tcp: TcpProvider,
}

impl Parts {
    /// One whose tasks end when this is cancelled.
    fn runtime(&self, over: CancellationToken) -> Runtime {
        let tasks = Tasks::new(self.plain.clone(), over);
        let [sleep, coarse_time, unix, tls, udp] = [(); 5].map(|()| self.plain.clone());
        CompoundRuntime::new(tasks, sleep, coarse_time, self.tcp.clone(), unix, tls, udp)
    }
}

impl Client {
    /// A runtime whose tasks end with the client or when the guard is dropped.
    pub(super) fn runtime(&self) -> (Runtime, DropGuard) {
        let over = self.over.child_token();
        (self.parts.runtime(over.clone()), over.drop_guard())
    }
}

impl Tor {
    /// Starts a client; needs a tokio runtime. It works until `shutdown`.
    ///
    /// # Errors
    /// When the configuration is refused or the state directory cannot be used.
    pub async fn start(settings: &TorSettings, shutdown: CancellationToken) -> Result<Self, TorError> {
        install_crypto();
        let tor = Self(Arc::new(Shared {
            settings: settings.clone(),
            links: Links::default(),
            now: watch::channel(None).0,
            bootstrap: watch::channel(Bootstrap::Going { ratio: 0.0 }).0,
            poked: watch::channel(()).0,
            introduced: Introduced::default(),
            renewing: Mutex::default(),
            mended: std::sync::Mutex::default(),
            read_only: AtomicBool::new(false),
            shutdown,
        }));
        tor.begin().await?;
        Ok(tor)
    }

    /// The client; `None` while one takes another's place.
    pub(super) fn client(&self) -> Option<Client> {
        self.0.now.borrow().as_ref().map(|running| running.client.clone())
    }

    /// What it was started with.
    pub fn settings(&self) -> &TorSettings {
        &self.0.settings
    }

    /// How far the client has come; changes are seen as they happen.
    pub fn bootstrap(&self) -> watch::Receiver<Bootstrap> {
        self.0.bootstrap.subscribe()
    }

    /// True while there is a client.
    pub fn is_running(&self) -> bool {
        self.0.now.borrow().is_some()
    }

    /// Waits until there is a client.
    pub async fn started(&self) {
        // It cannot fail: the sender is ours.
        let _ = self.0.now.subscribe().wait_for(Option::is_some).await;
    }

    /// Has arti look at once for what it waits with and onion services launched again, and closes the
    /// connections to relays that belong to an address or a route that is gone. Onion services go on as they are
    /// while the state cannot be written, since arti launches none then. `moved` says that the machine may be in
    /// another network.
    pub fn poke(&self, moved: bool) -> Poked {
        // Those of transports lead to this machine; what is behind them is not known.
        let links = &self.0.links;
        let all = moved && self.0.settings.through_transports();
        let closed = if all { links.close_all() } else { links.close_stale() };
        let relaunched = self.can_write();
        if relaunched {
            self.0.poked.send_replace(());
        }
        if let Some(client) = self.client() {
            client.arti.set_dormant(DormantMode::Normal);
        }
        Poked { closed, relaunched }
    }

    /// Has onion services launched again, at other introduction points where those that there are do not
    /// work, or everywhere if `all` are to: arti itself keeps them for a quarter of an hour. Sessions that are
    /// alive stay so.
    pub fn introduce_elsewhere(&self, all: bool) -> Poked {
        self.0.introduced.want_others(all);
        self.poke(false)
    }

    /// The onion service that has no introduction point for longest, if there is one.
    pub fn unintroduced(&self) -> Option<Unintroduced> {
        self.0.introduced.longest_without()
    }

    /// The relays that were connected to last, or tried if none was.
    pub(super) fn met(&self) -> Vec<SocketAddr> {
        self.0.links.met()
    }

    /// How long nothing has come from any relay; `None` if nothing ever did. It counts for the whole
    /// process.
    pub fn silence(&self) -> Option<Duration> {
        tor_proto::time_since_last_incoming_traffic()
    }

    /// True unless the state cannot be written: then arti starts no client and launches no onion service, and
    /// those that there are had better go on. The log tells when that changes.
    pub fn can_write(&self) -> bool {
        let state = &self.0.settings.state;
        let can = access(state, Access::WRITE_OK).is_ok();
        if self.0.read_only.swap(!can, Ordering::Relaxed) == can {
            let state = state.display();
            if can {
                info!(%state, "Tor's state can be written again");
            } else {
                warn!(%state, "nothing can be written to Tor's state; until something can Tor does not begin anew");
            }
        }
        can
    }

    /// Waits until the state can be written.
    pub async fn writable(&self) {
        while !self.can_write() {
            sleep(WRITABLE_TICK).await;
        }
    }

    /// How long ago relays, or whatever stands in their way, accepted the last connections of this program's;
    /// empty if none did, or where transports connect.
    pub fn connected(&self) -> Vec<Duration> {
        if self.0.settings.through_transports() {
            return Vec::new();
        }
        self.0.links.connected().iter().map(|at| at.elapsed()).collect()
    }
}

/// Arti uses the process's default cryptography for TLS; with none installed it fails.
pub(crate) fn install_crypto() {
    // An error means that it is installed already, by another part of the same process.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
