//! The command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use onionscrape::files::StateDirectory;
use onionscrape::lifecycle::{self, Failure};
use onionscrape::logs::{self, Format, Level};

use crate::agent::Agent;
use crate::config::{AgentConfig, FrontConfig};
use crate::identity::Identity;
use crate::{onion, ssh};

/// Publishes this device's Prometheus exporters as an onion service that speaks SSH only
#[derive(Debug, Parser)]
#[command(name = "target-agent", version)]
pub struct Command {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    act: Option<Act>,
}

#[derive(Debug, Args)]
struct Options {
    /// Configuration file; without one, node_exporter at 127.0.0.1:9100 is published
    #[arg(long = "config.file", global = true, value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// Folder for keys and Tor's state [default: onionscrape/agent in the XDG state directory]
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
    /// Run the agent (the default)
    Run,
    /// Print the onion address, without a network and whether or not the agent runs
    Hostname {
        /// Print the address and the SSH host key as JSON
        #[arg(long)]
        json: bool,
    },
    /// Check the configuration and report every mistake in it
    Check,
}

impl Command {
    /// Runs the command; mistakes and failures are on standard error when it returns.
    pub fn run(self) -> ExitCode {
        lifecycle::exit_code("target-agent", self.try_run())
    }

    fn try_run(self) -> Result<ExitCode, Failure> {
        let file = self.options.config_file;
        let mut config = AgentConfig::read(file.as_deref(), self.options.state_dir)?;
        config.log.level = self.options.log_level.unwrap_or(config.log.level);
        config.log.format = self.options.log_format.unwrap_or(config.log.format);
        match self.act.unwrap_or(Act::Run) {
            Act::Run => {
                logs::start(config.log);
                block_on(run(config))
            }
            Act::Hostname { json } => hostname(&config, json),
            Act::Check => check(&config, file.as_deref()),
        }
    }
}

fn hostname(config: &AgentConfig, json: bool) -> Result<ExitCode, Failure> {
    let _state = StateDirectory::share(&config.state_directory)?;
    if json {
        println!("{}", Identity::open_or_make(config)?.json(&config.front));
    } else {
        println!("{}", onion::address(&config.tor)?.unredacted());
    }
    Ok(ExitCode::SUCCESS)
}

fn check(config: &AgentConfig, file: Option<&Path>) -> Result<ExitCode, Failure> {
    if let FrontConfig::Ssh(settings) = &config.front {
        let problems = ssh::problems_in(&settings.authorized_keys);
        if !problems.is_empty() {
            return Err(Failure(problems.join("\n")));
        }
    }
    match file {
        Some(file) => println!("{}: OK", file.display()),
        None => println!("no configuration file: OK"),
    }
    Ok(ExitCode::SUCCESS)
}

async fn run(config: AgentConfig) -> Result<ExitCode, Failure> {
    let shutdown = lifecycle::shutdown_on_signals()?;
    let agent = Box::pin(Agent::start(config, shutdown)).await?;
    agent.run().await;
    Ok(ExitCode::SUCCESS)
}

fn block_on(work: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::of)?;
    let result = runtime.block_on(work);
    // Arti has threads that wait for nothing worth waiting for.
    runtime.shutdown_background();
    result
}
