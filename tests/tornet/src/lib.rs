//! A private Tor network on loopback, made from Debian's `tor`: directory
//! authorities and relays as child processes, with faults and delays on demand.
//!
//! ```no_run
//! # fn main() -> Result<(), tornet::Error> {
//! let network = tornet::Network::start(&tornet::Options::default(), |step| eprintln!("{step}"))?;
//! println!("arti configuration: {}", network.fragment().display());
//! # Ok(())
//! # }
//! ```
//!
//! All of it is blocking: call it from a plain thread, or from
//! `tokio::task::spawn_blocking`. Dropping works anywhere.
//!
//! What is left behind: nothing after a drop, a panic that unwinds or a signal
//! that the owner handles. After `kill -9` of the owner the kernel ends every
//! child; only the directory stays.
//!
//! Modules in reading order:

/// What an authority says over its directory port: descriptors, consensus.
mod directory;
/// The part of arti's configuration that makes it use this network.
mod fragment;
/// Identity keys of authorities and relays, made by tor's own programs.
mod keys;
/// How a network is started, what can be done to it, and how it ends.
mod network;
/// One node of the network: its ports, identities and process.
mod node;
/// What can be asked of a start, and what it tells.
mod options;
/// The stages of a start: keys, authorities, relays, the one vote, the caches.
mod start;
/// The configuration files of authorities, relays, clients and services.
mod torrc;

/// Which clients are cut off, and how.
mod access;
/// The TCP relay before every ORPort: where delay and cuts happen.
mod front;
/// One direction of a connection, carried late but in order.
mod line;

/// How a C tor gets a source address of its own.
mod gate;
/// A bridge that speaks obfs4, for clients of censored networks.
mod obfs4;
/// A C tor client and a C tor hidden service, for comparison and interoperability.
mod peers;
/// Connecting through a SOCKS port.
pub mod socks;
/// OpenSSH's `sshd` on loopback with throwaway keys.
pub mod sshd;

/// What can go wrong, one line each.
mod error;
/// Free TCP ports that stay free.
pub mod ports;
/// Child processes that cannot outlive their owner.
pub mod process;
/// Waiting on a condition, with a bound.
mod wait;

pub use access::Cut;
pub use error::Error;
pub use network::Network;
pub use node::{Node, Role};
pub use obfs4::Obfs4Bridge;
pub use options::{Options, Progress};
pub use peers::{CTorClient, ClientOptions, HiddenService, ServiceOptions};
