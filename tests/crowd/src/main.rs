//! Many agents in one process, as a program.
//!
//! Each has a host key, an SSH server and exporters of its own, as `target-agent` puts them together; by TCP
//! on a port of loopback, where no agent ever listens otherwise, or as an onion service. Those that are onion
//! services share one Tor client. For each device a line is printed, `device ADDRESS FINGERPRINT`, then
//! `ready`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use crowd::device::{self, Kind};
use onionscrape::lifecycle::{Failure, exit_code, shutdown_on_signals};
use onionscrape::tor::Tor;
use target_agent::config::{AgentConfig, FrontConfig};
use tokio_util::sync::CancellationToken;

/// Many agents in one process
#[derive(Parser)]
struct Options {
    /// An agent's configuration file, which holds for all of them
    #[arg(long = "config.file")]
    file: PathBuf,
    /// How many
    #[arg(long)]
    count: u32,
    /// As onion services, instead of by TCP
    #[arg(long)]
    onion: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    // As the agent has it: one thread.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(Box::pin(run(options))),
        Err(error) => Err(Failure::of(error)),
    };
    exit_code("crowd", ended.map(|()| ExitCode::SUCCESS))
}

async fn run(options: Options) -> Result<(), Failure> {
    let shutdown = shutdown_on_signals()?;
    let config = AgentConfig::read(Some(&options.file), None).map_err(Failure::of)?;
    let FrontConfig::Ssh(settings) = config.front.clone() else {
        return Err(Failure("forward makes no sense here".into()));
    };
    let tor = match options.onion {
        true => Some(Box::pin(Tor::start(&config.tor, shutdown.clone())).await?),
        false => None,
    };
    start(&options, &config, settings, tor.as_ref(), &shutdown).await?;
    println!("ready");
    shutdown.cancelled().await;
    match tor {
        Some(tor) => Ok(tor.stop().await?),
        None => Ok(()),
    }
}

async fn start(
    options: &Options,
    config: &AgentConfig,
    settings: target_agent::config::SshSettings,
    tor: Option<&Tor>,
    shutdown: &CancellationToken,
) -> Result<(), Failure> {
    let mut names =
        std::iter::successors(Some(target_agent::onion::ServiceName::first()), |name| Some(name.next()));
    for number in 1..=options.count {
        let kind = match (tor, names.next()) {
            (Some(tor), Some(name)) => Kind::Onion(tor.clone(), name),
            _ => Kind::Tcp,
        };
        let (address, fingerprint) =
            device::start(number, config, settings.clone(), kind, shutdown.clone()).await?;
        println!("device {address} {fingerprint}");
    }
    Ok(())
}
