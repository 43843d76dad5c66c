//! The onion service: from a client's wish for a rendezvous to a byte stream.
//!
//! Names of arti's types go no further than this module.

mod circuit;

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arti_client::KeystoreSelector;
use futures::{Stream, StreamExt as _};
use onionscrape::address::OnionAddress;
use onionscrape::files::{FileError, sync_directory};
use onionscrape::lifecycle::Failure;
use onionscrape::tor::{Tor, TorClient, TorError, TorSettings, TorStream, one_line};
use safelog::DisplayRedacted as _;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tor_hsservice::config::OnionServiceConfigBuilder;
use tor_hsservice::status::State;
use tor_hsservice::{HsNickname, OnionServiceConfig, RendRequest, RunningOnionService};
use tracing::{debug, warn};

use crate::metrics::Metrics;

/// What arti calls the service, in its files most of all.
const NICKNAME: &str = "agent";
/// Circuits to clients at once; further clients wait their turn.
const MAX_CIRCUITS: usize = 32;
/// Streams at once on one circuit; a client that opens more loses the circuit.
const MAX_STREAMS: u32 = 8;
/// How long arti is waited for to say that publication began.
const PUBLICATION_LIMIT: Duration = Duration::from_secs(60);

/// The address of the onion service that `settings` lead to, made if there is none yet.
///
/// The key is on disk when this returns, since an address that was told to anybody must not be lost
/// to a power cut.
///
/// # Errors
/// When there is a key that cannot be used; it is not replaced.
pub fn address(settings: &TorSettings) -> Result<OnionAddress, Failure> {
    let config = settings.arti()?;
    let service = TorClient::create_onion_service(&config, service_config()?).map_err(|error| {
        Failure(format!("{}: Tor's state cannot be used: {}", settings.state.display(), one_line(&error)))
    })?;
    let made = service.generate_identity_key(KeystoreSelector::Primary);
    let id = match (made, service.onion_address()) {
        (Ok(id), _) => id,
        // Another process made it between arti's look and arti's writing; its key is the one.
        (Err(_), Some(id)) => id,
        (Err(error), None) => return Err(unusable_key(settings, &one_line(&error))),
    };
    let address = id.display_unredacted().to_string().parse().map_err(Failure)?;
    sync_key(settings)?;
    Ok(address)
}

/// Where arti keeps the service's key.
pub(crate) fn key_path(settings: &TorSettings) -> PathBuf {
    settings.state.join("keystore/hss").join(NICKNAME).join("ks_hs_id.ed25519_expanded_private")
}

fn unusable_key(settings: &TorSettings, error: &str) -> Failure {
    let path = key_path(settings);
    if path.symlink_metadata().is_ok() {
        let what = format!(
            "is not a usable onion service key ({error}); restore it from a backup, or remove it to get a new address"
        );
        FileError::new(&path, what).into()
    } else {
        FileError::new(&path, format!("cannot be made: {error}")).into()
    }
}

/// Syncs the key's file and every folder on the way to it; arti syncs nothing itself.
fn sync_key(settings: &TorSettings) -> Result<(), FileError> {
    let key = key_path(settings);
    let upwards = key.ancestors().take_while(|path| path.starts_with(&settings.state));
    upwards.chain(settings.state.parent()).try_for_each(sync_directory)
}

fn service_config() -> Result<OnionServiceConfig, Failure> {
    let refused = |error: String| Failure(format!("the onion service's configuration is refused: {error}"));
    let nickname = HsNickname::new(NICKNAME.to_owned()).map_err(|error| refused(error.to_string()))?;
    OnionServiceConfigBuilder::default()
        .nickname(nickname)
        .max_concurrent_streams_per_circuit(MAX_STREAMS)
        .build()
        .map_err(|error| refused(error.to_string()))
}

/// The onion service while it runs; it ends when this is dropped.
pub struct OnionService {
    running: Arc<RunningOnionService>,
    requests: Pin<Box<dyn Stream<Item = RendRequest> + Send>>,
}

impl OnionService {
    /// Starts publishing; it comes about as soon as Tor is ready.
    ///
    /// # Errors
    /// When arti refuses, most likely because its state cannot be used.
    pub fn launch(tor: &Tor) -> Result<Self, Failure> {
        let failed =
            |what: String| Failure::from(TorError(format!("the onion service cannot start: {what}")));
        let launched =
            tor.client().launch_onion_service(service_config()?).map_err(|error| failed(one_line(&error)))?;
        let (running, requests) = launched.ok_or_else(|| failed("it is switched off".into()))?;
        Ok(Self { running, requests: Box::pin(requests) })
    }

    /// Waits until arti says that it began to publish, or for a minute; arti is not always right.
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
            let _ = tokio::time::timeout(PUBLICATION_LIMIT, begun).await;
        }
    }

    /// Takes in clients and gives each of their byte streams to `answer`, until `shutdown` or until
    /// arti gives up. A shutdown ends all circuits; otherwise those that are open live on.
    pub async fn serve<A, F>(mut self, answer: A, metrics: &Metrics, shutdown: &CancellationToken)
    where
        A: Fn(TorStream) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let room = Arc::new(Semaphore::new(MAX_CIRCUITS));
        let circuits = TaskTracker::new();
        loop {
            let next = async {
                let place = room.clone().acquire_owned().await.ok()?;
                Some((self.requests.next().await?, place))
            };
            let next = tokio::select! {
                () = shutdown.cancelled() => break,
                next = next => next,
            };
            let Some((request, place)) = next else {
                warn!("arti ended the onion service");
                break;
            };
            metrics.rend_requests.inc();
            let (answer, shutdown) = (answer.clone(), shutdown.clone());
            circuits.spawn(async move {
                circuit::serve(request, answer, shutdown).await;
                drop(place);
            });
        }
        circuits.close();
        // Dropped first, so that no new client is led to a service that ends.
        drop(self);
        if shutdown.is_cancelled() {
            circuits.wait().await;
        }
    }
}

impl std::fmt::Debug for OnionService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnionService").finish_non_exhaustive()
    }
}
