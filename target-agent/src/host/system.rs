//! The kernel's files, read with bounds.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::processor::Told;

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 4 << 20;
/// Most entries of a folder.
const MAX_ENTRIES: usize = 1024;

/// The machine whose `proc`, `sys` and `etc` are in one folder.
#[derive(Debug)]
pub(super) struct System {
    root: PathBuf,
    /// What was told of its processors before.
    pub(super) processors: Told,
}

impl System {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, processors: Told::default() }
    }

    /// What a file says; what is not UTF-8 in it is replaced. It may take as long as the kernel does.
    ///
    /// # Errors
    /// When the file cannot be read or is larger than 4 MiB.
    pub(super) fn text(&self, path: impl AsRef<Path>) -> io::Result<String> {
        let mut bytes = Vec::new();
        File::open(self.root.join(path))?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 4 MiB"));
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The same in one line; `None` if it is empty or cannot be read, which is how drivers say that
    /// they do not know.
    pub(super) fn line(&self, path: impl AsRef<Path>) -> Option<String> {
        let text = self.text(path).ok()?;
        Some(text.trim().to_owned()).filter(|line| !line.is_empty())
    }

    /// The same as a number.
    pub(super) fn number(&self, path: impl AsRef<Path>) -> Option<f64> {
        Some(self.line(path)?.parse::<i64>().ok()? as f64)
    }

    /// The names of a folder's entries, sorted; none if it does not exist, since the kernel makes
    /// these folders only where there is such hardware.
    ///
    /// # Errors
    /// When it cannot be read or has more than 1024 entries.
    pub(super) fn entries(&self, path: impl AsRef<Path>) -> io::Result<Vec<String>> {
        let folder = match std::fs::read_dir(self.root.join(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut names = Vec::new();
        for entry in folder {
            if names.len() == MAX_ENTRIES {
                return Err(io::Error::other("there are more than 1024"));
            }
            names.extend(entry?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }

    /// Where a path leads to when all links are followed.
    pub(super) fn real_path(&self, path: impl AsRef<Path>) -> Option<PathBuf> {
        self.root.join(path).canonicalize().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_folders_have_bounds() {
        let folder = tempfile::tempdir().expect("folder");
        let system = System::new(folder.path().into());
        std::fs::write(folder.path().join("large"), vec![b'1'; MAX_FILE as usize + 1]).expect("write");
        assert_eq!(system.text("large").expect_err("too large").kind(), io::ErrorKind::FileTooLarge);
        std::os::unix::fs::symlink("/dev/zero", folder.path().join("endless")).expect("link");
        assert!(system.text("endless").is_err());
        std::fs::write(folder.path().join("bytes"), b" -5\xff\n").expect("write");
        assert_eq!(system.line("bytes").as_deref(), Some("-5\u{fffd}"));
        assert_eq!(system.number("bytes"), None);
        assert_eq!(system.entries("missing").expect("no folder"), [""; 0]);
        assert!(system.entries("large").is_err());
    }
}
