//! What the bridge tells of itself, and the control socket for its own subcommands.

use std::sync::Arc;

use futures::future::BoxFuture;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use onionscrape::http::{Answer, Body, landing, only_reading, page, text};
use onionscrape::lifecycle::Failure;
use onionscrape::metrics::{CLASSIC_TEXT, classic_text, registry};
use onionscrape::tor::Tor;
use prometheus_client::registry::Registry;

use crate::fleet::Fleet;
use crate::metrics::Metrics;
use crate::reload::Reloader;

/// Answers on the admin listener and the control socket.
#[derive(Clone)]
pub struct Admin(Arc<Inner>);

struct Inner {
    registry: Arc<Registry>,
    fleet: Arc<Fleet>,
    reloader: Reloader,
    tor: Tor,
}

type Answered = BoxFuture<'static, Response<Body>>;

impl Admin {
    /// Tells of these targets and metrics.
    pub fn new(metrics: &Metrics, fleet: Arc<Fleet>, reloader: Reloader, tor: Tor) -> Self {
        let registry = registry(env!("CARGO_PKG_VERSION"), |own| metrics.register(own));
        Self(Arc::new(Inner { registry, fleet, reloader, tor }))
    }

    /// The admin listener's handler.
    pub fn public(self) -> impl Fn(Request<Incoming>) -> Answered + Clone + Send + Sync + 'static {
        move |request| Box::pin(std::future::ready(self.0.page(&request)))
    }

    /// The control socket's handler: `GET /t/TARGET/EXPORTER/metrics` is a scrape,
    /// `POST /t/TARGET/redial` dials the target anew, and `POST /-/reload` reads the configuration
    /// again.
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

    /// Reloads to the end, whether or not whoever asked waits for it.
    async fn reload(&self) -> Result<(), Failure> {
        let reloader = self.reloader.clone();
        tokio::spawn(async move { reloader.reload().await }).await.map_err(Failure::of)?
    }

    async fn control(&self, mut request: Request<Incoming>) -> Response<Body> {
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
            (_, ["", "t", target, exporter, "metrics"]) => {
                let Some(scraper) = self.fleet.scraper(target, exporter) else {
                    return Answer::new(StatusCode::NOT_FOUND, "no such target or exporter").into();
                };
                *request.uri_mut() = hyper::Uri::from_static("/metrics");
                scraper.answer(request).await
            }
            _ => Answer::new(StatusCode::NOT_FOUND, "no such page").into(),
        }
    }
}
