//! The exporters that there are at this moment.

use std::net::SocketAddr;
use std::sync::Arc;

use onionscrape::address::Name;
use onionscrape::compression::{CompressionSettings, Dictionaries};
use tokio::sync::watch;

use crate::config::ExporterConfig;
use crate::exporter::Exporter;
use crate::metrics::Metrics;

/// All exporters; clones see the same ones.
#[derive(Clone)]
pub struct Exporters(Arc<Inner>);

struct Inner {
    metrics: Metrics,
    /// Where the last answers of all are kept, if they are.
    dictionaries: Option<Dictionaries>,
    now: watch::Sender<Arc<[Exporter]>>,
}

impl Exporters {
    /// Exporters as configured.
    pub fn new(configured: &[ExporterConfig], metrics: &Metrics) -> Self {
        Self::keeping(configured, None, metrics)
    }

    /// The same, with answers made small for who takes them, if the settings say so.
    pub fn compressing(
        configured: &[ExporterConfig],
        settings: CompressionSettings,
        metrics: &Metrics,
    ) -> Self {
        let CompressionSettings { enabled, memory } = settings;
        let dictionaries = enabled.then(|| Dictionaries::new(memory, metrics.dictionary_bytes.clone()));
        Self::keeping(configured, dictionaries, metrics)
    }

    fn keeping(configured: &[ExporterConfig], dictionaries: Option<Dictionaries>, metrics: &Metrics) -> Self {
        let fresh = |config: &ExporterConfig| fresh(config, dictionaries.as_ref(), metrics);
        let (now, _) = watch::channel(configured.iter().map(fresh).collect());
        Self(Arc::new(Inner { metrics: metrics.clone(), dictionaries, now }))
    }

    /// Has these from now on, and no others. One that is configured as it was stays as it is.
    pub fn become_these(&self, configured: &[ExporterConfig]) {
        let before = self.now();
        let Inner { metrics, dictionaries, .. } = &*self.0;
        let renewed = |config: &ExporterConfig| match named(&before, config.name.as_str()) {
            Some(known) => known.renewed(config, metrics),
            None => fresh(config, dictionaries.as_ref(), metrics),
        };
        self.0.now.send_replace(configured.iter().map(renewed).collect());
        let is_gone = |name: &&Name| !configured.iter().any(|config| config.name == **name);
        for name in before.iter().map(|exporter| &exporter.config().name).filter(is_gone) {
            metrics.forget_exporter(name, &Exporter::reasons());
        }
    }

    /// The one of this name.
    pub fn named(&self, name: &str) -> Option<Exporter> {
        named(&self.now(), name).cloned()
    }

    /// One that may be spoken with as it is at this address.
    pub fn openly_at(&self, address: SocketAddr) -> Option<Exporter> {
        self.now().iter().find(|exporter| exporter.config().listens_openly_at(address)).cloned()
    }

    /// Waits until there is none of which this is true.
    pub async fn none_is(&self, this: impl Fn(&ExporterConfig) -> bool) {
        let mut now = self.0.now.subscribe();
        let none = now.wait_for(|now| !now.iter().any(|exporter| this(exporter.config())));
        // The sender lives as long as `self`, so this only ends when there is none.
        let _ = none.await;
    }

    /// All of them, as they are configured at this moment.
    pub fn now(&self) -> Arc<[Exporter]> {
        self.0.now.borrow().clone()
    }
}

fn fresh(config: &ExporterConfig, dictionaries: Option<&Dictionaries>, metrics: &Metrics) -> Exporter {
    match dictionaries {
        Some(dictionaries) => Exporter::compressing(config.clone(), dictionaries.shelf(), metrics),
        None => Exporter::new(config.clone(), metrics),
    }
}

fn named<'a>(exporters: &'a [Exporter], name: &str) -> Option<&'a Exporter> {
    exporters.iter().find(|exporter| exporter.config().name.as_str() == name)
}
