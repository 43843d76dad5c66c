//! The metrics of one target.

use std::hash::Hash;

use onionscrape::compression::Coding;
use onionscrape::metrics::Raised;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::labels::{CodingLabel, HopLabel, ReasonLabel, StageLabel};
use super::{Metrics, Seconds, Stage};
use crate::failure::ScrapeFailure;
use crate::hops::Hops;
use crate::inventory::judged::Refusal;
use crate::session::LoginFailure;
use crate::target::DialTimes;

/// The metrics of one target.
pub struct TargetMetrics {
    pub(super) name: String,
    pub(super) all: Metrics,
    pub(super) connected: Gauge,
    pub(super) stands_by: Gauge,
    pub(super) host_key_mismatch: Gauge,
    /// Attempts to connect.
    pub connects: Counter,
    /// Time from nothing to a session.
    pub connect_duration: Histogram,
    /// Unix time.
    pub last_connected: Seconds,
    /// Pause before the next attempt.
    pub backoff_seconds: Seconds,
    /// Sessions given up because they did not answer.
    pub keepalive_failures: Counter,
    /// Scrapes that were repeated because the answer could not be decompressed.
    pub compression_fallbacks: Counter,
    /// Scrapes asked for.
    pub requests: Counter,
    /// Scrapes sent in another session as well.
    pub standby_requests: Counter,
    /// Those that had their answer in it.
    pub standby_answers: Counter,
    /// Bytes passed on.
    pub response_bytes: Counter,
}

impl TargetMetrics {
    /// Counts a failed attempt to connect.
    pub fn connect_failure(&self, stage: Stage) {
        let label = StageLabel { target: self.name.clone(), stage };
        add(&self.all.connect_failures, &label, 1);
    }

    /// Notes what a login said of the host key. A login that did not come as far says nothing.
    pub fn host_key_shown(&self, failure: Option<LoginFailure>) {
        match failure {
            Some(LoginFailure::KeyExchange) => {}
            Some(LoginFailure::HostKey(fault)) => {
                self.host_key_mismatch.set(fault.is_the_hosts().into());
            }
            _ => {
                self.host_key_mismatch.set(0);
            }
        }
    }

    /// Counts a failed scrape.
    pub fn scrape_failure(&self, failure: &ScrapeFailure) {
        let label = ReasonLabel { target: self.name.clone(), reason: failure.reason() };
        add(&self.all.failures, &label, 1);
    }

    /// Counts a body that came compressed, by its bytes as it came and as it was before.
    pub fn decompressed(&self, coding: Coding, came: u64, was: u64) {
        let label = CodingLabel { target: self.name.clone(), coding: coding.name() };
        add(&self.all.compressed, &label, came);
        add(&self.all.uncompressed, &label, was);
    }

    /// Counts what was not taken of an inventory.
    pub fn inventory_refused(&self, reason: Refusal, times: u64) {
        let label = ReasonLabel { target: self.name.clone(), reason: reason.label() };
        add(&self.all.inventory_refusals, &label, times);
    }

    /// Notes how long each step of a scrape took that it got through.
    pub fn scraped(&self, done: Hops) {
        for (hop, took) in done.reached() {
            let duration = self.all.scrape_duration.0.get_or_create(&HopLabel { hop: hop.label() });
            duration.observe(took.as_secs_f64());
        }
    }

    /// Notes how long each step to a session took.
    pub fn dialled(&self, times: DialTimes) {
        let hops = [
            (times.transport, times.stream),
            ("ssh_kex", times.login.key_exchange),
            ("auth", times.login.authentication),
        ];
        for (hop, took) in hops {
            self.all.dial_duration.0.get_or_create(&HopLabel { hop }).observe(took.as_secs_f64());
        }
    }

    /// Raises the target's gauge until the guard is dropped.
    pub fn connected(&self) -> Raised {
        Raised::new(&self.connected)
    }

    /// A second session stands by for as long as this is held.
    pub fn stands_by(&self) -> Raised {
        Raised::new(&self.stands_by)
    }

    /// Counts a scrape as under way until the guard is dropped.
    pub fn in_flight(&self) -> Raised {
        Raised::new(&self.all.in_flight)
    }
}

/// Counts these, unless the series is gone: a scrape may go on for a while after its target was removed, and a series
/// that comes back would stay.
fn add<L: Clone + Eq + Hash>(to: &Family<L, Counter>, label: &L, times: u64) {
    if let Some(counter) = to.get(label) {
        counter.inc_by(times);
    }
}

#[cfg(test)]
mod tests {
    use onionscrape::metrics::{classic_text, registry};

    use super::*;

    #[test]
    fn a_target_that_is_gone_does_not_come_back_by_what_goes_on() {
        let (metrics, name) = (Metrics::default(), "boat".parse().expect("name"));
        let text = || classic_text(&registry("0", |own| metrics.register(own)));
        let boat = metrics.target(&name);
        let counts = || {
            boat.scrape_failure(&ScrapeFailure::Aborted);
            boat.decompressed(Coding::ALL[0], 5, 7);
            boat.connect_failure(Stage::ALL[0]);
            boat.inventory_refused(Refusal::ALL[0], 2);
        };
        counts();
        for counted in [
            format!(
                "scrape_failures_total{{target=\"boat\",reason=\"{}\"}} 1\n",
                ScrapeFailure::Aborted.reason()
            ),
            format!(
                "scrape_uncompressed_bytes_total{{target=\"boat\",coding=\"{}\"}} 7\n",
                Coding::ALL[0].name()
            ),
            format!("inventory_refusals_total{{target=\"boat\",reason=\"{}\"}} 2\n", Refusal::ALL[0].label()),
        ] {
            assert!(text().contains(&counted), "{counted}{}", text());
        }
        assert!(text().lines().any(|line| line.contains("connect_failures_total{") && line.ends_with(" 1")));
        metrics.forget(&name);
        counts();
        assert!(!text().contains("\"boat\""), "{}", text());
    }
}
