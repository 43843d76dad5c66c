//! One scrape: from Prometheus' request to the exporter's answer, under one deadline.

mod ask;
mod body;
mod decoded;
mod harmless;
mod offer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use hyper::ext::ReasonPhrase;
use hyper::header::{CONTENT_LENGTH, HeaderName, TRANSFER_ENCODING};
use hyper::{Method, Request, Response, StatusCode, Version};
use onionscrape::compression::Shelf;
use onionscrape::http::{Answer, Body, FAILURE, end_to_end, full, only_reading, timeout_header};
use onionscrape::pairing::REVISION;
use onionscrape::ssh::ChannelStream;
use tokio::time::{Instant, timeout_at};

use crate::config::{ExporterConfig, ScrapeLimits, Way};
use crate::failure::{REASONS, ScrapeFailure};
use crate::history::Failed;
use crate::hops::{Hop, Laps};
use crate::inventory::one_line;
use crate::pool::Places;
use crate::target::Target;
use ask::Answered;
use body::{ScrapeBody, Source};
use decoded::{Decoded, NotBegun};
use harmless::make_harmless;
use offer::Offer;

/// Kept of Prometheus' own timeout so that our answer arrives before it gives up.
const TIMEOUT_OFFSET: Duration = Duration::from_millis(500);
/// Path under which every listener serves its exporter, whatever the exporter's own path is.
const METRICS: &str = "/metrics";
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// One exporter of one target, as a surface sees it.
#[derive(Clone)]
pub struct Scraper {
    target: Arc<Target>,
    index: usize,
    limits: ScrapeLimits,
    /// The exporter's last bodies, if it is asked for small ones.
    shelf: Option<Arc<Shelf>>,
}

impl Scraper {
    /// The exporter that is the target's number `index`.
    pub fn new(target: Arc<Target>, index: usize, limits: ScrapeLimits) -> Self {
        Self { target, index, limits, shelf: None }
    }

    /// The same, which asks an agent for small answers and keeps the last ones in `shelf`.
    pub fn compressing(self, shelf: Shelf) -> Self {
        Self { shelf: Some(Arc::new(shelf)), ..self }
    }

    /// The target.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// The exporter.
    pub fn exporter(&self) -> &ExporterConfig {
        &self.target.config.exporters[self.index]
    }

