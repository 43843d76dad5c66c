//! Where devices that come by themselves come to: a listener, an onion service of the bridge's, or both.

use std::time::Duration;

use futures::FutureExt as _;
use onionscrape::address::OnionAddress;
use onionscrape::http::Listener;
use onionscrape::lifecycle::Failure;
use onionscrape::tor::{
    Discovery, Introductions, OnionKey, OnionService, TorOnDemand, TorSettings, TorStream,
};
use prometheus_client::metrics::counter::Counter;
use tokio::net::TcpListener;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::server::Server;

/// What arti calls the onion service.
const SERVICE: &str = "reverse";
/// Pause before an onion service that did not start, or ended, is started again.
const RELAUNCH_PAUSE: Duration = Duration::from_secs(30);

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
pub async fn bind(address: std::net::SocketAddr) -> Result<TcpListener, Failure> {
    match Listener::tcp(address).await {
        Ok(Listener::Tcp(listener)) => Ok(listener),
        Ok(Listener::Unix(..)) => Err(Failure("reverse: not a TCP listener".into())),
        Err(error) => Err(Failure(format!("reverse: {error}"))),
    }
}

/// Keeps the onion service up until `shutdown`, and has `server` answer whoever comes; each who asks
/// for a rendezvous is counted. Whoever knows its address finds it; who may log in is for the server.
pub async fn publish(tor: TorOnDemand, server: Server, requests: Counter, shutdown: CancellationToken) {
    let kept = async {
        loop {
            match launch(&tor).await {
                Ok(service) => {
                    info!("devices that come by themselves can find this bridge's onion service");
                    let server = server.clone();
                    let answer = move |stream: TorStream| {
                        let server = server.clone();
                        async move { server.serve(stream).await }.boxed()
                    };
                    service.serve(answer, &requests, std::future::pending(), &shutdown).await;
                }
                Err(Failure(why)) => error!("{why}"),
            }
            sleep(RELAUNCH_PAUSE).await;
        }
    };
    shutdown.run_until_cancelled(kept).await;
}

async fn launch(tor: &TorOnDemand) -> Result<OnionService, Failure> {
    OnionService::launch(&tor.get().await?, SERVICE, Introductions::default(), &Discovery::Open)
}
