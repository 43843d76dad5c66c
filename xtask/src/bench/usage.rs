//! What processes take, as the kernel counts it.

use std::collections::HashSet;
use std::fs;
use std::process::Command;
use std::time::Duration;

use procfs::process::{Process, all_processes};
use tornet::process;

use crate::Failure;

/// Processes and everything that they started, as it is now.
fn families(roots: &[u32]) -> Vec<Process> {
    let Ok(all) = all_processes() else { return Vec::new() };
    let mut all: Vec<_> =
        all.flatten().filter_map(|process| Some((process.stat().ok()?.ppid, process))).collect();
    let mut known: HashSet<i32> = roots.iter().map(|pid| pid.cast_signed()).collect();
    // Children have been found when none is found any more.
    loop {
        let before = known.len();
        known.extend(
            all.iter()
                .filter(|(parent, _)| known.contains(parent))
                .map(|(_, process)| process.pid)
                .collect::<Vec<_>>(),
        );
        if known.len() == before {
            break;
        }
    }
    all.retain(|(_, process)| known.contains(&process.pid));
    all.into_iter().map(|(_, process)| process).collect()
}

/// Processor time of processes and everything that they started, ended children included. The kernel
/// counts in nanoseconds and tells hundredths of a second for each process.
pub fn cpu(roots: &[u32]) -> Duration {
    let ticks: i64 = families(roots)
        .iter()
        .filter_map(|process| process.stat().ok())
        .map(|stat| (stat.utime + stat.stime).cast_signed() + stat.cutime + stat.cstime)
        .sum();
    Duration::from_secs_f64(ticks.max(0) as f64 / procfs::ticks_per_second() as f64)
}

/// Memory of one process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Memory {
    /// Megabytes that it has resident.
    pub resident: f64,
    /// The same, where what it shares with others counts in part (proc(5), `Pss`).
    pub share: f64,
}

/// The memory of a process.
///
/// # Errors
/// When it has ended.
pub fn memory(pid: u32) -> Result<Memory, Failure> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let of = |field: &str| -> Result<f64, Failure> {
        let line = text.lines().find_map(|line| line.strip_prefix(field)).ok_or("no such field")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0 / 1e6)
    };
    Ok(Memory { resident: of("Rss:")?, share: of("Pss:")? })
}

/// Open descriptors of a process.
///
/// # Errors
/// When it has ended.
pub fn descriptors(pid: u32) -> Result<usize, Failure> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// Bytes that a process got from and sent to peers at these ports, over connections that are open now:
/// what TCP carried, with TLS and cells and all.
///
/// # Errors
/// When `ss` does not run.
pub fn carried(pid: u32, ports: &HashSet<u16>) -> Result<[u64; 2], Failure> {
    let mut command = Command::new(process::find("ss")?);
    command.args(["--tcp", "--info", "--processes", "--numeric", "--no-header", "--oneline"]);
    let listing = process::run(&command, "")?;
    Ok(carried_in(&listing, pid, ports))
}

fn carried_in(listing: &str, pid: u32, ports: &HashSet<u16>) -> [u64; 2] {
    let mut bytes = [0, 0];
    let mine = format!("pid={pid},");
    for line in listing.lines().filter(|line| line.contains(&mine)) {
        let peer = line.split_whitespace().nth(4).and_then(|peer| peer.rsplit_once(':'));
        let is_relay = peer.and_then(|(_, port)| port.parse().ok()).is_some_and(|port| ports.contains(&port));
        let number = |field: &str| -> Option<u64> {
            line.split_whitespace().find_map(|word| word.strip_prefix(field)?.parse().ok())
        };
        if is_relay {
            bytes[0] += number("bytes_received:").unwrap_or(0);
            bytes[1] += number("bytes_acked:").unwrap_or(0);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_connections_of_the_process_to_the_ports_count() {
        let listing = "\
ESTAB 0 0 127.0.0.1:50000 127.0.0.1:9001 users:((\"tor\",pid=7,fd=9)) cubic bytes_sent:5 bytes_acked:4 bytes_received:30 x
ESTAB 0 0 127.0.0.1:50001 127.0.0.1:9002 users:((\"tor\",pid=7,fd=10)) cubic bytes_acked:40 bytes_received:300
ESTAB 0 0 127.0.0.1:50002 127.0.0.1:9002 users:((\"tor\",pid=77,fd=10)) bytes_acked:1000 bytes_received:1000
ESTAB 0 0 127.0.0.1:9050 127.0.0.1:60000 users:((\"tor\",pid=7,fd=11)) bytes_acked:5000 bytes_received:5000";
        assert_eq!(carried_in(listing, 7, &HashSet::from([9001, 9002])), [330, 44]);
    }

    #[test]
    fn this_process_takes_something() {
        let own = std::process::id();
        let memory = memory(own).unwrap_or(Memory { resident: 0.0, share: 0.0 });
        assert!(memory.resident >= memory.share && memory.share > 0.0, "{memory:?}");
        assert!(descriptors(own).is_ok_and(|count| count > 2));
        let child =
            Command::new("sh").args(["-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"]).status();
        assert!(child.is_ok_and(|status| status.success()));
        assert!(cpu(&[own]) > Duration::ZERO);
    }
}