    /// Answers a request for the exporter's metrics. A failure is an answer too.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Body> {
        if let Err(answer) = self.is_for_us(&request) {
            return answer.into();
        }
        let failed = |failure: ScrapeFailure| failure.answer(self.exporter().name.as_str()).into();
        self.attempt(&request).await.unwrap_or_else(failed)
    }

    /// The same for a request that is for this exporter, and for who wants to know what failed.
    ///
    /// # Errors
    /// Why there is no answer of the exporter's.
    pub async fn attempt<B>(&self, request: &Request<B>) -> Result<Response<Body>, ScrapeFailure> {
        let metrics = &self.target.metrics;
        metrics.requests.inc();
        let under_way = metrics.in_flight();
        let mut laps = Laps::start();
        let deadline = Instant::now() + budget(timeout_header(request.headers()), self.limits);
        match self.scrape(request, &mut laps, deadline).await {
            Ok((response, body)) => {
                let body = body.until(under_way);
                // In HTTP/1.0 a body without a length ends with its connection, and so would one that breaks off.
                let body = if request.version() == Version::HTTP_10 && body.size_hint().exact().is_none() {
                    let whole = body.collect().await.map_err(|_| ScrapeFailure::Aborted)?;
                    full(whole.to_bytes())
                } else {
                    body.boxed_unsync()
                };
                Ok(response.map(|()| body))
            }
            Err(failure) => {
                self.failed(&failure, laps);
                Err(failure)
            }
        }
    }

    /// Counts a scrape that failed, and has the session asked whether it is still there.
    fn failed(&self, failure: &ScrapeFailure, laps: Laps) {
        self.target.metrics.scrape_failure(failure);
        if matches!(failure, ScrapeFailure::Unopened | ScrapeFailure::Timeout(_) | ScrapeFailure::Aborted) {
            self.target.doubt();
        }
        self.target.metrics.scraped(laps.hops());
        let failed = Failed::new(failure, self.exporter().name.as_str());
        self.target.history.add(self.index, Instant::now(), laps.broke_off(), Some(failed));
    }

    /// Counts a scrape that ended well.
    fn ended(&self, mut laps: Laps) {
        laps.lap(Hop::Body);
        self.target.metrics.scraped(laps.hops());
        self.target.history.add(self.index, Instant::now(), laps.hops(), None);
    }

    /// A channel to this address of the device, for who speaks with the exporter itself.
    ///
    /// # Errors
    /// The answer to give.
    pub async fn channel_to(&self, address: SocketAddr) -> Result<(ChannelStream, Places), Answer> {
        self.target.metrics.requests.inc();
        let mut laps = Laps::start();
        let deadline = Instant::now() + self.limits.timeout;
        let opened = async {
            let pool =
                timeout_at(deadline, self.target.pool()).await.map_err(|_| self.target.last_failure())??;
            laps.lap(Hop::Session);
            let opened = timeout_at(deadline, pool.channel(address)).await;
            opened.map_err(|_| ScrapeFailure::Unopened)?.map_err(ScrapeFailure::of_channel)
        };
        match opened.await {
            Ok(channel) => {
                // What goes through it is not seen here, so it is no scrape that was good.
                self.target.history.reached(self.index);
                Ok(channel)
            }
            Err(failure) => {
                self.failed(&failure, laps);
                Err(failure.answer(self.exporter().name.as_str()))
            }
        }
    }

    fn is_for_us<B>(&self, request: &Request<B>) -> Result<(), Answer> {
        only_reading(request)?;
        let path = request.uri().path();
        if path != METRICS && path != self.exporter().path {
            return Err(Answer::new(StatusCode::NOT_FOUND, "the metrics are at /metrics"));
        }
        Ok(())
    }

    async fn scrape<B>(
        &self,
        request: &Request<B>,
        laps: &mut Laps,
        deadline: Instant,
    ) -> Result<(Response<()>, ScrapeBody), ScrapeFailure> {
        let offer = self.shelf.as_ref().and_then(|shelf| Offer::new(self.exporter(), request, shelf));
        let Some(offer) = offer else { return self.scrape_once(request, None, laps, deadline).await };
        match self.scrape_once(&offer.put_on(request), Some(&offer), laps, deadline).await {
            Err(ScrapeFailure::Undecodable) => {
                // Nothing was passed on, and GET can be repeated.
                self.target.metrics.compression_fallbacks.inc();
                // It is the exporter's answer that took so long, and not the session that is there.
                laps.lap(Hop::Answer);
                self.scrape_once(request, None, laps, deadline).await
            }
            scraped => scraped,
        }
    }

    async fn scrape_once<B>(
        &self,
        request: &Request<B>,
        offer: Option<&Offer>,
        laps: &mut Laps,
        deadline: Instant,
    ) -> Result<(Response<()>, ScrapeBody), ScrapeFailure> {
        let exporter = self.exporter();
        let pool =
            timeout_at(deadline, self.target.pool()).await.map_err(|_| self.target.last_failure())??;
        laps.lap(Hop::Session);
        let Answered { pool, connection, response } = self.ask_all(pool, request, laps, deadline).await?;
        let (mut head, incoming) = response.into_parts();
        if let Some(revision) = head.headers.remove(REVISION)
            && exporter.way == Way::Name
        {
            self.target.heard_of(revision);
        }
        if let Some(failure) = head.headers.remove(FAILURE)
            && exporter.way == Way::Name
        {
            let known = REASONS.into_iter().find(|reason| failure == *reason);
            let phrase = head.extensions.get::<ReasonPhrase>();
            return Err(ScrapeFailure::Exporter {
                status: head.status,
                reason: known.unwrap_or("bad_response"),
                what: said(phrase.map(ReasonPhrase::as_bytes)),
            });
        }
        if head.status.is_informational() {
            return Err(ScrapeFailure::BadResponse("wants to speak something else than HTTP"));
        }
        if head.status.is_redirection() {
            // Prometheus would follow it, to wherever a device says.
            return Err(ScrapeFailure::BadResponse("answered with a redirect"));
        }
        if incoming.size_hint().lower() > self.limits.max_body {
            return Err(ScrapeFailure::TooLarge);
        }
        let framed = incoming.size_hint().exact().is_some() || head.headers.contains_key(TRANSFER_ENCODING);
        if !framed && exporter.way != Way::Name {
            // An sshd or ssh ends a channel in the same way whether the exporter closed its connection or
            // the connection broke. An agent tells the two apart.
            return Err(ScrapeFailure::BadResponse(
                "gives no length, so its end cannot be told from a break",
            ));
        }
        end_to_end(&mut head.headers);
        let source = match offer.and_then(|offer| offer.taken_by(&mut head.headers)) {
            None => Source::Passed(incoming),
            Some(taken) => {
                let most = self.limits.max_body;
                match Decoded::begin(incoming, taken, self.target.clone(), most, deadline).await {
                    Ok(decoded) => Source::Decoded(Box::new(decoded)),
                    Err(NotBegun { failure, is_drained }) => {
                        if is_drained {
                            pool.give_back(self.index, connection);
                        }
                        return Err(failure);
                    }
                }
            }
        };
        if request.method() != Method::HEAD {
            // Written anew from what the body really is.
            head.headers.remove(CONTENT_LENGTH);
        }
        head.headers.insert(SERVER_TIMING, laps.header());
        make_harmless(&mut head.headers);
        let mut passed_on = Response::new(());
        *passed_on.status_mut() = head.status;
        *passed_on.headers_mut() = head.headers;
        if let Some(phrase) = head.extensions.remove::<ReasonPhrase>() {
            passed_on.extensions_mut().insert(phrase);
        }
        let body = ScrapeBody::new(source, self, pool, connection, *laps, deadline);
        Ok((passed_on, body))
    }
}

