//! What the bridge counts.
//!
//! - `labels`: what tells one series of a metric from the others;
//! - `target`: the part of one target;
//! - `surface`, `reverse`: what is refused.

mod labels;
mod reverse;
mod surface;
mod target;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use onionscrape::address::Name;
use onionscrape::compression::Coding;
use onionscrape::http::OnRefusal;
use onionscrape::metrics::{ConfigReload, DURATION_BUCKETS, HealingSteps, TorProgress};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::failure::REASONS;
use crate::hops::Hop;
use crate::inventory::judged::Refusal;
pub use labels::Stage;
use labels::{CodingLabel, HopLabel, ReasonLabel, StageLabel, TargetLabel};
pub use reverse::ReverseRefusal;
pub use surface::{Surface, SurfaceRefusal};
pub use target::TargetMetrics;

type Seconds = Gauge<f64, AtomicU64>;

/// All metrics of the bridge.
#[derive(Clone, Default)]
pub struct Metrics {
    connected: Family<TargetLabel, Gauge>,
    stands_by: Family<TargetLabel, Gauge>,
    standby_requests: Family<TargetLabel, Counter>,
    standby_answers: Family<TargetLabel, Counter>,
    connects: Family<TargetLabel, Counter>,
    connect_failures: Family<StageLabel, Counter>,
    host_key_mismatch: Family<TargetLabel, Gauge>,
    connect_duration: Histograms,
    dial_duration: ByHop,
    last_connected: Family<TargetLabel, Seconds>,
    backoff: Family<TargetLabel, Seconds>,
    keepalive_failures: Family<TargetLabel, Counter>,
    requests: Family<TargetLabel, Counter>,
    failures: Family<ReasonLabel, Counter>,
    inventory_refusals: Family<ReasonLabel, Counter>,
    response_bytes: Family<TargetLabel, Counter>,
    compressed: Family<CodingLabel, Counter>,
    uncompressed: Family<CodingLabel, Counter>,
    compression_fallbacks: Family<TargetLabel, Counter>,
    /// Bytes of bodies that are kept to be told others by.
    pub dictionary_bytes: Gauge,
    scrape_duration: ByHop,
    /// Scrapes under way.
    pub in_flight: Gauge,
    refusals: surface::Refusals,
    reverse_refusals: reverse::Refusals,
    reverse_rend_requests: Counter,
    /// What was done to get through again.
    pub healing: HealingSteps,
    /// How far Tor has come; nothing where nothing needs it.
    pub tor: TorProgress,
    /// What came of reading the configuration.
    pub config: ConfigReload,
}

#[derive(Clone)]
struct Histograms(Histogram);
impl Default for Histograms {
    fn default() -> Self {
        Self(Histogram::new(DURATION_BUCKETS))
    }
}

#[derive(Clone)]
struct ByHop(Family<HopLabel, Histogram>);
impl Default for ByHop {
    fn default() -> Self {
        Self(Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS)))
    }
}

impl Metrics {
    /// Adds the metrics to the registry that is prefixed `onionscrape`.
    pub fn register(&self, to: &mut Registry) {
        let m = self.clone();
        to.register("target_connected", "1 while there is a session to the target", m.connected);
        to.register(
            "target_standby_connected",
            "1 while a second session to the target stands by",
            m.stands_by,
        );
        to.register("target_connects", "Attempts to connect to the target", m.connects);
        to.register(
            "target_connect_failures",
            "Failed attempts to connect, by the step that failed",
            m.connect_failures,
        );
        to.register(
            "target_host_key_mismatch",
            "1 while the last host key that the target showed was refused",
            m.host_key_mismatch,
        );
        to.register(
            "target_connect_duration_seconds",
            "Time from nothing to a session",
            m.connect_duration.0,
        );
        to.register(
            "target_connect_hop_duration_seconds",
            "Time of each step to a session",
            m.dial_duration.0,
        );
        to.register(
            "target_last_connected_timestamp_seconds",
            "When the target was last connected",
            m.last_connected,
        );
        to.register(
            "target_reconnect_backoff_seconds",
            "Pause before the next attempt to connect",
            m.backoff,
        );
        to.register(
            "ssh_keepalive_failures",
            "Sessions given up because they did not answer",
            m.keepalive_failures,
        );
        to.register("scrape_requests", "Scrapes asked for", m.requests);
        to.register(
            "scrape_standby_requests",
            "Scrapes that were late or lost their session, and were sent in another as well",
            m.standby_requests,
        );
        to.register(
            "scrape_standby_answers",
            "Of these, scrapes whose answer came in the other session",
            m.standby_answers,
        );
        to.register("scrape_failures", "Scrapes that failed, by reason", m.failures);
        to.register(
            "inventory_refusals",
            "What was not taken of a device's inventory, by reason",
            m.inventory_refusals,
        );
        to.register("scrape_response_bytes", "Bytes of bodies passed on to Prometheus", m.response_bytes);
        to.register(
            "scrape_compressed_bytes",
            "Bytes of bodies that came compressed, as they came",
            m.compressed,
        );
        to.register(
            "scrape_uncompressed_bytes",
            "Bytes of bodies that came compressed, as they were before",
            m.uncompressed,
        );
        to.register(
            "scrape_compression_fallbacks",
            "Scrapes that were repeated because the answer could not be decompressed",
            m.compression_fallbacks,
        );
        to.register(
            "dictionary_bytes",
            "Bytes that bodies take, packed, which are kept to decompress later ones with",
            m.dictionary_bytes,
        );
        to.register(
            "scrape_hop_duration_seconds",
            "Time of each step of a scrape that was done",
            m.scrape_duration.0,
        );
        to.register("scrape_requests_in_flight", "Scrapes under way", m.in_flight);
        to.register("surface_refusals", "Requests that lead to no exporter, by reason", m.refusals.0);
        to.register(
            "reverse_refusals",
            "What devices that come by themselves asked for and did not get",
            m.reverse_refusals.0,
        );
        to.register(
            "reverse_rend_requests",
            "Who asked for a rendezvous at the onion service for devices that come by themselves",
            m.reverse_rend_requests,
        );
        m.healing.register(to);
        m.tor.register(to);
        m.config.register(to);
    }

