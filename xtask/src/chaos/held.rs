//! What a process holds, as the kernel has it and as it says itself.

use std::net::SocketAddr;

use procfs::process::Process;

use super::place::Place;
use super::watcher::metrics;
use crate::Failure;

/// How often a program is asked that has too much to do to answer in time.
const ASKED: usize = 5;

/// What a process holds.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// Resident memory, in bytes.
    pub memory: u64,
    /// Open files.
    pub files: usize,
    /// Threads.
    pub threads: i64,
    /// Tasks of its runtime.
    pub tasks: u64,
}

impl Held {
    /// By a process in its place, whose own pages are at `admin`.
    ///
    /// # Errors
    /// When it is gone or does not answer.
    pub fn by(pid: u32, place: &Place, admin: SocketAddr) -> Result<Self, Failure> {
        let process = Process::new(pid.cast_signed())?;
        let memory = process.status()?.vmrss.unwrap_or_default() * 1024;
        let (files, threads) = (process.fd_count()?, process.stat()?.num_threads);
        let text = (0..ASKED).find_map(|_| metrics(place, admin)).unwrap_or_default();
        let tasks = text.lines().find_map(|line| line.strip_prefix("onionscrape_tasks ")?.parse().ok());
        Ok(Self {
            memory,
            files,
            threads,
            tasks: tasks.ok_or("a program does not say how many tasks it has")?,
        })
    }
}
