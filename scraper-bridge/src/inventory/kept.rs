//! The last inventory of each target on disk, so that discovery has a device's labels from the first
//! second after a start, before the device is up.
//!
//! It is a copy of what the device will say again: one that is lost or damaged is done without.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use onionscrape::address::Name;
use onionscrape::files::{self, FileError};
use onionscrape::pairing::Inventory;
use serde::{Deserialize, Serialize};
use tracing::{debug, warn};

use super::judged::judge;

/// The folder in the state directory.
const FOLDER: &str = "inventory";

/// The file of one target.
#[derive(Debug)]
pub struct Kept {
    /// `None` for a target of which nothing is kept.
    path: Option<PathBuf>,
    /// The address that the configuration names: another device of the same name has other labels.
    address: String,
    /// The text on disk, as far as it is known.
    written: Mutex<Option<String>>,
}

/// What stands in the file.
#[derive(Serialize, Deserialize)]
struct Text {
    address: String,
    inventory: Inventory,
}

impl Kept {
    /// That of the target of this name and address.
    pub fn new(state_directory: &Path, target: &Name, address: &str) -> Self {
        let path = Some(Self::path(state_directory, target));
        Self { path, address: address.to_owned(), written: Mutex::default() }
    }

    /// That of a target of which nothing is kept.
    pub fn none() -> Self {
        Self { path: None, address: String::new(), written: Mutex::default() }
    }

    /// Where it is kept for the target of this name.
    pub fn path(state_directory: &Path, target: &Name) -> PathBuf {
        state_directory.join(FOLDER).join(format!("{target}.json"))
    }

    /// What the device said last, if that is known. A file that cannot be used is warned of.
    pub fn read(&self) -> Option<Inventory> {
        let path = self.path.as_ref()?;
        let unusable = |why: &str| {
            warn!("{why}; it is not used, and written anew when the device is up");
        };
        let text = match files::read_private(path) {
            Ok(text) => text?,
            Err(error) => {
                unusable(&error.to_string());
                return None;
            }
        };
        let judged = serde_json::from_str::<Text>(&text).ok().and_then(|Text { address, inventory }| {
            // It was judged when it was written; who changed the file may not say more than a device.
            Some((address, judge(inventory).ok()?.0))
        });
        let Some((address, inventory)) = judged else {
            unusable(&format!("{}: is damaged", path.display()));
            return None;
        };
        if address != self.address {
            debug!(file = %path.display(), "an inventory is that of another device");
            return None;
        }
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.to_string());
        Some(inventory)
    }

    /// Writes it down, if it is not what is there. It waits for the disk.
    ///
    /// # Errors
    /// When it cannot be written; what was there is as it was.
    pub fn write(&self, inventory: &Inventory) -> Result<(), FileError> {
        let Some(path) = &self.path else { return Ok(()) };
        // Keys and addresses to come count in a session that has proved itself, and nowhere else.
        let inventory = Inventory { next_host_key: None, next_onion: None, ..inventory.clone() };
        let text = Text { address: self.address.clone(), inventory };
        // Strings and numbers can always be written as JSON.
        let text = serde_json::to_string(&text).unwrap_or_default();
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.as_ref() == Some(&text) {
            return Ok(());
        }
        if let Some(folder) = path.parent() {
            files::private_directory(folder)?;
        }
        files::replace_private(path, text.as_bytes())?;
        *written = Some(text);
        Ok(())
    }
}

/// Removes what is kept of targets other than these. It waits for the disk; what cannot be removed is
/// left, and does no harm.
pub fn sweep(state_directory: &Path, targets: &[Name]) {
    let entries = std::fs::read_dir(state_directory.join(FOLDER)).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        let is_of = |name: &Name| path.file_stem().is_some_and(|stem| stem == name.as_str());
        if path.extension().is_some_and(|extension| extension == "json")
            && !targets.iter().any(is_of)
            && let Err(error) = files::remove(&path)
        {
            debug!(%error, "an inventory could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("name")
    }

    fn inventory(label: &str) -> Inventory {
        let text = format!(
            r#"{{"version":1,"exporters":[{{"name":"node","path":"/metrics","labels":{{"room":"{label}"}}}}],"next_onion":"x"}}"#
        );
        serde_json::from_str(&text).expect("inventory")
    }

    #[test]
    fn what_was_written_is_read_after_a_restart() {
        let folder = tempfile::tempdir().expect("folder");
        let open = || Kept::new(folder.path(), &name("backpack"), "here.onion");
        assert!(open().read().is_none(), "nothing yet");
        let kept = open();
        kept.write(&inventory("attic")).expect("written");
        let read = open().read().expect("kept");
        assert_eq!(read, Inventory { next_onion: None, ..inventory("attic") }, "and nothing to come");
        assert!(
            Kept::new(folder.path(), &name("backpack"), "there.onion").read().is_none(),
            "another device"
        );
        let path = Kept::path(folder.path(), &name("backpack"));
        fs::remove_file(&path).expect("removed");
        kept.write(&inventory("attic")).expect("nothing to do");
        assert!(!path.exists(), "what has not changed is not written");
        kept.write(&inventory("cellar")).expect("written");
        assert!(path.exists());
        sweep(folder.path(), &[name("backpack")]);
        assert!(path.exists());
        sweep(folder.path(), &[name("pack")]);
        assert!(!path.exists());
    }

    #[test]
    fn a_damaged_copy_is_done_without_and_replaced() {
        let folder = tempfile::tempdir().expect("folder");
        let open = || Kept::new(folder.path(), &name("backpack"), "here.onion");
        open().write(&inventory("attic")).expect("written");
        let path = Kept::path(folder.path(), &name("backpack"));
        let whole = fs::read(&path).expect("read");
        for length in 0..whole.len() {
            files::replace_private(&path, &whole[..length]).expect("damaged");
            assert!(open().read().is_none(), "{length} of {} bytes", whole.len());
        }
        let kept = open();
        assert!(kept.read().is_none());
        kept.write(&inventory("attic")).expect("written");
        assert_eq!(fs::read(&path).expect("read"), whole);
    }

    #[test]
    fn a_copy_says_no_more_than_a_device_may() {
        let folder = tempfile::tempdir().expect("folder");
        let kept = Kept::new(folder.path(), &name("backpack"), "here.onion");
        kept.write(&inventory("attic")).expect("written");
        let path = Kept::path(folder.path(), &name("backpack"));
        let text = fs::read_to_string(&path).expect("read").replace("room", "__address__");
        files::replace_private(&path, text.as_bytes()).expect("changed");
        assert!(kept.read().expect("an inventory").exporters[0].labels.is_empty());
    }
}
