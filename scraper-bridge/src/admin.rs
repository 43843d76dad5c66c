//! What the bridge tells of itself, and the control socket for its own subcommands.

mod held;

use std::net::SocketAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use hyper::body::Incoming;
use hyper::header::{ALLOW, HOST, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use onionscrape::doctor::{Findings, page_of};
use onionscrape::http::{Answer, Body, Web, only_reading, page as answer, text};
use onionscrape::lifecycle::Failure;
use onionscrape::metrics::{self, registry};
use onionscrape::tor::TorOnDemand;
use prometheus_client::registry::Registry;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::discovery::{self, Place, Via};
use crate::doctor;
use crate::fleet::Fleet;
use crate::metrics::{Metrics, Surface, SurfaceRefusal};
use crate::overview::{Overview, Wanted};
use crate::page::{self, Surroundings, asset};
use crate::reload::Reloader;
use crate::surface::path;
use held::place_held;

/// Where the configuration is read again.
const RELOAD: &str = "/-/reload";
/// Readings asked for over HTTP: one goes on, and one waits for what has changed meanwhile.
const RELOADS: usize = 2;
/// Pages and overviews that are made or on their way at a time: with many targets each takes megabytes.
const PAGES: usize = 8;

/// Answers on the admin listener and the control socket.
#[derive(Clone)]
pub struct Admin {
    inner: Arc<Inner>,
    /// True if `POST /-/reload` is for everybody.
    lifecycle: bool,
}

struct Inner {
    registry: Arc<Registry>,
    metrics: Metrics,
    web: Web,
    fleet: Arc<Fleet>,
    reloader: Reloader,
    tor: TorOnDemand,
    proxy: Option<SocketAddr>,
    /// One doctor at a time: each dials.
    doctors: Arc<Semaphore>,
    reloads: Arc<Semaphore>,
    pages: Arc<Semaphore>,
}

type Answered = BoxFuture<'static, Response<Body>>;

impl Admin {
    /// Tells of these targets and metrics, and of a forward proxy, if there is one.
    pub fn new(
        metrics: &Metrics,
        web: Web,
        fleet: Arc<Fleet>,
        reloader: Reloader,
        tor: TorOnDemand,
        proxy: Option<SocketAddr>,
    ) -> Self {
        let metrics = metrics.clone();
        let [doctors, reloads, pages] = [1, RELOADS, PAGES].map(|places| Arc::new(Semaphore::new(places)));
        let registry = registry(env!("CARGO_PKG_VERSION"), |own| metrics.register(own));
        let inner = Inner { registry, metrics, web, fleet, reloader, tor, proxy, doctors, reloads, pages };
        Self { inner: Arc::new(inner), lifecycle: false }
    }

    /// The same, with `POST /-/reload` on the admin listener too.
    pub fn with_lifecycle(self) -> Self {
        Self { lifecycle: true, ..self }
    }

    /// The admin listener's handler.
    pub fn public(self) -> impl Fn(Request<Incoming>) -> Answered + Clone + Send + Sync + 'static {
        move |request| {
            let inner = self.inner.clone();
            Box::pin(async move {
                if request.uri().path() == RELOAD {
                    return inner.reload_by(request.method(), self.lifecycle).await;
                }
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
            let inner = self.inner.clone();
            Box::pin(async move { inner.control(request).await })
        }
    }
}

impl Inner {
    async fn page(&self, request: &Request<Incoming>) -> Response<Body> {
        if let Err(answer) = only_reading(request) {
            return answer.into();
        }
        let path = request.uri().path();
        if path == "/" || path.starts_with("/target/") || path == "/api/v1/targets" {
            let Ok(place) = self.pages.clone().try_acquire_owned() else { return too_many() };
            return place_held(self.large_page(path, request), place);
        }
        match path {
            "/metrics" => metrics::answer(&self.registry, request.headers()),
            "/sd" => self.discovery(request).await,
            "/-/healthy" => text(StatusCode::OK, "healthy\n"),
            "/-/ready" => {
                // Where nothing needs Tor there is nothing to wait for.
                match self.tor.started().map(|tor| tor.bootstrap().borrow().clone()) {
                    Some(bootstrap) if !bootstrap.is_done() => {
                        Answer::new(StatusCode::SERVICE_UNAVAILABLE, bootstrap.to_string()).into()
                    }
                    _ => text(StatusCode::OK, "ready\n"),
                }
            }
            path => asset::at(path).unwrap_or_else(no_such_page),
        }
    }

    /// A page that grows with the fleet.
    fn large_page(&self, path: &str, request: &Request<Incoming>) -> Response<Body> {
        match path {
            "/" => {
                let overview = self.overview(Wanted { target: None, scrapes: false });
                let query = request.uri().query().unwrap_or_default();
                page::fleet(&overview, query, &self.surroundings(request))
            }
            "/api/v1/targets" => self.targets(request),
            path => self.target_page(path, request).unwrap_or_else(no_such_page),
        }
    }

    fn target_page(&self, path: &str, request: &Request<Incoming>) -> Option<Response<Body>> {
        let name = path.strip_prefix("/target/")?;
        let overview = self.overview(Wanted { target: Some(name), ..Wanted::ALL });
        let target = overview.targets.first()?;
        Some(page::target(&overview.bridge, target, &self.surroundings(request)))
    }

    /// Where the bridge is, as whoever asks knows it.
    fn surroundings(&self, request: &Request<Incoming>) -> Surroundings {
        // By the name that it used for us, which was checked, it gets here again.
        let host = || request.headers().get(HOST).and_then(|host| host.to_str().ok());
        let admin = request.uri().authority().map(|named| named.as_str()).or_else(host);
        let admin = admin.unwrap_or_default().to_owned();
        Surroundings::new(admin, &self.web, self.proxy)
    }

    /// The exporters for Prometheus' HTTP SD, in its terms: JSON, all of it, at each request.
    async fn discovery(&self, request: &Request<Incoming>) -> Response<Body> {
        let query = request.uri().query().unwrap_or_default();
        let via = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "via");
        let via = match via.as_ref().map(|(_, via)| &**via) {
            None | Some("port") => Via::Port,
            Some("path") => Via::Path,
            Some("proxy") => Via::Proxy,
            Some("socket") => Via::Socket,
            Some(_) => {
                return Answer::new(StatusCode::BAD_REQUEST, "via is one of port, path, proxy, socket")
                    .into();
            }
        };
        let Surroundings { admin, scheme, .. } = self.surroundings(request);
        let place = Place { admin, scheme };
        answer("application/json", discovery::json(&discovery::groups(&self.fleet, via, &place).await))
    }

    /// How all targets are, or `?target=NAME`, as JSON; with `?scrapes=false` without their last scrapes.
    fn targets(&self, request: &Request<Incoming>) -> Response<Body> {
        let query = request.uri().query().unwrap_or_default();
        let of = |key: &str| form_urlencoded::parse(query.as_bytes()).find(|(found, _)| found == key);
        let (target, scrapes) = (of("target"), of("scrapes"));
        let scrapes = scrapes.is_none_or(|(_, value)| value != "false");
        let overview = self.overview(Wanted { target: target.as_ref().map(|(_, name)| &**name), scrapes });
        if target.is_some() && overview.targets.is_empty() {
            return Answer::new(StatusCode::NOT_FOUND, "no such target").into();
        }
        // Strings and numbers can always be written as JSON.
        answer("application/json", serde_json::to_string(&overview).unwrap_or_default())
    }

    fn overview(&self, wanted: Wanted<'_>) -> Overview {
        let tor = self.tor.started().map(|tor| tor.bootstrap().borrow().clone());
        Overview::of(&self.fleet, tor.as_ref(), self.reloader.refused(), wanted)
    }

    /// Reloads as Prometheus does when it is asked to over HTTP, and where that is `on`.
    async fn reload_by(&self, method: &Method, on: bool) -> Response<Body> {
        if !matches!(*method, Method::POST | Method::PUT) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only POST and PUT are answered here\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST, PUT"));
            return response;
        }
        if !on {
            self.metrics.surface_refused(Surface::Admin, SurfaceRefusal::NotAllowed);
            let off = "reloading over HTTP is off; set lifecycle = true in [admin]";
            return Answer::new(StatusCode::FORBIDDEN, off).into();
        }
        let Ok(place) = self.reloads.clone().try_acquire_owned() else {
            return Answer::new(StatusCode::SERVICE_UNAVAILABLE, "a reload is under way").into();
        };
        self.reloaded(Some(place)).await
    }

    async fn reloaded(&self, place: Option<OwnedSemaphorePermit>) -> Response<Body> {
        match self.reload(place).await {
            Ok(()) => text(StatusCode::OK, "reloaded\n"),
            Err(Failure(mistakes)) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{mistakes}\n")),
        }
    }

    /// Reloads to the end, whether or not whoever asked waits for it; the place is taken until then.
    async fn reload(&self, place: Option<OwnedSemaphorePermit>) -> Result<(), Failure> {
        let reloader = self.reloader.clone();
        let reloading = async move {
            let _place = place;
            reloader.reload().await
        };
        tokio::spawn(reloading).await.map_err(Failure::of)?
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
            (&Method::POST, ["", "-", "reload"]) => self.reloaded(None).await,
            (&Method::GET, ["", "api", "v1", "targets"]) => self.targets(&request),
            (&Method::POST, ["", "doctor"]) => self.doctor(None),
            (&Method::POST, ["", "doctor", target]) => self.doctor(Some(*target)),
            _ => match path::scrape(&self.fleet, &self.metrics, request).await {
                Ok(scraped) => scraped,
                Err(_) => Answer::new(StatusCode::NOT_FOUND, "no such page").into(),
            },
        }
    }
}

fn no_such_page() -> Response<Body> {
    Answer::new(StatusCode::NOT_FOUND, "no such page").into()
}

fn too_many() -> Response<Body> {
    let mut response: Response<Body> =
        Answer::new(StatusCode::SERVICE_UNAVAILABLE, "too many pages are on their way; try again").into();
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("3"));
    response
}
