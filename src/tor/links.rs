//! The TCP connections to relays that are open, so that those can be closed that lead nowhere any more:
//! arti itself goes on with them until the kernel gives them up.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::disturbance::{is_no_way, source_for};

/// Relays that are remembered after their connections have ended.
const MET: usize = 4;
/// Times of connections that are remembered.
const CONNECTED: usize = 8;
/// Least time between two of them.
const CONNECTED_GAP: Duration = Duration::from_secs(1);

/// All of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Links(Arc<Mutex<Open>>);

#[derive(Debug, Default)]
struct Open {
    last: u64,
    links: HashMap<u64, Link>,
    /// The relays that were connected to last, the latest one first.
    met: VecDeque<SocketAddr>,
    /// Those that were tried last, likewise.
    tried: VecDeque<SocketAddr>,
    /// When one was connected to, the latest time first.
    connected: VecDeque<Instant>,
}

#[derive(Debug)]
struct Link {
    /// A second handle on the connection, which is closed with it.
    handle: TcpStream,
    local: IpAddr,
    peer: IpAddr,
    /// True if the local address was chosen for it, whatever the routes say.
    bound: bool,
}

impl Links {
    /// Lists a connection until the guard is dropped.
    pub(super) fn list(&self, handle: TcpStream, bound: bool) -> std::io::Result<Listed> {
        let (local, relay) = (handle.local_addr()?, handle.peer_addr()?);
        let link = Link { local: local.ip(), peer: relay.ip(), handle, bound };
        let mut open = self.locked();
        remember(&mut open.met, relay);
        // Of several at a time one says as much, and does not push out those before.
        if open.connected.front().is_none_or(|last| last.elapsed() >= CONNECTED_GAP) {
            open.connected.push_front(Instant::now());
            open.connected.truncate(CONNECTED);
        }
        open.last += 1;
        let number = open.last;
        open.links.insert(number, link);
        drop(open);
        Ok(Listed { links: self.clone(), number })
    }

    /// Notes that a relay is tried.
    pub(super) fn tries(&self, relay: SocketAddr) {
        remember(&mut self.locked().tried, relay);
    }

    /// The relays that were connected to last, or tried if none was.
    pub(super) fn met(&self) -> Vec<SocketAddr> {
        let open = self.locked();
        let relays = if open.met.is_empty() { &open.tried } else { &open.met };
        relays.iter().copied().collect()
    }

    /// When one was connected to, the last times.
    pub(super) fn connected(&self) -> Vec<Instant> {
        self.locked().connected.iter().copied().collect()
    }

    /// Closes those that belong to an address or a route that is gone; how many there were.
    pub(super) fn close_stale(&self) -> usize {
        self.close(Link::is_stale)
    }

    /// Closes all.
    pub(super) fn close_all(&self) -> usize {
        self.close(|_| true)
    }

    fn close(&self, which: impl Fn(&Link) -> bool) -> usize {
        let open = self.locked();
        let chosen: Vec<_> = open.links.values().filter(|link| which(link)).collect();
        for link in &chosen {
            // It fails where the other side has ended it already.
            let _ = link.handle.shutdown(Shutdown::Both);
        }
        chosen.len()
    }

    fn locked(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remember(relays: &mut VecDeque<SocketAddr>, latest: SocketAddr) {
    relays.retain(|relay| *relay != latest);
    relays.push_front(latest);
    relays.truncate(MET);
}

impl Link {
    fn is_stale(&self) -> bool {
        if is_gone(self.local) {
            return true;
        }
        match source_for(self.peer) {
            // IPv6 has several addresses at a time, and takes new ones while the old ones work.
            Ok(source) => source != self.local && !self.bound && self.local.is_ipv4(),
            Err(error) => is_no_way(&error),
        }
    }
}

/// True if this machine has the address no longer.
fn is_gone(local: IpAddr) -> bool {
    let Err(error) = UdpSocket::bind(SocketAddr::new(local, 0)) else { return false };
    match error.kind() {
        std::io::ErrorKind::AddrNotAvailable => true,
        // A service that may bind to no port: packets to an address of one's own come from it. With IPv4 not
        // from every one, and there a change of the way to the relay tells as much.
        std::io::ErrorKind::PermissionDenied if local.is_ipv6() => match source_for(local) {
            Ok(source) => source != local,
            Err(error) => is_no_way(&error),
        },
        _ => false,
    }
}

/// Keeps a connection in the list.
#[derive(Debug)]
pub(super) struct Listed {
    links: Links,
    number: u64,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.links.locked().links.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::TcpListener;

    use super::*;

    fn connected(links: &Links, to: &str) -> (TcpStream, Listed) {
        let listener = TcpListener::bind((to, 0)).expect("a port");
        let stream = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
        let listed = links.list(stream.try_clone().expect("a second handle"), false).expect("listed");
        // The other side stays silent, and open.
        std::mem::forget(listener.accept());
        (stream, listed)
    }

    #[test]
    fn only_what_leads_nowhere_is_closed() {
        let links = Links::default();
        let (mut one, listed) = connected(&links, "127.0.0.1");
        let (mut other, _listed) = connected(&links, "127.0.0.1");
        assert_eq!(links.close_stale(), 0, "packets to a local address come from it");
        // As if it had come from an address that this machine has no more.
        links.locked().links.get_mut(&listed.number).expect("listed").local =
            "192.0.2.7".parse().expect("IP");
        assert_eq!(links.close_stale(), 1);
        assert_eq!(one.read(&mut [0]).expect("closed"), 0);
        drop(listed);
        assert_eq!(links.close_all(), 1, "what was dropped is not listed");
        assert_eq!(links.met().len(), 2, "but remembered");
        assert_eq!(other.read(&mut [0]).expect("closed"), 0);
    }
}
