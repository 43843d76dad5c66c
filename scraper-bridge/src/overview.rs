//! How the targets are, for `status`, the page at `/` and `/api/v1/targets`; docs/api.md describes it.

use std::time::{Duration, SystemTime};

use onionscrape::config::Moment;
use onionscrape::tor::Bootstrap;
use serde::{Deserialize, Serialize};

use crate::fleet::{Fleet, Offered};
use crate::history::{Bucket, Failed, Scrape};
use crate::hops::Hop;
use crate::offer::Listening;
use crate::reload::Refused;
use crate::remedy;
use crate::surface::{path, proxy};
use crate::target::{State, Trouble};

/// The bridge and its targets.
#[derive(Debug, Serialize, Deserialize)]
pub struct Overview {
    /// The program itself.
    pub bridge: BridgeOverview,
    /// One for each target that was asked for, in the order of the configuration.
    pub targets: Vec<TargetOverview>,
}

/// The program itself.
#[derive(Debug, Serialize, Deserialize)]
pub struct BridgeOverview {
    /// Its release.
    pub version: String,
    /// True once Tor can be used, or if nothing needs it.
    pub tor_ready: bool,
    /// How far Tor has come, in words, and what to do if it is stuck.
    pub tor: String,
    /// When the configuration was read again and refused, as RFC 3339 has it; what held before holds.
    pub config_refused_at: Option<String>,
    /// What is wrong with it.
    pub config_mistakes: Vec<String>,
}

/// One target.
#[derive(Debug, Serialize, Deserialize)]
pub struct TargetOverview {
    /// Its name.
    pub name: String,
    /// `up`, `suspect`, `connecting`, `waiting`, `refused` or `blocked`.
    pub state: String,
    /// True if scrapes can use a session.
    pub up: bool,
    /// Since when, as RFC 3339 has it.
    pub since: String,
    /// What is wrong, if something is.
    pub why: Option<String>,
    /// What to do about it.
    pub remedy: Option<String>,
    /// When it is dialled next, as RFC 3339 has it, while it waits for that.
    pub next_dial: Option<String>,
    /// True if a second session stands by, false if one is wanted and not there.
    pub standby: Option<bool>,
    /// When a scrape was good last, as RFC 3339 has it.
    pub last_good_scrape: Option<String>,
    /// How long good scrapes took of late: half of them no longer than this, in seconds.
    pub latency_p50_seconds: Option<f64>,
    /// 95 % of them no longer than this, in seconds.
    pub latency_p95_seconds: Option<f64>,
    /// In the order of the configuration.
    pub exporters: Vec<ExporterOverview>,
    /// The last six hours in parts of five minutes, the latest last; those without a scrape are left out.
    pub history: Vec<BucketOverview>,
}

/// One exporter.
#[derive(Debug, Serialize, Deserialize)]
pub struct ExporterOverview {
    /// Its name.
    pub name: String,
    /// The address of its own port, or `unix:` and the path of its own socket, if it has one.
    pub listen: Option<String>,
    /// Its path on the admin listener.
    pub path: String,
    /// What the forward proxy knows it by.
    pub proxy: String,
    /// Why the last scrape failed, if it did within the last six hours.
    pub failure: Option<String>,
    /// What to do about it, if the exporter is what is wrong.
    pub remedy: Option<String>,
    /// The last 24, the latest last.
    pub scrapes: Vec<ScrapeOverview>,
}

/// One scrape.
#[derive(Debug, Serialize, Deserialize)]
pub struct ScrapeOverview {
    /// When it ended, as RFC 3339 has it.
    pub at: String,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Each hop that it reached, in order, with its time in seconds; one that failed did so in the last.
    pub hops: Vec<(String, f64)>,
    /// Why it failed, if it did.
    pub failure: Option<String>,
}

/// The scrapes of five minutes.
#[derive(Debug, Serialize, Deserialize)]
pub struct BucketOverview {
    /// Its place: how many parts before the one that goes on, which is 0.
    pub parts_ago: usize,
    /// When the first of them ended, as RFC 3339 has it.
    pub began: String,
    /// All of them.
    pub scrapes: u32,
    /// Those that failed.
    pub failures: u32,
    /// How long the good ones took, in seconds: half of them no longer than this.
    pub p50_seconds: Option<f64>,
    /// None of them longer than this.
    pub max_seconds: Option<f64>,
}

/// Of what an overview is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// One target, or all.
    pub target: Option<&'a str>,
    /// Whether each of the last scrapes is to be told.
    pub scrapes: bool,
}

