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

/// How they are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// As they are given to people.
    Given,
    /// In the release profile, optimised whatever a configuration outside the repository says.
    Release,
    /// In the release profile, as such a configuration has it.
    Configured,
}

impl How {
    /// What the page says of it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Given => {
                "target-agent and scraper-bridge are built as packages have them, in the profile `dist`; where many \
                 agents are one process, that is in the profile `release`."
            }
            Self::Release => "The programs are built in the profile `release`; packages have `dist`.",
            Self::Configured => {
                "The programs are as this machine's configuration has them built, maybe unoptimised."
            }
        }
    }
}

impl Taken {
    /// Builds all three.
    ///
    /// # Errors
    /// When one does not compile, or cannot be copied.
    pub fn build(how: How) -> Result<Self, Failure> {
        let (programs, crowd) = match how {
            How::Given => Programs::build_given_with_crowd()?,
            How::Release => Programs::build_with_crowd(true)?,
            How::Configured => Programs::build_with_crowd(false)?,
        };
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
