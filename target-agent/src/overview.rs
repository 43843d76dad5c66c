//! How a running agent is, and `status`, which shows it.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use http_body_util::{BodyExt as _, Limited};
use hyper::Method;
use onionscrape::config::Moment;
use onionscrape::files::StateDirectory;
use onionscrape::http::ask;
use onionscrape::lifecycle::Failure;
use onionscrape::outln;
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::bridges::{self, Row};
use crate::config::AgentConfig;
use crate::control::{Parts, socket};
use crate::doctor::remedy;
use crate::rotation::{Part, Rotation};
use crate::status::AgentStatus;

/// How long a running agent may take to say how it is.
const LIMIT: Duration = Duration::from_secs(10);
/// Largest answer of one, in bytes: it may have a thousand bridges.
const MAX_ANSWER: usize = 4 << 20;

/// How an agent is. It names no onion address.
#[derive(Debug, Serialize, Deserialize)]
pub struct Overview {
    /// The agent's release.
    pub version: String,
    /// `bootstrapping`, `publishing`, `reachable` or `in_trouble`.
    pub state: String,
    /// Since when, as RFC 3339 has it.
    pub since: String,
    /// Why it is in trouble, if it is.
    pub why: Option<String>,
    /// What to do about it.
    pub remedy: Option<String>,
    /// How far Tor is, in words.
    pub tor: String,
    /// The same, from 0 to 1.
    pub tor_ratio: f32,
    /// How far the clock is off, if Tor's relays say that it is, or that it is plainly wrong.
    pub clock: Option<String>,
    /// SSH sessions that are logged in.
    pub sessions: i64,
    /// Who may come in.
    pub bridges: Vec<Row>,
    /// What can be scraped.
    pub exporters: Vec<ExporterOverview>,
    /// What of the device's identity is being changed.
    pub rotations: Vec<RotationOverview>,
}

/// One exporter.
#[derive(Debug, Serialize, Deserialize)]
pub struct ExporterOverview {
    /// Its name.
    pub name: String,
    /// When it was asked last by that name, as RFC 3339 has it.
    pub last_scrape: Option<String>,
    /// How long it took to begin its answer, in seconds.
    pub seconds: Option<f64>,
    /// Why that was no good answer, if so.
    pub failure: Option<String>,
}

/// One part of the device's identity that is being changed.
#[derive(Debug, Serialize, Deserialize)]
pub struct RotationOverview {
    /// Which part.
    pub part: String,
    /// When the new one counts in any case, as RFC 3339 has it.
    pub until: String,
    /// Who has not got it yet.
    pub waits_for: Vec<String>,
}

impl Overview {
    /// As it is now. It looks at files.
    pub fn of(parts: &Parts, since: SystemTime) -> Self {
        let (status, bootstrap) = (parts.status.borrow().clone(), parts.tor.bootstrap().borrow().clone());
        let guests = parts.access.now();
        let time = |time: SystemTime| Moment(time).to_string();
        let why = match &status {
            AgentStatus::InTrouble { because } => Some((*because).to_owned()),
            _ => None,
        };
        let exporters = parts.exporters.now();
        let exporters = exporters.iter().map(|exporter| {
            let last = exporter.last();
            ExporterOverview {
                name: exporter.config().name.to_string(),
                last_scrape: last.as_ref().map(|last| time(last.at)),
                seconds: last.as_ref().map(|last| last.took.as_secs_f64()),
                failure: last.and_then(|last| last.failure),
            }
        });
        let rotation = |part: Part| {
            let rotation = Rotation::read(&parts.config.state_directory, part).ok().flatten()?;
            let waits_for = rotation.waits_for(&guests, SystemTime::now());
            Some(RotationOverview { part: part.label().to_owned(), until: time(rotation.until), waits_for })
        };
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            state: status.label().to_owned(),
            since: time(since),
            remedy: why.is_some().then(|| remedy::OF_TROUBLE.to_owned()),
            why,
            tor: bootstrap.to_string(),
            tor_ratio: bootstrap.ratio(),
            clock: match parts.tor.clock_skew() {
                Some(skew) => Some(skew.to_string()),
                None => bootstrap.is_blocked_by("clock_skewed").then(|| "wrong".to_owned()),
            },
            sessions: parts.metrics.sessions(),
            bridges: bridges::rows(&guests, &parts.config.sources),
            exporters: exporters.collect(),
            rotations: Part::ALL.into_iter().filter_map(rotation).collect(),
        }
    }

    /// True if bridges can reach the device.
    pub fn is_reachable(&self) -> bool {
        self.state == "reachable"
    }
}

/// What `status` is told.
#[derive(Debug, Args)]
pub struct Status {
    /// Print what the agent says as JSON
    #[arg(long)]
    json: bool,
    /// Print nothing; exit with 0 if the agent runs and answers, whether bridges can reach it or not
    #[arg(long, conflicts_with = "json")]
    healthy: bool,
}

