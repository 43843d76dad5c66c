//! What a pairing is begun with: the bridge's own keys for the device, kept until the target is
//! written, so that a pairing that broke off is not begun anew with other keys.

use std::path::{Path, PathBuf};

use onionscrape::files::{self, FileError};
use onionscrape::ssh::KeyFile;
use onionscrape::ticket::Ticket;
use onionscrape::tor::ClientAuthKey;

/// Names of the key files.
const KEY: &str = "id_ed25519";
const CLIENT_AUTH: &str = "client.auth_private";

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

/// Forgets the pairing that is kept in `folder`.
pub(super) fn discard(folder: &Path) -> Result<(), FileError> {
    std::fs::remove_dir_all(folder)
        .map_err(|error| FileError::new(folder, format!("cannot be removed: {error}")))
}
