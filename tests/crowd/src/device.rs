//! One agent of many.

use std::sync::Arc;

use onionscrape::address::OnionAddress;
use onionscrape::lifecycle::Failure;
use onionscrape::ssh::KeyFile;
use onionscrape::tor::{ClientAuthKey, Tor};
use target_agent::access::Access;
use target_agent::admin::Pages;
use target_agent::config::{AgentConfig, SshSettings};
use target_agent::exporters::Exporters;
use target_agent::identity::Identity;
use target_agent::metrics::Metrics;
use target_agent::onion::ServiceName;
use target_agent::publication::{Door, Front, Publication};
use target_agent::ssh::{Server, Services};
use target_agent::status::AgentStatus;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How it is reached.
pub enum Kind {
    /// By a port on loopback.
    Tcp,
    /// By an onion service of this name and address, which this client publishes.
    Onion(Tor, ServiceName, OnionAddress),
}

/// Starts the one with this number; returns where it is and its host key's fingerprint.
///
/// # Errors
/// When a key cannot be made, nothing can listen, or arti refuses.
pub async fn start(
    number: u32,
    config: &AgentConfig,
    settings: SshSettings,
    kind: Kind,
    shutdown: CancellationToken,
) -> Result<(String, String), Failure> {
    let folder = config.state_directory.join("host_keys");
    std::fs::create_dir_all(&folder).map_err(Failure::of)?;
    let host_key = KeyFile::open_or_make(&folder.join(number.to_string()), "crowd").map_err(Failure::of)?;
    let fingerprint = host_key.fingerprint();
    let metrics = Metrics::new();
    let (_, status) = watch::channel(AgentStatus::Reachable);
    let pages = Pages::new(&metrics, &config.exporters, status);
    let exporters = Exporters::compressing(&config.exporters, config.compression, &metrics);
    let access = Access::new(config.sources.clone());
    let services = Services { exporters, pages };
    let server =
        Server::new(settings, &host_key, access.clone(), services, metrics.clone(), shutdown.clone());
    match kind {
        Kind::Tcp => {
            let listener = TcpListener::bind("127.0.0.1:0").await.map_err(Failure::of)?;
            let address = listener.local_addr().map_err(Failure::of)?;
            tokio::spawn(shutdown.run_until_cancelled_owned(serve(listener, server)));
            Ok((address.to_string(), fingerprint))
        }
        Kind::Onion(tor, service, address) => {
            let own_key = ClientAuthKey::generate().public();
            let door = Door { settings: config.onion, own_key, guests: access.guests() };
            let publication = Publication { tor, door, front: Front::Ssh(server), metrics, shutdown };
            let launched = publication.launch(service).await?;
            let onion = address.clone();
            let identity = Identity { service, onion, host_key, next_onion: None, next_host_key: None };
            tokio::spawn(async move {
                // Held as long as the service is kept up.
                let (_identity, seen) = watch::channel(Arc::new(identity));
                publication.keep((service, launched), seen).await;
            });
            Ok((address.unredacted().to_owned(), fingerprint))
        }
    }
}

async fn serve(listener: TcpListener, server: Server) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Best effort: without it answers are late, which the measurement shows.
                let _ = stream.set_nodelay(true);
                let server = server.clone();
                tokio::spawn(async move { server.serve(stream).await });
            }
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
        }
    }
}
