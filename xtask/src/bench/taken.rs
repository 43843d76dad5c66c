//! The programs that are measured: copies, since a build of anything puts others in the place of those that cargo made.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::Failure;
use crate::build::{Programs, target_folder};

/// The copies; dropping this removes them.
pub struct Taken {
    /// The two programs.
    pub programs: Programs,
    /// Many agents in one process.
    pub crowd: PathBuf,
    _folder: TempDir,
}

impl Taken {
    /// Builds all three, optimised whatever a configuration outside the repository says, if that is wanted.
    ///
    /// # Errors
    /// When one does not compile, or cannot be copied.
    pub fn build(optimised: bool) -> Result<Self, Failure> {
        let (programs, crowd) = Programs::build_with_crowd(optimised)?;
        // Beside what cargo makes, since programs may not run elsewhere.
        let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(target_folder())?;
        let take = |file: &Path| -> Result<PathBuf, Failure> {
            let copy = folder.path().join(file.file_name().unwrap_or(OsStr::new("program")));
            fs::copy(file, &copy).map_err(|error| format!("{}: {error}", file.display()))?;
            Ok(copy)
        };
        let programs = Programs { agent: take(&programs.agent)?, bridge: take(&programs.bridge)? };
        Ok(Self { programs, crowd: take(&crowd)?, _folder: folder })
    }
}
