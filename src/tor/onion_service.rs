//! An onion service of this program: from a client's wish for a rendezvous to a byte stream.

mod circuit;
mod key;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arti_client::{ErrorKind, HasKind as _};
use futures::{Stream, StreamExt as _};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tor_hsservice::config::restricted_discovery::HsClientNickname;
use tor_hsservice::config::{OnionServiceConfigBuilder, TokenBucketConfig};
use tor_hsservice::status::State;
use tor_hsservice::{HsNickname, OnionServiceConfig, RendRequest, RunningOnionService};
use tracing::{debug, warn};

use super::client::Client;
use super::damage::{forget_introductions, is_damage_of_service, put_service_aside};
use super::introduced;
use super::{ClientAuthPublicKey, Tor, TorError, TorStream, one_line};
use crate::lifecycle::Failure;
pub use key::OnionKey;

/// Tor's own advice on how many clients a restricted service may have; with more, its descriptor
/// may become too large to be published (tor-spec, `HSV3MaxDescriptorSize`).
const MAX_READERS: usize = 160;
/// How long arti is waited for to say that it published: it does once every directory has answered, and one that is gone
/// is tried for minutes.
const PUBLICATION_LIMIT: Duration = Duration::from_secs(15);
/// How long the lock of a service's state is waited for when a launch was refused, and how often it is tried.
const LOCK_LIMIT: Duration = Duration::from_secs(5);
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Who can read the onion service's descriptor, and so find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// Everybody who knows the address.
    Open,
    /// Only clients with these keys (rend-spec-v3, "Client authorization").
    Closed(Vec<ClientAuthPublicKey>),
}

/// What answers a client says with this that the client is somebody who may come in.
#[derive(Clone, Debug, Default)]
pub struct Known(CancellationToken);

impl Known {
    /// The client on this circuit may come in. A circuit on which nobody can in time is closed.
    pub fn say(&self) {
        self.0.cancel();
    }
}

/// How much may be asked of a service.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// What introduction points pass on.
    pub introductions: Introductions,
    /// Circuits to clients at once. Further clients wait until one ends; arti sends them away when many do.
    pub circuits: usize,
    /// Streams at once on one circuit; a client that opens more loses the circuit.
    pub streams: u32,
}

/// Clients that introduction points pass on; more are dropped there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Introductions {
    /// Clients that each introduction point passes on in a second, in the long run.
    pub per_second: u32,
    /// Clients that each introduction point passes on at once after a quiet time.
    pub burst: u32,
}

impl Default for Introductions {
    /// A few bridges that all dial anew at once, several times over.
    fn default() -> Self {
        Self { per_second: 10, burst: 60 }
    }
}

/// The onion service while it runs; it ends when this is dropped.
pub struct OnionService {
    circuits: usize,
    running: Arc<RunningOnionService>,
    requests: Pin<Box<dyn Stream<Item = RendRequest> + Send>>,
    /// The client that it was launched with.
    client: Client,
    name: String,
}

impl OnionService {
    /// Starts publishing the service that arti knows by this name; it comes about as soon as Tor is ready.
    ///
    /// # Errors
    /// When arti refuses, most likely because its state cannot be used.
    pub async fn launch(
        tor: &Tor,
        name: &str,
        limits: Limits,
        discovery: &Discovery,
    ) -> Result<Self, Failure> {
        let failed =
            |what: String| Failure::from(TorError(format!("the onion service cannot start: {what}")));
        if !OnionKey::of(tor.settings(), name).path().is_file() {
            // Arti would make another, and with it another address.
            return Err(failed("its key is gone; restore it, and start the program again".into()));
        }
        let mut client = tor.client().ok_or_else(|| failed("Tor is being started anew".into()))?;
        // What was wanted before is what happens now.
        client.poked.mark_unchanged();
        let config = service_config(name, limits, discovery)?;
        let elsewhere = client.introduced.takes_others(name);
        if elsewhere {
            forget_introductions(tor.settings(), name);
        }
        let launch = || client.arti.launch_onion_service(config.clone());
        let mut launched = launch();
        if let Err(error) = &launched
            && is_damage_of_service(tor.settings(), name, error.kind())
        {
            warn!("files of the onion service's state are damaged; they are put aside, and made anew");
            put_service_aside(tor.settings(), name);
            launched = launch();
            // What the first attempt began has the state's lock until it ends.
            let given_up = Instant::now() + LOCK_LIMIT;
            while let Err(error) = &launched
                && error.kind() == ErrorKind::LocalResourceAlreadyInUse
                && Instant::now() < given_up
            {
                sleep(LOCK_PAUSE).await;
                launched = launch();
            }
        }
        let launched = launched.map_err(|error| {
            if elsewhere {
                // The one before has not ended yet, and may write down those that it had.
                client.introduced.still_wants_others(name);
            }
            failed(one_line(&error))
        })?;
        let (running, requests) = launched.ok_or_else(|| failed("it is switched off".into()))?;
        let (circuits, name) = (limits.circuits, name.to_owned());
        Ok(Self { circuits, running, requests: Box::pin(requests), client, name })
    }

