use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::node::Role;

/// No document of such a small network is near this size.
const LARGEST: u64 = 16 * 1024 * 1024;
/// Everything is on this machine.
const PATIENCE: Duration = Duration::from_secs(5);
/// The consensus that clients use.
const CONSENSUS: &str = "/tor/status-vote/current/consensus-microdesc";
/// What every node must be in the first consensus.
const NEEDED_FLAGS: [&str; 5] = ["Running", "Valid", "HSDir", "Guard", "V2Dir"];

/// Fetches a document over a directory port. `None` if it is not there (yet).
pub(crate) fn fetch(dir_port: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&dir_port, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {dir_port}\r\n\r\n").ok()?;
    let mut bytes = Vec::new();
    stream.take(LARGEST).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    (head.split_whitespace().nth(1) == Some("200")).then(|| body.to_owned())
}

/// Whether somebody listens on a directory port.
pub(crate) fn answers(dir_port: SocketAddr) -> bool {
    TcpStream::connect_timeout(&dir_port, PATIENCE).is_ok()
}

/// Of `names`, those whose descriptor an authority does not have.
pub(crate) fn without_descriptor<'a>(authority: SocketAddr, names: &[&'a str]) -> Vec<&'a str> {
    let all = fetch(authority, "/tor/server/all").unwrap_or_default();
    let known: Vec<&str> =
        all.lines().filter_map(|line| line.strip_prefix("router ")?.split_whitespace().next()).collect();
    names.iter().filter(|name| !known.contains(name)).copied().collect()
}

/// What a consensus says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Consensus {
    /// How many of the expected nodes are in it with all they need.
    pub(crate) complete: usize,
    /// What is missing, for people.
    pub(crate) missing: Vec<String>,
}

/// Fetches an authority's (or cache's) current consensus and compares it with
/// the nodes that should be in it.
pub(crate) fn consensus(dir_port: SocketAddr, nodes: &[(&str, Role)]) -> Option<Consensus> {
    let text = fetch(dir_port, CONSENSUS)?;
    Some(examine(&text, nodes))
}

/// Whether a node serves a consensus and every microdescriptor that it names.
pub(crate) fn is_cached(dir_port: SocketAddr) -> bool {
    let Some(consensus) = fetch(dir_port, CONSENSUS) else { return false };
    let digests: Vec<&str> = consensus.lines().filter_map(|line| line.strip_prefix("m ")).collect();
    let path = format!("/tor/micro/d/{}", digests.join("-"));
    let microdescriptors = fetch(dir_port, &path).unwrap_or_default();
    microdescriptors.lines().filter(|line| *line == "onion-key").count() == digests.len()
}

fn examine(text: &str, nodes: &[(&str, Role)]) -> Consensus {
    let mut complete = 0;
    let mut missing = Vec::new();
    for (name, role) in nodes {
        let entry = || {
            let mut lines = text.lines();
            lines.find(|line| line.split_whitespace().take(2).eq(["r", name]))?;
            Some(lines.take_while(|line| !line.starts_with("r ") && !line.starts_with("directory-footer")))
        };
        let Some(lines) = entry() else {
            missing.push(format!("{name} is not in it"));
            continue;
        };
        let mut flags = "";
        let mut bandwidth = false;
        for line in lines {
            flags = line.strip_prefix("s ").unwrap_or(flags);
            let weight = line.strip_prefix("w Bandwidth=").and_then(|rest| rest.split(' ').next());
            bandwidth |= weight.is_some_and(|weight| weight != "0");
        }
        let lacking = NEEDED_FLAGS.iter().find(|flag| !flags.split(' ').any(|set| set == **flag));
        match lacking {
            Some(flag) => missing.push(format!("{name} is not {flag}")),
            // Measurements of authorities are ignored: for paths only relays count.
            None if !bandwidth && *role == Role::Relay => missing.push(format!("{name} has no bandwidth")),
            None => complete += 1,
        }
    }
    Consensus { complete, missing }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consensus_is_complete_only_with_flags_and_bandwidth() {
        let text = "network-status-version 3 microdesc\n\
            r relay1 AAAA 2038-01-01 00:00:00 127.0.0.1 5000 5001\nm abc\n\
            s Exit Fast Guard HSDir Running Stable V2Dir Valid\nw Bandwidth=1000\n\
            r relay2 AAAA 2038-01-01 00:00:00 127.0.0.1 5000 5001\nm abc\n\
            s Exit Fast Guard Running Stable V2Dir Valid\nw Bandwidth=1000\n\
            r relay3 AAAA 2038-01-01 00:00:00 127.0.0.1 5000 5001\nm abc\n\
            s Exit Fast Guard HSDir Running Stable V2Dir Valid\nw Bandwidth=0 Unmeasured=1\n\
            r auth1 AAAA 2038-01-01 00:00:00 127.0.0.1 5000 5001\nm abc\n\
            s Exit Fast Guard HSDir Running Stable V2Dir Valid\nw Bandwidth=0 Unmeasured=1\n\
            directory-footer\n";
        let relays = ["relay1", "relay2", "relay3", "relay"].map(|name| (name, Role::Relay));
        let found = examine(text, &[&relays[..], &[("auth1", Role::Authority)]].concat());
        let missing = ["relay2 is not HSDir", "relay3 has no bandwidth", "relay is not in it"];
        assert_eq!(found, Consensus { complete: 2, missing: missing.map(str::to_owned).to_vec() });
    }
}
