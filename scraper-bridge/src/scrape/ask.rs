//! The request on its way to the exporter, and the head of the answer on its way back: in the session, or
//! in one that stands by if that is late or lost.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, Uri};
use onionscrape::http::end_to_end;
use tokio::time::{Instant, timeout, timeout_at};

use super::{METRICS, Scraper};
use crate::config::Way;
use crate::failure::ScrapeFailure;
use crate::hops::{Hop, Laps};
use crate::pool::{Connection, Pool, Taken};

/// Where TLS is spoken in a channel, and it is not known which of both took the time.
const UNSECURED: ScrapeFailure = ScrapeFailure::Timeout("opening a channel to the device, or TLS in it");
/// Sessions in a row that may be lost under a scrape: both of two, and the one that was dialled then.
const SUCCESSORS: usize = 2;
/// Without a second session, which is there at no cost, nothing is in doubt before this.
const DOUBTFUL: Duration = Duration::from_secs(1);
/// Nor before so many times of what is usual.
const MUCH: u32 = 2;
/// How long after its channels a session that is lost ends at the latest.
const SOON: Duration = Duration::from_millis(50);
const SCRAPE_TIMEOUT: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");

/// The head of an answer.
pub(super) struct Answered {
    /// Where it came.
    pub(super) pool: Arc<Pool>,
    /// The connection on which its body comes.
    pub(super) connection: Connection,
    pub(super) response: Response<Incoming>,
}

impl Scraper {
    /// Asks in the session of `pool`; if that is lost, or 95 % of such scrapes have the first byte of
    /// their answers by now, in another one as well, be it one that is only dialled. The first answer
    /// counts, and the other channel is closed.
    pub(super) async fn ask_all<B>(
        &self,
        mut pool: Arc<Pool>,
        request: &Request<B>,
        laps: &mut Laps,
        deadline: Instant,
    ) -> Result<Answered, ScrapeFailure> {
        let (began, start) = (Instant::now(), *laps);
        let mut asked = self.ask_both(pool.clone(), request, start, deadline).await;
        if asked.is_ok() {
            self.target.answered(self.index, began.elapsed());
        }
        for _ in 0..SUCCESSORS {
            let Some(next) = self.successor(&asked, &pool, request, deadline).await else { break };
            // What it waited for was the session.
            let mut waited = start;
            waited.lap(Hop::Session);
            asked = self.ask(next.clone(), request, waited, deadline).await;
            pool = next;
        }
        let (answered, timed) = asked.map_err(|(failure, timed)| {
            *laps = timed;
            failure
        })?;
        *laps = timed;
        Ok(answered)
    }

    /// What takes the place of the session of `pool`, if a request that can be repeated was lost with that
    /// and something does in time.
    async fn successor<B>(
        &self,
        asked: &Asked,
        pool: &Arc<Pool>,
        request: &Request<B>,
        deadline: Instant,
    ) -> Option<Arc<Pool>> {
        if request.method() != Method::GET || !asked.as_ref().is_err_and(is_lost) {
            return None;
        }
        // Its channels may end a moment before it does.
        timeout(SOON, pool.session().ended()).await.ok()?;
        timeout_at(deadline, self.target.pool()).await.ok()?.ok()
    }

    async fn ask_both<B>(
        &self,
        pool: Arc<Pool>,
        request: &Request<B>,
        laps: Laps,
        deadline: Instant,
    ) -> Asked {
        let target = &self.target;
        let mut first = pin!(self.ask(pool.clone(), request, laps, deadline));
        if request.method() != Method::GET {
            return first.await;
        }
        let usual = target.patience(self.index);
        let patience = if target.has_standby() { usual } else { DOUBTFUL.max(usual * MUCH) };
        let lost = match timeout(patience, &mut first).await {
            Ok(Err(lost)) if is_lost(&lost) => Some(lost),
            Ok(asked) => return asked,
            Err(_) => None,
        };
        if !pool.session().is_over() {
            // Whether it is still there is asked meanwhile. If not, the scrape goes on in the next one.
            target.doubt();
        }
        let Some(other) = target.other_pool(&pool) else {
            return match lost {
                Some(lost) => Err(lost),
                None => first.await,
            };
        };
        target.metrics.standby_requests.inc();
        let mut second = pin!(self.ask(other, request, laps, deadline));
        let (asked, is_seconds) = match lost {
            Some(lost) => (second.await.map_err(|_| lost), true),
            None => tokio::select! {
                asked = &mut first => match asked {
                    Err(lost) if is_lost(&lost) => (second.await.map_err(|_| lost), true),
                    asked => (asked, false),
                },
                asked = &mut second => match asked {
                    Ok(answered) => (Ok(answered), true),
                    Err(_) => (first.await, false),
                },
            },
        };
        if asked.is_ok() && is_seconds {
            target.metrics.standby_answers.inc();
        }
        asked
    }

