//! Where devices that come by themselves come to: a listener, an onion service of the bridge's, or both.

use std::net::SocketAddr;
use std::time::Duration;

use futures::FutureExt as _;
use onionscrape::address::OnionAddress;
use onionscrape::http::Listener;
use onionscrape::lifecycle::Failure;
use onionscrape::tor::{Discovery, Introductions, Known, Limits, OnionKey, OnionService};
use onionscrape::tor::{Tor, TorSettings, TorStream};
use prometheus_client::metrics::counter::Counter;
use tokio::net::TcpListener;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::server::Server;

/// What arti calls the onion service.
const SERVICE: &str = "reverse";
/// Circuits at once besides two for each target: of strangers, for the time of a login.
const SPARE_CIRCUITS: usize = 64;
/// Streams at once on one circuit: a gateway may bring the devices behind it on one.
const MAX_STREAMS: u32 = 64;
/// Pause before an onion service that did not start, or ended, is started again.
const RELAUNCH_PAUSE: Duration = Duration::from_secs(30);

/// Least time between two launches: each descriptor needs a higher revision, which arti makes of the time
/// in seconds.
const RELAUNCH_GAP: Duration = Duration::from_secs(2);

/// The address of the bridge's onion service, made if it has none yet.
///
/// # Errors
/// As [`OnionKey::address`].
pub fn onion_address(tor: &TorSettings) -> Result<OnionAddress, Failure> {
    OnionKey::of(tor, SERVICE).address()
}

/// Binds the listener.
///
/// # Errors
/// When the address is taken, or not this machine's.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    match Listener::tcp(address).await {
        Ok(Listener::Tcp(listener)) => Ok(listener),
        Ok(Listener::Unix(..)) => Err(Failure("reverse: not a TCP listener".into())),
        Err(error) => Err(Failure(format!("reverse: {error}"))),
    }
}

/// The bridge's onion service. Whoever knows its address finds it; who may log in is for the server.
pub struct Publication {
    /// The Tor client.
    pub tor: Tor,
    /// What answers.
    pub server: Server,
    /// Targets whose devices come by themselves.
    pub targets: usize,
    /// Counts who asks for a rendezvous.
    pub requests: Counter,
    /// Ends it.
    pub shutdown: CancellationToken,
}

impl Publication {
    /// Keeps the service up until the shutdown, and until the sessions have ended with it.
    pub async fn keep(self) {
        while !self.shutdown.is_cancelled() {
            self.shutdown.run_until_cancelled(self.tor.started()).await;
            let pause = match self.launch().await {
                Ok(service) => match self.serve(service).await {
                    true => RELAUNCH_GAP,
                    false => RELAUNCH_PAUSE,
                },
                Err(Failure(why)) => {
                    error!("{why}");
                    RELAUNCH_PAUSE
                }
            };
            self.shutdown.run_until_cancelled(sleep(pause)).await;
        }
    }

    async fn launch(&self) -> Result<OnionService, Failure> {
        let circuits = 2 * self.targets + SPARE_CIRCUITS;
        let limits = Limits { introductions: Introductions::default(), circuits, streams: MAX_STREAMS };
        OnionService::launch(&self.tor, SERVICE, limits, &Discovery::Open).await
    }

    /// False if arti gave up.
    async fn serve(&self, service: OnionService) -> bool {
        let published = service.published();
        let told = async {
            published.await;
            info!("devices that come by themselves can find this bridge's onion service");
            std::future::pending::<()>().await;
        };
        let server = self.server.clone();
        let answer = move |stream: TorStream, known: Known| {
            let server = server.clone();
            async move { server.serve(stream, || known.say()).await }.boxed()
        };
        service.serve(answer, &self.requests, told, &self.shutdown).await
    }
}
