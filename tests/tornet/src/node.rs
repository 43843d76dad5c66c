use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::keys::Identity;
use crate::process::{self, Process};
use crate::{Error, directory, wait};

/// What a node is in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A directory authority, which is also a relay.
    Authority,
    /// A relay.
    Relay,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Authority => "authority",
            Self::Relay => "relay",
        })
    }
}

/// One node of the network, as others see it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Node {
    /// `auth1`…, `relay1`…; also its nickname in the consensus.
    pub name: String,
    /// Authority or relay.
    pub role: Role,
    /// The ORPort that the consensus names. The front listens here.
    pub or_port: SocketAddr,
    /// The directory port; plain HTTP.
    pub dir_port: SocketAddr,
    /// Fingerprint of the RSA identity: 40 hexadecimal digits.
    pub rsa_identity: String,
    /// The Ed25519 identity in base64 without padding.
    pub ed_identity: String,
}

/// A node and what belongs to running it.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) node: Node,
    pub(crate) v3: Option<String>,
    /// Where tor itself listens, behind the front.
    pub(crate) real_or_port: SocketAddr,
    /// The directory with `torrc`, `log` and the data.
    pub(crate) dir: PathBuf,
    process: Mutex<Option<Process>>,
}

impl Running {
    pub(crate) fn new(node: Node, identity: Identity, real_or_port: SocketAddr, dir: PathBuf) -> Self {
        Self { node, v3: identity.v3, real_or_port, dir, process: Mutex::new(None) }
    }

    pub(crate) fn torrc(&self) -> PathBuf {
        self.dir.join("torrc")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Starts tor, unless it runs.
    pub(crate) fn start(&self) -> Result<(), Error> {
        let mut process = self.process();
        if process.as_ref().is_none_or(|process| !process.is_running()) {
            *process = Some(tor(&self.torrc(), &self.dir.join("log"))?);
        }
        Ok(())
    }

    /// Waits until the directory port answers: then tor is up.
    pub(crate) fn wait_until_up(&self) -> Result<(), Error> {
        let what = format!("start of {}", self.node.name);
        wait::until(&what, Duration::from_secs(30), Duration::from_millis(20), |_| {
            self.check()?;
            Ok(directory::answers(self.node.dir_port).then_some(()))
        })
    }

    /// Kills tor, if it runs.
    pub(crate) fn kill(&self) {
        self.process().take();
    }

    pub(crate) fn signal(&self, signal: process::Signal) -> Result<(), Error> {
        match self.process().as_ref() {
            Some(process) => process.signal(signal),
            None => Err(Error::Argument(format!("{} is not running: restart it first", self.node.name))),
        }
    }

    /// An error that says why, if tor ended by itself.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.process().as_ref().map_or(Ok(()), |process| process.check(&self.node.name))
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.process().as_ref().map(Process::pid)
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts a tor with this configuration and none of the system's defaults.
pub(crate) fn tor(torrc: &Path, log: &Path) -> Result<Process, Error> {
    tor_within(&[], torrc, log)
}

/// The same, run by a program that takes a command, such as nsenter with its options.
pub(crate) fn tor_within(wrapper: &[OsString], torrc: &Path, log: &Path) -> Result<Process, Error> {
    let tor = process::find("tor")?.into_os_string();
    let mut words = wrapper.iter().chain([&tor]);
    let mut command = Command::new(words.next().unwrap_or(&tor));
    command.args(words).arg("-f").arg(torrc).args(["--defaults-torrc", "/dev/null"]);
    process::spawn(&command, log)
}
