//! `doctor`: every hop to a target in its order, until one that does not work, and what to do about
//! it.
//!
//! In reading order:
//! - this module: the command, with a running bridge or without;
//! - [`walk`][]: one target, hop by hop;
//! - [`shown`][]: what people see of it.

mod shown;
mod walk;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use futures::{StreamExt as _, stream};
use hyper::{Method, StatusCode};
use onionscrape::doctor::{Finding, Findings, examine_network, findings_of};
use onionscrape::files::StateDirectory;
use onionscrape::lifecycle::Failure;
use onionscrape::tor::TorOnDemand;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use crate::bridge::control_socket;
use crate::config::{BridgeConfig, ScrapeLimits, Source};
use crate::fleet::{Secrets, reach};
use crate::probe::ask;
use crate::reverse::Expected;
use crate::target::Turns;
use shown::Shown;
pub use walk::Patient;

/// Targets that are looked at at the same time; each dial builds several circuits.
const AT_ONCE: usize = 4;
/// The exit code for a command line that cannot be meant, as clap has it.
const USAGE: u8 = 2;

/// What `doctor` is told.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Look at this target only
    target: Option<String>,
    /// Print everything that was found as one JSON object, at the end
    #[arg(long)]
    json: bool,
}

impl Doctor {
    /// Looks at every hop and prints what it finds. The exit code is 1 if a hop does not work, and 2 if
    /// there is no such target.
    ///
    /// # Errors
    /// When a running bridge breaks off.
    pub async fn run(self, source: &Source) -> Result<ExitCode, Failure> {
        let config = source.read().and_then(|config| config.web().map(|_| config));
        let config = match config {
            Ok(config) => config,
            Err(mistakes) => {
                let mut shown = Shown::new(self.json, true);
                let remedy = "mend the file; scraper-bridge check says when it is right";
                shown.add(Finding::failed("configuration", mistakes.to_string(), remedy));
                return Ok(shown.end());
            }
        };
        if let Some(wanted) = &self.target
            && !config.targets.iter().any(|target| target.name.as_str() == wanted)
        {
            let known: Vec<_> = config.targets.iter().map(|target| target.name.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            eprintln!("scraper-bridge: no target is named {wanted:?}; configured are: {known}");
            return Ok(ExitCode::from(USAGE));
        }
        let mut shown = Shown::new(self.json, self.target.is_some() || config.targets.len() == 1);
        shown.add(of_configuration(&config));
        match UnixStream::connect(control_socket(&config)).await {
            Ok(stream) => self.ask_running(stream, &mut shown).await?,
            Err(_) => self.examine_alone(config, &mut shown).await?,
        }
        Ok(shown.end())
    }

    /// Has the running bridge look: it alone can use its Tor client, and knows its sessions.
    async fn ask_running(&self, stream: UnixStream, shown: &mut Shown) -> Result<(), Failure> {
        let path = self.target.as_ref().map_or_else(|| "/doctor".into(), |name| format!("/doctor/{name}"));
        let response = ask(stream, Method::POST, path).await?;
        let found = "one is running, and looks for itself";
        match response.status() {
            StatusCode::OK => shown.add(Finding::passed("bridge", found)),
            StatusCode::NOT_FOUND => {
                let found = "the one that is running does not have this target, or is of an older release";
                let remedy = "see its log for why it did not read the configuration again, or restart it";
                shown.add(Finding::failed("bridge", found, remedy));
                return Ok(());
            }
            _ => {
                return Err(Failure("the running bridge has another doctor at work; try again later".into()));
            }
        }
        findings_of(response.into_body(), |finding| shown.add(finding)).await
    }

    /// Looks without a bridge, with a Tor client of its own; nothing listens for Prometheus meanwhile.
    async fn examine_alone(&self, mut config: BridgeConfig, shown: &mut Shown) -> Result<(), Failure> {
        if let Some(wanted) = &self.target {
            config.targets.retain(|target| target.name.as_str() == wanted);
        }
        shown.add(Finding::skipped("bridge", "none is running on this state directory"));
        let shutdown = CancellationToken::new();
        let _stop = shutdown.clone().drop_guard();
        let started = match StateDirectory::hold(&config.state_directory) {
            Ok(state) => Ok((state, TorOnDemand::new(config.tor.clone(), shutdown))),
            Err(error) => {
                let remedy = "mend the folder, or name another with --state-dir";
                Err(Finding::failed("state directory", error.to_string(), remedy))
            }
        };
        let (_state, tor) = match started {
            Ok(started) => started,
            Err(finding) => {
                shown.add(finding);
                return Ok(());
            }
        };
        let (turns, folder) = (Arc::new(Turns::new(AT_ONCE)), config.state_directory);
        // Whoever comes by itself comes to a running bridge.
        let expected = Expected::default();
        let mut patients = Vec::new();
        for target in config.targets {
            let reach = match Secrets::read(&target, &folder) {
                Ok(secrets) => reach(&target, secrets, &tor, &expected, &folder, &turns).await,
                Err(failure) => Err(failure),
            };
            patients.push(Patient { config: target, reach, kept: None });
        }
        let limits = config.scrape;
        let findings = Findings::from(|findings| async move {
            examine(&tor, patients, limits, &findings).await;
        });
        findings.drain(|finding| shown.add(finding)).await
    }
}

/// Looks at the hops that all share, then at each target, and tells what it finds.
pub async fn examine(tor: &TorOnDemand, patients: Vec<Patient>, limits: ScrapeLimits, findings: &Findings) {
    let wanted = patients.is_empty() || patients.iter().any(Patient::needs_tor);
    let works = match wanted {
        false => false,
        true => match tor.get().await {
            Ok(tor) => examine_network(&tor, findings).await,
            Err(error) => {
                let remedy = "mend what the line above names";
                findings.tell(Finding::failed("tor", error.to_string(), remedy)).await;
                false
            }
        },
    };
    let within_reach = patients.into_iter().filter(|patient| works || !patient.needs_tor());
    let walks = stream::iter(within_reach)
        .for_each_concurrent(AT_ONCE, |patient| async move { patient.walk(limits, findings).await });
    walks.await;
}

fn of_configuration(config: &BridgeConfig) -> Finding {
    let file = config.source.file.as_ref();
    let file = file.map_or_else(|| "no file".to_owned(), |file| file.display().to_string());
    let found = format!("{file}, targets: {}", config.targets.len());
    if config.targets.is_empty() {
        return Finding::warning("configuration", found, "add a device: scraper-bridge add");
    }
    let trusting = config.targets.iter().filter(|target| target.transport.is_on_first_use());
    let trusting: Vec<_> = trusting.map(|target| target.name.as_str()).collect();
    if trusting.is_empty() {
        return Finding::passed("configuration", found);
    }
    let found = format!("{found}; trust_on_first_use: {}", trusting.join(", "));
    Finding::warning("configuration", found, "put host_key in its place: whoever answers first is believed")
}
