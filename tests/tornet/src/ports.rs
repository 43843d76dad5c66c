use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use crate::Error;

/// A TCP port of this machine that is held until it is needed.
///
/// It lies below the range from which the system takes ports for outgoing
/// connections (where there is room), so that nothing can slip in between the
/// release of a port and its use, nor while a relay that owns it is down,
/// except another program that asks for this very port.
#[derive(Debug)]
pub struct Reserved(TcpListener, SocketAddr);

/// Reserves a free port on 127.0.0.1.
///
/// # Errors
///
/// [`Error::System`] if no port can be bound.
pub fn reserve() -> Result<Reserved, Error> {
    reserve_at(Ipv4Addr::LOCALHOST.into())
}

/// Reserves a free port on an address of this machine.
///
/// # Errors
///
/// [`Error::System`] if no port can be bound, for one because the address is another machine's.
pub fn reserve_at(address: IpAddr) -> Result<Reserved, Error> {
    let top = first_outgoing_port();
    let bottom = 10_000;
    let tries = if top > bottom + 1000 { 200 } else { 0 };
    for _ in 0..tries {
        let port = bottom + u16::try_from(random() % u64::from(top - bottom)).unwrap_or(0);
        if let Ok(reserved) = bind(address, port) {
            return Ok(reserved);
        }
    }
    bind(address, 0).map_err(Error::system(format!("find a free port on {address}")))
}

impl Reserved {
    /// The address that is held.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.1
    }

    /// Gives the port up, for the program that is about to listen on it.
    pub fn release(self) {}

    /// The listener that held the port, for use in this process.
    #[must_use]
    pub fn into_listener(self) -> TcpListener {
        self.0
    }
}

fn bind(address: IpAddr, port: u16) -> std::io::Result<Reserved> {
    let listener = TcpListener::bind((address, port))?;
    let addr = listener.local_addr()?;
    Ok(Reserved(listener, addr))
}

fn first_outgoing_port() -> u16 {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .unwrap_or(32_768)
}

fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