    /// Counts a request that leads nowhere.
    pub fn surface_refused(&self, surface: Surface, reason: SurfaceRefusal) {
        self.refusals.count(surface, reason);
    }

    /// Counts what a listener of this surface refuses.
    pub fn refusals_of(&self, surface: Surface) -> OnRefusal {
        let refusals = self.refusals.clone();
        Arc::new(move |refusal| refusals.count(surface, refusal.into()))
    }

    /// Counts who comes to the bridge's own onion service.
    pub fn reverse_rend_requests(&self) -> Counter {
        self.reverse_rend_requests.clone()
    }

    /// Counts something that a device that came by itself did not get.
    pub fn reverse_refused(&self, what: ReverseRefusal) {
        self.reverse_refusals.count(what);
    }

    /// Takes everything about a target out, which is not kept any more.
    pub fn forget(&self, name: &Name) {
        let target = name.to_string();
        let of = TargetLabel { target: target.clone() };
        for stage in Stage::ALL {
            self.connect_failures.remove(&StageLabel { target: target.clone(), stage });
        }
        for reason in REASONS {
            self.failures.remove(&ReasonLabel { target: target.clone(), reason });
        }
        for reason in Refusal::ALL.map(Refusal::label) {
            self.inventory_refusals.remove(&ReasonLabel { target: target.clone(), reason });
        }
        for coding in Coding::ALL.map(Coding::name) {
            let label = CodingLabel { target: target.clone(), coding };
            self.compressed.remove(&label);
            self.uncompressed.remove(&label);
        }
        for counter in [
            &self.compression_fallbacks,
            &self.connects,
            &self.keepalive_failures,
            &self.requests,
            &self.standby_requests,
            &self.standby_answers,
            &self.response_bytes,
        ] {
            counter.remove(&of);
        }
        self.connected.remove(&of);
        self.stands_by.remove(&of);
        self.host_key_mismatch.remove(&of);
        self.last_connected.remove(&of);
        self.backoff.remove(&of);
    }

    /// The part that is about one target, with every known label value at 0.
    pub fn target(&self, name: &Name) -> TargetMetrics {
        let target = name.to_string();
        let of = TargetLabel { target: target.clone() };
        for stage in Stage::ALL {
            let _ = self.connect_failures.get_or_create(&StageLabel { target: target.clone(), stage });
        }
        for hop in Hop::ALL {
            let _ = self.scrape_duration.0.get_or_create(&HopLabel { hop: hop.label() });
        }
        for reason in REASONS {
            let _ = self.failures.get_or_create(&ReasonLabel { target: target.clone(), reason });
        }
        for reason in Refusal::ALL.map(Refusal::label) {
            let _ = self.inventory_refusals.get_or_create(&ReasonLabel { target: target.clone(), reason });
        }
        for coding in Coding::ALL.map(Coding::name) {
            let label = CodingLabel { target: target.clone(), coding };
            let _ = self.compressed.get_or_create(&label);
            let _ = self.uncompressed.get_or_create(&label);
        }
        TargetMetrics {
            compression_fallbacks: self.compression_fallbacks.get_or_create_owned(&of),
            connected: self.connected.get_or_create_owned(&of),
            stands_by: self.stands_by.get_or_create_owned(&of),
            standby_requests: self.standby_requests.get_or_create_owned(&of),
            standby_answers: self.standby_answers.get_or_create_owned(&of),
            connects: self.connects.get_or_create_owned(&of),
            host_key_mismatch: self.host_key_mismatch.get_or_create_owned(&of),
            connect_duration: self.connect_duration.0.clone(),
            last_connected: self.last_connected.get_or_create_owned(&of),
            backoff_seconds: self.backoff.get_or_create_owned(&of),
            keepalive_failures: self.keepalive_failures.get_or_create_owned(&of),
            requests: self.requests.get_or_create_owned(&of),
            response_bytes: self.response_bytes.get_or_create_owned(&of),
            name: target,
            all: self.clone(),
        }
    }
}
