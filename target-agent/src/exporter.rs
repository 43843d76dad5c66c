//! Asking an exporter: over HTTP, each time on a fresh local connection, or the built-in one.

mod body;
mod compressed;
mod exchange;
mod failure;
mod filter;
mod own_fields;
mod streamed;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::header::HeaderValue;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use onionscrape::address::ExporterAddress;
use onionscrape::compression::Shelf;
use onionscrape::http::{
    Answer, Body, FAILURE, MAX_FIELDS, MAX_HEAD, full, only_reading, page, timeout_header,
};
use onionscrape::metrics::CLASSIC_TEXT;
use onionscrape::tls::TlsClient;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

use crate::config::{ExporterConfig, Source};
use crate::host::Host;
use crate::metrics::{ExporterMetrics, Metrics};
use compressed::Compression;
use failure::ExporterFailure;
use filter::Filtering;
pub use filter::{MetricFilter, Patterns};
use own_fields::Followed;
pub use own_fields::{OwnFields, Value};

/// Time for an exporter's whole answer when the asker does not say how long it will wait.
const BUDGET: Duration = Duration::from_secs(60);
/// Longest time for an exporter's whole answer.
const MAX_BUDGET: Duration = Duration::from_secs(300);
/// Largest body of an answer, in bytes.
const MAX_BODY: u64 = 256 << 20;

/// One exporter, ready to be asked; clones are the same exporter.
#[derive(Clone, Debug)]
pub struct Exporter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: ExporterConfig,
    way: Way,
    own_fields: Followed,
    tls: Option<TlsClient>,
    metrics: ExporterMetrics,
    /// Its last answers, if later ones are made small against them.
    shelf: Option<Arc<Shelf>>,
    last: Mutex<Option<LastScrape>>,
}

/// How an exporter answered last.
#[derive(Clone, Debug)]
pub struct LastScrape {
    /// When it was asked.
    pub at: SystemTime,
    /// From there to the beginning of its answer (the end of one that was made small), or to the failure.
    pub took: Duration,
    /// Why there was no good answer, if so.
    pub failure: Option<String>,
}

/// How to come by an exporter's metrics.
#[derive(Clone, Debug)]
enum Way {
    /// By asking for them at an address, with this `Host`.
    Http(ExporterAddress, HeaderValue),
    /// By making them.
    BuiltIn(Host),
}

impl Way {
    fn new(source: &Source) -> Self {
        match source {
            Source::BuiltIn(collectors) => Self::BuiltIn(Host::new(collectors)),
            Source::Address(address) => {
                let host = match address {
                    ExporterAddress::Tcp(address) => address.to_string(),
                    ExporterAddress::Unix(_) => "localhost".to_owned(),
                };
                // An address is visible ASCII, so it is always a header value.
                let host = HeaderValue::try_from(host).unwrap_or(HeaderValue::from_static("localhost"));
                Self::Http(address.clone(), host)
            }
        }
    }
}

impl Exporter {
    /// An exporter as configured.
    pub fn new(config: ExporterConfig, metrics: &Metrics) -> Self {
        let tls = config.tls.clone().map(TlsClient::new);
        Self::by(Way::new(&config.source), tls, config, None, metrics)
    }

    /// The same, with answers made small for who takes them, against those in `shelf`.
    pub fn compressing(config: ExporterConfig, shelf: Shelf, metrics: &Metrics) -> Self {
        let tls = config.tls.clone().map(TlsClient::new);
        Self::by(Way::new(&config.source), tls, config, Some(Arc::new(shelf)), metrics)
    }

    /// The same exporter with another configuration. One that has not changed stays as it is; what is
    /// built in keeps its collectors, of which one may be hanging.
    pub fn renewed(&self, config: &ExporterConfig, metrics: &Metrics) -> Self {
        let Inner { config: before, way, tls, shelf, .. } = &*self.0;
        if before == config {
            return self.clone();
        }
        // What is known of files that are read as before.
        let tls = if before.tls == config.tls { tls.clone() } else { config.tls.clone().map(TlsClient::new) };
        let way = if before.source == config.source { way.clone() } else { Way::new(&config.source) };
        Self::by(way, tls, config.clone(), shelf.clone(), metrics)
    }

    /// The same exporter for another purpose: what is counted of it is counted in `metrics`. What is
    /// built in has the same collectors, of which one may be hanging.
    pub fn apart(&self, metrics: &Metrics) -> Self {
        let Inner { config, way, tls, .. } = &*self.0;
        Self::by(way.clone(), tls.clone(), config.clone(), None, metrics)
    }

    /// Every value of the metrics label `reason`.
    pub fn reasons() -> [&'static str; 9] {
        ExporterFailure::ALL.map(ExporterFailure::label)
    }

    fn by(
        way: Way,
        tls: Option<TlsClient>,
        config: ExporterConfig,
        shelf: Option<Arc<Shelf>>,
        metrics: &Metrics,
    ) -> Self {
        let metrics = metrics.exporter(&config.name, &Self::reasons());
        let own_fields = Followed::new(config.own_fields.clone());
        let exporter =
            Self(Arc::new(Inner { config, way, own_fields, tls, metrics, shelf, last: Mutex::default() }));
        // What is wrong with their files is better known at the start than at the first scrape.
        let _ = exporter.put_own_fields(&mut HeaderMap::new());
        if let Some(tls) = &exporter.0.tls {
            tls.look();
        }
        exporter
    }

