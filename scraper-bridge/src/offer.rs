//! Where an exporter is offered, and listening there.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use onionscrape::address::Name;
use onionscrape::http::{Listener, SocketAccess};

use crate::auto_port::PortPlan;
use crate::config::{ExporterConfig, Listen};

/// The surface of an exporter's own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Listening {
    /// A port of this machine.
    Port(SocketAddr),
    /// A socket file.
    Socket(PathBuf),
    /// None; paths and the proxy lead to it.
    Nowhere,
}

impl fmt::Display for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(address) => address.fmt(f),
            Self::Socket(path) => write!(f, "unix:{}", path.display()),
            Self::Nowhere => f.write_str("-"),
        }
    }
}

impl Listening {
    /// True if only one of the two can be listened at. A port of all addresses takes that of each.
    pub fn excludes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Port(one), Self::Port(other)) => {
                let all = one.ip().is_unspecified() || other.ip().is_unspecified();
                one.port() == other.port() && (all || one.ip() == other.ip())
            }
            (Self::Socket(one), Self::Socket(other)) => one == other,
            _ => false,
        }
    }

    /// Where an exporter of `target` is to be offered, as configured.
    ///
    /// # Errors
    /// When it was not given the port that it wants.
    pub fn planned(target: &Name, exporter: &ExporterConfig, ports: &PortPlan) -> Result<Self, String> {
        Ok(match &exporter.listen {
            Listen::Address(address) => Self::Port(*address),
            Listen::Auto => Self::Port(ports.of(target, &exporter.name).ok_or("no port was given to it")?),
            Listen::Unix(path) => Self::Socket(path.clone()),
            Listen::Nowhere => Self::Nowhere,
        })
    }

    /// Listens there; `None` if that is nowhere.
    ///
    /// # Errors
    /// One line that names the place.
    pub async fn bind(&self, sockets: SocketAccess) -> Result<Option<Listener>, String> {
        Ok(Some(match self {
            Self::Port(address) => Listener::tcp(*address).await?,
            Self::Socket(path) => Listener::unix(path, sockets)?,
            Self::Nowhere => return Ok(None),
        }))
    }

    /// The place that a listener for it has got: the kernel may have chosen the port.
    pub fn of(self, listener: &Listener) -> Self {
        listener.tcp_address().map_or(self, Self::Port)
    }

    /// What a person types to scrape it.
    pub fn url(&self, scheme: &str) -> String {
        match self {
            Self::Port(address) => format!("{scheme}://{address}/metrics"),
            place => place.to_string(),
        }
    }

    /// The port, if it is one.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Port(address) => Some(address.port()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_of_all_addresses_takes_that_of_each() {
        let port = |address: &str| Listening::Port(address.parse().expect("an address"));
        let (one, all) = (port("127.0.0.1:9101"), port("0.0.0.0:9101"));
        assert!(one.excludes(&one) && one.excludes(&all) && all.excludes(&one));
        assert!(!one.excludes(&port("127.0.0.2:9101")) && !all.excludes(&port("0.0.0.0:9102")));
        let socket = Listening::Socket("/run/one".into());
        assert!(socket.excludes(&socket) && !socket.excludes(&one));
        assert!(!Listening::Nowhere.excludes(&Listening::Nowhere));
    }
}
