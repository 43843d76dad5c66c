//! A forward proxy for Prometheus' `proxy_url`: `http://EXPORTER.TARGET/metrics` or
//! `http://TARGET:PORT/metrics` in absolute form (RFC 9112, section 3.2.2), and CONNECT for
//! `scheme: https`, so that TLS is spoken with the exporter itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use onionscrape::address::Name;
use onionscrape::http::{Answer, Body, full};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, copy};
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;
use tracing::debug;

use super::refuse;
use crate::config::Way;
use crate::fleet::Fleet;
use crate::metrics::{Metrics, Surface, SurfaceRefusal};
use crate::scrape::Scraper;

/// How long a spliced connection may be silent; as long as any other that Prometheus keeps.
const IDLE: Duration = Duration::from_secs(330);
/// How long an exporter may take to end after the asker has.
const AFTER_END: Duration = Duration::from_secs(5);

/// The host that the proxy knows an exporter by.
pub fn host(target: &Name, exporter: &Name) -> String {
    format!("{exporter}.{target}")
}

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
        let address = match scraper.exporter().way {
            Way::Address(address) => address,
            // The device knows which host the port leads to.
            Way::Forwarded(port) => SocketAddr::from(([127, 0, 0, 1], port)),
            Way::Name => {
                return Err(self.refuse(
                    SurfaceRefusal::NotAllowed,
                    StatusCode::FORBIDDEN,
                    "CONNECT leads to exporters that have an address or a port in the configuration",
                ));
            }
        };
        let (channel, held) = scraper.channel_to(address).await?;
        tokio::spawn(async move {
            let _held = held;
            match hyper::upgrade::on(request).await {
                Ok(asker) => pass_between(TokioIo::new(asker), channel).await,
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
        let ports: Vec<_> = target.config.exporters.iter().map(|exporter| target.port(exporter)).collect();
        if !ports.contains(&Some(port)) && target.inventory().is_none() && ports.contains(&None) {
            return Err(Answer::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the device has not yet told its exporters' ports; EXPORTER.TARGET needs none",
            ));
        }
        let exporter = target.config.exporters.iter().find(|exporter| target.port(exporter) == Some(port));
        let scraper = exporter.and_then(|exporter| self.fleet.scraper(host, exporter.name.as_str()));
        scraper.ok_or_else(|| unknown(SurfaceRefusal::UnknownExporter))
    }

    fn refuse(&self, why: SurfaceRefusal, status: StatusCode, words: &str) -> Answer {
        refuse(&self.metrics, Surface::Proxy, why, status, words)
    }
}

/// Passes bytes both ways until the exporter has ended, one side breaks or says nothing for 330 s, or a
/// few seconds after the asker has ended: Prometheus closes a connection when its time is up, and the
/// exporter may never notice.
async fn pass_between(asker: impl AsyncRead + AsyncWrite, exporter: impl AsyncRead + AsyncWrite) {
    let (mut from_asker, mut to_asker) = tokio::io::split(Box::pin(patient(asker)));
    let (mut from_exporter, mut to_exporter) = tokio::io::split(Box::pin(patient(exporter)));
    let up = async {
        let copied = copy(&mut from_asker, &mut to_exporter).await;
        to_exporter.shutdown().await.and(copied)
    };
    let down = async {
        let copied = copy(&mut from_exporter, &mut to_asker).await;
        to_asker.shutdown().await.and(copied)
    };
    tokio::pin!(up, down);
    let ended = tokio::select! {
        ended = &mut down => ended,
        ended = &mut up => match ended {
            Ok(_) => timeout(AFTER_END, down).await.unwrap_or(Ok(0)),
            broken => broken,
        },
    };
    if let Err(error) = ended {
        debug!(%error, "a spliced connection ended early");
    }
}

fn patient<S: AsyncRead + AsyncWrite>(stream: S) -> TimeoutStream<S> {
    let mut stream = TimeoutStream::new(stream);
    stream.set_read_timeout(Some(IDLE));
    stream.set_write_timeout(Some(IDLE));
    stream
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, duplex};
    use tokio::time::Instant;

    use super::*;

    /// Splices two streams; the far ends, and the task.
    fn spliced() -> (tokio::io::DuplexStream, tokio::io::DuplexStream, tokio::task::JoinHandle<()>) {
        let ((asker, near), (exporter, far)) = (duplex(64), duplex(64));
        (asker, exporter, tokio::spawn(pass_between(near, far)))
    }

    #[tokio::test(start_paused = true)]
    async fn an_asker_that_went_away_holds_nothing_for_long() {
        let (asker, _hung_exporter, splice) = spliced();
        let since = Instant::now();
        drop(asker);
        splice.await.expect("no panic");
        assert_eq!(since.elapsed().as_secs(), AFTER_END.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_it_and_words_do_not() {
        let (mut asker, mut exporter, splice) = spliced();
        for _ in 0..3 {
            tokio::time::sleep(IDLE - Duration::from_secs(1)).await;
            asker.write_all(b"a").await.expect("open");
            exporter.read_u8().await.expect("passed on");
            exporter.write_all(b"b").await.expect("open");
            asker.read_u8().await.expect("passed on");
        }
        let since = Instant::now();
        splice.await.expect("no panic");
        assert_eq!(since.elapsed().as_secs(), IDLE.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_exporter_said_last_arrives() {
        let (mut asker, mut exporter, splice) = spliced();
        exporter.write_all(b"the end").await.expect("open");
        drop(exporter);
        let mut said = String::new();
        asker.read_to_string(&mut said).await.expect("whole");
        assert_eq!(said, "the end");
        splice.await.expect("no panic");
    }
}
