//! One arti client for the whole program.

use std::sync::Arc;
use std::time::Duration;

use arti_client::{BootstrapBehavior, TorClientConfig};
use backon::{BackoffBuilder as _, ExponentialBuilder};
use futures::StreamExt as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tor_rtcompat::{CompoundRuntime, PreferredRuntime, RuntimeSubstExt as _};
use tracing::{info, warn};

use super::tcp::TcpProvider;
use super::{Bootstrap, TorError, TorSettings, one_line};

/// Arti's client on our runtime.
pub type TorClient = arti_client::TorClient<Runtime>;

/// Tokio, with connections to relays of our own making.
pub type Runtime = CompoundRuntime<
    PreferredRuntime,
    PreferredRuntime,
    PreferredRuntime,
    TcpProvider,
    PreferredRuntime,
    PreferredRuntime,
    PreferredRuntime,
>;

/// A Tor client that bootstraps in the background for as long as it takes.
#[derive(Clone)]
pub struct Tor {
    client: Arc<TorClient>,
    config: Arc<TorClientConfig>,
    bootstrap: watch::Receiver<Bootstrap>,
}

impl Tor {
    /// Starts a client; needs a tokio runtime. It works until `shutdown`.
    ///
    /// # Errors
    /// When the configuration is refused or the state directory cannot be used.
    pub async fn start(settings: &TorSettings, shutdown: CancellationToken) -> Result<Self, TorError> {
        install_crypto();
        let config = settings.arti()?;
        let plain =
            PreferredRuntime::current().map_err(|error| TorError(format!("Tor cannot start: {error}")))?;
        let tcp = TcpProvider::new(settings.outbound_bind_address);
        let client = arti_client::TorClient::with_runtime(plain.with_tcp_provider(tcp))
            .config(config.clone())
            .bootstrap_behavior(BootstrapBehavior::OnDemand)
            .create_unbootstrapped_async()
            .await
            .map_err(|error| {
                let state = settings.state.display();
                TorError(format!("Tor cannot start with its state in {state}: {}", one_line(&error)))
            })?;
        let (progress, bootstrap) = watch::channel(Bootstrap::of(&client.bootstrap_status()));
        tokio::spawn(bootstrap_until_done(client.clone(), shutdown.clone()));
        tokio::spawn(follow(client.clone(), progress, shutdown));
        Ok(Self { client, config: Arc::new(config), bootstrap })
    }

    /// The client itself, for what only the onion service side needs.
    pub fn client(&self) -> &Arc<TorClient> {
        &self.client
    }

    pub(super) fn config(&self) -> &TorClientConfig {
        &self.config
    }

    /// How far the client has come; changes are seen as they happen.
    pub fn bootstrap(&self) -> watch::Receiver<Bootstrap> {
        self.bootstrap.clone()
    }
}

/// Arti uses the process's default cryptography for TLS; with none installed it fails.
pub(crate) fn install_crypto() {
    // An error means that it is installed already, by another part of the same process.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// `bootstrap` gives up after many attempts, and must never be cancelled: arti would take the next
/// call for a second one and ignore it.
async fn bootstrap_until_done(client: Arc<TorClient>, shutdown: CancellationToken) {
    let mut pauses = ExponentialBuilder::new().with_jitter().without_max_times().build();
    while let Err(error) = client.bootstrap().await {
        if shutdown.is_cancelled() {
            return;
        }
        let pause = pauses.next().unwrap_or(Duration::from_secs(60));
        warn!(error = one_line(&error), retry_in = ?pause, "Tor did not bootstrap");
        tokio::time::sleep(pause).await;
    }
}

async fn follow(client: Arc<TorClient>, progress: watch::Sender<Bootstrap>, shutdown: CancellationToken) {
    let mut events = client.bootstrap_events();
    let mut said = None;
    loop {
        let status = tokio::select! {
            () = shutdown.cancelled() => return,
            status = events.next() => match status { Some(status) => status, None => return },
        };
        let now = Bootstrap::of(&status);
        let kind = std::mem::discriminant(&now);
        if said.replace(kind) != Some(kind) {
            match &now {
                Bootstrap::Blocked { .. } => warn!("{now}"),
                _ => info!("{now}"),
            }
        }
        progress.send_replace(now);
    }
}
