//! Ports for the exporters of a device that is added.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use onionscrape::lifecycle::Failure;

use crate::config::{BridgeConfig, Listen};

/// Where ports are looked for unless `--listen` says otherwise: behind the admin listener's and the one that the
/// documents give to the proxy.
pub(super) const FIRST_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9824);

/// Every address that the configuration gives out.
pub(super) fn taken_addresses(config: &BridgeConfig) -> Vec<SocketAddr> {
    let exporters = config.targets.iter().flat_map(|target| &target.exporters);
    let listening = exporters.filter_map(|exporter| match exporter.listen {
        Listen::Address(address) => Some(address),
        _ => None,
    });
    listening.chain([config.admin]).chain(config.proxy).collect()
}

/// The first address from `first` on that no target has and nobody listens on; only `first` itself
/// where it was `chosen`.
pub(super) fn free_port(
    taken: &[SocketAddr],
    first: SocketAddr,
    chosen: bool,
) -> Result<SocketAddr, Failure> {
    for port in first.port()..=u16::MAX {
        let address = SocketAddr::new(first.ip(), port);
        let bound = std::net::TcpListener::bind(address);
        if !taken.contains(&address) && bound.is_ok() {
            return Ok(address);
        }
        if chosen {
            let why = bound.err().map_or("a target has it".to_owned(), |error| error.to_string());
            return Err(Failure(format!("--listen {address}: {why}; choose another")));
        }
    }
    Err(Failure(format!("no port from {first} on is free")))
}
