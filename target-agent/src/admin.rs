//! What the agent tells of itself: to bridges under the name `agent`, and on the admin listener.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::header::{HeaderValue, IF_MATCH};
use hyper::{Method, Request, Response, StatusCode};
use onionscrape::address::{ExporterAddress, Name, OnionAddress};
use onionscrape::http::{Answer, Body, HostNames, landing, only_reading, page, text};
use onionscrape::metrics::{self, registry};
use onionscrape::pairing::{
    INVENTORY_PATH, Inventory, Item, NEXT_HOST_KEY_PATH, NextHostKey, REVISION, VERSION,
};
use onionscrape::schedule::prometheus;
use prometheus_client::registry::Registry;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use crate::access::{NAME_PORT, Permits};
use crate::config::{ExporterConfig, OWN_NAME, Source};
use crate::identity::Identity;
use crate::metrics::Metrics;
use crate::rotation::Part;
use crate::status::AgentStatus;

/// The agent's own pages; clones are the same pages.
#[derive(Clone)]
pub struct Pages(Arc<Inner>);

struct Inner {
    registry: Arc<Registry>,
    told: Mutex<Told>,
    learnt: watch::Sender<Learnt>,
    status: watch::Receiver<AgentStatus>,
}

/// What bridges are told.
struct Told {
    /// Of everything there is, for somebody who may scrape all of it.
    inventory: Inventory,
    /// Another for each inventory.
    revision: HeaderValue,
    /// What is to come, in words that people compare, whether or not bridges are told already.
    to_come: [Option<String>; 2],
}

impl Told {
    fn is_to_come(&self, what: &str) -> bool {
        self.to_come.iter().flatten().any(|one| one == what)
    }
}

/// Who has what is to come: fingerprints of login keys, each with that of the host key or the address.
pub type Learnt = BTreeSet<(String, String)>;

/// Most of them that are kept: more than any device has bridges.
const MAX_LEARNT: usize = 1000;

impl Pages {
    /// Pages about these exporters, metrics and states.
    pub fn new(
        metrics: &Metrics,
        exporters: &[ExporterConfig],
        status: watch::Receiver<AgentStatus>,
    ) -> Self {
        let registry = registry(env!("CARGO_PKG_VERSION"), |own| metrics.register(own));
        let inventory = Inventory {
            version: VERSION,
            device: device_name(),
            exporters: exporters.iter().map(item).collect(),
            next_host_key: None,
            next_onion: None,
        };
        let told = Told { revision: revision(&inventory), inventory, to_come: [None, None] };
        let (learnt, _) = watch::channel(Learnt::new());
        Self(Arc::new(Inner { registry, told: Mutex::new(told), learnt, status }))
    }

    /// Tells bridges of these exporters from now on.
    pub fn offer(&self, exporters: &[ExporterConfig]) {
        let mut told = self.told();
        told.inventory.exporters = exporters.iter().map(item).collect();
        told.revision = revision(&told.inventory);
    }

    /// Tells bridges of the host key that is to take the device's place, as it stands now. They hear of
    /// an address when it leads here: see [`can_be_reached`](Self::can_be_reached).
    pub fn announce(&self, identity: &Identity) {
        let mut told = self.told();
        let to_come = Part::ALL.map(|part| identity.next(part));
        if told.to_come != to_come {
            self.0.learnt.send_modify(Learnt::clear);
        }
        told.to_come = to_come;
        let current = identity.host_key.fingerprint();
        let next = identity.next_host_key.as_ref();
        told.inventory.next_host_key = next
            .and_then(|key| Some(NextHostKey { key: key.public_line(), proof: key.prove_next(&current)? }));
        if told.inventory.next_onion != identity.next(Part::Onion) {
            told.inventory.next_onion = None;
        }
        told.revision = revision(&told.inventory);
    }

    /// Tells bridges of this address from now on, if it is the one to come.
    pub fn can_be_reached(&self, address: &OnionAddress) {
        let mut told = self.told();
        if told.is_to_come(address.unredacted()) {
            told.inventory.next_onion = Some(address.unredacted().to_owned());
            told.revision = revision(&told.inventory);
        }
    }

