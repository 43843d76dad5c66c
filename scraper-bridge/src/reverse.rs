//! Devices that come by themselves: an SSH server to which a stock `ssh -N -R` connects, with a key
//! that says which target it is. A port that it forwards is not opened here; it is what channels to an
//! exporter are opened by.
//!
//! Names of russh's types go no further than this module and [`session`](crate::session).

mod entrance;
mod expected;
mod handler;
mod server;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use onionscrape::address::OnionAddress;
use onionscrape::files::FileError;
use onionscrape::ssh::KeyFile;

use crate::config::{Entrance, TargetConfig, Transport, Way};
pub use entrance::{Publication, bind, onion_address};
pub use expected::{Arrivals, Arrived, Expected};
pub use server::Server;

/// The key by which devices know this bridge; made once.
///
/// # Errors
/// When it is there and cannot be used, or cannot be made.
pub fn host_key(state_directory: &Path) -> Result<KeyFile, FileError> {
    KeyFile::open_or_make(&host_key_file(state_directory), "scraper-bridge")
}

fn host_key_file(state_directory: &Path) -> PathBuf {
    state_directory.join("ssh_host_ed25519_key")
}

/// The line for a device's known_hosts file, if it reaches the bridge as `host`; the place where the
/// bridge listens, if it reaches that.
pub fn known_hosts_line(key: &KeyFile, host: Option<&str>, listen: SocketAddr) -> String {
    let host = host.map_or_else(|| listen.ip().to_string(), str::to_ascii_lowercase);
    let line = key.public_line();
    match listen.port() {
        22 => format!("{host} {line}"),
        port => format!("[{host}]:{port} {line}"),
    }
}

/// The same line for a device that reaches the bridge's onion service.
pub fn known_hosts_line_of_onion(key: &KeyFile, address: &OnionAddress) -> String {
    format!("{} {}", address.unredacted(), key.public_line())
}

/// What is to be run on the device of a target that comes by itself, and where the rest of it is found.
pub fn command_line(config: &TargetConfig) -> String {
    let Transport::Reverse(reverse) = &config.transport else { return String::new() };
    let mut line = "ssh -N -o ExitOnForwardFailure=yes -o ServerAliveInterval=15".to_owned();
    for exporter in &config.exporters {
        if let Way::Forwarded(port) = exporter.way {
            let name = exporter.name.as_str().to_ascii_uppercase();
            line += &format!(" -R {port}:localhost:PORT_OF_{name}");
        }
    }
    let (way, host) = match reverse.entrance.listen.map(|listen| listen.port()) {
        Some(22) => (String::new(), "THIS_MONITOR"),
        Some(port) => (format!(" -p {port}"), "THIS_MONITOR"),
        None => {
            let through = " -o ProxyCommand='socat STDIO SOCKS4A:127.0.0.1:%h:%p,socksport=9050'";
            (through.to_owned(), "ADDRESS.onion")
        }
    };
    let too = match reverse.entrance {
        Entrance { onion: true, listen: None } => "; scraper-bridge host-key has the address",
        Entrance { onion: true, .. } => {
            "; or through its Tor to the address that scraper-bridge host-key has"
        }
        Entrance { onion: false, .. } => "",
    };
    format!("{line}{way} -i KEY {}@{host}{too}", config.name)
}

#[cfg(test)]
mod tests;
