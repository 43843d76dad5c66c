//! What is made from the definition of the command line: completions for shells, and manual pages.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Subcommand};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::lifecycle::Failure;
use crate::output;

/// Subcommands about the command line itself; they read no configuration and need no network.
#[derive(Debug, Subcommand)]
pub enum Documents {
    /// Print completions for a shell, to be put where that looks for them
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, or write one for every subcommand
    Man {
        /// Write `PROGRAM.1`, `PROGRAM-SUBCOMMAND.1` and so on into this folder, which must be there
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

impl Documents {
    /// Writes what is asked for about the command line `C`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write<C: CommandFactory>(self) -> Result<ExitCode, Failure> {
        // Nobody looks up how to look something up.
        let mut command = C::command().disable_help_subcommand(true);
        let name = command.get_name().to_owned();
        let mut text = Vec::new();
        match self {
            Self::Completions { shell } => clap_complete::generate(shell, &mut command, name, &mut text),
            Self::Man { dir: None } => Man::new(command).render(&mut text).map_err(Failure::of)?,
            Self::Man { dir: Some(folder) } => {
                clap_mangen::generate_to(command, &folder)
                    .map_err(|error| Failure(format!("{}: {error}", folder.display())))?;
            }
        }
        output::write(&text);
        Ok(ExitCode::SUCCESS)
    }
}
