//! Child processes that cannot outlive their owner.
//!
//! Every child is started through `setpriv --pdeathsig KILL`, so the kernel ends
//! it when the owner dies, however it dies. That signal is bound to the *thread*
//! that started the child; hence one thread starts them all and lives as long as
//! the process. Each child leads a process group of its own, so a terminal's
//! Ctrl-C reaches only the owner, which then decides.
//!
//! A child whose owner died before that was asked for sees so and ends.
//!
//! Not covered: what a child starts itself and moves to another process group
//! (sshd's sessions; they end when their connection does).

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, kill_process, kill_process_group};

pub use starter::find;
use starter::{spawner, start, wrap};

use crate::Error;

/// The one thread that starts children, and where their programs are.
mod starter;

/// How much of a log's end is searched for a reason.
const TAIL: u64 = 64 * 1024;

/// A signal for a [`Process`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGKILL: ends at once, also when stopped.
    Kill,
    /// SIGTERM: asks to end.
    Terminate,
    /// SIGINT: what Ctrl-C sends.
    Interrupt,
    /// SIGHUP: most daemons read their configuration again.
    Hangup,
    /// SIGSTOP: freezes.
    Stop,
    /// SIGCONT: goes on after [`Signal::Stop`].
    Continue,
}

impl Signal {
    fn number(self) -> rustix::process::Signal {
        match self {
            Self::Kill => rustix::process::Signal::KILL,
            Self::Terminate => rustix::process::Signal::TERM,
            Self::Interrupt => rustix::process::Signal::INT,
            Self::Hangup => rustix::process::Signal::HUP,
            Self::Stop => rustix::process::Signal::STOP,
            Self::Continue => rustix::process::Signal::CONT,
        }
    }
}

/// A running child. Dropping it kills its process group and reaps it.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: u32,
    log: PathBuf,
    /// Where in the log this child's own output begins.
    log_start: u64,
    child: Mutex<Child>,
}

/// Starts `command` with its standard output and error appended to `log`.
///
/// Program, arguments, added environment and working directory are taken from
/// `command`; its own settings of standard streams, process group and a cleared
/// environment are not. The program is looked up in `PATH`, `/usr/sbin` and `/sbin`.
///
/// # Errors
///
/// [`Error::Missing`] if the program or `setpriv` is not installed,
/// [`Error::File`] if the log cannot be opened, [`Error::System`] if the system
/// cannot start a process, or after [`end_all`].
pub fn spawn(command: &Command, log: &Path) -> Result<Process, Error> {
    let name = program_name(command);
    let mut wrapped = wrap(command)?;
    let out = File::options().create(true).append(true).open(log).map_err(Error::file("open", log))?;
    let log_start = out.metadata().map_err(Error::file("read", log))?.len();
    let err = out.try_clone().map_err(Error::file("open", log))?;
    wrapped.stdin(Stdio::null()).stdout(out).stderr(err);
    let child = start(wrapped).map_err(Error::system(format!("start {name}")))?;
    Ok(Process { name, pid: child.id(), log: log.to_owned(), log_start, child: Mutex::new(child) })
}

