//! What the bridge tells of itself, and the control socket for its own subcommands.

use std::sync::Arc;

use futures::future::BoxFuture;
use hyper::body::Incoming;
use hyper::header::HOST;
use hyper::{Method, Request, Response, StatusCode};
use onionscrape::doctor::{Findings, page_of};
use onionscrape::http::{Answer, Body, Web, landing, only_reading, page, text};
use onionscrape::lifecycle::Failure;
use onionscrape::metrics::{CLASSIC_TEXT, classic_text, registry};
use onionscrape::tor::Tor;
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;

use crate::discovery::{self, Place, Via};
use crate::doctor;
use crate::fleet::Fleet;
use crate::metrics::Metrics;
use crate::overview::Overview;
use crate::reload::Reloader;
use crate::surface::path;

/// Answers on the admin listener and the control socket.
#[derive(Clone)]
pub struct Admin(Arc<Inner>);

struct Inner {
    registry: Arc<Registry>,
    metrics: Metrics,
    web: Web,
    fleet: Arc<Fleet>,
    reloader: Reloader,
    tor: Tor,
    /// One doctor at a time: each dials.
    doctors: Arc<Semaphore>,
}

type Answered = BoxFuture<'static, Response<Body>>;

impl Admin {
    /// Tells of these targets and metrics.
    pub fn new(metrics: &Metrics, web: Web, fleet: Arc<Fleet>, reloader: Reloader, tor: Tor) -> Self {
        let doctors = Arc::new(Semaphore::new(1));
        let registry = registry(env!("CARGO_PKG_VERSION"), |own| metrics.register(own));
        Self(Arc::new(Inner { registry, metrics: metrics.clone(), web, fleet, reloader, tor, doctors }))
    }

    /// The admin listener's handler.
    pub fn public(self) -> impl Fn(Request<Incoming>) -> Answered + Clone + Send + Sync + 'static {
        move |request| {
            let inner = self.0.clone();
            Box::pin(async move {
                match path::scrape(&inner.fleet, &inner.metrics, request).await {
                    Ok(scraped) => scraped,
                    Err(request) => inner.page(&request).await,
                }
            })
        }
    }

    /// The control socket's handler: `GET /t/TARGET/EXPORTER/metrics` is a scrape,
    /// `POST /t/TARGET/redial` dials the target anew, `POST /-/reload` reads the configuration
    /// again, and `POST /doctor` or `POST /doctor/TARGET` looks at every hop, beside the sessions that
    /// are kept.
    pub fn control(self) -> impl Fn(Request<Incoming>) -> Answered + Clone + Send + Sync + 'static {
        move |request| {
            let inner = self.0.clone();
            Box::pin(async move { inner.control(request).await })
        }
    }
}

impl Inner {
    async fn page(&self, request: &Request<Incoming>) -> Response<Body> {
        if let Err(answer) = only_reading(request) {
            return answer.into();
        }
        match request.uri().path() {
            "/" => landing(
                "scraper-bridge",
                "Prometheus scrapes over Tor onion services and SSH",
                env!("CARGO_PKG_VERSION"),
            ),
            "/metrics" => page(CLASSIC_TEXT, classic_text(&self.registry)),
            "/sd" => self.discovery(request).await,
            "/api/v1/targets" => self.overview(),
            "/-/healthy" => text(StatusCode::OK, "healthy\n"),
            "/-/ready" => {
                let bootstrap = self.tor.bootstrap().borrow().clone();
                if bootstrap.is_done() {
                    text(StatusCode::OK, "ready\n")
                } else {
                    Answer::new(StatusCode::SERVICE_UNAVAILABLE, bootstrap.to_string()).into()
                }
            }
            _ => Answer::new(StatusCode::NOT_FOUND, "no such page").into(),
        }
    }

    /// The exporters for Prometheus' HTTP SD, in its terms: JSON, all of it, at each request.
    async fn discovery(&self, request: &Request<Incoming>) -> Response<Body> {
        let query = request.uri().query().unwrap_or_default();
        let via = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "via");
        let via = match via.as_ref().map(|(_, via)| &**via) {
            None | Some("port") => Via::Port,
            Some("path") => Via::Path,
            Some("proxy") => Via::Proxy,
            Some(_) => {
                return Answer::new(StatusCode::BAD_REQUEST, "via is one of port, path, proxy").into();
            }
        };
        // By the name that it used for us, which was checked, Prometheus gets here again.
        let host = || request.headers().get(HOST).and_then(|host| host.to_str().ok());
        let admin = request.uri().authority().map(|named| named.as_str()).or_else(host);
        let admin = admin.unwrap_or_default().to_owned();
        let place = Place { admin, scheme: self.web.scheme() };
        page("application/json", discovery::json(&discovery::groups(&self.fleet, via, &place).await))
    }

    /// How the targets are.
    fn overview(&self) -> Response<Body> {
        // Strings and numbers can always be written as JSON.
        page("application/json", serde_json::to_string(&Overview::of(&self.fleet)).unwrap_or_default())
    }

    /// Reloads to the end, whether or not whoever asked waits for it.
    async fn reload(&self) -> Result<(), Failure> {
        let reloader = self.reloader.clone();
        tokio::spawn(async move { reloader.reload().await }).await.map_err(Failure::of)?
    }

    /// What a doctor finds, as it finds it.
    fn doctor(&self, target: Option<&str>) -> Response<Body> {
        let patients = self.fleet.patients(target);
        if target.is_some() && patients.is_empty() {
            return Answer::new(StatusCode::NOT_FOUND, "no such target").into();
        }
        let Ok(place) = self.doctors.clone().try_acquire_owned() else {
            return Answer::new(StatusCode::CONFLICT, "another doctor is at work; try again later").into();
        };
        let (tor, limits) = (self.tor.clone(), self.fleet.limits());
        page_of(Findings::from(|findings| async move {
            let _place = place;
            doctor::examine(&tor, patients, limits, &findings).await;
        }))
    }

    async fn control(&self, request: Request<Incoming>) -> Response<Body> {
        let parts: Vec<&str> = request.uri().path().split('/').collect();
        match (request.method(), parts.as_slice()) {
            (&Method::POST, ["", "t", target, "redial"]) => match self.fleet.target(target) {
                Some(target) => {
                    target.redial().await;
                    text(StatusCode::ACCEPTED, "dialling anew\n")
                }
                None => Answer::new(StatusCode::NOT_FOUND, "no such target").into(),
            },
            (&Method::POST, ["", "-", "reload"]) => match self.reload().await {
                Ok(()) => text(StatusCode::OK, "reloaded\n"),
                Err(Failure(mistakes)) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{mistakes}\n")),
            },
            (&Method::GET, ["", "api", "v1", "targets"]) => self.overview(),
            (&Method::POST, ["", "doctor"]) => self.doctor(None),
            (&Method::POST, ["", "doctor", target]) => self.doctor(Some(*target)),
            _ => match path::scrape(&self.fleet, &self.metrics, request).await {
                Ok(scraped) => scraped,
                Err(_) => Answer::new(StatusCode::NOT_FOUND, "no such page").into(),
            },
        }
    }
}
