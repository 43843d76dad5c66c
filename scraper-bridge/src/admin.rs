//! What the bridge tells of itself, and the control socket for its own subcommands.

use std::sync::Arc;

use futures::future::BoxFuture;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use onionscrape::http::{Answer, Body, landing, only_reading, page, text};
use onionscrape::metrics::{CLASSIC_TEXT, classic_text, registry};
use onionscrape::tor::Tor;
use prometheus_client::registry::Registry;

use crate::metrics::Metrics;
use crate::scrape::Scraper;

/// Answers on the admin listener and the control socket.
#[derive(Clone)]
pub struct Admin(Arc<Inner>);

struct Inner {
    registry: Arc<Registry>,
    scrapers: Vec<Scraper>,
    tor: Tor,
}

type Answered = BoxFuture<'static, Response<Body>>;

impl Admin {
    /// Tells of these scrapers and metrics.
    pub fn new(metrics: &Metrics, scrapers: Vec<Scraper>, tor: Tor) -> Self {
        let registry = registry(env!("CARGO_PKG_VERSION"), |own| metrics.register(own));
        Self(Arc::new(Inner { registry, scrapers, tor }))
    }

    /// The admin listener's handler.
    pub fn public(self) -> impl Fn(Request<Incoming>) -> Answered + Clone + Send + Sync + 'static {
        move |request| Box::pin(std::future::ready(self.0.page(&request)))
    }

    /// The control socket's handler: `GET /t/TARGET/EXPORTER/metrics` is a scrape, and
    /// `POST /t/TARGET/redial` dials the target anew.
    pub fn control(self) -> impl Fn(Request<Incoming>) -> Answered + Clone + Send + Sync + 'static {
        move |request| {
            let inner = self.0.clone();
            Box::pin(async move { inner.control(request).await })
        }
    }
}

impl Inner {
    fn page(&self, request: &Request<Incoming>) -> Response<Body> {
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

    fn of<'a>(&'a self, target: &'a str) -> impl Iterator<Item = &'a Scraper> {
        self.scrapers.iter().filter(move |scraper| scraper.target().config.name.as_str() == target)
    }

    async fn control(&self, mut request: Request<Incoming>) -> Response<Body> {
        let parts: Vec<&str> = request.uri().path().split('/').collect();
        match (request.method(), parts.as_slice()) {
            (&Method::POST, ["", "t", target, "redial"]) => match self.of(target).next() {
                Some(scraper) => {
                    scraper.target().redial().await;
                    text(StatusCode::ACCEPTED, "dialling anew\n")
                }
                None => Answer::new(StatusCode::NOT_FOUND, "no such target").into(),
            },
            (_, ["", "t", target, exporter, "metrics"]) => {
                let found =
                    self.of(target).find(|scraper| scraper.exporter().name.as_str() == *exporter).cloned();
                let Some(scraper) = found else {
                    return Answer::new(StatusCode::NOT_FOUND, "no such target or exporter").into();
                };
                *request.uri_mut() = hyper::Uri::from_static("/metrics");
                scraper.answer(request).await
            }
            _ => Answer::new(StatusCode::NOT_FOUND, "no such page").into(),
        }
    }
}
