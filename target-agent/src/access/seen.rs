//! When somebody was here last: an empty file for each, whose time that is.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use onionscrape::files::private_directory;

use super::MAX_GUESTS;

/// Notes in the folder that whoever has this file is here at this moment.
pub(super) fn note(folder: &Path, file: &Path) -> io::Result<()> {
    private_directory(folder).map_err(io::Error::other)?;
    std::fs::File::create(file)?.set_modified(SystemTime::now())?;
    keep_latest(folder, MAX_GUESTS)
}

/// Removes those who were here longest ago, if there are more than `most`: an authority may give each certificate a
/// name of its own.
fn keep_latest(folder: &Path, most: usize) -> io::Result<()> {
    let paths = std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths: Vec<PathBuf> = paths.collect::<Result<_, _>>()?;
    let surplus = paths.len().saturating_sub(most);
    if surplus > 0 {
        paths.sort_by_cached_key(|path| path.metadata().and_then(|meta| meta.modified()).ok());
        paths[..surplus].iter().try_for_each(std::fs::remove_file)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn those_who_were_here_last_are_remembered() {
        let temporary = tempfile::tempdir().expect("folder");
        let folder = temporary.path().join("seen");
        let file = |name: u32| folder.join(name.to_string());
        for name in 0..5 {
            note(&folder, &file(name)).expect("noted");
            let at = SystemTime::now() - Duration::from_secs(u64::from(name) * 60);
            std::fs::File::open(file(name)).and_then(|file| file.set_modified(at)).expect("aged");
        }
        assert!((0..5).all(|name| file(name).exists()));
        keep_latest(&folder, 3).expect("listed");
        assert!((0..3).all(|name| file(name).exists()) && !file(3).exists() && !file(4).exists());
    }
}
