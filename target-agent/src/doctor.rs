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
use onionscrape::tor::Tor;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use crate::access::Guests;
use crate::config::AgentConfig;
use crate::control::socket;
use crate::identity::Identity;
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
                if shown.add(of_state(&config)) {
                    look(config, &mut shown).await?;
                }
            }
            Err(Failure(mistakes)) => {
                let remedy = "mend the file; target-agent check says when it is right";
                shown.add(Finding::failed("configuration", mistakes, remedy));
            }
        }
        if self.json {
            println!("{}", shown.report.json());
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
            println!("{}", self.marks.shown(&finding));
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
        shown.add(Finding::passed("agent", "one is running, and looks for itself"));
        return findings_of(response.into_body(), |finding| {
            shown.add(finding);
        })
        .await;
    }
    let _state = match StateDirectory::hold(&config.state_directory) {
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
    let tor = match Box::pin(Tor::start(&config.tor, shutdown)).await {
        Ok(tor) => tor,
        Err(error) => {
            shown.add(Finding::failed("tor", error.to_string(), "mend what this names"));
            return Ok(());
        }
    };
    let mut findings = Findings::from(|findings| async move {
        let guests = Guests::read(&config.sources, &Guests::default());
        examine(&tor, None, &config, &guests, &findings).await;
    });
    while let Some(finding) = findings.recv().await {
        shown.add(finding);
    }
    Ok(())
}

/// Looks at the way from the clock to a bridge's view of the device, up to the first hop that does not
/// work; then at who may come in, and at each exporter.
pub async fn examine(
    tor: &Tor,
    agent: Option<Agent>,
    config: &AgentConfig,
    guests: &Guests,
    findings: &Findings,
) {
    if examine_network(tor, findings).await
        && let Some(agent) = agent
    {
        agent.look_from_outside(tor, &config.front, findings).await;
    }
    findings.tell(hops::of_guests(guests, &config.front)).await;
    for exporter in &config.exporters {
        findings.tell(hops::of_exporter(exporter).await).await;
    }
}

/// The state directory and the keys in it, which are made if there are none yet.
fn of_state(config: &AgentConfig) -> Finding {
    let looked = StateDirectory::share(&config.state_directory)
        .map_err(Failure::from)
        .and_then(|_| Identity::open_or_make(config));
    match looked {
        Ok(_) => {
            let found = format!(
                "{}: both keys can be used, and nobody else can read them",
                config.state_directory.display()
            );
            Finding::passed("state directory", found)
        }
        Err(Failure(why)) => Finding::failed("state directory", why, remedy::OF_STATE),
    }
}
