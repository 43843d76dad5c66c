//! Networks of their own for the device and the monitor, each with one cable to where the relays are.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tornet::process::{self, Process};

use super::cable::Cable;
use crate::Failure;

/// Set in the namespaces that the suite runs in.
const INSIDE: &str = "ONIONSCRAPE_CHAOS_INSIDE";
/// How long the kernel may take for a namespace.
const LIMIT: Duration = Duration::from_secs(5);

/// Where programs run.
pub enum Place {
    /// Where this program runs.
    Here,
    /// In a network namespace that this process holds, at the end of a cable.
    Apart { holder: Process, cable: Cable },
}

/// True in namespaces of the suite's own, where a [`Place`] apart can be had.
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs this program again in namespaces of its own, for networks and mounts. Returns where they cannot
/// be had.
///
/// # Errors
/// When they can be had, but the program does not start in them.
pub fn go_inside() -> Result<(), Failure> {
    let options = ["--net", "--mount", "--"];
    let mut trial = Command::new("unshare");
    trial.args(options).args(["ip", "link", "set", "lo", "up"]);
    let can = trial.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !can.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    let mut again = Command::new("unshare");
    again.args(options).arg(std::env::current_exe()?).args(std::env::args_os().skip(1));
    Err(again.env(INSIDE, "1").exec().into())
}

impl Place {
    /// A network of its own with the given number, from 1 to 7.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn apart(name: &str, number: u8, log: &Path) -> Result<Self, Failure> {
        let holder = process::spawn(Command::new("unshare").args(["--net", "sleep", "infinity"]), log)?;
        let own = std::fs::read_link("/proc/self/ns/net")?;
        let started = Instant::now();
        while std::fs::read_link(namespace(&holder)).is_ok_and(|other| other == own) {
            if started.elapsed() > LIMIT || !holder.is_running() {
                return Err(format!("no network namespace for the {name}: {}", holder.log_tail()).into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let cable = Cable::lay(name, number, holder.pid())?;
        Ok(Self::Apart { holder, cable })
    }

    /// What a command has to begin with to run there; nothing for here.
    pub fn wrapper(&self) -> Vec<OsString> {
        match self {
            Self::Here => Vec::new(),
            Self::Apart { holder, .. } => {
                let pid = holder.pid().to_string();
                ["nsenter", "--target", &pid, "--net", "--"].map(OsString::from).to_vec()
            }
        }
    }

    /// Does something there, in a thread of its own; threads that it starts are there, too.
    ///
    /// # Errors
    /// When there is no way in, and what `act` fails with.
    pub fn within<T: Send>(&self, act: impl FnOnce() -> Result<T, Failure> + Send) -> Result<T, Failure> {
        let file = match self {
            Self::Here => None,
            Self::Apart { holder, .. } => Some(File::open(namespace(holder))?),
        };
        let there = || {
            if let Some(file) = file {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
            }
            act()
        };
        let ended = std::thread::scope(|scope| scope.spawn(there).join());
        ended.unwrap_or_else(|_| Err("a thread crashed".into()))
    }

    /// Its cable.
    ///
    /// # Errors
    /// When it has none.
    pub fn cable(&mut self) -> Result<&mut Cable, Failure> {
        match self {
            Self::Here => Err("there are no network namespaces here".into()),
            Self::Apart { cable, .. } => Ok(cable),
        }
    }
}

/// A program with what has to stand before it.
pub fn wrapped(wrapper: &[OsString], program: &Path) -> Command {
    let mut words = wrapper.iter().map(OsString::as_os_str).chain([program.as_os_str()]);
    let mut command = Command::new(words.next().unwrap_or(program.as_os_str()));
    command.args(words);
    command
}

fn namespace(holder: &Process) -> String {
    format!("/proc/{}/ns/net", holder.pid())
}
