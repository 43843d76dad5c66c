//! Changing the host key or the onion address with an overlap: the new one is told to bridges in
//! sessions that they trust, and takes the old one's place when every bridge has it, or at a date.
//!
//! In reading order:
//! - [`command`][]: `rotate`;
//! - this module: a rotation under way, as it stands on disk;
//! - [`keeper`][]: bringing it to its end while the agent runs.

pub mod command;
pub mod keeper;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::ValueEnum;
use onionscrape::config::{self, Moment, Section};
use onionscrape::files::{self, FileError};
use onionscrape::lifecycle::Failure;
use onionscrape::ssh::KeyFile;
use tracing::warn;

use crate::access::Guests;
use crate::config::{AgentConfig, FrontConfig};
use crate::identity;
use crate::onion::{self, ServiceName, keystore};

/// What stands at the head of a rotation's file.
const HEAD: &str = "# A rotation under way; `target-agent rotate` shows how far it is.\n";

/// What of a device's identity is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// The SSH server's host key
    HostKey,
    /// The onion address
    Onion,
}

impl Part {
    /// Both.
    pub const ALL: [Self; 2] = [Self::HostKey, Self::Onion];

    /// What people call it.
    pub fn label(self) -> &'static str {
        match self {
            Self::HostKey => "host key",
            Self::Onion => "onion address",
        }
    }

    /// The file about the rotation of this part.
    pub fn file(self, state_directory: &Path) -> PathBuf {
        folder(state_directory).join(match self {
            Self::HostKey => "host_key.toml",
            Self::Onion => "onion.toml",
        })
    }
}

/// A rotation under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// When the new one takes the old one's place in any case.
    pub until: SystemTime,
    /// Names of those who have the new one.
    pub known: BTreeSet<String>,
}

impl Rotation {
    /// The rotation of `part` that is under way, if one is.
    ///
    /// # Errors
    /// When its file is there and cannot be used.
    pub fn read(state_directory: &Path, part: Part) -> Result<Option<Self>, Failure> {
        let path = part.file(state_directory);
        if files::read_private(&path)?.is_none() {
            return Ok(None);
        }
        let build = |top: &mut Section<'_>| {
            let until = top.required::<Moment>("until");
            let known = top.or("known", BTreeSet::new());
            Some(Self { until: until?.0, known })
        };
        Ok(Some(config::read(&path, build)?))
    }

    /// Writes it down.
    ///
    /// # Errors
    /// When that cannot be done; what was written before stands then.
    pub fn write(&self, state_directory: &Path, part: Part) -> Result<(), FileError> {
        files::private_directory(&folder(state_directory))?;
        let known: Vec<_> = self.known.iter().map(|name| toml::Value::from(name.as_str())).collect();
        let text =
            format!("{HEAD}until = \"{}\"\nknown = {}\n", Moment(self.until), toml::Value::from(known));
        files::replace_private(&part.file(state_directory), text.as_bytes())
    }

    /// Those who may come in and have not got the new one yet.
    pub fn waits_for<'a>(&'a self, guests: &'a Guests, now: SystemTime) -> impl Iterator<Item = &'a str> {
        let valid = guests.entries.iter().filter(move |entry| entry.expires.is_none_or(|end| now < end));
        valid.map(|entry| entry.name.as_str()).filter(|name| !self.known.contains(*name))
    }

    /// True if the new one takes the old one's place now. Where the device's own `sshd` answers,
    /// nobody can be told, and only the date counts.
    pub fn is_due(&self, front: &FrontConfig, guests: &Guests, now: SystemTime) -> bool {
        let all_have_it =
            matches!(front, FrontConfig::Ssh(_)) && self.waits_for(guests, now).next().is_none();
        // Files that cannot be read may hold bridges.
        now >= self.until || (all_have_it && guests.problems.is_empty())
    }
}

/// The host key to come, made if there is none yet.
///
/// # Errors
/// When it is there and cannot be used, or cannot be made.
pub fn next_host_key(state_directory: &Path) -> Result<KeyFile, FileError> {
    files::private_directory(&folder(state_directory))?;
    KeyFile::open_or_make(&next_host_key_path(state_directory), "target-agent")
}

/// Puts the new one in the old one's place. The caller holds the lock of [`identity::alone`].
///
/// The rotation's file goes first: if it breaks off there, the rotation has not taken place, and the
/// new one is kept for the next.
///
/// # Errors
/// When a file cannot be written.
pub fn finish(config: &AgentConfig, part: Part) -> Result<(), Failure> {
    let state = &config.state_directory;
    match part {
        Part::HostKey => {
            next_host_key(state)?;
            files::remove(&part.file(state))?;
            files::rename(&next_host_key_path(state), &identity::host_key_path(state))?;
        }
        Part::Onion => {
            let old = ServiceName::current(state)?;
            onion::address(&config.tor, old.next())?;
            files::remove(&part.file(state))?;
            old.next().make_current(state)?;
            if let Err(error) = keystore::remove(&config.tor, old) {
                warn!("the old onion key is still there: {error}");
            }
        }
    }
    Ok(())
}

fn folder(state_directory: &Path) -> PathBuf {
    state_directory.join("rotation")
}

fn next_host_key_path(state_directory: &Path) -> PathBuf {
    folder(state_directory).join(identity::HOST_KEY)
}

#[cfg(test)]
mod tests;