    /// How long ago a service of this name was published last, as far as that was written down, be it by
    /// another process.
    pub fn published_ago(tor: &Tor, name: &str) -> Option<Duration> {
        let written = tor.settings().state.join("hss").join(name).join("iptpub.json").metadata().ok()?;
        written.modified().ok()?.elapsed().ok()
    }

    /// Waits until arti says that it published, or for 15 s; arti is not always right.
    ///
    /// It does not keep the service running.
    pub fn published(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut changes = self.running.status_events();
        let mut state = self.running.status().state();
        async move {
            let begun = async {
                while matches!(state, State::Shutdown | State::Bootstrapping) {
                    match changes.next().await {
                        Some(status) => state = status.state(),
                        None => return,
                    }
                    debug!(?state, "arti's view of the onion service changed");
                }
            };
            let _ = timeout(PUBLICATION_LIMIT, begun).await;
        }
    }

    /// Takes in clients and gives each of their byte streams to `answer`, until `shutdown`, until
    /// `over`, until it must be launched again to be found, or until arti gives up. A shutdown ends all
    /// circuits, and another Tor client cuts them off; otherwise those that are open live on. Each
    /// client that asks for a rendezvous is counted. False if arti gave up.
    pub async fn serve<A, F>(
        mut self,
        answer: A,
        requests: &Counter,
        over: impl Future<Output = ()>,
        shutdown: &CancellationToken,
    ) -> bool
    where
        A: Fn(TorStream, Known) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let room = Arc::new(Semaphore::new(self.circuits));
        let circuits = TaskTracker::new();
        let Client { over: replaced, mut poked, introduced, .. } = self.client.clone();
        let mut watching = std::pin::pin!(watch(&self.running, introduced.service(&self.name)));
        let mut over = std::pin::pin!(over);
        let was_over = loop {
            let next = async {
                let place = room.clone().acquire_owned().await.ok()?;
                Some((self.requests.next().await?, place))
            };
            let next = tokio::select! {
                // What ends the client ends the requests, too.
                biased;
                () = shutdown.cancelled() => break true,
                () = replaced.cancelled() => break true,
                Ok(()) = poked.changed() => break true,
                () = &mut over => break true,
                never = &mut watching => match never {},
                next = next => next,
            };
            let Some((request, place)) = next else {
                warn!("arti ended the onion service");
                break false;
            };
            requests.inc();
            let served = circuit::serve(request, answer.clone(), shutdown.clone());
            let replaced = replaced.clone();
            circuits.spawn(async move {
                replaced.run_until_cancelled(served).await;
                drop(place);
            });
        };
        circuits.close();
        // Dropped first, so that no new client is led to a service that ends.
        drop(self);
        if shutdown.is_cancelled() {
            circuits.wait().await;
        }
        was_over
    }
}

/// Notes for as long as it is polled whether clients can be introduced.
///
/// It does not keep the service running.
fn watch(
    running: &RunningOnionService,
    mut noted: introduced::Service,
) -> impl Future<Output = Infallible> + Send + use<> {
    let mut changes = running.status_events();
    noted.note(&running.status());
    async move {
        while let Some(status) = changes.next().await {
            noted.note(&status);
        }
        std::future::pending().await
    }
}

impl std::fmt::Debug for OnionService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnionService").finish_non_exhaustive()
    }
}

fn refused(error: impl std::fmt::Display) -> Failure {
    Failure(format!("the onion service's configuration is refused: {error}"))
}

/// Enough to know the service's address.
fn plain_config(name: &str) -> Result<OnionServiceConfig, Failure> {
    builder(name)?.build().map_err(refused)
}

fn builder(name: &str) -> Result<OnionServiceConfigBuilder, Failure> {
    let mut builder = OnionServiceConfigBuilder::default();
    builder.nickname(HsNickname::new(name.to_owned()).map_err(refused)?);
    Ok(builder)
}

fn service_config(
    name: &str,
    Limits { introductions, streams, .. }: Limits,
    discovery: &Discovery,
) -> Result<OnionServiceConfig, Failure> {
    let mut builder = builder(name)?;
    let limit = TokenBucketConfig::new(introductions.per_second, introductions.burst);
    builder.max_concurrent_streams_per_circuit(streams).rate_limit_at_intro(Some(limit));
    if let Discovery::Closed(readers) = discovery {
        if readers.len() > MAX_READERS {
            warn!(readers = readers.len(), "more clients than Tor advises; the descriptor may be too large");
        }
        let restricted = builder.restricted_discovery();
        restricted.enabled(true);
        for (index, key) in readers.iter().enumerate() {
            // The names are for arti's own log only.
            let name: HsClientNickname = format!("c{index}").parse().map_err(refused)?;
            restricted.static_keys().access().push((name, key.for_arti()));
        }
    }
    let config = builder.build().map_err(refused)?;
    // Arti takes a configuration without this part for an open service, without a word.
    let closed = config.restricted_discovery().enabled();
    if *closed == matches!(discovery, Discovery::Closed(_)) {
        Ok(config)
    } else {
        Err(refused("arti would open it to everybody"))
    }
}
