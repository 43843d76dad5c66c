//! `doctor`: what a bridge would find, hop by hop, from this device's clock to its exporters, and what
//! to do about what does not work.
//!
//! In reading order:
//! - this module: the command, with a running agent or without;
//! - [`hops`][]: each hop;
//! - [`remedy`][]: what a person can do.

mod hops;
pub mod remedy;

use std::process::ExitCode;

use clap::Args;
use hyper::{Method, StatusCode};
use onionscrape::doctor::{Finding, Findings, Marks, Report, examine_network, findings_of};
use onionscrape::files::StateDirectory;
use onionscrape::http::ask;
use onionscrape::lifecycle::Failure;
use onionscrape::outln;
use onionscrape::ssh::KeyFile;
use onionscrape::tor::Tor;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use crate::access::Guests;
use crate::config::{AgentConfig, ExporterConfig, FrontConfig};
use crate::control::socket;
use crate::exporter::Exporter;
use crate::identity::{Identity, host_key_path};
use crate::metrics::Metrics;
use crate::onion::{self, ServiceName};
pub use hops::Agent;

/// What `doctor` is told.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Print everything that was found as one JSON object, at the end
    #[arg(long)]
    json: bool,
}

impl Doctor {
    /// Looks at every hop and prints what it finds. The exit code is 1 if a hop does not work.
    ///
    /// Without a running agent it goes as far as Tor and looks at the exporters. It publishes nothing
    /// then: bridges would come, and lose the device again a moment later.
    ///
    /// # Errors
    /// When a running agent breaks off.
    pub async fn run(self, config: Result<AgentConfig, Failure>, file: &str) -> Result<ExitCode, Failure> {
        let mut shown = Shown { report: Report::default(), marks: Marks::of_stdout(), json: self.json };
        match config {
            Ok(config) => {
                shown.add(Finding::passed("configuration", file));
                look(config, &mut shown).await?;
            }
            Err(Failure(mistakes)) => {
                let remedy = "mend the file; target-agent check says when it is right";
                shown.add(Finding::failed("configuration", mistakes, remedy));
            }
        }
        if self.json {
            outln!("{}", shown.report.json());
        }
        Ok(shown.report.exit_code())
    }
}

struct Shown {
    report: Report,
    marks: Marks,
    json: bool,
}

impl Shown {
    /// Takes one in, and shows it. True if the next hop is worth a look.
    fn add(&mut self, finding: Finding) -> bool {
        if !self.json {
            outln!("{}", self.marks.shown(&finding));
        }
        let goes_on = !finding.is_failed();
        self.report.findings.push(finding);
        goes_on
    }
}

/// Has the running agent look, since it alone can use its Tor client; or looks as far as one can
/// without it.
async fn look(config: AgentConfig, shown: &mut Shown) -> Result<(), Failure> {
    if let Ok(stream) = UnixStream::connect(socket(&config.state_directory)).await {
        let response = ask(stream, Method::POST, "/doctor").await?;
        if response.status() != StatusCode::OK {
            return Err(Failure("the running agent has another doctor at work; try again later".into()));
        }
        let state = format!("{}: the running agent has it", config.state_directory.display());
        shown.add(Finding::passed("state directory", state));
        shown.add(Finding::passed("agent", "one is running, and looks for itself"));
        return findings_of(response.into_body(), |finding| {
            shown.add(finding);
        })
        .await;
    }
    if !shown.add(of_state(&config)) {
        return Ok(());
    }
    let folder = &config.state_directory;
    let is_there = StateDirectory::is_there(folder)?;
    let _state = match is_there.then(|| StateDirectory::hold(folder)).transpose() {
        Ok(state) => state,
        Err(error) => {
            // It runs, and its socket is not there, or belongs to somebody else.
            shown.add(Finding::failed("agent", error.to_string(), remedy::OF_DEAF));
            return Ok(());
        }
    };
    shown.add(Finding::failed("agent", "none is running on this state directory", remedy::OF_NO_AGENT));
    let shutdown = CancellationToken::new();
    let _stop = shutdown.clone().drop_guard();
    let mut settings = config.tor.clone();
    // The folder is the agent's to make, who may be another user.
    let elsewhere = if is_there { None } else { Some(tempfile::tempdir().map_err(Failure::of)?) };
    if let Some(elsewhere) = &elsewhere {
        settings.state = elsewhere.path().join("tor");
        settings.cache = elsewhere.path().join("cache");
    }
    let tor = match Box::pin(Tor::start(&settings, shutdown)).await {
        Ok(tor) => tor,
        Err(error) => {
            shown.add(Finding::failed("tor", error.to_string(), "mend what this names"));
            return Ok(());
        }
    };
    let findings = Findings::from(|findings| async move {
        let guests = Guests::read(&config.sources, &Guests::default());
        let metrics = Metrics::new();
        let made = |exporter: &ExporterConfig| Exporter::new(exporter.clone(), &metrics);
        let exporters: Vec<_> = config.exporters.iter().map(made).collect();
        examine(&tor, None, &config.front, &guests, &exporters, &findings).await;
    });
    findings
        .drain(|finding| {
            shown.add(finding);
        })
        .await
}

