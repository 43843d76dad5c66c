//! What a pairing is begun with: the bridge's own keys for the device, kept until the target is
//! written, so that a pairing that broke off is not begun anew with other keys.

use std::path::{Path, PathBuf};
use std::time::Duration;

use onionscrape::files::{self, FileError};
use onionscrape::ssh::KeyFile;
use onionscrape::ticket::Ticket;
use onionscrape::tor::ClientAuthKey;

/// Names of the key files.
const KEY: &str = "id_ed25519";
const CLIENT_AUTH: &str = "client.auth_private";

/// How long a pairing can be gone on with: twice as long as any ticket lives.
const FORGOTTEN: Duration = Duration::from_secs(60 * 24 * 3600);

/// A pairing that was begun.
pub(super) struct Pending {
    folder: PathBuf,
    was_begun: bool,
    /// What the bridge logs in with from now on.
    pub(super) key: KeyFile,
    /// What it reads the descriptor with.
    pub(super) client_auth: ClientAuthKey,
}

impl Pending {
    /// Goes on with the pairing that the ticket began, or begins one.
    pub(super) fn open(state_directory: &Path, ticket: &Ticket) -> Result<Self, FileError> {
        let parent = state_directory.join("pending");
        files::private_directory(&parent)?;
        sweep(&parent);
        // Named after the public half of the enrolment key: the same for the same ticket, and it
        // opens nothing.
        let name: String = KeyFile::of(ticket.enrolment_key())
            .fingerprint()
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .take(32)
            .collect();
        let folder = parent.join(name);
        let was_begun = folder.is_dir();
        files::private_directory(&folder)?;
        let key = KeyFile::open_or_make(&folder.join(KEY), "scraper-bridge")?;
        let path = folder.join(CLIENT_AUTH);
        if !path.exists() {
            let line = ClientAuthKey::generate().private_line(&ticket.onion);
            files::create_private(&path, line.as_bytes())?;
        }
        let client_auth = ClientAuthKey::open(&path, &ticket.onion)?;
        Ok(Self { folder, was_begun, key, client_auth })
    }

    /// True if the pairing was begun by an earlier run.
    pub(super) fn was_begun(&self) -> bool {
        self.was_begun
    }

    /// Puts the keys where the target's file names them, and forgets the pairing.
    pub(super) fn finish(self, key: &Path, client_auth: &Path) -> Result<(), FileError> {
        // Copied rather than moved: until the target's file is written, a pairing that breaks off
        // must still have them here.
        for (from, to) in [(self.folder.join(KEY), key), (self.folder.join(CLIENT_AUTH), client_auth)] {
            let text = files::read_private(&from)?.ok_or_else(|| FileError::new(&from, "no such file"))?;
            files::replace_private(to, text.as_bytes())?;
        }
        Ok(())
    }

    /// Forgets the pairing.
    pub(super) fn discard(self) -> Result<(), FileError> {
        discard(&self.folder)
    }

    /// Where it is kept.
    pub(super) fn folder(&self) -> PathBuf {
        self.folder.clone()
    }
}

/// Forgets pairings that were begun long ago and never gone on with.
fn sweep(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let begun = entry.metadata().and_then(|meta| meta.modified()).ok();
        if begun.and_then(|begun| begun.elapsed().ok()).is_some_and(|age| age > FORGOTTEN) {
            // What cannot be removed is in nobody's way.
            let _ = discard(&entry.path());
        }
    }
}

/// Forgets the pairing that is kept in `folder`.
pub(super) fn discard(folder: &Path) -> Result<(), FileError> {
    std::fs::remove_dir_all(folder)
        .map_err(|error| FileError::new(folder, format!("cannot be removed: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_pairings_are_forgotten_and_no_others() {
        let folder = tempfile::tempdir().expect("folder");
        let aged = |name: &str, age: Duration| {
            let path = folder.path().join(name);
            std::fs::create_dir(&path).expect("made");
            std::fs::write(path.join(KEY), "key").expect("written");
            let begun = std::time::SystemTime::now() - age;
            std::fs::File::open(&path).and_then(|file| file.set_modified(begun)).expect("aged");
            path
        };
        let old = aged("old", FORGOTTEN + Duration::from_secs(60));
        let young = aged("young", FORGOTTEN - Duration::from_secs(60));
        sweep(folder.path());
        assert!(!old.exists() && young.exists());
    }
}
