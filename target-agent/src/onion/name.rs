//! Which onion service of the device is the one that is told to people.

use std::path::{Path, PathBuf};

use onionscrape::files::{self, FileError};

use crate::config::AgentConfig;

/// What arti calls the first service, in its files most of all; later ones have a number, too.
const NICKNAME: &str = "agent";

/// One of the device's onion services, one after the other: each has a key of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServiceName(u32);

impl ServiceName {
    /// The one that counts at this moment.
    ///
    /// # Errors
    /// When the file that says so cannot be used, or there must have been one.
    pub fn current(config: &AgentConfig) -> Result<Self, FileError> {
        let path = record(&config.state_directory);
        let Some(text) = files::read_private(&path)? else {
            return Self::if_only(config).ok_or_else(|| {
                FileError::new(
                    &path,
                    "is gone, and the onion key that counts is a later one; restore it from a backup",
                )
            });
        };
        let number = text.trim().parse().ok().filter(|number| *number > 0);
        number.map(Self).ok_or_else(|| {
            FileError::new(&path, "is not the number of an onion service; restore it from a backup")
        })
    }

    /// The one that a device begins with.
    pub fn first() -> Self {
        Self(1)
    }

    /// The first one, unless only later ones have keys: then another has counted.
    fn if_only(config: &AgentConfig) -> Option<Self> {
        let first = super::key_path(&config.tor, Self::first());
        // Each has a folder of its own beside the others', and earlier ones may be gone.
        let (Some(own), Some(file)) = (first.parent(), first.file_name()) else { return Some(Self::first()) };
        let all = own.parent().into_iter().flat_map(std::fs::read_dir).flatten().flatten();
        let mut others = all.map(|entry| entry.path()).filter(|folder| folder != own);
        let is_later = |folder: PathBuf| {
            let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.strip_prefix(NICKNAME).is_some_and(|rest| rest.starts_with('-'))
                && folder.join(file).exists()
        };
        (first.exists() || !others.any(is_later)).then_some(Self::first())
    }

    /// The one that comes after this.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Those that came before it.
    pub fn before(self) -> impl Iterator<Item = Self> {
        (1..self.0).map(Self)
    }

    /// Has this one count from now on, and for good.
    ///
    /// # Errors
    /// When that cannot be written down; the one before counts then.
    pub fn make_current(self, state_directory: &Path) -> Result<(), FileError> {
        files::replace_private(&record(state_directory), format!("{}\n", self.0).as_bytes())
    }

    /// What arti calls it.
    pub(crate) fn text(self) -> String {
        if self.0 == 1 { NICKNAME.to_owned() } else { format!("{NICKNAME}-{}", self.0) }
    }
}

fn record(state_directory: &Path) -> PathBuf {
    state_directory.join("onion_service")
}