/// Looks at the way from the clock to a bridge's view of the device, up to the first hop that does not
/// work; then at who may come in, and at each exporter.
pub async fn examine(
    tor: &Tor,
    agent: Option<Agent>,
    front: &FrontConfig,
    guests: &Guests,
    exporters: &[Exporter],
    findings: &Findings,
) {
    if examine_network(tor, findings).await
        && let Some(agent) = agent
    {
        agent.look_from_outside(tor, front, findings).await;
    }
    findings.tell(hops::of_guests(guests, front)).await;
    for exporter in exporters {
        findings.tell(hops::of_exporter(exporter).await).await;
    }
}

/// The state directory and the keys in it. Nothing is made: whoever looks may be another user than the
/// agent's, and what root makes an agent cannot read.
fn of_state(config: &AgentConfig) -> Finding {
    const HOP: &str = "state directory";
    let folder = config.state_directory.display();
    if let Some(owner) = StateDirectory::other_owner(&config.state_directory) {
        let remedy = format!("run this as that user (uid {owner})");
        return Finding::failed(HOP, format!("{folder}: belongs to another user"), remedy);
    }
    match StateDirectory::is_there(&config.state_directory).map_err(Failure::from) {
        Ok(false) => Finding::skipped(HOP, format!("{folder}: not made yet; the agent makes it")),
        looked => match looked.and_then(|_| keys_not_made(config)) {
            Ok(missing) if missing.is_empty() => {
                let found = format!("{folder}: both keys can be used, and nobody else can read them");
                Finding::passed(HOP, found)
            }
            Ok(missing) => {
                let found = format!("{folder}: not made yet: {}; the agent does that", missing.join(", "));
                Finding::skipped(HOP, found)
            }
            Err(Failure(why)) => Finding::failed(HOP, why, remedy::OF_STATE),
        },
    }
}

/// Which keys are not there yet; those that are can be used.
fn keys_not_made(config: &AgentConfig) -> Result<Vec<&'static str>, Failure> {
    let host_key = host_key_path(&config.state_directory);
    let is_there = host_key.symlink_metadata().is_ok();
    let service = ServiceName::current(config)?;
    let onion_is_there = onion::key_path(&config.tor, service).symlink_metadata().is_ok();
    if is_there && onion_is_there {
        Identity::open_or_make(config)?;
    } else if is_there {
        KeyFile::open(&host_key)?;
    } else if onion_is_there {
        onion::address(&config.tor, service)?;
    }
    let missing = [(!is_there).then_some("the host key"), (!onion_is_there).then_some("the onion key")];
    Ok(missing.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use onionscrape::doctor::Outcome;

    use super::*;

    #[test]
    fn what_is_not_made_yet_is_not_made_by_looking() {
        let folder = tempfile::tempdir().expect("folder");
        let state = folder.path().join("state");
        let config = AgentConfig::read(None, Some(state.clone())).expect("defaults");
        let finding = of_state(&config);
        assert_eq!(finding.outcome, Outcome::Skipped, "{}", finding.found);
        assert!(!state.exists());
        drop(StateDirectory::share(&state).expect("made"));
        let finding = of_state(&config);
        assert_eq!(finding.outcome, Outcome::Skipped, "{}", finding.found);
        assert!(finding.found.contains("not made yet: the host key, the onion key"), "{}", finding.found);
        let made: Vec<_> =
            std::fs::read_dir(&state).expect("there").flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(made, ["version"]);
        Identity::open_or_make(&config).expect("made");
        assert_eq!(of_state(&config).outcome, Outcome::Passed);
    }
}
