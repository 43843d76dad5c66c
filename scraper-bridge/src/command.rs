//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use onionscrape::files::StateDirectory;
use onionscrape::lifecycle::{self, Failure};
use onionscrape::logs::{self, Format, Level};
use onionscrape::ssh::KeyFile;

use crate::bridge::Bridge;
use crate::config::{self, BridgeConfig};
use crate::probe::{probe, redial};

/// Lets Prometheus scrape devices behind Tor onion services as local HTTP endpoints
#[derive(Debug, Parser)]
#[command(name = "scraper-bridge", version)]
pub struct Command {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    act: Option<Act>,
}

#[derive(Debug, Args)]
struct Options {
    /// Configuration file
    #[arg(long = "config.file", global = true, value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// Folder for keys and Tor's state [default: onionscrape/bridge in the XDG state directory]
    #[arg(long, global = true, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// What is worth a line in the log
    #[arg(long = "log.level", global = true, value_enum)]
    log_level: Option<Level>,
    /// How a line of the log looks
    #[arg(long = "log.format", global = true, value_enum)]
    log_format: Option<Format>,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Run the bridge (the default)
    Run,
    /// Print this bridge's public key, for a device's authorized_keys
    Key,
    /// Scrape one exporter once and show the time of each hop
    Probe {
        /// The target's name
        target: String,
        /// The exporter's name; may be left out if the target has only one
        exporter: Option<String>,
    },
    /// Have a running bridge dial a target anew, over fresh circuits
    Redial {
        /// The target's name
        target: String,
    },
    /// Check the configuration and report every mistake in it
    Check,
}

impl Command {
    /// Runs the command; mistakes and failures are on standard error when it returns.
    pub fn run(self) -> ExitCode {
        lifecycle::exit_code("scraper-bridge", self.try_run())
    }

    fn try_run(self) -> Result<ExitCode, Failure> {
        let file = self.options.config_file;
        let mut config = BridgeConfig::read(file.as_deref(), self.options.state_dir)?;
        config.log.level = self.options.log_level.unwrap_or(config.log.level);
        config.log.format = self.options.log_format.unwrap_or(config.log.format);
        match self.act.unwrap_or(Act::Run) {
            Act::Run => {
                logs::start(config.log);
                block_on(run(config))
            }
            Act::Key => {
                let state = StateDirectory::share(&config.state_directory)?;
                let key = KeyFile::open_or_make(&config::default_key_file(state.path()), "scraper-bridge")?;
                println!("{}", key.public_line());
                Ok(ExitCode::SUCCESS)
            }
            Act::Probe { target, exporter } => {
                // What goes wrong is told by the probe itself.
                config.log.level = self.options.log_level.unwrap_or(Level::Error);
                logs::start(config.log);
                block_on(probe(config, &target, exporter.as_deref()))
            }
            Act::Redial { target } => block_on(redial(config, &target)),
            Act::Check => {
                let file = file.map_or_else(|| "no configuration file".into(), |file| file.display().to_string());
                println!("{file}: OK, targets: {}", config.targets.len());
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

async fn run(config: BridgeConfig) -> Result<ExitCode, Failure> {
    let shutdown = lifecycle::shutdown_on_signals()?;
    let bridge = Bridge::start(config, shutdown).await?;
    lifecycle::notify_ready();
    bridge.run().await;
    Ok(ExitCode::SUCCESS)
}

fn block_on(work: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::of)?;
    let result = runtime.block_on(work);
    // Arti has threads that wait for nothing worth waiting for.
    runtime.shutdown_background();
    result
}