impl Wanted<'_> {
    /// All there is.
    pub const ALL: Self = Self { target: None, scrapes: true };
}

impl Overview {
    /// As they are now.
    pub fn of(fleet: &Fleet, tor: Option<&Bootstrap>, refused: Option<Refused>, wanted: Wanted<'_>) -> Self {
        let is_wanted = |offered: &&Offered| {
            wanted.target.is_none_or(|target| offered.target.config.name.as_str() == target)
        };
        let offered = fleet.offered();
        let mistakes = refused.as_ref().map(|refused| refused.mistakes.lines().map(str::to_owned).collect());
        Self {
            bridge: BridgeOverview {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                tor_ready: tor.is_none_or(Bootstrap::is_done),
                tor: tor.map_or_else(|| "Tor is not needed".to_owned(), ToString::to_string),
                config_refused_at: refused.as_ref().map(|refused| time(refused.at)),
                config_mistakes: mistakes.unwrap_or_default(),
            },
            targets: offered.iter().filter(is_wanted).map(|one| overview(one, wanted.scrapes)).collect(),
        }
    }

    /// True if every target has a session.
    pub fn is_all_up(&self) -> bool {
        self.targets.iter().all(|target| target.up)
    }
}

fn overview(Offered { target, listening }: &Offered, with_scrapes: bool) -> TargetOverview {
    let (label, up, next_dial, trouble) = {
        let state = target.state();
        let state = state.borrow();
        (state.label(), state.pool().is_some(), state.next_dial(), trouble(&state))
    };
    let (name, history) = (&target.config.name, &target.history);
    let exporters = target.config.exporters.iter().zip(listening).enumerate();
    let exporters = exporters.map(|(index, (exporter, place))| {
        let failed = history.failure(index);
        let scrapes = if with_scrapes { history.scrapes(index) } else { Vec::new() };
        ExporterOverview {
            name: exporter.name.to_string(),
            listen: (*place != Listening::Nowhere).then(|| place.to_string()),
            path: path::of(name, &exporter.name),
            proxy: proxy::host(name, &exporter.name),
            remedy: failed.as_ref().and_then(|failed| failed.remedy).map(str::to_owned),
            failure: failed.map(in_words),
            scrapes: scrapes.into_iter().map(scrape).collect(),
        }
    });
    TargetOverview {
        name: name.to_string(),
        state: label.to_owned(),
        up,
        since: time(target.since()),
        remedy: trouble.as_ref().map(|trouble| remedy::of_trouble(trouble, &target.config)),
        why: trouble.map(|trouble| trouble.what),
        next_dial: next_dial.map(time),
        standby: target.config.standby.then(|| target.has_standby()),
        last_good_scrape: history.last_good().map(time),
        latency_p50_seconds: history.quantile(0.5).map(seconds),
        latency_p95_seconds: history.quantile(0.95).map(seconds),
        exporters: exporters.collect(),
        history: history.buckets().iter().map(bucket).collect(),
    }
}

fn scrape(scrape: Scrape) -> ScrapeOverview {
    let hop = |(hop, took): (Hop, Duration)| (hop.label().to_owned(), seconds(took));
    ScrapeOverview {
        at: time(scrape.at),
        seconds: seconds(scrape.hops.total()),
        hops: scrape.hops.reached().map(hop).collect(),
        failure: scrape.failure.map(in_words),
    }
}

fn bucket((parts_ago, bucket): &(usize, Bucket)) -> BucketOverview {
    BucketOverview {
        parts_ago: *parts_ago,
        began: time(bucket.began),
        scrapes: bucket.scrapes,
        failures: bucket.failures,
        p50_seconds: bucket.median().map(seconds),
        max_seconds: bucket.longest().map(seconds),
    }
}

fn in_words(failed: Failed) -> String {
    failed.why.to_string()
}

fn time(time: SystemTime) -> String {
    Moment(time).to_string()
}

/// To the microsecond: more was not measured.
fn seconds(took: Duration) -> f64 {
    took.as_micros() as f64 / 1e6
}

/// What is wrong with the target.
fn trouble(state: &State) -> Option<Trouble> {
    match state {
        State::Up(_) | State::Suspect(_) | State::Dialling(None) => None,
        State::Dialling(Some(trouble)) | State::Waiting(trouble, _) | State::Refused(trouble, _) => {
            Some(trouble.clone())
        }
        State::Blocked(why) => Some(Trouble::of_bootstrap(why.clone())),
    }
}
