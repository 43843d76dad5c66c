//! What the agent tells of itself: to bridges under the name `agent`, and on the admin listener.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::{Request, Response, StatusCode};
use onionscrape::http::{Answer, Body, HostNames, landing, only_reading, page, text};
use onionscrape::metrics::{CLASSIC_TEXT, classic_text, registry};
use prometheus_client::registry::Registry;
use serde::Serialize;
use tokio::sync::watch;

use crate::config::ExporterConfig;
use crate::metrics::Metrics;
use crate::status::AgentStatus;

/// Version of the inventory's form.
const INVENTORY_VERSION: u32 = 1;

/// The agent's own pages; clones are the same pages.
#[derive(Clone)]
pub struct Pages(Arc<Inner>);

struct Inner {
    registry: Arc<Registry>,
    inventory: String,
    status: watch::Receiver<AgentStatus>,
}

#[derive(Serialize)]
struct Inventory<'a> {
    version: u32,
    exporters: Vec<Item<'a>>,
}

#[derive(Serialize)]
struct Item<'a> {
    name: &'a str,
    path: &'a str,
    labels: &'a BTreeMap<String, String>,
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
            name: exporter.name.as_str(),
            path: &exporter.path,
            labels: &exporter.labels,
        });
        let inventory = Inventory { version: INVENTORY_VERSION, exporters: items.collect() };
        // Strings and numbers can always be written as JSON.
        let inventory = serde_json::to_string(&inventory).unwrap_or_default();
        Self(Arc::new(Inner { registry, inventory, status }))
    }

    /// Answers a bridge that asked for the name `agent`.
    pub fn to_bridge<B>(&self, request: &Request<B>) -> Response<Body> {
        if let Err(answer) = only_reading(request) {
            return answer.into();
        }
        match request.uri().path() {
            "/metrics" => self.metrics(),
            "/inventory" => page("application/json", self.0.inventory.clone()),
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

    fn metrics(&self) -> Response<Body> {
        page(CLASSIC_TEXT, classic_text(&self.0.registry))
    }
}
