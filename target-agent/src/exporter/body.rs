//! An exporter's body on its way, which ends cleanly only if it is whole.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use onionscrape::http::BodyError;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{ExporterFailure, MAX_BODY};
use crate::metrics::ExporterMetrics;

/// A body with a deadline and a largest size; past either it ends in an error.
pub(super) struct PassedBody {
    body: Incoming,
    deadline: Pin<Box<Sleep>>,
    left: u64,
    metrics: ExporterMetrics,
}

impl PassedBody {
    pub(super) fn new(body: Incoming, deadline: Instant, metrics: ExporterMetrics) -> Self {
        Self { body, deadline: Box::pin(sleep_until(deadline)), left: MAX_BODY, metrics }
    }

    fn fail(&self, failure: ExporterFailure) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.metrics.failure(failure.label());
        Poll::Ready(Some(Err(format!("the exporter {}", failure.what()).into())))
    }
}

impl Body for PassedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                match self.left.checked_sub(length) {
                    Some(left) => self.left = left,
                    None => return self.fail(ExporterFailure::TooLarge),
                }
                Poll::Ready(Some(Ok(frame)))
            }
            // The connection is ended at the deadline, which looks like an abort from here.
            Poll::Ready(Some(Err(_))) if self.deadline.deadline() <= Instant::now() => {
                self.fail(ExporterFailure::Timeout)
            }
            Poll::Ready(Some(Err(error))) => self.fail(ExporterFailure::of(&error)),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending if self.deadline.as_mut().poll(cx).is_ready() => {
                self.fail(ExporterFailure::Timeout)
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
