//! Whether what is written to a folder outlives a container.

use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxFlags, statfs, statx};

use super::FileError;

/// File systems that live in memory, by the numbers that `statfs(2)` has for them: tmpfs and ramfs.
const IN_MEMORY: [i64; 2] = [0x0102_1994, 0x8584_58f6];

/// Refuses a folder that is part of a container's own file system, or in memory: keys in it would be
/// gone with the container, and the next one would be somebody else.
///
/// # Errors
/// When `path`, or the nearest folder above it that is there, is on the mount of `/` or in memory, or
/// the kernel does not say.
pub fn check_on_volume(path: &Path) -> Result<(), FileError> {
    let path = &std::path::absolute(path).map_err(|error| FileError::io(path, "cannot be found", &error))?;
    let there = path.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let failed = |error: rustix::io::Errno| FileError::io(there, "cannot be looked at", &error.into());
    let mount = |folder: &Path| {
        // Since Linux 5.8; a kernel that does not know has the same 0 for both.
        statx(CWD, folder, AtFlags::empty(), StatxFlags::MNT_ID).map(|found| found.stx_mnt_id)
    };
    if mount(there).map_err(failed)? == mount(Path::new("/")).map_err(failed)? {
        return Err(FileError::new(
            path,
            "is not on a volume, so its keys would be lost with the container; mount one there",
        ));
    }
    // The number's type is another one on each architecture, and on some of them it is negative.
    #[allow(clippy::unnecessary_cast, reason = "not on all architectures")]
    let kind = statfs(there).map_err(failed)?.f_type as i64 & 0xffff_ffff;
    if IN_MEMORY.contains(&kind) {
        return Err(FileError::new(
            path,
            "is in memory, so its keys would be lost with the container; mount a volume of a disk there",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_with_a_container_is_refused() {
        let said = |path: &str| check_on_volume(Path::new(path)).err().map(|error| error.to_string());
        assert!(said("/").expect("its own").contains("is not on a volume"));
        assert!(said("/nowhere/state").expect("its own").contains("/nowhere/state: is not on a volume"));
        let here = std::env::current_dir().expect("a folder");
        assert_eq!(said("target").map(|_| ()), said(here.to_str().expect("text")).map(|_| ()), "it is below");
        // Always a mount of its own, and neither of the two kinds.
        assert_eq!(said("/proc"), None);
        if let Some(why) = said("/dev/shm") {
            assert!(why.contains("is in memory") || why.contains("is not on a volume"), "{why}");
        }
    }
}
