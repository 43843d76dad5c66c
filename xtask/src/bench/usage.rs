//! What processes take, as the kernel counts it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::process::Command;
use std::time::Duration;

use procfs::process::{Process, Task, all_processes};
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

/// Processor time of threads until now, by process and thread, in nanoseconds.
pub struct CpuTimes(HashMap<(i32, i32), u64>);

impl CpuTimes {
    /// Those of processes and everything that they started. What a thread took that ends before the next look
    /// is lost, so this is for short times; [`cpu`] is for long ones.
    pub fn now(roots: &[u32]) -> Self {
        let all = families(roots);
        let threads = all.iter().filter_map(|process| process.tasks().ok()).flatten().flatten();
        Self(threads.filter_map(|thread| Some(((thread.pid, thread.tid), nanoseconds(&thread)?))).collect())
    }

    /// What was taken since then.
    pub fn since(&self, before: &Self) -> Duration {
        let taken =
            |(id, now): (&(i32, i32), &u64)| now.saturating_sub(before.0.get(id).copied().unwrap_or(0));
        Duration::from_nanos(self.0.iter().map(taken).sum())
    }
}

/// A kernel without scheduler statistics tells hundredths of a second only.
fn nanoseconds(thread: &Task) -> Option<u64> {
    let path = format!("/proc/{}/task/{}/schedstat", thread.pid, thread.tid);
    let told = fs::read_to_string(path).ok().and_then(|text| text.split(' ').next()?.parse().ok());
    told.or_else(|| {
        let stat = thread.stat().ok()?;
        Some((stat.utime + stat.stime) * 1_000_000_000 / procfs::ticks_per_second())
    })
}

/// Processor time of processes and everything that they started, ended children and threads included. The
/// kernel counts in nanoseconds and tells hundredths of a second for each process.
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

/// Bytes that a process has had written to a disk until now, its children's left out.
///
/// # Errors
/// When it has ended, or belongs to somebody else.
pub fn written(pid: u32) -> Result<u64, Failure> {
    Ok(Process::new(pid.cast_signed())?.io()?.write_bytes)
}

/// What connections carried until now, in bytes received and sent, by their two ends.
pub struct Carried(HashMap<(String, String), [u64; 2]>);

impl Carried {
    /// What was received and sent since then. A connection that has closed meanwhile tells nothing any more,
    /// and takes nothing from what the others carried.
    pub fn since(&self, before: &Self) -> [u64; 2] {
        let mut sum = [0, 0];
        for (ends, now) in &self.0 {
            let then = before.0.get(ends).copied().unwrap_or_default();
            for (sum, (now, then)) in sum.iter_mut().zip(now.iter().zip(then)) {
                *sum += now.saturating_sub(then);
            }
        }
        sum
    }
}

/// Bytes that a process got from and sent to peers at these ports, over connections that are open now:
/// what TCP carried, with TLS and cells and all.
///
/// # Errors
/// When `ss` does not run.
pub fn carried(pid: u32, ports: &HashSet<u16>) -> Result<Carried, Failure> {
    let mut command = Command::new(process::find("ss")?);
    command.args(["--tcp", "--info", "--processes", "--numeric", "--no-header", "--oneline"]);
    let listing = process::run(&command, "")?;
    Ok(carried_in(&listing, pid, ports))
}

fn carried_in(listing: &str, pid: u32, ports: &HashSet<u16>) -> Carried {
    let mut all = HashMap::new();
    let mine = format!("pid={pid},");
    for line in listing.lines().filter(|line| line.contains(&mine)) {
        let mut ends = line.split_whitespace().skip(3);
        let (Some(here), Some(there)) = (ends.next(), ends.next()) else { continue };
        let port = there.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let is_relay = port.is_some_and(|port| ports.contains(&port));
        let number = |field: &str| -> Option<u64> {
            line.split_whitespace().find_map(|word| word.strip_prefix(field)?.parse().ok())
        };
        if is_relay {
            let bytes = ["bytes_received:", "bytes_acked:"].map(|field| number(field).unwrap_or(0));
            all.insert((here.to_owned(), there.to_owned()), bytes);
        }
    }
    Carried(all)
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
        let ports = HashSet::from([9001, 9002]);
        let (nothing, all) = (carried_in("", 7, &ports), carried_in(listing, 7, &ports));
        assert_eq!(all.since(&nothing), [330, 44]);
        // The first one has closed; the second has gone on.
        let later = "ESTAB 0 0 127.0.0.1:50001 127.0.0.1:9002 users:((\"tor\",pid=7,fd=10)) bytes_acked:41 bytes_received:302";
        assert_eq!(carried_in(later, 7, &ports).since(&all), [2, 1]);
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
        let before = CpuTimes::now(&[own]);
        assert_eq!(before.since(&before), Duration::ZERO);
        assert!((0..1_000_000).fold(0_u64, |sum, n| std::hint::black_box(sum ^ n)) < u64::MAX);
        assert!(CpuTimes::now(&[own]).since(&before) > Duration::ZERO);
    }
}
