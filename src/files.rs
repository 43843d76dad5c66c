//! Files that hold secrets or state: made once, readable by their owner only, on disk before
//! anybody is told of them.

mod credential;
mod followed;
mod lock;
mod stamp;
mod version;
mod volume;

use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

pub(crate) use credential::{TO_COME, is_to_come};
pub use followed::Followed;
pub use lock::{StateDirectory, alone, alone_now};
pub use stamp::Stamp;
pub use version::known_state_version;
pub use volume::check_on_volume;

use crate::config::Mistakes;

/// Largest key or state file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// What is wrong with a file or folder, and what to do about it, in one line.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}", path.display())]
pub struct FileError {
    path: PathBuf,
    what: String,
}

impl FileError {
    /// An error about `path`.
    pub fn new(path: &Path, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), what: what.into() }
    }

    /// What is to be said of it where it is none yet: the file is one that systemd hands to this service, and does so when
    /// the unit starts.
    ///
    /// # Errors
    /// The error itself, if it is one.
    pub fn or_to_come(self) -> Result<String, Self> {
        if is_to_come(&self.path) { Ok(format!("{}: {TO_COME}", self.path.display())) } else { Err(self) }
    }

    fn io(path: &Path, act: &str, error: &io::Error) -> Self {
        let remedy = match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem => "; the file system is read-only, choose another folder",
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; the disk is full, make room",
            io::ErrorKind::PermissionDenied => "; give this user access or choose another folder",
            _ => "",
        };
        Self::new(path, format!("{act}: {error}{remedy}"))
    }
}

impl From<FileError> for Mistakes {
    fn from(error: FileError) -> Self {
        Self::of_file(&error.path, error.what)
    }
}

/// Where a program keeps its state unless told otherwise: `onionscrape/PROGRAM` in the user's state
/// folder (XDG Base Directory Specification, `XDG_STATE_HOME`).
pub fn default_state_directory(program: &str) -> PathBuf {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_STATE_HOME")
        .or_else(|| Some(absolute("HOME")?.join(".local/state")))
        .unwrap_or_else(|| PathBuf::from("/var/lib"));
    base.join("onionscrape").join(program)
}

/// Makes sure that `path` is a folder of ours that nobody else can look into, making it if needed.
///
/// # Errors
/// When it cannot be made, is not a folder, belongs to somebody else, or others may enter it.
pub fn private_directory(path: &Path) -> Result<(), FileError> {
    let missing: Vec<_> = path.ancestors().take_while(|folder| !folder.exists()).collect();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| FileError::io(path, "cannot be made", &error))?;
    // A folder that is not on disk takes what is in it along.
    missing.into_iter().try_for_each(|folder| sync_directory(folder_of(folder)))?;
    check_private(path, 0o700)
}

/// The text of a private file; `None` if there is no such file.
///
/// # Errors
/// When it cannot be read, is empty, is a symbolic link, belongs to somebody else, or others may
/// read it. A key whose file has any of these faults must not be replaced by a new one.
pub fn read_private(path: &Path) -> Result<Option<zeroize::Zeroizing<String>>, FileError> {
    match path.symlink_metadata() {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FileError::io(path, "cannot be read", &error)),
    }
    check_private(path, 0o600)?;
    if path.metadata().is_ok_and(|meta| meta.len() > MAX_FILE) {
        return Err(FileError::new(path, format!("is larger than {MAX_FILE} bytes, so it is not a key")));
    }
    let text =
        std::fs::read_to_string(path).map_err(|error| FileError::io(path, "cannot be read", &error))?;
    if text.trim().is_empty() {
        return Err(FileError::new(
            path,
            "is empty; restore it from a backup, or remove it to make a new one",
        ));
    }
    Ok(Some(zeroize::Zeroizing::new(text)))
}

/// The text of a file that others may read too, such as a list of public keys.
///
/// # Errors
/// When it is not there or cannot be read, or is not a file of text of at most 1 MiB.
pub fn read_public(path: &Path) -> Result<String, FileError> {
    let failed = |error: io::Error| FileError::io(path, "cannot be read", &error);
    let meta = path.metadata().map_err(failed)?;
    if !meta.is_file() {
        return Err(FileError::new(path, "is not a file"));
    }
    if meta.len() > MAX_FILE {
        return Err(FileError::new(path, format!("is larger than {MAX_FILE} bytes")));
    }
    std::fs::read_to_string(path).map_err(failed)
}

/// Writes a private file that must not be there yet, whole or not at all, and syncs it to disk.
///
/// # Errors
/// When it exists already or cannot be written; nothing is left behind then.
pub fn create_private(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let file = staged(path, bytes)?;
    file.persist_noclobber(path).map_err(|error| FileError::io(path, "cannot be written", &error.error))?;
    sync_directory(folder_of(path))
}

/// Writes a private file in the place of the one that may be there: readers see the old one or the
/// new one, whole, and it is on disk when this returns.
///
/// # Errors
/// When it cannot be written; the old one is as it was then.
pub fn replace_private(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    replace(path, bytes, 0o600)
}

/// As [`replace_private`], for a file that everybody may read.
///
/// # Errors
/// When it cannot be written; the old one is as it was then.
pub fn replace_public(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    replace(path, bytes, 0o644)
}

fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let cannot = |error: &io::Error| FileError::io(path, "cannot be written", error);
    let file = staged(path, bytes)?;
    file.as_file().set_permissions(Permissions::from_mode(mode)).map_err(|error| cannot(&error))?;
    file.persist(path).map_err(|error| cannot(&error.error))?;
    sync_directory(folder_of(path))
}

/// Gives a file another name, in the place of the file that may have it: whole, and for good.
///
/// # Errors
/// When it cannot be done; both are as they were then.
pub fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    std::fs::rename(from, to).map_err(|error| FileError::io(from, "cannot be renamed", &error))?;
    sync_directory(folder_of(to))?;
    sync_directory(folder_of(from))
}

/// Removes a file for good; true if there was one.
///
/// # Errors
/// When it is there and cannot be removed.
pub fn remove(path: &Path) -> Result<bool, FileError> {
    match std::fs::remove_file(path) {
        Ok(()) => sync_directory(folder_of(path)).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(FileError::io(path, "cannot be removed", &error)),
    }
}

/// The text of a file that says who may do what; `None` if there is no such file. Others may read
/// it, but not write it. Letters that are not UTF-8 are replaced.
///
/// A symbolic link is followed: systems that own such files put them elsewhere.
///
/// # Errors
/// When it cannot be read, is not a file or too large, or somebody besides us and root could have
/// written it.
pub fn read_trusted(path: &Path) -> Result<Option<String>, FileError> {
    let cannot = |error: &io::Error| FileError::io(path, "cannot be read", error);
    let meta = match path.metadata() {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot(&error)),
    };
    if !meta.is_file() {
        return Err(FileError::new(path, "is not a file"));
    }
    if meta.len() > MAX_FILE {
        return Err(FileError::new(path, format!("is larger than {MAX_FILE} bytes")));
    }
    let us = rustix::process::geteuid().as_raw();
    if meta.uid() != us && meta.uid() != 0 {
        let what = format!("belongs to another user; run: chown {us} {}", path.display());
        return Err(FileError::new(path, what));
    }
    if meta.permissions().mode() & 0o022 != 0 {
        let what = format!("can be written by others; run: chmod go-w {}", path.display());
        return Err(FileError::new(path, what));
    }
    let bytes = std::fs::read(path).map_err(|error| cannot(&error))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Syncs a file or a folder's list of files to disk.
///
/// # Errors
/// When it cannot be opened or synced.
pub fn sync_directory(path: &Path) -> Result<(), FileError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| FileError::io(path, "cannot be synced to disk", &error))
}

/// A private file on disk, with these bytes, beside the place where it is to be.
fn staged(path: &Path, bytes: &[u8]) -> Result<tempfile::NamedTempFile, FileError> {
    let failed = |error: io::Error| FileError::io(path, "cannot be written", &error);
    let mut file = tempfile::NamedTempFile::new_in(folder_of(path)).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    Ok(file)
}

/// The folder that a file is in.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Refuses what is not ours alone; `mode` is what a right file or folder has at most.
fn check_private(path: &Path, mode: u32) -> Result<(), FileError> {
    let shown = path.display();
    let meta = path.symlink_metadata().map_err(|error| FileError::io(path, "cannot be read", &error))?;
    if meta.is_symlink() && mode == 0o600 {
        return Err(FileError::new(path, "is a symbolic link; name the file itself"));
    }
    let meta = path.metadata().map_err(|error| FileError::io(path, "cannot be read", &error))?;
    if mode == 0o700 && !meta.is_dir() {
        return Err(FileError::new(path, "is not a folder"));
    }
    if mode == 0o600 && !meta.is_file() {
        return Err(FileError::new(path, "is not a file"));
    }
    if mode == 0o600 && credential::is_private(path, &meta) {
        return Ok(());
    }
    let us = rustix::process::geteuid().as_raw();
    if meta.uid() != us {
        return Err(FileError::new(path, format!("belongs to another user; run: chown {us} {shown}")));
    }
    let loose = meta.permissions().mode() & 0o777 & !mode;
    if loose != 0 {
        return Err(FileError::new(path, format!("can be read by others; run: chmod {mode:o} {shown}")));
    }
    Ok(())
}

#[cfg(test)]
fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_file_is_made_once() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("key");
        assert!(read_private(&path).expect("missing is fine").is_none());
        create_private(&path, b"secret").expect("made");
        assert_eq!(path.metadata().expect("there").permissions().mode() & 0o777, 0o600);
        assert!(create_private(&path, b"other").is_err());
        assert_eq!(read_private(&path).expect("readable").expect("there").as_str(), "secret");
        assert_eq!(std::fs::read_dir(folder.path()).expect("list").count(), 1, "nothing is left behind");
    }

    #[test]
    fn faulty_files_are_refused_with_a_remedy() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("key");
        create_private(&path, b"secret").expect("made");
        set_mode(&path, 0o640);
        assert!(read_private(&path).expect_err("loose").to_string().contains("chmod 600"));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).expect("link");
        assert!(read_private(&link).expect_err("link").to_string().contains("symbolic link"));
        let empty = folder.path().join("empty");
        create_private(&empty, b"\n").expect("made");
        assert!(read_private(&empty).expect_err("empty").to_string().contains("is empty"));
        assert!(read_private(folder.path()).is_err(), "a folder is not a key");
    }
}
