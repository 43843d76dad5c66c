//! What the command lines of both programs have in common.

mod documents;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::files::{self, FileError};
use crate::lifecycle::Failure;
use crate::logs::{Format, Level, LogSettings};
pub use documents::Documents;

/// Under what these stand in a subcommand's help, behind its own.
pub const EVERY: &str = "Options of every command";

/// Options of every subcommand, named as Prometheus names its own.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Configuration file, in TOML [default: none, and what the documentation says holds without one]
    #[arg(
        long = "config.file",
        env = "ONIONSCRAPE_CONFIG_FILE",
        global = true,
        value_name = "FILE",
        help_heading = EVERY
    )]
    pub config_file: Option<PathBuf>,
    /// Folder for keys and Tor's state [default: a folder in ~/.local/state/onionscrape, or in
    /// $XDG_STATE_HOME/onionscrape if that is set]
    #[arg(long, global = true, value_name = "DIR", help_heading = EVERY)]
    pub state_dir: Option<PathBuf>,
    /// Refuse to work where the state directory would be lost with a container
    #[arg(long, global = true, env = "ONIONSCRAPE_STATE_ON_VOLUME", help_heading = EVERY)]
    pub state_on_volume: bool,
    /// What is worth a line in the log [default: info]
    #[arg(long = "log.level", global = true, value_enum, value_name = "LEVEL", help_heading = EVERY)]
    pub log_level: Option<Level>,
    /// How a line of the log looks [default: logfmt]
    #[arg(long = "log.format", global = true, value_enum, value_name = "FORMAT", help_heading = EVERY)]
    pub log_format: Option<Format>,
}

impl Options {
    /// How to log: the command line has the last word.
    pub fn log(&self, configured: LogSettings) -> LogSettings {
        LogSettings {
            level: self.log_level.unwrap_or(configured.level),
            format: self.log_format.unwrap_or(configured.format),
        }
    }

    /// Looks whether state may be kept in this folder.
    ///
    /// # Errors
    /// When it has to be on a volume and is not.
    pub fn check_state(&self, directory: &Path) -> Result<(), FileError> {
        if self.state_on_volume { files::check_on_volume(directory) } else { Ok(()) }
    }

    /// The configuration file as messages name it.
    pub fn shown_file(&self) -> String {
        self.config_file
            .as_ref()
            .map_or_else(|| "no configuration file".into(), |file| file.display().to_string())
    }
}

/// Runs a program's work on a runtime of its own with so many threads, to its end.
///
/// # Errors
/// The work's own, or that the system has no room for a runtime.
pub fn block_on(
    threads: usize,
    work: impl Future<Output = Result<ExitCode, Failure>>,
) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .map_err(Failure::of)?;
    let result = runtime.block_on(work);
    // Arti has threads that wait for nothing worth waiting for.
    runtime.shutdown_background();
    result
}