/// Runs `command` to its end with `input` on its standard input, and returns its
/// standard output. For short programs: there is no bound on time or output.
///
/// # Errors
///
/// As [`spawn`]; [`Error::System`] with the end of its standard error if it fails.
pub fn run(command: &Command, input: &str) -> Result<String, Error> {
    let action = format!("run {}", program_name(command));
    let mut wrapped = wrap(command)?;
    wrapped.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = start(wrapped).map_err(Error::system(action.clone()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input is not a failure.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(Error::system(action.clone()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let why = last_words(&format!("{text}\n{}", String::from_utf8_lossy(&output.stderr)));
    Err(Error::system(action)(std::io::Error::other(format!("{}: {why}", output.status))))
}

/// Keeps from a program that will run cargo what cargo told this one of its package: it would reach the build scripts
/// of dependencies, ring's has itself run again when it changes, and most of the tree is built again.
pub fn forget_this_package(program: &mut Command) {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in names.filter(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
        program.env_remove(name);
    }
}

/// Ends every child of this process that [`spawn`] or [`run`] started, and lets
/// none be started any more. For a program's last moments.
pub fn end_all() {
    // The thread ends when nobody can send to it, and takes the children along.
    spawner().take();
}

impl Process {
    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The file that holds its output.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The end of this child's own output, at most 64 KiB of it.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.read_log(TAIL).unwrap_or_default()
    }

    /// All of this child's own output; empty if it cannot be read.
    #[must_use]
    pub fn log_text(&self) -> String {
        self.read_log(u64::MAX).unwrap_or_default()
    }

    fn read_log(&self, at_most: u64) -> std::io::Result<String> {
        let mut file = File::open(&self.log)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(self.log_start.max(len.saturating_sub(at_most))))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Kills the process group (SIGKILL) and reaps the child. Harmless when it
    /// has ended already.
    pub fn kill(&self) {
        let mut child = self.child();
        if matches!(child.try_wait(), Ok(None)) {
            if let Some(pid) = Pid::from_raw(self.pid.cast_signed()) {
                let _ = kill_process_group(pid, rustix::process::Signal::KILL);
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends a signal to the process itself, not to its group.
    ///
    /// # Errors
    ///
    /// [`Error::Ended`] if it has ended, [`Error::System`] if the system refuses.
    pub fn signal(&self, signal: Signal) -> Result<(), Error> {
        // Held until the signal is sent, so that nobody reaps in between and
        // the id cannot have become somebody else's.
        let mut child = self.child();
        let action = || Error::system(format!("signal {}", self.name));
        if let Some(status) = child.try_wait().map_err(action())? {
            return Err(self.ended(&self.name, status));
        }
        let Some(pid) = Pid::from_raw(self.pid.cast_signed()) else { return Ok(()) };
        kill_process(pid, signal.number()).map_err(|errno| action()(errno.into()))
    }

    /// The exit status, if it has ended.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if the system cannot say.
    pub fn try_wait(&self) -> Result<Option<ExitStatus>, Error> {
        self.child().try_wait().map_err(Error::system(format!("wait for {}", self.name)))
    }

    /// Whether it has not ended; a stopped process is running.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.try_wait(), Ok(None))
    }

    /// An error that says why, unless it is running.
    ///
    /// # Errors
    ///
    /// [`Error::Ended`] with `name` and the last warning in its log.
    pub fn check(&self, name: &str) -> Result<(), Error> {
        self.try_wait()?.map_or(Ok(()), |status| Err(self.ended(name, status)))
    }

    fn ended(&self, name: &str, status: ExitStatus) -> Error {
        Error::Ended {
            name: name.to_owned(),
            status: status.to_string(),
            reason: last_words(&self.log_tail()),
            log: self.log.clone(),
        }
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The line of a log that says best why its writer ended: a port in use, else
/// the last warning or error, else the last line.
fn last_words(log: &str) -> String {
    let last = |wanted: &dyn Fn(&str) -> bool| log.lines().rev().find(|line| wanted(line));
    last(&|line| line.contains("Address already in use"))
        .or_else(|| last(&|line| is_warning(line) && !line.contains("see warnings above")))
        .or_else(|| last(&|line| !line.trim().is_empty()))
        .map_or_else(|| "it said nothing".to_owned(), |line| line.trim().to_owned())
}

fn is_warning(line: &str) -> bool {
    line.contains("[warn]") || line.contains("[err]")
}

fn program_name(command: &Command) -> String {
    let name = Path::new(command.get_program()).file_name();
    name.unwrap_or(command.get_program()).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

    use std::thread;
    use std::time::Duration;

    use super::*;

    fn sleeper(dir: &Path) -> Process {
        spawn(Command::new("sleep").arg("1000"), &dir.join("log")).unwrap()
    }

    fn exists(pid: u32) -> bool {
        Path::new(&format!("/proc/{pid}")).exists()
    }

    #[test]
    fn dropping_ends_and_reaps() {
        let dir = tempfile::tempdir().unwrap();
        let process = sleeper(dir.path());
        let pid = process.pid();
        assert!(process.is_running() && exists(pid));
        drop(process);
        assert!(!exists(pid));
    }

    #[test]
    fn a_panic_ends_children_and_so_does_the_end_of_the_starting_threads_caller() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        let process = thread::spawn(move || sleeper(&path)).join().unwrap();
        // The caller's thread is gone; the child must not be.
        assert!(process.is_running());
        let pid = process.pid();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _owned = process;
            panic!("on purpose");
        }));
        assert!(panicked.is_err() && !exists(pid));
    }

    #[test]
    fn the_whole_group_ends_even_when_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let process = spawn(Command::new("sh").args(["-c", "sleep 1000 & echo $!; wait"]), &log).unwrap();
        let limit = Duration::from_secs(10);
        let grandchild: u32 = crate::wait::until("a pid", limit, Duration::from_millis(5), |_| {
            Ok(process.log_text().trim().parse().ok())
        })
        .unwrap();
        process.signal(Signal::Stop).unwrap();
        assert!(process.is_running());
        drop(process);
        // It is reaped by init, which may take a moment.
        crate::wait::until("the end of the grandchild", limit, Duration::from_millis(5), |_| {
            let stat = std::fs::read_to_string(format!("/proc/{grandchild}/stat")).unwrap_or_default();
            Ok((stat.is_empty() || stat.contains(") Z ")).then_some(()))
        })
        .unwrap();
    }

    #[test]
    fn errors_say_why() {
        let failed = run(Command::new("sh").args(["-c", "echo no luck >&2; exit 3"]), "").unwrap_err();
        assert_eq!(failed.to_string(), "cannot run sh: exit status: 3: no luck");
        let log = "[notice] hello\nJan 1 [warn] low on luck\nJan 1 [err] failed--see warnings above.\n";
        assert_eq!(last_words(log), "Jan 1 [warn] low on luck");
    }
}