    /// Who has what is to come, and every change of it.
    pub fn learnt(&self) -> watch::Receiver<Learnt> {
        self.0.learnt.subscribe()
    }

    /// Notes that whoever logs in with the key of this fingerprint has `what`, if that is to come: a
    /// host key's fingerprint or an onion address.
    pub fn note_learnt(&self, key: &str, what: &str) {
        if self.told().is_to_come(what) {
            self.0.learnt.send_if_modified(|learnt| {
                learnt.len() < MAX_LEARNT && learnt.insert((key.to_owned(), what.to_owned()))
            });
        }
    }

    /// Puts the inventory's revision on an answer, so that a bridge that scrapes hears of a change.
    pub fn stamped(&self, mut answer: Response<Body>) -> Response<Body> {
        answer.headers_mut().insert(REVISION, self.told().revision.clone());
        answer
    }

    /// Answers a bridge that logged in with the key of this fingerprint, asked for the name `agent`
    /// and may open these channels. What it is told here it is told whatever they are, except metrics.
    pub fn to_bridge<B>(&self, key: &str, permits: &Permits, request: &Request<B>) -> Response<Body> {
        if request.method() == Method::POST && request.uri().path() == NEXT_HOST_KEY_PATH {
            return self.confirmed(key, request);
        }
        if let Err(answer) = only_reading(request) {
            return answer.into();
        }
        match request.uri().path() {
            "/metrics" if permits.allows(OWN_NAME, NAME_PORT.into()) => self.metrics(request),
            "/metrics" => {
                Answer::new(StatusCode::FORBIDDEN, "this key may not read the agent's metrics").into()
            }
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
            "/metrics" => self.metrics(request),
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
        let mut inventory = self.told().inventory.clone();
        inventory.exporters.retain(|item| permits.allows_exporter(&item.name));
        self.stamped(page("application/json", json(&inventory)))
    }

    /// Notes that the bridge has the host key to come, if that is the one it means.
    fn confirmed<B>(&self, key: &str, request: &Request<B>) -> Response<Body> {
        let [next, _] = self.told().to_come.clone();
        let Some(next) = next else {
            return Answer::new(StatusCode::NOT_FOUND, "no other host key is to come").into();
        };
        let meant = request.headers().get(IF_MATCH).map(HeaderValue::as_bytes);
        if meant != Some(format!("\"{next}\"").as_bytes()) {
            return Answer::new(StatusCode::PRECONDITION_FAILED, "another host key is to come").into();
        }
        self.note_learnt(key, &next);
        text(StatusCode::OK, "noted\n")
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn metrics<B>(&self, request: &Request<B>) -> Response<Body> {
        metrics::answer(&self.0.registry, request.headers())
    }
}

/// What bridges are told of an exporter.
fn item(exporter: &ExporterConfig) -> Item {
    let schedule = exporter.schedule;
    Item {
        name: exporter.name.clone(),
        path: exporter.path.clone(),
        port: match &exporter.source {
            Source::Address(ExporterAddress::Tcp(address)) => Some(address.port()),
            Source::Address(ExporterAddress::Unix(_)) | Source::BuiltIn(_) => None,
        },
        labels: exporter.labels.clone(),
        scrape_interval: schedule.map(|schedule| prometheus(schedule.interval)),
        scrape_timeout: schedule.and_then(|schedule| schedule.timeout).map(prometheus),
    }
}

/// Strings and numbers can always be written as JSON.
fn json(inventory: &Inventory) -> String {
    serde_json::to_string(inventory).unwrap_or_default()
}

/// The beginning of the inventory's SHA-256.
fn revision(inventory: &Inventory) -> HeaderValue {
    let hash = Sha256::digest(json(inventory));
    let letters: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    // These letters are good in any header.
    HeaderValue::try_from(letters).unwrap_or_else(|_| HeaderValue::from_static("0"))
}

/// The system's host name, as far as it can be a device's name.
fn device_name() -> Option<Name> {
    let system = rustix::system::uname();
    let host = system.nodename().to_str().ok()?.split('.').next()?.to_ascii_lowercase();
    host.parse().ok()
}
