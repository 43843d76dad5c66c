//! One of our programs, in its place, started again whenever the suite says so.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tornet::process::{self, Process, Signal};

use super::place::{Place, wrapped};
use crate::Failure;

/// A program with its configuration.
pub struct Supervised {
    program: PathBuf,
    file: PathBuf,
    log: PathBuf,
    wrapper: Vec<OsString>,
    process: Process,
    pid: Arc<AtomicU32>,
}

impl Supervised {
    /// Starts `program run`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(program: PathBuf, file: PathBuf, log: PathBuf, place: &Place) -> Result<Self, Failure> {
        let wrapper = place.wrapper();
        let process = process::spawn(&command(&wrapper, &program, &file), &log)?;
        let pid = Arc::new(AtomicU32::new(process.pid()));
        Ok(Self { program, file, log, wrapper, process, pid })
    }

    /// Kills it with SIGKILL and starts it again, as a supervisor would, in an environment with these
    /// variables besides.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn restart(&mut self, environment: &[(&str, String)]) -> Result<(), Failure> {
        self.process.kill();
        let mut command = command(&self.wrapper, &self.program, &self.file);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        self.process = process::spawn(&command, &self.log)?;
        self.pid.store(self.process.pid(), Ordering::Relaxed);
        Ok(())
    }

    /// Kills it with SIGKILL, until it is started again.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<(), Failure> {
        Ok(self.process.signal(signal)?)
    }

    /// True if it has not ended by itself.
    pub fn is_running(&self) -> bool {
        self.process.is_running()
    }

    /// Starts it again if it ended by itself: then it asked its supervisor to.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn look_after(&mut self) -> Result<bool, Failure> {
        let ended = !self.is_running();
        if ended {
            self.restart(&[])?;
        }
        Ok(ended)
    }

    /// Its process, which may be another one soon.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Its process at any time.
    pub fn pids(&self) -> Arc<AtomicU32> {
        Arc::clone(&self.pid)
    }

    /// What one of its subcommands prints, in its place.
    ///
    /// # Errors
    /// When it fails.
    pub fn ask(&self, arguments: &[&str]) -> Result<String, Failure> {
        let mut command = wrapped(&self.wrapper, &self.program);
        command.args(arguments).arg("--config.file").arg(&self.file);
        Ok(process::run(&command, "")?)
    }
}

fn command(wrapper: &[OsString], program: &Path, file: &Path) -> Command {
    let mut command = wrapped(wrapper, program);
    command.arg("run").arg("--config.file").arg(file);
    command
}
