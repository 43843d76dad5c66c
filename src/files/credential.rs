//! What systemd hands to this service alone (`LoadCredential=`).

use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What is said of a file that [`is_to_come`].
pub(crate) const TO_COME: &str =
    "is not there; systemd puts it there when the unit starts, if LoadCredential= names it";

/// The folder that it is in, if systemd started this program or somebody says that it is as if.
fn folder() -> Option<OsString> {
    std::env::var_os("CREDENTIALS_DIRECTORY")
}

/// True for a file of it. It may belong to root, and be read by way of an access list, which a mode shows as the
/// group's.
pub(super) fn is_private(path: &Path, meta: &Metadata) -> bool {
    is_private_in(path, meta, folder().as_deref())
}

fn is_private_in(path: &Path, meta: &Metadata, folder: Option<&OsStr>) -> bool {
    is_in(path, folder) && meta.uid() == 0 && meta.mode() & 0o777 & !0o440 == 0
}

/// True if the file would be one of it and is not there: what is named while the service runs comes with the next
/// start, and before the first there is nothing.
pub(crate) fn is_to_come(path: &Path) -> bool {
    is_to_come_in(path, folder().as_deref())
}

fn is_to_come_in(path: &Path, folder: Option<&OsStr>) -> bool {
    is_in(path, folder) && path.metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

fn is_in(path: &Path, folder: Option<&OsStr>) -> bool {
    folder.is_some_and(|folder| path.parent() == Some(Path::new(folder)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::set_mode;

    #[test]
    fn it_is_private_with_an_access_list() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("exporter");
        std::fs::write(&path, "secret").expect("made");
        set_mode(&path, 0o440);
        let of = |folder: Option<&Path>| {
            is_private_in(&path, &path.metadata().expect("there"), folder.map(Path::as_os_str))
        };
        let is_root = rustix::process::geteuid().is_root();
        assert_eq!(of(Some(folder.path())), is_root, "it belongs to root");
        assert!(!of(None) && !of(Some(Path::new("/"))), "it is elsewhere");
        set_mode(&path, 0o444);
        assert!(!of(Some(folder.path())), "everybody can read it");
    }

    #[test]
    fn it_is_to_come_where_it_will_be_and_is_not() {
        let folder = tempfile::tempdir().expect("folder");
        let there = Some(folder.path().as_os_str());
        let path = folder.path().join("exporter");
        assert!(is_to_come_in(&path, there));
        assert!(
            !is_to_come_in(&path, None) && !is_to_come_in(&path, Some(OsStr::new("/"))),
            "it is elsewhere"
        );
        assert!(!is_to_come_in(&path.join("deeper"), there), "systemd makes no folders there");
        std::fs::write(&path, "secret").expect("made");
        assert!(!is_to_come_in(&path, there), "it is there");
    }
}