    /// Asks in the session of `pool`.
    async fn ask<B>(
        &self,
        pool: Arc<Pool>,
        request: &Request<B>,
        mut laps: Laps,
        deadline: Instant,
    ) -> Asked {
        match self.ask_in(&pool, request, &mut laps, deadline).await {
            Ok((taken, response)) => Ok((Answered { pool, connection: taken.connection, response }, laps)),
            Err(failure) => Err((failure, laps)),
        }
    }

    async fn ask_in<B>(
        &self,
        pool: &Pool,
        request: &Request<B>,
        laps: &mut Laps,
        deadline: Instant,
    ) -> Result<(Taken, Response<Incoming>), ScrapeFailure> {
        let mut taken = self.channel(pool, deadline).await?;
        laps.lap(Hop::Channel);
        let mut answered = self.send(&mut taken, request, deadline).await;
        if matches!(answered, Err(ScrapeFailure::Aborted)) && taken.reused {
            // An exporter may close an idle connection just as the next scrape begins. GET can be
            // repeated; on a connection that was never idle the failure is a real one.
            taken = self.fresh_channel(pool, deadline).await?;
            laps.lap(Hop::Channel);
            answered = self.send(&mut taken, request, deadline).await;
        }
        let response = answered?;
        laps.lap(Hop::Answer);
        Ok((taken, response))
    }

    async fn channel(&self, pool: &Pool, deadline: Instant) -> Result<Taken, ScrapeFailure> {
        timeout_at(deadline, pool.take(self.index, self.exporter()))
            .await
            .map_err(|_| if self.exporter().tls.is_some() { UNSECURED } else { ScrapeFailure::Unopened })?
            .map_err(ScrapeFailure::of_connection)
    }

    /// A connection that was never idle.
    async fn fresh_channel(&self, pool: &Pool, deadline: Instant) -> Result<Taken, ScrapeFailure> {
        loop {
            let taken = self.channel(pool, deadline).await?;
            if !taken.reused {
                return Ok(taken);
            }
        }
    }

    async fn send<B>(
        &self,
        taken: &mut Taken,
        request: &Request<B>,
        deadline: Instant,
    ) -> Result<Response<Incoming>, ScrapeFailure> {
        let sending = async {
            poll_fn(|cx| taken.connection.poll_ready(cx)).await?;
            taken.connection.send_request(self.onward(request, deadline)).await
        };
        match timeout_at(deadline, sending).await {
            Err(_) => Err(ScrapeFailure::Timeout("waiting for the exporter's answer")),
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) if error.is_parse() => Err(ScrapeFailure::BadResponse("does not speak HTTP")),
            Ok(Err(_)) => Err(ScrapeFailure::Aborted),
        }
    }

    /// The request as the far end gets it.
    fn onward<B>(&self, request: &Request<B>, deadline: Instant) -> Request<Empty<Bytes>> {
        let exporter = self.exporter();
        let path = match request.uri().query() {
            Some(query) => format!("{}?{query}", exporter.path),
            None => exporter.path.clone(),
        };
        let mut onward = Request::new(Empty::new());
        *onward.method_mut() = request.method().clone();
        // The path was checked when it was configured, and the query came out of a URI.
        *onward.uri_mut() = path.parse().unwrap_or_else(|_| Uri::from_static(METRICS));
        *onward.headers_mut() = request.headers().clone();
        let headers = onward.headers_mut();
        end_to_end(headers);
        headers.remove(CONTENT_LENGTH);
        headers.remove(EXPECT);
        // A browser sends those of every other page of this machine along.
        headers.remove(COOKIE);
        let host = match exporter.way {
            Way::Name => exporter.name.to_string(),
            Way::Address(address) => address.to_string(),
            Way::Forwarded(port) => format!("localhost:{port}"),
        };
        let left = deadline.saturating_duration_since(Instant::now()).as_secs_f64();
        for (name, value) in [(HOST, host), (SCRAPE_TIMEOUT, format!("{left:.3}"))] {
            // Names and numbers are always good header values.
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
        onward
    }
}

/// What came of asking, and when.
type Asked = Result<(Answered, Laps), (ScrapeFailure, Laps)>;

/// True if it was the session that failed: what the far end says of its exporter it would say again.
fn is_lost((failure, _): &(ScrapeFailure, Laps)) -> bool {
    matches!(failure, ScrapeFailure::Aborted)
}
