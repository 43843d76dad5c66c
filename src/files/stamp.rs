//! Seeing that a file has changed without reading it.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A file as it was when it was looked at; a link is followed. Two that are equal are of a file that
/// nobody touched in between: not its content, not its owner or mode, and it was not replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    path: PathBuf,
    /// Device, inode and size; the times of change of the content and of the rest, each in seconds and
    /// nanoseconds. `None` if it was not there.
    of: Option<([u64; 3], [i64; 4])>,
}

impl Stamp {
    /// Looks at the file.
    pub fn take(path: &Path) -> Self {
        let of = path.metadata().ok().map(|meta| {
            let times = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
            ([meta.dev(), meta.ino(), meta.size()], times)
        });
        Self { path: path.to_owned(), of }
    }

    /// True if the file is as it was.
    pub fn still_holds(&self) -> bool {
        *self == Self::take(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn content_mode_and_presence_count() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("file");
        let missing = Stamp::take(&path);
        assert!(missing.still_holds());
        fs::write(&path, "one").expect("write");
        assert!(!missing.still_holds());
        let one = Stamp::take(&path);
        assert!(one.still_holds());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
        assert!(!one.still_holds(), "its mode is another");
        let private = Stamp::take(&path);
        fs::write(&path, "longer").expect("write");
        assert!(!private.still_holds());
    }
}
