//! Locks: one running program in a state directory, one process at a time at a piece of work.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{FileError, check_private, private_directory, version};

/// How often a state directory that is held is tried, and the pause between.
const HOLD_TRIES: u32 = 10;
const HOLD_PAUSE: Duration = Duration::from_millis(20);

/// A program's state folder: mode 0700, and held by one running program at a time.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
    /// Locked while the program runs; the kernel lets go of it when the process ends.
    _lock: Option<File>,
}

impl StateDirectory {
    /// Opens the folder for a program that will run, making it if there is none, and bringing it up to the
    /// present version if it is an older one's.
    ///
    /// # Errors
    /// When it cannot be made or written, others may read it, another process holds it, or a newer release
    /// has been there; nothing has changed then.
    pub fn hold(path: &Path) -> Result<Self, FileError> {
        version::known_state_version(path)?;
        private_directory(path)?;
        let lock_path = path.join("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(|error| FileError::io(&lock_path, "cannot be opened", &error))?;
        for _ in 0..HOLD_TRIES {
            match lock.try_lock() {
                Ok(()) => {
                    version::bring_up_to_date(path)?;
                    return Ok(Self { path: path.to_owned(), _lock: Some(lock) });
                }
                // It may be a short command that looks whether somebody holds it.
                Err(TryLockError::WouldBlock) => std::thread::sleep(HOLD_PAUSE),
                Err(TryLockError::Error(error)) => {
                    return Err(FileError::io(&lock_path, "cannot be locked", &error));
                }
            }
        }
        Err(FileError::new(
            path,
            "another process holds this state directory; stop it or choose another --state-dir",
        ))
    }

    /// Opens the folder for a short command, beside a program that may be running.
    ///
    /// # Errors
    /// As [`hold`](Self::hold), except that another process may hold it, unless the folder has to be brought
    /// up to the present version.
    pub fn share(path: &Path) -> Result<Self, FileError> {
        version::known_state_version(path)?;
        private_directory(path)?;
        if !version::is_current(path)? {
            drop(Self::hold(path)?);
        }
        Ok(Self { path: path.to_owned(), _lock: None })
    }

    /// Looks whether the folder is there and may be used, and makes nothing.
    ///
    /// # Errors
    /// When it is not a folder, belongs to somebody else, or others may enter it.
    pub fn is_there(path: &Path) -> Result<bool, FileError> {
        match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            _ => check_private(path, 0o700).map(|()| true),
        }
    }

    /// The number of the user that the folder belongs to, if that is somebody else.
    pub fn other_owner(path: &Path) -> Option<u32> {
        let owner = path.metadata().ok()?.uid();
        (owner != rustix::process::geteuid().as_raw()).then_some(owner)
    }

    /// True if no running program holds the folder at `path`.
    pub fn is_free(path: &Path) -> bool {
        File::open(path.join("lock")).map_or(true, |lock| lock.try_lock().is_ok())
    }

    /// Where the folder is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Waits until no other process is between the same two points of its work, which `path` stands for;
/// until the file is dropped none will be.
///
/// # Errors
/// When the file cannot be made or locked.
pub fn alone(path: &Path) -> Result<File, FileError> {
    let file = lock_file(path)?;
    file.lock().map_err(|error| cannot_lock(path, &error))?;
    Ok(file)
}

/// The same, for who will not wait; `None` if another process is there.
///
/// # Errors
/// When the file cannot be made or locked.
pub fn alone_now(path: &Path) -> Result<Option<File>, FileError> {
    let file = lock_file(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(cannot_lock(path, &error)),
    }
}

fn lock_file(path: &Path) -> Result<File, FileError> {
    let mut options = File::options();
    options.create(true).truncate(false).write(true).mode(0o600);
    let opened = options.open(path).or_else(|error| match error.kind() {
        // One that is there can be locked all the same: a device whose disk fails is to be copied.
        io::ErrorKind::ReadOnlyFilesystem => File::open(path).map_err(|_| error),
        _ => Err(error),
    });
    opened.map_err(|error| cannot_lock(path, &error))
}

fn cannot_lock(path: &Path, error: &io::Error) -> FileError {
    FileError::io(path, "cannot be locked", error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_state_directory_is_held_once() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("a/b");
        let held = StateDirectory::hold(&path).expect("held");
        assert!(StateDirectory::hold(&path).expect_err("held twice").to_string().contains("another process"));
        StateDirectory::share(&path).expect("shared");
        assert!(
            StateDirectory::is_there(&path).expect("ours") && StateDirectory::other_owner(&path).is_none()
        );
        let nowhere = folder.path().join("none");
        assert!(
            !StateDirectory::is_there(&nowhere).expect("none") && !nowhere.exists(),
            "it is only looked at"
        );
        drop(held);
        StateDirectory::hold(&path).expect("free again");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("chmod");
        assert!(StateDirectory::share(&path).expect_err("loose").to_string().contains("chmod 700"));
    }
}
