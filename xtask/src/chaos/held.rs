//! What a process holds, as the kernel has it.

use procfs::ProcResult;
use procfs::process::Process;

/// What a process holds.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// Resident memory, in bytes.
    pub memory: u64,
    /// Open files.
    pub files: usize,
    /// Threads.
    pub threads: i64,
}

impl Held {
    /// By a process.
    ///
    /// # Errors
    /// When it is gone.
    pub fn by(pid: u32) -> ProcResult<Self> {
        let process = Process::new(pid.cast_signed())?;
        let memory = process.status()?.vmrss.unwrap_or_default() * 1024;
        Ok(Self { memory, files: process.fd_count()?, threads: process.stat()?.num_threads })
    }
}