/// What a device says is wrong, as it can stand in logs and on terminals.
fn said(phrase: Option<&[u8]>) -> String {
    match phrase.map(one_line).filter(|said| !said.trim().is_empty()) {
        Some(said) => said,
        None => "the exporter failed".into(),
    }
}

/// How long a scrape may take: what Prometheus will wait, less what our answer needs to arrive,
/// and no longer than configured.
fn budget(prometheus: Option<Duration>, limits: ScrapeLimits) -> Duration {
    match prometheus {
        // Of a very short timeout half is kept rather than nothing.
        Some(timeout) => timeout.saturating_sub(TIMEOUT_OFFSET).max(timeout / 2).min(limits.max_timeout),
        None => limits.timeout.min(limits.max_timeout),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_leaves_time_to_answer() {
        let limits = ScrapeLimits {
            timeout: Duration::from_secs(10),
            max_timeout: Duration::from_secs(30),
            max_body: 1,
        };
        let of = |ms: u64| budget(Some(Duration::from_millis(ms)), limits).as_millis();
        assert_eq!(of(10_000), 9_500);
        assert_eq!(of(600), 300);
        assert_eq!(of(100), 50);
        assert_eq!(of(120_000), 30_000);
        assert_eq!(budget(None, limits).as_secs(), 10);
    }

    #[test]
    fn a_device_has_no_power_over_a_terminal() {
        assert_eq!(said(Some(b"exporter app refused")), "exporter app refused");
        assert_eq!(said(Some(b"\x1b[2Jno\tway\r\n\xc3\xa9")), "[2Jnoway");
        assert_eq!(said(Some(&[b'x'; 4000])).len(), 120);
        for nothing in [None, Some(b"".as_slice()), Some(b" \x07"), Some(b"\xff")] {
            assert_eq!(said(nothing), "the exporter failed");
        }
    }
}
