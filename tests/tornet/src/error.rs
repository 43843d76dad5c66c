//! Errors for people: what failed, where, and what to do.

use std::path::{Path, PathBuf};

/// What can go wrong. Each prints as one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A program that is needed is not installed.
    #[error("{program} not found: {remedy}")]
    Missing {
        /// The program's name.
        program: String,
        /// What to do about it.
        remedy: String,
    },
    /// A file or directory could not be read, written or made.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The system refused something that is not a file.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried, as a verb and its object.
        action: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A program that was started ended by itself.
    #[error("{name} ended ({status}): {reason} (log: {})", log.display())]
    Ended {
        /// Which process.
        name: String,
        /// Its exit status.
        status: String,
        /// The last warning or error in its log, or its last line.
        reason: String,
        /// Its whole log.
        log: PathBuf,
    },
    /// Something did not happen in time.
    #[error("{what} did not happen within {seconds} s{hint}")]
    Late {
        /// What was awaited.
        what: String,
        /// The bound in seconds.
        seconds: u64,
        /// What is known or to be done, with its leading punctuation; may be empty.
        hint: String,
    },
    /// The first consensus lacks a node or a flag.
    #[error("the first consensus is incomplete: {0}; is the machine overloaded?")]
    Consensus(String),
    /// No node has this name.
    #[error("no node is called {name}; there are {known}")]
    NoSuchNode {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// An argument is out of bounds.
    #[error("{0}")]
    Argument(String),
}

impl Error {
    /// An [`Error::File`] maker for `map_err`.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }

    /// An [`Error::System`] maker for `map_err`.
    pub(crate) fn system(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let action = action.into();
        move |source| Self::System { action, source }
    }

    /// Whether starting once more on other ports, or at another time, may help.
    pub(crate) fn is_worth_a_retry(&self) -> bool {
        match self {
            Self::Ended { reason, .. } => reason.contains("Address already in use"),
            Self::Consensus(_) => true,
            _ => false,
        }
    }
}
