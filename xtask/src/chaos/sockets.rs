//! The sockets of a process, as the kernel has them.

use std::collections::HashSet;
use std::net::SocketAddr;

use procfs::ProcResult;
use procfs::net::TcpState;
use procfs::process::{FDTarget, Process};

/// The sockets of a process in its network namespace.
#[derive(Debug, Default)]
pub struct Sockets {
    /// Where it listens for TCP connections.
    pub listening: Vec<SocketAddr>,
    /// TCP connections: its own end, and the other one.
    pub connected: Vec<[SocketAddr; 2]>,
    /// UDP sockets.
    pub datagrams: usize,
}

impl Sockets {
    /// Those of a process.
    ///
    /// # Errors
    /// When it is gone.
    pub fn of(pid: u32) -> ProcResult<Self> {
        let process = Process::new(pid.cast_signed())?;
        let own: HashSet<u64> = process
            .fd()?
            .filter_map(|fd| match fd.ok()?.target {
                FDTarget::Socket(inode) => Some(inode),
                _ => None,
            })
            .collect();
        let mut sockets = Self::default();
        for entry in process.tcp()?.into_iter().chain(process.tcp6().unwrap_or_default()) {
            match entry.state {
                _ if !own.contains(&entry.inode) => {}
                TcpState::Listen => sockets.listening.push(entry.local_address),
                _ => sockets.connected.push([entry.local_address, entry.remote_address]),
            }
        }
        let datagrams = process.udp()?.into_iter().chain(process.udp6().unwrap_or_default());
        sockets.datagrams = datagrams.filter(|entry| own.contains(&entry.inode)).count();
        Ok(sockets)
    }
}
