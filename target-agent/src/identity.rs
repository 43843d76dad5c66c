//! Who the agent is: its onion address and its host key, known without a network.

use std::fs::File;
use std::path::{Path, PathBuf};

use onionscrape::address::OnionAddress;
use onionscrape::files::{self, FileError};
use onionscrape::lifecycle::Failure;
use onionscrape::ssh::KeyFile;
use serde::Serialize;

use crate::config::{AgentConfig, FrontConfig};
use crate::onion::{self, ServiceName};
use crate::rotation::{Part, next};

/// What an agent is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Which of its onion services counts.
    pub service: ServiceName,
    /// That onion service's address.
    pub onion: OnionAddress,
    /// The SSH server's host key.
    pub host_key: KeyFile,
    /// The address that is to take the place of [`onion`](Self::onion), if one is.
    pub next_onion: Option<OnionAddress>,
    /// The host key that is to take the place of [`host_key`](Self::host_key), if one is.
    pub next_host_key: Option<KeyFile>,
}

impl Identity {
    /// Reads both keys, and makes those that there are none of yet.
    ///
    /// The state directory must be held or shared already.
    ///
    /// # Errors
    /// When a key's file is there but cannot be used; it is never replaced.
    pub fn open_or_make(config: &AgentConfig) -> Result<Self, Failure> {
        let _alone = alone(&config.state_directory)?;
        Self::read(config)
    }

    /// As [`open_or_make`](Self::open_or_make), for a caller that holds the lock of [`alone`].
    pub(crate) fn read(config: &AgentConfig) -> Result<Self, Failure> {
        let state = &config.state_directory;
        let service = ServiceName::current(config)?;
        let onion = onion::address(&config.tor, service)?;
        let host_key = KeyFile::open_or_make(&host_key_path(state), "target-agent")?;
        // A rotation that cannot be read keeps nobody from being who they are.
        let next_onion = next::address(config, service, &onion).ok().flatten();
        let next_host_key = next::host_key(config, &host_key).ok().flatten();
        Ok(Self { service, onion, host_key, next_onion, next_host_key })
    }

    /// Looks whether the rotation of this part can go on, if one is under way.
    ///
    /// # Errors
    /// Says what keeps it from that.
    pub fn check_rotation(&self, config: &AgentConfig, part: Part) -> Result<(), Failure> {
        match part {
            Part::HostKey => next::host_key(config, &self.host_key).map(drop),
            Part::Onion => next::address(config, self.service, &self.onion).map(drop),
        }
    }

    /// How people compare this part of it: a fingerprint, or the whole address.
    pub fn current(&self, part: Part) -> String {
        match part {
            Part::HostKey => self.host_key.fingerprint(),
            Part::Onion => self.onion.unredacted().to_owned(),
        }
    }

    /// How people compare what is to take that part's place, if something is.
    pub fn next(&self, part: Part) -> Option<String> {
        match part {
            Part::HostKey => self.next_host_key.as_ref().map(KeyFile::fingerprint),
            Part::Onion => self.next_onion.as_ref().map(|onion| onion.unredacted().to_owned()),
        }
    }

    /// What `hostname --json` prints. The agent's own host key is left out where the device's `sshd`
    /// answers, since nobody would ever be shown it.
    pub fn json(&self, front: &FrontConfig) -> String {
        #[derive(Serialize)]
        struct Shown<'a> {
            hostname: &'a str,
            host_key: Option<String>,
            host_key_fingerprint: Option<String>,
        }
        let own = matches!(front, FrontConfig::Ssh(_));
        let shown = Shown {
            hostname: self.onion.unredacted(),
            host_key: own.then(|| self.host_key.public_line()),
            host_key_fingerprint: own.then(|| self.host_key.fingerprint()),
        };
        // Strings and nothing can always be written as JSON.
        serde_json::to_string(&shown).unwrap_or_default()
    }
}

/// The onion address, made if there is none yet.
///
/// # Errors
/// When there is a key that cannot be used; it is not replaced.
pub fn onion_address(config: &AgentConfig) -> Result<OnionAddress, Failure> {
    let _alone = alone(&config.state_directory)?;
    onion::address(&config.tor, ServiceName::current(config)?)
}

/// Keeps other processes from changing the identity while it is held.
///
/// Arti looks for a key and then writes one, so that two processes at once would have two, and one
/// of them in vain.
///
/// # Errors
/// When the lock's file cannot be made.
pub fn alone(state_directory: &Path) -> Result<File, FileError> {
    files::alone(&state_directory.join("identity.lock"))
}

/// The same, for who will not wait; `None` if another process has it.
///
/// # Errors
/// When the lock's file cannot be made.
pub fn alone_now(state_directory: &Path) -> Result<Option<File>, FileError> {
    files::alone_now(&state_directory.join("identity.lock"))
}

/// The name of the host key's file, as OpenSSH has it.
pub const HOST_KEY: &str = "ssh_host_ed25519_key";

/// Where the host key is.
pub fn host_key_path(state_directory: &Path) -> PathBuf {
    state_directory.join(HOST_KEY)
}

#[cfg(test)]
mod tests;
