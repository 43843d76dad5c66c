//! Changing the host key or the onion address with an overlap: the new one is told to bridges in
//! sessions that they trust, and takes the old one's place when every bridge has it, or at a date.
//!
//! In reading order:
//! - [`command`][]: `rotate`;
//! - this module: a rotation under way, as it stands on disk;
//! - [`next`][]: what is to come, and putting it in the old one's place;
//! - [`keeper`][]: bringing it to its end while the agent runs.

pub mod command;
pub mod keeper;
pub mod next;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::ValueEnum;
use onionscrape::config::{self, Moment, Section};
use onionscrape::files::{self, FileError};
use onionscrape::lifecycle::Failure;

use crate::access::{Guests, Standing};
use crate::config::FrontConfig;

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
    /// What is to come: a host key's fingerprint, or an onion address.
    pub next: String,
    /// When it takes the old one's place in any case.
    pub until: SystemTime,
    /// Fingerprints of the login keys of those who have it. Names would not do: two may be the same,
    /// and one can be given to another.
    pub known: BTreeSet<String>,
}

impl Rotation {
    /// What the file says of the rotation of `part`, if there is one.
    ///
    /// # Errors
    /// When its file is there and cannot be used.
    pub fn read(state_directory: &Path, part: Part) -> Result<Option<Self>, Failure> {
        let path = part.file(state_directory);
        if files::read_private(&path)?.is_none() {
            return Ok(None);
        }
        let build = |top: &mut Section<'_>| {
            let next = top.required("next");
            let until = top.required::<Moment>("until");
            let known = top.or("known", BTreeSet::new());
            Some(Self { next: next?, until: until?.0, known })
        };
        Ok(Some(config::read(&path, build)?))
    }

    /// Writes it down.
    ///
    /// # Errors
    /// When that cannot be done; what was written before stands then.
    pub fn write(&self, state_directory: &Path, part: Part) -> Result<(), FileError> {
        files::private_directory(&folder(state_directory))?;
        // None of these has a letter that TOML would want escaped.
        let known: Vec<_> = self.known.iter().map(|key| format!("    \"{key}\",\n")).collect();
        let text = format!(
            "{HEAD}next = \"{}\"\nuntil = \"{}\"\nknown = [\n{}]\n",
            self.next,
            Moment(self.until),
            known.concat()
        );
        files::replace_private(&part.file(state_directory), text.as_bytes())
    }

    /// The names of those who may come in, or were handed a ticket, and have not got the new one yet.
    pub fn waits_for(&self, guests: &Guests, now: SystemTime) -> Vec<String> {
        let has_it = |fingerprint: String| self.known.contains(&fingerprint);
        let entries = guests.entries.iter().filter(|entry| entry.expires.is_none_or(|end| now < end));
        let entries =
            entries.filter(|entry| !has_it(entry.key.fingerprint())).map(|entry| entry.name.clone());
        // A ticket names the key and address of its day, and is good for nothing with others.
        let tickets = guests.files.iter().filter_map(|file| match &file.standing {
            Standing::Invited(ticket) if now < ticket.expires => Some(format!("the ticket of {}", file.name)),
            _ => None,
        });
        entries.chain(tickets).collect()
    }

    /// True if all who may come in have it. Where the device's own `sshd` answers, nobody can be told,
    /// and of a certificate authority nobody knows whom it lets in: only the date counts then.
    pub fn is_known_to_all(&self, front: &FrontConfig, guests: &Guests, now: SystemTime) -> bool {
        // Files that cannot be read may hold bridges.
        matches!(front, FrontConfig::Ssh(_))
            && guests.problems.is_empty()
            && self.waits_for(guests, now).is_empty()
    }
}

fn folder(state_directory: &Path) -> PathBuf {
    state_directory.join("rotation")
}

#[cfg(test)]
mod tests;
