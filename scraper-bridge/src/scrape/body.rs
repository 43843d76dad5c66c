//! The exporter's body on its way to Prometheus: counted, capped, under the scrape's deadline.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use onionscrape::metrics::Raised;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Scraper;
use crate::failure::ScrapeFailure;
use crate::hops::Laps;
use crate::pool::{Connection, Pool};

/// A body that ends only where the exporter's did. Whatever else happens is an error, on which the
/// connection to Prometheus is cut, so that nothing is taken for whole that is not.
pub(super) struct ScrapeBody {
    inner: Incoming,
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
        inner: Incoming,
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
        let frame = match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                ready!(this.deadline.as_mut().poll(cx));
                return this.fail(ScrapeFailure::Timeout("in the middle of the body")).map_err(Into::into);
            }
        };
        match frame {
            None => {
                this.complete();
                Poll::Ready(None)
            }
            Some(Err(_)) => this.fail(ScrapeFailure::Aborted).map_err(Into::into),
            Some(Ok(frame)) => {
                // Trailers are for us alone.
                let Ok(data) = frame.into_data() else { return self.poll_frame(cx) };
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
