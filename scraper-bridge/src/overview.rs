//! How the targets are, for `status` and `/api/v1/targets`.

use std::time::SystemTime;

use onionscrape::config::Moment;
use serde::{Deserialize, Serialize};

use crate::fleet::{Fleet, Offered};
use crate::remedy;
use crate::surface::{path, proxy};
use crate::target::{State, Trouble};

/// All targets, in the order of the configuration.
#[derive(Debug, Serialize, Deserialize)]
pub struct Overview {
    /// One for each.
    pub targets: Vec<TargetOverview>,
}

/// One target.
#[derive(Debug, Serialize, Deserialize)]
pub struct TargetOverview {
    /// Its name.
    pub name: String,
    /// `up`, `connecting`, `waiting`, `refused` or `blocked`.
    pub state: String,
    /// Since when, as RFC 3339 has it.
    pub since: String,
    /// What is wrong, if something is.
    pub why: Option<String>,
    /// What to do about it.
    pub remedy: Option<String>,
    /// When a scrape was good last, as RFC 3339 has it.
    pub last_good_scrape: Option<String>,
    /// How long good scrapes took of late: half of them no longer than this, in seconds.
    pub latency_p50_seconds: Option<f64>,
    /// 95 % of them no longer than this, in seconds.
    pub latency_p95_seconds: Option<f64>,
    /// In the order of the configuration.
    pub exporters: Vec<ExporterOverview>,
}

/// One exporter.
#[derive(Debug, Serialize, Deserialize)]
pub struct ExporterOverview {
    /// Its name.
    pub name: String,
    /// The local address of its own port.
    pub listen: String,
    /// Its path on the admin listener.
    pub path: String,
    /// What the forward proxy knows it by.
    pub proxy: String,
    /// Why the last scrape failed, if it did.
    pub failure: Option<String>,
}

impl Overview {
    /// As they are now.
    pub fn of(fleet: &Fleet) -> Self {
        Self { targets: fleet.offered().iter().map(overview).collect() }
    }

    /// True if every target has a session.
    pub fn is_all_up(&self) -> bool {
        self.targets.iter().all(|target| target.state == "up")
    }
}

fn overview(Offered { target, listening }: &Offered) -> TargetOverview {
    let state = target.state();
    let (label, trouble) = describe(&state.borrow());
    let name = &target.config.name;
    let exporters = target.config.exporters.iter().zip(listening).enumerate();
    let exporters = exporters.map(|(index, (exporter, address))| ExporterOverview {
        name: exporter.name.to_string(),
        listen: address.to_string(),
        path: path::of(name, &exporter.name),
        proxy: proxy::host(name, &exporter.name),
        failure: target.history.last(index).and_then(|last| last.failure),
    });
    let time = |time: SystemTime| Moment(time).to_string();
    TargetOverview {
        name: name.to_string(),
        state: label.to_owned(),
        since: time(target.since()),
        remedy: trouble.as_ref().map(|trouble| remedy::of_trouble(trouble).to_owned()),
        why: trouble.map(|trouble| trouble.what),
        last_good_scrape: target.history.last_good().map(time),
        latency_p50_seconds: target.history.quantile(0.5).map(|took| took.as_secs_f64()),
        latency_p95_seconds: target.history.quantile(0.95).map(|took| took.as_secs_f64()),
        exporters: exporters.collect(),
    }
}

fn describe(state: &State) -> (&'static str, Option<Trouble>) {
    let label = state.label();
    let trouble = match state {
        State::Up(_) | State::Dialling(None) => None,
        State::Dialling(Some(trouble)) | State::Waiting(trouble) | State::Refused(trouble) => {
            Some(trouble.clone())
        }
        State::Blocked(why) => Some(Trouble::of_bootstrap(why.clone())),
    };
    (label, trouble)
}
