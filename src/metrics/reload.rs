//! Whether the configuration counts as it is written, under the names that Prometheus uses of itself.

use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What came of reading the configuration; clones count together.
#[derive(Clone, Debug, Default)]
pub struct ConfigReload {
    successful: Gauge,
    succeeded_at: Gauge<f64, AtomicU64>,
}

impl ConfigReload {
    /// Adds the metrics to the registry that is prefixed `onionscrape`.
    pub fn register(&self, to: &mut Registry) {
        to.register(
            "config_last_reload_successful",
            "1 if the configuration was read without mistakes",
            self.successful.clone(),
        );
        to.register(
            "config_last_reload_success_timestamp_seconds",
            "When the configuration was last read without mistakes",
            self.succeeded_at.clone(),
        );
    }

    /// Notes that it was read without mistakes just now.
    pub fn succeeded(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.successful.set(1);
        self.succeeded_at.set(now.as_secs_f64());
    }

    /// Notes that it was to be read again and has mistakes.
    pub fn failed(&self) {
        self.successful.set(0);
    }
}
