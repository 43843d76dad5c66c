//! The exporter's body on its way to Prometheus: counted, capped, under the scrape's deadline.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use onionscrape::metrics::Raised;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Scraper;
use super::decoded::Decoded;
use crate::failure::ScrapeFailure;
use crate::hops::Laps;
use crate::pool::{Connection, Pool};

/// Where a body comes from.
pub(super) enum Source {
    /// As it is from the far end.
    Passed(Incoming),
    /// Out of what came from there.
    Decoded(Box<Decoded>),
}

impl Source {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ScrapeFailure>>> {
        let incoming = match self {
            Self::Decoded(decoded) => return decoded.poll_data(cx),
            Self::Passed(incoming) => incoming,
        };
        loop {
            return Poll::Ready(match ready!(Pin::new(&mut *incoming).poll_frame(cx)) {
                None => None,
                Some(Err(_)) => Some(Err(ScrapeFailure::Aborted)),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => Some(Ok(data)),
                    // Trailers are for us alone.
                    Err(_) => continue,
                },
            });
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Passed(incoming) => incoming.is_end_stream(),
            Self::Decoded(decoded) => decoded.is_at_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Passed(incoming) => incoming.size_hint(),
            Self::Decoded(decoded) => decoded.size_hint(),
        }
    }
}

/// A body that ends only where the exporter's did. Whatever else happens is an error, on which the
/// connection to Prometheus is cut, so that nothing is taken for whole that is not.
pub(super) struct ScrapeBody {
    inner: Source,
    scraper: Scraper,
    pool: Arc<Pool>,
    /// Given back to the pool at the end of the body.
    connection: Option<Connection>,
    laps: Laps,
    deadline: Pin<Box<Sleep>>,
    left: u64,
    under_way: Option<Raised>,
}

impl ScrapeBody {
    pub(super) fn new(
        inner: Source,
        scraper: &Scraper,
        pool: Arc<Pool>,
        connection: Connection,
        laps: Laps,
        deadline: Instant,
    ) -> Self {
        let left = scraper.limits.max_body;
        let mut body = Self {
            inner,
            scraper: scraper.clone(),
            pool,
            connection: Some(connection),
            laps,
            deadline: Box::pin(sleep_until(deadline)),
            left,
            under_way: None,
        };
        if body.inner.is_end_stream() {
            // Nothing will be read of a body that is known to be empty.
            body.complete();
        }
        body
    }

    /// Holds `under_way` until the body is gone.
    pub(super) fn until(mut self, under_way: Raised) -> Self {
        self.under_way = Some(under_way);
        self
    }

    fn complete(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.session().proves_itself();
            self.scraper.ended(self.laps);
            self.pool.give_back(self.scraper.index, connection);
        }
    }

    fn fail(&mut self, failure: ScrapeFailure) -> Poll<Option<Result<Frame<Bytes>, ScrapeFailure>>> {
        // The rest of the answer is of no use, so the connection is not either.
        self.connection = None;
        self.scraper.failed(&failure, self.laps);
        Poll::Ready(Some(Err(failure)))
    }
}

impl Body for ScrapeBody {
    type Data = Bytes;
    type Error = onionscrape::http::BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        let data = match this.inner.poll_data(cx) {
            Poll::Ready(data) => data,
            Poll::Pending => {
                ready!(this.deadline.as_mut().poll(cx));
                return this.fail(ScrapeFailure::Timeout("in the middle of the body")).map_err(Into::into);
            }
        };
        match data {
            None => {
                this.complete();
                Poll::Ready(None)
            }
            Some(Err(failure)) => this.fail(failure).map_err(Into::into),
            Some(Ok(data)) => {
                let Some(left) = this.left.checked_sub(data.len() as u64) else {
                    return this.fail(ScrapeFailure::TooLarge).map_err(Into::into);
                };
                this.left = left;
                this.scraper.target.metrics.response_bytes.inc_by(data.len() as u64);
                if this.inner.is_end_stream() {
                    this.complete();
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
