//! Logs on standard error, one line each, in logfmt or JSON.

use std::sync::OnceLock;

use clap::ValueEnum;
use serde::Deserialize;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry};

use crate::config::Section;

/// What is worth a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Everything a developer may want; shows addresses.
    Debug,
    /// What changes, and what it means.
    Info,
    /// What should not be.
    Warn,
    /// What ends the program.
    Error,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `key=value`, as Prometheus writes it.
    Logfmt,
    /// One object a line.
    Json,
}

/// The `[log]` section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// What is worth a line; default `info`.
    pub level: Level,
    /// How a line looks; default `logfmt`.
    pub format: Format,
}

impl LogSettings {
    /// Reads the section; the command line, if it says anything, has the last word.
    pub fn read(mut section: Section<'_>) -> Self {
        Self { level: section.or("level", Level::Info), format: section.or("format", Format::Logfmt) }
    }
}

/// Which lines are written.
fn filter(level: Level) -> EnvFilter {
    let ours = match level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    };
    // The libraries' own lines are for developers: they say little to an operator. Russh's repeat what
    // a peer sent, and among its errors are some that a peer can cause as often as it likes.
    let (libraries, russh) = if level == Level::Debug { ("debug", "debug") } else { ("error", "off") };
    EnvFilter::new(format!(
        "{libraries},russh={russh},onionscrape={ours},target_agent={ours},scraper_bridge={ours}"
    ))
}

/// What changes the level of a log that was started.
static LEVEL: OnceLock<Handle<EnvFilter, Registry>> = OnceLock::new();

/// Starts logging; a second call in the same process changes nothing.
pub fn start(settings: LogSettings) {
    let (filter, handle) = reload::Layer::new(filter(settings.level));
    let lines = match settings.format {
        Format::Logfmt => {
            let lines = tracing_logfmt::builder().with_target(settings.level == Level::Debug).layer();
            lines.with_writer(std::io::stderr).boxed()
        }
        Format::Json => {
            tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed()
        }
    };
    if tracing_subscriber::registry().with(filter).with(lines).try_init().is_ok() {
        let _ = LEVEL.set(handle);
    }
}

/// Writes lines of this level and above from now on, if logging was started by [`start`].
pub fn set_level(level: Level) {
    if let Some(handle) = LEVEL.get() {
        // It fails only if there is no log any more.
        let _ = handle.reload(filter(level));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_cannot_write_lines() {
        let heard = |level: Level| {
            let subscriber = tracing_subscriber::registry().with(filter(level));
            tracing::subscriber::with_default(subscriber, || {
                [
                    tracing::enabled!(target: "russh::server::encrypted", tracing::Level::ERROR),
                    tracing::enabled!(target: "arti_client", tracing::Level::ERROR),
                    tracing::enabled!(target: "scraper_bridge::target", tracing::Level::WARN),
                ]
            })
        };
        assert_eq!(heard(Level::Info), [false, true, true]);
        assert_eq!(heard(Level::Error), [false, true, false]);
        assert_eq!(heard(Level::Debug), [true, true, true]);
    }
}
