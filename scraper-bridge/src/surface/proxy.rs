//! A forward proxy for Prometheus' `proxy_url`: `http://EXPORTER.TARGET/metrics` or
//! `http://TARGET:PORT/metrics` in absolute form (RFC 9112, section 3.2.2), and CONNECT for
//! `scheme: https`, so that TLS is spoken with the exporter itself.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::HeaderName;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use onionscrape::http::{Answer, Body, full};
use onionscrape::ssh::ChannelStream;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio_io_timeout::TimeoutStream;
use tracing::debug;

use super::refuse;
use crate::config::Way;
use crate::fleet::Fleet;
use crate::metrics::{Metrics, Surface, SurfaceRefusal};
use crate::scrape::Scraper;

/// How long a spliced connection may be silent; as long as any other that Prometheus keeps.
const IDLE: Duration = Duration::from_secs(330);

/// Answers what comes to the proxy's listener.
#[derive(Clone)]
pub struct Proxy {
    /// Where configured names lead.
    pub fleet: Arc<Fleet>,
    /// What is counted.
    pub metrics: Metrics,
}

impl Proxy {
    /// Answers one request.
    pub async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        let found = if request.method() == Method::CONNECT {
            self.splice(request).await
        } else {
            self.scrape(request).await
        };
        found.unwrap_or_else(Into::into)
    }

    async fn scrape(&self, mut request: Request<Incoming>) -> Result<Response<Body>, Answer> {
        let uri = request.uri();
        let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) else {
            return Err(self.refuse(
                SurfaceRefusal::BadRequest,
                StatusCode::BAD_REQUEST,
                "this is a proxy: set it as proxy_url, and scrape http://EXPORTER.TARGET/metrics",
            ));
        };
        if scheme != "http" {
            return Err(self.refuse(
                SurfaceRefusal::BadRequest,
                StatusCode::BAD_REQUEST,
                "only http is asked for in this form; https goes by CONNECT",
            ));
        }
        let scraper = self.find(host, uri.port_u16())?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = path.parse().unwrap_or_else(|_| Uri::from_static("/"));
        for name in ["proxy-authorization", "proxy-connection"] {
            request.headers_mut().remove(HeaderName::from_static(name));
        }
        Ok(scraper.answer(request).await)
    }

    /// Opens a channel to the exporter itself and passes bytes between it and the asker.
    async fn splice(&self, request: Request<Incoming>) -> Result<Response<Body>, Answer> {
        let authority = request.uri().authority().cloned();
        let Some((authority, port)) = authority.and_then(|named| Some((named.clone(), named.port_u16()?)))
        else {
            return Err(self.refuse(
                SurfaceRefusal::BadRequest,
                StatusCode::BAD_REQUEST,
                "CONNECT wants a name and a port",
            ));
        };
        let scraper = self.find(authority.host(), Some(port))?;
        let Way::Address(address) = scraper.exporter().way else {
            return Err(self.refuse(
                SurfaceRefusal::NotAllowed,
                StatusCode::FORBIDDEN,
                "CONNECT leads to exporters that have an address in the configuration",
            ));
        };
        let channel = scraper.channel_to(address).await?;
        tokio::spawn(async move {
            match hyper::upgrade::on(request).await {
                Ok(asker) => pass(TokioIo::new(asker), channel).await,
                Err(error) => debug!(%error, "whoever asked for a connection went away"),
            }
        });
        Ok(Response::new(full("")))
    }

    /// The exporter that a host and port name.
    fn find(&self, host: &str, port: Option<u16>) -> Result<Scraper, Answer> {
        let unknown = |why| {
            self.refuse(
                why,
                StatusCode::FORBIDDEN,
                "the proxy leads to configured targets and exporters only",
            )
        };
        if let Some((exporter, target)) = host.split_once('.') {
            if self.fleet.target(target).is_none() {
                return Err(unknown(SurfaceRefusal::UnknownTarget));
            }
            let scraper = self.fleet.scraper(target, exporter);
            // CONNECT always names a port; that of the scheme means nothing.
            let scraper = scraper.filter(|_| matches!(port, None | Some(80 | 443)));
            return scraper.ok_or_else(|| unknown(SurfaceRefusal::UnknownExporter));
        }
        let Some(target) = self.fleet.target(host) else {
            return Err(unknown(SurfaceRefusal::UnknownTarget));
        };
        let port = port.unwrap_or(80);
        let exporter = target.config.exporters.iter().find(|exporter| target.port(exporter) == Some(port));
        let scraper = exporter.and_then(|exporter| self.fleet.scraper(host, exporter.name.as_str()));
        scraper.ok_or_else(|| unknown(SurfaceRefusal::UnknownExporter))
    }

    fn refuse(&self, why: SurfaceRefusal, status: StatusCode, words: &str) -> Answer {
        refuse(&self.metrics, Surface::Proxy, why, status, words)
    }
}

/// Passes bytes both ways until one side ends, breaks, or neither says anything for 330 s.
async fn pass<H>(asker: impl AsyncRead + AsyncWrite + Unpin, (channel, held): (ChannelStream, H)) {
    let mut asker = TimeoutStream::new(asker);
    asker.set_read_timeout(Some(IDLE));
    asker.set_write_timeout(Some(IDLE));
    let (mut asker, mut channel) = (Box::pin(asker), channel);
    if let Err(error) = copy_bidirectional(&mut asker, &mut channel).await {
        debug!(%error, "a spliced connection ended early");
    }
    drop(held);
}