impl Status {
    /// Prints how the running agent is. The exit code is 1 if bridges cannot reach it.
    ///
    /// # Errors
    /// When no agent runs on this state directory.
    pub async fn run(self, config: &AgentConfig) -> Result<ExitCode, Failure> {
        let stream = UnixStream::connect(socket(&config.state_directory)).await;
        let stream = stream.map_err(|error| out_of_reach(&config.state_directory, &error))?;
        let asking = async {
            let response = ask(stream, Method::GET, "/status").await?;
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            body.map(|body| body.to_bytes()).map_err(Failure::of)
        };
        let late = || Failure("the running agent does not answer".into());
        let text = timeout(LIMIT, asking).await.map_err(|_| late())??;
        let overview: Overview = serde_json::from_slice(&text).map_err(|_| {
            Failure("the running agent answers in another way; restart it after an upgrade".into())
        })?;
        if self.healthy {
            return Ok(ExitCode::SUCCESS);
        }
        if self.json {
            outln!("{}", String::from_utf8_lossy(&text));
        } else {
            print(&overview);
        }
        Ok(if overview.is_reachable() { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }
}

/// Why the agent on this state directory cannot be asked.
fn out_of_reach(state_directory: &Path, error: &io::Error) -> Failure {
    let shown = state_directory.display();
    Failure(if error.kind() == io::ErrorKind::PermissionDenied {
        format!("this user may not ask the agent on {shown}; run this as the user that the agent runs as")
    } else if !StateDirectory::is_free(state_directory) {
        format!("an agent runs on {shown}, but has no control socket; see its log")
    } else {
        format!("no agent is running on {shown}")
    })
}

fn print(overview: &Overview) {
    let mut facts = vec![
        ("state", format!("{} for {}", overview.state, ago(Some(&overview.since)).trim_end_matches(" ago"))),
        ("tor", overview.tor.clone()),
        ("sessions", overview.sessions.to_string()),
    ];
    if let Some(clock) = &overview.clock {
        facts.push(("clock", format!("{clock}; set it")));
    }
    for rotation in &overview.rotations {
        let waits =
            if rotation.waits_for.is_empty() { "nobody".into() } else { rotation.waits_for.join(", ") };
        facts.push(("rotation", format!("{}, until {}; waits for: {waits}", rotation.part, rotation.until)));
    }
    for (name, fact) in facts {
        outln!("{name:<9} {fact}");
    }
    if let (Some(why), Some(remedy)) = (&overview.why, &overview.remedy) {
        outln!("\n{why}\n    {remedy}");
    }
    outln!();
    if overview.bridges.is_empty() {
        outln!("nobody may come in; run: target-agent ticket");
    } else {
        let rows = overview.bridges.iter().map(|row| {
            [row.name.clone(), row.standing.clone(), ago(row.last_seen.as_deref()), row.exporters.clone()]
        });
        table(["BRIDGE", "STANDING", "LAST HERE", "EXPORTERS"], rows);
    }
    outln!();
    if overview.exporters.is_empty() {
        return outln!("no exporter can be scraped by name");
    }
    let rows = overview.exporters.iter().map(|exporter| {
        let took =
            exporter.seconds.map_or_else(|| "-".into(), |seconds| format!("{:.0} ms", seconds * 1000.0));
        let how = match (&exporter.failure, &exporter.last_scrape) {
            (Some(failure), _) => failure.clone(),
            (None, Some(_)) => "good".to_owned(),
            (None, None) => "-".to_owned(),
        };
        [exporter.name.clone(), ago(exporter.last_scrape.as_deref()), took, how]
    });
    table(["EXPORTER", "LAST SCRAPE", "TIME", "HOW"], rows);
}

fn table(header: [&str; 4], rows: impl Iterator<Item = [String; 4]>) {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header).add_rows(rows);
    for line in table.lines() {
        outln!("{}", line.trim());
    }
}

/// How long ago a time was, as RFC 3339 has it.
fn ago(time: Option<&str>) -> String {
    let Some(time) = time.and_then(|time| humantime::parse_rfc3339(time).ok()) else {
        return "never".to_owned();
    };
    let since = SystemTime::now().duration_since(time).unwrap_or_default();
    format!("{} ago", humantime::format_duration(Duration::from_secs(since.as_secs())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_cannot_be_asked_is_not_always_nobody() {
        let folder = tempfile::tempdir().expect("folder");
        let state = folder.path().join("state");
        let said = |kind: io::ErrorKind| out_of_reach(&state, &kind.into()).0;
        assert!(said(io::ErrorKind::NotFound).starts_with("no agent is running on "));
        assert!(said(io::ErrorKind::PermissionDenied).ends_with("as the user that the agent runs as"));
        let _held = StateDirectory::hold(&state).expect("held");
        assert!(said(io::ErrorKind::NotFound).ends_with("no control socket; see its log"));
    }
}
