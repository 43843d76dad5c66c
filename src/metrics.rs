//! A program's own metrics, in the text formats that Prometheus reads.

mod format;
mod healing;
mod process;
mod reload;
mod tasks;
mod tor;

use std::sync::Arc;

use hyper::header::{HeaderValue, VARY};
use hyper::{HeaderMap, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::http::{Body, page};
pub use format::Format;
pub use healing::HealingSteps;
pub use reload::ConfigReload;
pub use tor::TorProgress;

/// Content type of [`classic_text`] (Prometheus exposition formats, text 0.0.4).
pub const CLASSIC_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds of duration histograms in seconds, for answers that come through Tor.
pub const DURATION_BUCKETS: [f64; 12] = [0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0];

/// A gauge that is higher by one for as long as this lives.
#[derive(Debug)]
pub struct Raised(Gauge);

impl Raised {
    /// Raises the gauge.
    pub fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

/// Makes a registry with what every program tells of itself, and lets `register` add to it under
/// the prefix `onionscrape`.
pub fn registry(version: &'static str, register: impl FnOnce(&mut Registry)) -> Arc<Registry> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(process::Process));
    let own = registry.sub_registry_with_prefix("onionscrape");
    let build = Family::<Build, Gauge>::default();
    build.get_or_create(&Build { version }).set(1);
    own.register("build_info", "What was built; the value is always 1", build);
    own.register_collector(Box::new(tasks::Tasks));
    register(own);
    Arc::new(registry)
}

/// The answer to whoever asks for all metrics with these headers, in the format that he prefers.
pub fn answer(registry: &Registry, headers: &HeaderMap) -> Response<Body> {
    let format = Format::wanted(headers);
    let text = match format {
        Format::Classic => classic_text(registry),
        Format::OpenMetrics => open_text(registry),
    };
    let mut answer = page(format.content_type(), text);
    answer.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    answer
}

/// All metrics in the classic text format 0.0.4, which `promtool check metrics` reads.
pub fn classic_text(registry: &Registry) -> String {
    classic(&open_text(registry))
}

/// All metrics in OpenMetrics 1.0.0.
fn open_text(registry: &Registry) -> String {
    let mut open = String::new();
    // Writing to a String does not fail; if a collector did, what it wrote is still well formed.
    if prometheus_client::encoding::text::encode_registry(&mut open, registry).is_ok() {
        // Whoever reads this knows by it that he has everything.
        let _ = prometheus_client::encoding::text::encode_eof(&mut open);
    }
    open
}

/// Turns OpenMetrics text 1.0 into classic text: there, a counter's family has the name of its
/// series, help is followed by no unit, and the end is not marked.
fn classic(open: &str) -> String {
    let counters: Vec<&str> =
        open.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut text = String::with_capacity(open.len());
    for line in open.lines() {
        let family = |rest: &str| {
            let name = rest.split(' ').next().unwrap_or_default();
            if counters.contains(&name) {
                rest.replacen(name, &format!("{name}_total"), 1)
            } else {
                rest.to_owned()
            }
        };
        let line = if let Some(rest) = line.strip_prefix("# HELP ") {
            // prometheus-client ends every help text with a full stop.
            format!("# HELP {}", family(rest).trim_end_matches('.'))
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            format!("# TYPE {}", family(rest).replace(" unknown", " untyped"))
        } else if line.starts_with("# ") {
            continue;
        } else {
            match line.split_once("{} ") {
                // A family without labels.
                Some((name, value)) if !name.contains('{') => format!("{name} {value}"),
                _ => line.to_owned(),
            }
        };
        text.push_str(&line);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::family::Family;

    use super::*;

    #[tokio::test]
    async fn classic_text_names_counters_as_their_series() {
        let registry = registry("1.2.3", |own| {
            let counter = Counter::<u64>::default();
            counter.inc();
            own.register("scrapes", "Scrapes asked for", counter);
            let family = Family::<Vec<(String, String)>, Counter>::default();
            let _ = family.get_or_create(&Vec::new());
            own.register("bare", "A family whose one series has no label", family);
        });
        let text = classic_text(&registry);
        assert!(text.contains("# HELP onionscrape_scrapes_total Scrapes asked for\n"), "{text}");
        assert!(
            text.contains("# TYPE onionscrape_scrapes_total counter\nonionscrape_scrapes_total 1\n"),
            "{text}"
        );
        assert!(text.contains("onionscrape_build_info{version=\"1.2.3\"} 1\n"), "{text}");
        assert!(text.contains("process_resident_memory_bytes "), "{text}");
        assert!(text.contains("# TYPE onionscrape_tasks gauge\nonionscrape_tasks 0\n"), "{text}");
        let (_open, closed) = tokio::sync::oneshot::channel::<()>();
        tokio::spawn(closed);
        assert!(classic_text(&registry).contains("\nonionscrape_tasks 1\n"));
        assert!(text.contains("\nonionscrape_bare_total 0\n"), "{text}");
        assert!(!text.contains("EOF") && !text.contains("_total_total"), "{text}");
        let open = open_text(&registry);
        assert!(open.contains("# TYPE onionscrape_scrapes counter\nonionscrape_scrapes_total 1\n"), "{open}");
        assert!(open.ends_with("\n# EOF\n"), "{open}");
    }
}
