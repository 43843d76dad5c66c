//! Which relays carry the scrapes, told by what goes through their connections.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use tornet::process;

use super::scene::Scene;
use super::sockets::Sockets;
use crate::Failure;

/// How long bytes are counted.
const LOOK: Duration = Duration::from_secs(2);
/// Who carries scrapes of 12 KB four times a second carries more than this, in bytes a second; padding
/// and directory requests are less.
const BUSY: u64 = 20_000;

/// What went through relays of late.
pub struct Traffic {
    /// Each relay with its ORPort and bytes a second, the busiest first.
    relays: Vec<(String, SocketAddr, u64)>,
}

/// Counts for a moment.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn measure(scene: &Scene) -> Result<Traffic, Failure> {
    let before = bytes()?;
    std::thread::sleep(LOOK);
    let after = bytes()?;
    let mut by_port: HashMap<SocketAddr, u64> = HashMap::new();
    for (ends, bytes) in after {
        let new = bytes.saturating_sub(before.get(&ends).copied().unwrap_or_default());
        *by_port.entry(ends.0).or_default() += new / LOOK.as_secs();
    }
    let names = scene.relays();
    let mut relays: Vec<_> = scene
        .network
        .nodes()
        .filter(|node| names.contains(&node.name))
        .map(|node| {
            (node.name.clone(), node.or_port, by_port.get(&node.or_port).copied().unwrap_or_default())
        })
        .collect();
    relays.sort_by_key(|(.., bytes)| std::cmp::Reverse(*bytes));
    Ok(Traffic { relays })
}

impl Traffic {
    /// The busiest relay that a process is connected with.
    ///
    /// # Errors
    /// When it is connected with none.
    pub fn guard(&self, pid: u32) -> Result<String, Failure> {
        let connected = Sockets::of(pid)?.connected;
        let mut relays = self.relays.iter();
        let found = relays.find(|(_, port, _)| connected.iter().any(|[_, remote]| remote == port));
        Ok(found.ok_or("the program is connected with no relay")?.0.clone())
    }

    /// Relays that carry the scrapes, without these.
    pub fn busy(&self, but: &[String]) -> Vec<String> {
        let busy = self.relays.iter().filter(|(name, _, bytes)| *bytes > BUSY && !but.contains(name));
        busy.map(|(name, ..)| name.clone()).collect()
    }
}

/// What each connection has carried both ways, by its ends.
fn bytes() -> Result<HashMap<(SocketAddr, SocketAddr), u64>, Failure> {
    let text = process::run(Command::new("ss").args(["-H", "-t", "-i", "-n", "-O"]), "")?;
    let connection = |line: &str| {
        let mut words = line.split_whitespace();
        let ends = (words.nth(3)?.parse().ok()?, words.next()?.parse().ok()?);
        let count = |name: &str| {
            let mut words = line.split_whitespace();
            words.find_map(|word| word.strip_prefix(name)?.parse::<u64>().ok()).unwrap_or_default()
        };
        Some((ends, count("bytes_received:") + count("bytes_acked:")))
    };
    Ok(text.lines().filter_map(connection).collect())
}
