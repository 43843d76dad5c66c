//! What the agent tells of itself: to bridges under the name `agent`, and on the admin listener.

use std::sync::Arc;

use hyper::{Request, Response, StatusCode};
use onionscrape::address::Name;
use onionscrape::http::{Answer, Body, HostNames, landing, only_reading, page, text};
use onionscrape::metrics::{CLASSIC_TEXT, classic_text, registry};
use onionscrape::pairing::{INVENTORY_PATH, Inventory, Item, VERSION};
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::access::Permits;
use crate::config::ExporterConfig;
use crate::metrics::Metrics;
use crate::status::AgentStatus;

/// The agent's own pages; clones are the same pages.
#[derive(Clone)]
pub struct Pages(Arc<Inner>);

struct Inner {
    registry: Arc<Registry>,
    inventory: Inventory,
    status: watch::Receiver<AgentStatus>,
}

impl Pages {
    /// Pages about these exporters, metrics and states.
    pub fn new(
        metrics: &Metrics,
        exporters: &[ExporterConfig],
        status: watch::Receiver<AgentStatus>,
    ) -> Self {
        let registry = registry(env!("CARGO_PKG_VERSION"), |own| metrics.register(own));
        let items = exporters.iter().map(|exporter| Item {
            name: exporter.name.clone(),
            path: exporter.path.clone(),
            labels: exporter.labels.clone(),
        });
        let inventory = Inventory { version: VERSION, device: device_name(), exporters: items.collect() };
        Self(Arc::new(Inner { registry, inventory, status }))
    }

    /// Answers a bridge that asked for the name `agent` and may open these channels.
    pub fn to_bridge<B>(&self, permits: &Permits, request: &Request<B>) -> Response<Body> {
        if let Err(answer) = only_reading(request) {
            return answer.into();
        }
        match request.uri().path() {
            "/metrics" => self.metrics(),
            INVENTORY_PATH => self.inventory(permits),
            _ => Answer::new(StatusCode::NOT_FOUND, "the agent has /metrics and /inventory").into(),
        }
    }

    /// Answers on the admin listener, which goes by `names`.
    pub fn to_admin<B>(&self, names: &HostNames, request: &Request<B>) -> Response<Body> {
        if let Err(answer) = names.check(request).and_then(|()| only_reading(request)) {
            return answer.into();
        }
        match request.uri().path() {
            "/" => landing(
                "target-agent",
                "Publishes this device's exporters as an onion service",
                env!("CARGO_PKG_VERSION"),
            ),
            "/metrics" => self.metrics(),
            "/-/healthy" => text(StatusCode::OK, "healthy\n"),
            "/-/ready" => match &*self.0.status.borrow() {
                AgentStatus::Reachable => text(StatusCode::OK, "reachable\n"),
                other => Answer::new(StatusCode::SERVICE_UNAVAILABLE, other.to_string()).into(),
            },
            _ => Answer::new(StatusCode::NOT_FOUND, "no such page").into(),
        }
    }

    /// What may be scraped by whoever may open these channels.
    pub fn inventory(&self, permits: &Permits) -> Response<Body> {
        let mut inventory = self.0.inventory.clone();
        inventory.exporters.retain(|item| permits.allows_exporter(&item.name));
        // Strings and numbers can always be written as JSON.
        page("application/json", serde_json::to_string(&inventory).unwrap_or_default())
    }

    fn metrics(&self) -> Response<Body> {
        page(CLASSIC_TEXT, classic_text(&self.0.registry))
    }
}

/// The system's host name, as far as it can be a device's name.
fn device_name() -> Option<Name> {
    let system = rustix::system::uname();
    let host = system.nodename().to_str().ok()?.split('.').next()?.to_ascii_lowercase();
    host.parse().ok()
}
