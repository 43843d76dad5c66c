//! Who the agent is: its onion address and its host key, known without a network.

use std::path::{Path, PathBuf};

use onionscrape::address::OnionAddress;
use onionscrape::files::{self, FileError};
use onionscrape::lifecycle::Failure;
use onionscrape::ssh::KeyFile;
use serde::Serialize;

use crate::config::{AgentConfig, FrontConfig};
use crate::onion;

/// What an agent is known by.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The onion service's address.
    pub onion: OnionAddress,
    /// The SSH server's host key.
    pub host_key: KeyFile,
}

impl Identity {
    /// Reads both keys, and makes those that there are none of yet.
    ///
    /// The state directory must be held or shared already.
    ///
    /// # Errors
    /// When a key's file is there but cannot be used; it is never replaced.
    pub fn open_or_make(config: &AgentConfig) -> Result<Self, Failure> {
        let onion = onion_address(config)?;
        let host_key = host_key(&config.state_directory)?;
        Ok(Self { onion, host_key })
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
/// Processes make it one after the other: arti looks for a key and then writes one, so that two at
/// once would have two, and one of them in vain.
///
/// # Errors
/// When there is a key that cannot be used; it is not replaced.
pub fn onion_address(config: &AgentConfig) -> Result<OnionAddress, Failure> {
    let _alone = files::alone(&config.state_directory.join("identity.lock"))?;
    onion::address(&config.tor)
}

/// The name of the host key's file, as OpenSSH has it.
pub const HOST_KEY: &str = "ssh_host_ed25519_key";

/// Where the host key is.
pub fn host_key_path(state_directory: &Path) -> PathBuf {
    state_directory.join(HOST_KEY)
}

fn host_key(state_directory: &Path) -> Result<KeyFile, FileError> {
    KeyFile::open_or_make(&host_key_path(state_directory), "target-agent")
}

#[cfg(test)]
mod tests;
