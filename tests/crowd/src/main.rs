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
use target_agent::onion::{self, ServiceName};

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
    // All keys are made before any service runs: arti lists its key store while it opens one, and fails if a
    // file of another service goes meanwhile.
    let names = std::iter::successors(Some(ServiceName::first()), |name| Some(name.next()));
    let mut services = Vec::new();
    for name in names.take(if options.onion { options.count as usize } else { 0 }) {
        services.push((name, onion::address(&config.tor, name)?));
    }
    let tor = match options.onion {
        true => Some(Box::pin(Tor::start(&config.tor, shutdown.clone())).await?),
        false => None,
    };
    let mut services = services.into_iter();
    for number in 1..=options.count {
        let kind = match (&tor, services.next()) {
            (Some(tor), Some((name, address))) => Kind::Onion(tor.clone(), name, address),
            _ => Kind::Tcp,
        };
        let (address, fingerprint) =
            device::start(number, &config, settings.clone(), kind, shutdown.clone()).await?;
        println!("device {address} {fingerprint}");
    }
    println!("ready");
    shutdown.cancelled().await;
    match tor {
        Some(tor) => Ok(tor.stop().await?),
        None => Ok(()),
    }
}
