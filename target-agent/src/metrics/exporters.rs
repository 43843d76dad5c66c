//! What is counted of exporters.

use onionscrape::address::Name;
use onionscrape::compression::Coding;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// The metrics of one exporter.
#[derive(Clone, Debug)]
pub struct ExporterMetrics {
    /// Requests passed to it.
    pub requests: Counter,
    /// Samples that its filter dropped.
    pub dropped_samples: Counter,
    /// By reason. They are held, since one that is looked up anew comes back after it was forgotten.
    failures: Vec<(&'static str, Counter)>,
    /// Bytes before and after, by coding.
    compression: [(Coding, Counter, Counter); 2],
}

impl ExporterMetrics {
    /// Counts a failed request, for one of the reasons that there are.
    pub fn failure(&self, reason: &'static str) {
        if let Some((_, counter)) = self.failures.iter().find(|(known, _)| *known == reason) {
            counter.inc();
        }
    }

    /// Counts a body that was made small, by its bytes before and after.
    pub fn compressed(&self, coding: Coding, before: usize, after: usize) {
        if let Some((_, counted_before, counted_after)) =
            self.compression.iter().find(|(of, ..)| *of == coding)
        {
            counted_before.inc_by(before as u64);
            counted_after.inc_by(after as u64);
        }
    }
}

/// The metrics of all exporters; clones count together.
#[derive(Clone, Debug, Default)]
pub(super) struct Exporters {
    requests: Family<ExporterLabel, Counter>,
    failures: Family<ReasonLabel, Counter>,
    dropped_samples: Family<ExporterLabel, Counter>,
    uncompressed: Family<CodingLabel, Counter>,
    compressed: Family<CodingLabel, Counter>,
}

impl Exporters {
    pub(super) fn register(&self, to: &mut Registry) {
        let m = self.clone();
        to.register("exporter_requests", "Requests passed to an exporter by its name", m.requests);
        to.register("exporter_failures", "Failed requests to an exporter, by reason", m.failures);
        to.register(
            "exporter_dropped_samples",
            "Samples of an exporter that its filter dropped",
            m.dropped_samples,
        );
        to.register(
            "exporter_uncompressed_bytes",
            "Bytes of bodies that were compressed on their way to a bridge, before that",
            m.uncompressed,
        );
        to.register(
            "exporter_compressed_bytes",
            "Bytes of bodies that were compressed on their way to a bridge, after that",
            m.compressed,
        );
    }

    /// The part that is about one of them, with every one of `reasons` at 0.
    pub(super) fn of(&self, name: &Name, reasons: &[&'static str]) -> ExporterMetrics {
        let exporter = name.to_string();
        let failures = reasons.iter().map(|reason| {
            let label = ReasonLabel { exporter: exporter.clone(), reason };
            (*reason, self.failures.get_or_create_owned(&label))
        });
        let failures = failures.collect();
        let compression = Coding::ALL.map(|coding| {
            let label = CodingLabel { exporter: exporter.clone(), coding: coding.name() };
            let before = self.uncompressed.get_or_create_owned(&label);
            (coding, before, self.compressed.get_or_create_owned(&label))
        });
        let label = ExporterLabel { exporter };
        ExporterMetrics {
            requests: self.requests.get_or_create_owned(&label),
            dropped_samples: self.dropped_samples.get_or_create_owned(&label),
            failures,
            compression,
        }
    }

    /// Takes everything about an exporter out, which is not there any more.
    pub(super) fn forget(&self, name: &Name, reasons: &[&'static str]) {
        let exporter = name.to_string();
        for reason in reasons {
            self.failures.remove(&ReasonLabel { exporter: exporter.clone(), reason });
        }
        for coding in Coding::ALL.map(Coding::name) {
            let label = CodingLabel { exporter: exporter.clone(), coding };
            self.uncompressed.remove(&label);
            self.compressed.remove(&label);
        }
        let label = ExporterLabel { exporter };
        self.requests.remove(&label);
        self.dropped_samples.remove(&label);
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ExporterLabel {
    exporter: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabel {
    exporter: String,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CodingLabel {
    exporter: String,
    coding: &'static str,
}
