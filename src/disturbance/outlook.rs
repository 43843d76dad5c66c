//! From which addresses packets would leave this machine.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

/// Far away: addresses for documentation (RFC 5737 and RFC 3849), to which the default route leads.
/// Nothing is sent to them.
const FAR_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const FAR_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));

/// The machine's own addresses on the way to far ones; `None` where no route leads there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outlook {
    v4: Option<IpAddr>,
    v6: Option<IpAddr>,
}

impl Outlook {
    /// As it is.
    pub fn now() -> Self {
        Self { v4: to(FAR_V4), v6: to(FAR_V6) }
    }

    /// One with these addresses.
    pub fn of(v4: Option<IpAddr>, v6: Option<IpAddr>) -> Self {
        Self { v4, v6 }
    }

    /// True if no packet gets away at all.
    pub fn is_cut_off(&self) -> bool {
        self.v4.is_none() && self.v6.is_none()
    }
}

/// From where packets to `far` would come, or from anywhere if the system does not say.
fn to(far: IpAddr) -> Option<IpAddr> {
    match source_for(far) {
        Ok(source) => Some(source),
        Err(error) if is_no_way(&error) => None,
        Err(_) => Some(far),
    }
}

/// True if no route leads there. Some networks refuse such addresses in other ways.
pub(crate) fn is_no_way(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    let no_way = [Kind::NetworkUnreachable, Kind::HostUnreachable, Kind::AddrNotAvailable];
    // A machine without the protocol has no way in it.
    no_way.contains(&error.kind())
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

/// The local address that packets to `peer` would have now.
///
/// # Errors
/// When no route leads there.
pub(crate) fn source_for(peer: IpAddr) -> io::Result<IpAddr> {
    // Not bound: a service may be forbidden to bind to any port (systemd's SocketBindDeny=).
    let socket = Socket::new(Domain::for_address(SocketAddr::new(peer, 0)), Type::DGRAM, None)?;
    // For UDP it only chooses a route; the port does not matter.
    socket.connect(&SocketAddr::new(peer, 9).into())?;
    let own = socket.local_addr()?.as_socket().map(|own| own.ip());
    own.ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_to_oneself_come_from_oneself() {
        let own = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert_eq!(source_for(own).expect("a route"), own);
        assert!(Outlook { v4: None, v6: None }.is_cut_off());
        assert!(!Outlook { v4: Some(own), v6: None }.is_cut_off());
        assert_eq!(Outlook::now(), Outlook::now());
    }
}
