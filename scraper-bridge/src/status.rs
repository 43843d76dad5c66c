//! `status`: a table of the targets of a running bridge.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use http_body_util::BodyExt as _;
use hyper::Method;
use onionscrape::lifecycle::Failure;
use onionscrape::outln;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::bridge::control_socket;
use crate::config::BridgeConfig;
use crate::overview::{Overview, TargetOverview};
use crate::probe::ask;

/// How long a running bridge may take to say that it is well.
const LIMIT: Duration = Duration::from_secs(10);
/// Pause between two looks.
const WATCH: Duration = Duration::from_secs(2);

/// What `status` is told.
#[derive(Debug, Args)]
pub struct Status {
    /// Print what the bridge says as JSON
    #[arg(long)]
    json: bool,
    /// Look again every 2 s, until interrupted
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    /// Print nothing; exit with 0 if the bridge runs and answers, whatever its targets are
    #[arg(long, conflicts_with_all = ["json", "watch"])]
    healthy: bool,
}

impl Status {
    /// Prints how the targets are. The exit code is 1 if one of them has no session.
    ///
    /// # Errors
    /// When no bridge runs on this state directory, or it does not answer.
    pub async fn run(self, config: BridgeConfig) -> Result<ExitCode, Failure> {
        if self.healthy {
            // One that hangs must not hang who looks.
            let answer = timeout(LIMIT, fetch(&config, false)).await;
            answer.map_err(|_| Failure("the running bridge does not answer".into()))??;
            return Ok(ExitCode::SUCCESS);
        }
        loop {
            let text = fetch(&config, self.json).await?;
            let overview: Overview = serde_json::from_str(&text).map_err(Failure::of)?;
            if self.json {
                outln!("{text}");
            } else {
                if self.watch && std::io::stdout().is_terminal() {
                    // Home, and clear what was below (ECMA-48, CUP and ED).
                    onionscrape::output::write(b"\x1b[H\x1b[J");
                }
                print(&overview);
            }
            if !self.watch {
                return Ok(if overview.is_all_up() { ExitCode::SUCCESS } else { ExitCode::from(1) });
            }
            tokio::time::sleep(WATCH).await;
        }
    }
}

/// The last scrapes are many, and no table shows them.
async fn fetch(config: &BridgeConfig, scrapes: bool) -> Result<String, Failure> {
    let stream = UnixStream::connect(control_socket(config))
        .await
        .map_err(|_| Failure(format!("no bridge is running on {}", config.state_directory.display())))?;
    let response = ask(stream, Method::GET, format!("/api/v1/targets?scrapes={scrapes}")).await?;
    let body = response.into_body().collect().await.map_err(Failure::of)?.to_bytes();
    Ok(String::from_utf8_lossy(&body).into_owned())
}

fn print(overview: &Overview) {
    if overview.targets.is_empty() {
        return outln!("no target is configured; run: scraper-bridge add");
    }
    let mut table = Table::new();
    table.load_style(NOTHING).set_header([
        "TARGET",
        "STATE",
        "SINCE",
        "LAST GOOD",
        "P50",
        "P95",
        "EXPORTERS",
    ]);
    for target in &overview.targets {
        table.add_row([
            target.name.clone(),
            target.state.clone(),
            ago(Some(&target.since)),
            ago(target.last_good_scrape.as_deref()),
            seconds(target.latency_p50_seconds),
            seconds(target.latency_p95_seconds),
            exporters(target),
        ]);
    }
    for line in table.lines() {
        outln!("{}", line.trim());
    }
    for target in &overview.targets {
        explain(target);
    }
}

/// What is wrong with it, in words, and what to do about it.
fn explain(target: &TargetOverview) {
    if let (Some(why), Some(remedy)) = (&target.why, &target.remedy) {
        let next =
            target.next_dial.as_deref().and_then(until).map(|pause| format!("; dialled again in {pause} s"));
        outln!("\n{}: {why}{}\n    {remedy}", target.name, next.unwrap_or_default());
    }
    for exporter in &target.exporters {
        if let (None, Some(failure)) = (&target.why, &exporter.failure) {
            outln!("\n{}: exporter {}: {failure}", target.name, exporter.name);
        }
    }
}

/// Each exporter and where it is offered.
fn exporters(target: &TargetOverview) -> String {
    let shown = target.exporters.iter().map(|exporter| {
        let place = exporter.listen.as_ref().unwrap_or(&exporter.path);
        format!("{} {place}", exporter.name)
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// How many seconds it is until a time, as RFC 3339 has it; nothing if it is past.
fn until(time: &str) -> Option<u64> {
    let time = humantime::parse_rfc3339(time).ok()?;
    time.duration_since(SystemTime::now()).ok().map(|pause| pause.as_secs())
}

/// How long ago a time was, as RFC 3339 has it.
fn ago(time: Option<&str>) -> String {
    let Some(time) = time.and_then(|time| humantime::parse_rfc3339(time).ok()) else {
        return "never".to_owned();
    };
    let since = SystemTime::now().duration_since(time).unwrap_or_default();
    format!("{} ago", humantime::format_duration(Duration::from_secs(since.as_secs())))
}

fn seconds(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{:.0} ms", seconds * 1000.0))
}
