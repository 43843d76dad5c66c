//! How far Tor has come, and what keeps it from coming further.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::tor::{Bootstrap, ClockSkew};

/// How far Tor has come; clones tell the same. Nothing is told before it is noted first.
#[derive(Clone, Debug, Default)]
pub struct TorProgress {
    ratio: Family<NoLabel, Gauge<f64, AtomicU64>>,
    blocked: Family<KindLabel, Gauge>,
    read_only: Gauge,
    clock_skew: Gauge,
}

/// Of a series that may not be there.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct NoLabel {}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

impl TorProgress {
    /// Adds the metrics to the registry that is prefixed `onionscrape`.
    pub fn register(&self, to: &mut Registry) {
        to.register(
            "tor_bootstrap_ratio",
            "How far Tor has come with learning the network",
            self.ratio.clone(),
        );
        to.register("tor_blocked", "1 while Tor cannot go on, for this reason", self.blocked.clone());
        to.register(
            "tor_state_read_only",
            "1 while nothing can be written to Tor's state, so that Tor cannot begin anew",
            self.read_only.clone(),
        );
        to.register(
            "tor_clock_skew_seconds",
            "How far the clock is ahead of relays', or behind if negative; 0 up to 15 min or if unknown",
            self.clock_skew.clone(),
        );
    }

    /// Notes whether Tor's state can be written.
    pub fn note_state(&self, can_write: bool) {
        self.read_only.set((!can_write).into());
    }

    /// Notes how far the clock is off, if it is and Tor knows.
    pub fn note_clock(&self, skew: Option<ClockSkew>) {
        self.clock_skew.set(skew.map_or(0, ClockSkew::seconds_ahead));
    }

    /// Notes how far Tor has come.
    pub fn note(&self, bootstrap: &Bootstrap) {
        self.ratio.get_or_create(&NoLabel {}).set(bootstrap.ratio().into());
        for kind in Bootstrap::KINDS {
            let blocked = bootstrap.is_blocked_by(kind);
            self.blocked.get_or_create(&KindLabel { kind }).set(blocked.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::{classic_text, registry};

    #[test]
    fn a_clock_that_is_ahead_counts_up_and_one_that_is_behind_counts_down() {
        let progress = TorProgress::default();
        let registry = registry("1.2.3", |own| progress.register(own));
        let by = Duration::from_secs(7200);
        for (skew, seconds) in
            [(Some(ClockSkew::Fast(by)), 7200), (Some(ClockSkew::Slow(by)), -7200), (None, 0)]
        {
            progress.note_clock(skew);
            let text = classic_text(&registry);
            assert!(text.contains(&format!("\nonionscrape_tor_clock_skew_seconds {seconds}\n")), "{text}");
        }
    }
}