    /// What was configured.
    pub fn config(&self) -> &ExporterConfig {
        &self.0.config
    }

    /// How it answered last by its name, if it was asked.
    pub fn last(&self) -> Option<LastScrape> {
        self.0.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers a request with what the exporter answers, or says why it does not.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Body> {
        if let Err(answer) = only_reading(&request) {
            return answer.into();
        }
        let Some(uri) = self.uri(request.uri()) else {
            return Answer::new(StatusCode::NOT_FOUND, "no such path at this exporter").into();
        };
        self.0.metrics.requests.inc();
        let (at, started) = (SystemTime::now(), Instant::now());
        let budget = timeout_header(request.headers()).unwrap_or(BUDGET).min(MAX_BUDGET);
        let deadline = Instant::now() + budget;
        let compression = self.0.shelf.as_ref().and_then(|shelf| Compression::wanted(&request, shelf));
        let answered = timeout_at(deadline, async {
            match &self.0.way {
                Way::Http(address, host) => {
                    let onward = self.onward(request, uri, host, compression.is_some())?;
                    self.ask(address, onward, compression, deadline).await
                }
                Way::BuiltIn(host) => self.make(host, compression, deadline).await,
            }
        });
        let answered = answered.await.unwrap_or(Err(ExporterFailure::Timeout));
        let failure = match &answered {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("answers {}", response.status())),
            Err(failure) => Some(failure.of_exporter(&self.0.config.name)),
        };
        let last = LastScrape { at, took: started.elapsed(), failure };
        *self.0.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
        answered.unwrap_or_else(|failure| {
            self.0.metrics.failure(failure.label());
            let status = match failure {
                ExporterFailure::Timeout => StatusCode::GATEWAY_TIMEOUT,
                _ => StatusCode::BAD_GATEWAY,
            };
            let answer = Answer::new(status, failure.of_exporter(&self.0.config.name));
            let mut response = Response::from(answer);
            response.headers_mut().insert(FAILURE, HeaderValue::from_static(failure.label()));
            response
        })
    }

    /// What to ask the exporter for; `None` for paths that do not lead to it.
    fn uri(&self, asked: &Uri) -> Option<Uri> {
        let own = &self.0.config.path;
        if asked.path() != "/metrics" && asked.path() != own {
            return None;
        }
        match asked.query() {
            Some(query) => format!("{own}?{query}").parse().ok(),
            None => own.parse().ok(),
        }
    }

    /// The built-in exporter's answer.
    async fn make(
        &self,
        host: &Host,
        compression: Option<Compression>,
        deadline: Instant,
    ) -> Result<Response<Body>, ExporterFailure> {
        let mut text = Bytes::from(host.page(deadline).await);
        if let Some(mut filtering) = self.filtering() {
            let begun = filtering.push(&text)?;
            text = [begun, filtering.finish()?].concat().into();
        }
        let (mut head, _) = page(CLASSIC_TEXT, Bytes::new()).into_parts();
        let with_room = compression.and_then(|compression| {
            let mut room = compression.room();
            room.take(text.len()).then_some((compression, room))
        });
        let body = match with_room {
            Some((compression, room)) => {
                compression.apply(&mut head.headers, (text, room), &self.0.metrics).await
            }
            None => full(text),
        };
        Ok(Response::from_parts(head, body))
    }

    /// The filter at the beginning of an answer, if there is one.
    fn filtering(&self) -> Option<Filtering> {
        let dropped = &self.0.metrics.dropped_samples;
        self.0.config.filter.clone().map(|filter| Filtering::new(filter, dropped.clone()))
    }

    async fn ask(
        &self,
        address: &ExporterAddress,
        request: Request<Empty<Bytes>>,
        compression: Option<Compression>,
        deadline: Instant,
    ) -> Result<Response<Body>, ExporterFailure> {
        let failed = |error: hyper::Error| {
            debug!(exporter = %self.0.config.name, %error, "an exporter's answer cannot be used");
            ExporterFailure::of(&error)
        };
        let of_head = request.method() == Method::HEAD;
        let stream = connect(address).await.map_err(|error| {
            debug!(exporter = %self.0.config.name, %error, "an exporter cannot be reached");
            ExporterFailure::Refused
        })?;
        let stream: Box<dyn ByteStream> = match &self.0.tls {
            Some(tls) => Box::new(tls.connect(stream).await?),
            None => stream,
        };
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .max_headers(MAX_FIELDS)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(failed)?;
        // The asker may read slowly or not at all; the exporter's connection ends in time anyway.
        tokio::spawn(timeout_at(deadline, connection));
        let response = sender.send_request(request).await.map_err(failed)?;
        self.back(response, of_head, compression, deadline).await
    }

    /// Puts the exporter's own fields in the place of what was passed on.
    fn put_own_fields(&self, headers: &mut HeaderMap) -> Result<(), ExporterFailure> {
        let complain = |why: &str| warn!(exporter = %self.0.config.name, "not scraped: {why}");
        let put = self.0.own_fields.put_into(headers, complain);
        put.then_some(()).ok_or(ExporterFailure::OwnFields)
    }
}

async fn connect(address: &ExporterAddress) -> io::Result<Box<dyn ByteStream>> {
    Ok(match address {
        ExporterAddress::Tcp(address) => Box::new(TcpStream::connect(address).await?),
        ExporterAddress::Unix(path) => Box::new(UnixStream::connect(path).await?),
    })
}

trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

#[cfg(test)]
mod tests;
