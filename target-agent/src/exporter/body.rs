//! An exporter's body on its way, which ends cleanly only if it is whole.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use onionscrape::compression::{MAX_DICTIONARY, Room};
use onionscrape::http::{Body, BodyError, full};
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use super::{ExporterFailure, Filtering, MAX_BODY};
use crate::metrics::ExporterMetrics;

/// So long the rest of a body is waited for before its beginning goes on alone.
const GATHER_TIME: Duration = Duration::from_millis(20);
/// So much of a body is gathered at most, in bytes.
const GATHER_SIZE: usize = 64 << 10;

/// A body with a deadline and a largest size; past either it ends in an error.
pub(super) struct PassedBody {
    /// What was gathered, and goes first.
    begun: Option<Bytes>,
    body: Incoming,
    /// What is done to the text, until its end.
    filtering: Option<Filtering>,
    deadline: Pin<Box<Sleep>>,
    left: u64,
    metrics: ExporterMetrics,
}

/// A body that was waited for.
pub(super) enum Waited {
    /// All of it, and the room that it takes until it is made small.
    Whole(Bytes, Room),
    /// More than there is room for, as it comes.
    Passed(Body),
}

impl PassedBody {
    pub(super) fn new(
        body: Incoming,
        filtering: Option<Filtering>,
        deadline: Instant,
        metrics: ExporterMetrics,
    ) -> Self {
        let deadline = Box::pin(sleep_until(deadline));
        Self { begun: None, body, filtering, deadline, left: MAX_BODY, metrics }
    }

    /// Gathers a body that comes quickly, so that it goes through Tor in one burst.
    ///
    /// Exporters write a page in several pieces. Sent on as they come, each would be a burst of its
    /// own; a relay holds a second burst back until the first has been acknowledged, which costs
    /// some 40 ms at each hop where it happens.
    ///
    /// # Errors
    /// When the body breaks off while it is gathered.
    pub(super) async fn gather(mut self) -> Result<Body, ExporterFailure> {
        let until = Instant::now() + GATHER_TIME;
        let mut gathered = BytesMut::new();
        while gathered.len() < GATHER_SIZE {
            match timeout_at(until, poll_fn(|cx| self.next(cx))).await {
                Err(_) => break,
                Ok(None) => return Ok(full(gathered)),
                Ok(Some(Err(failure))) => return Err(failure),
                Ok(Some(Ok(frame))) => gathered.extend_from_slice(&frame.into_data().unwrap_or_default()),
            }
        }
        self.begun = Some(gathered.freeze()).filter(|begun| !begun.is_empty());
        Ok(self.boxed_unsync())
    }

    /// Waits for all of the body, as long as there is room for it.
    ///
    /// # Errors
    /// When it breaks off before that.
    pub(super) async fn whole(mut self, mut room: Room) -> Result<Waited, ExporterFailure> {
        let mut gathered = BytesMut::new();
        loop {
            let Some(frame) = poll_fn(|cx| self.next(cx)).await else {
                return Ok(Waited::Whole(tight(gathered), room));
            };
            let data = frame?.into_data().unwrap_or_default();
            gathered.extend_from_slice(&data);
            if gathered.len() > MAX_DICTIONARY || !room.take(data.len()) {
                self.begun = Some(gathered.freeze()).filter(|begun| !begun.is_empty());
                return Ok(Waited::Passed(self.boxed_unsync()));
            }
        }
    }

    /// The next frame of what goes on.
    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ExporterFailure>>> {
        loop {
            let frame = ready!(self.next_of_exporter(cx)).transpose();
            let Some(filtering) = &mut self.filtering else { return Poll::Ready(frame.transpose()) };
            let passed = match frame {
                Err(failure) => Err(failure),
                Ok(Some(frame)) => filtering.push(&frame.into_data().unwrap_or_default()),
                Ok(None) => self.filtering.take().map_or(Ok(Bytes::new()), Filtering::finish),
            };
            match passed {
                Ok(passed) if !passed.is_empty() => return Poll::Ready(Some(Ok(Frame::data(passed)))),
                Ok(_) if self.filtering.is_none() => return Poll::Ready(None),
                Ok(_) => {}
                Err(failure) => return Poll::Ready(Some(Err(failure))),
            }
        }
    }

    /// The next frame of what the exporter sends.
    fn next_of_exporter(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ExporterFailure>>> {
        let failure = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                if let Some(left) = self.left.checked_sub(length) {
                    self.left = left;
                    return Poll::Ready(Some(Ok(frame)));
                }
                ExporterFailure::TooLarge
            }
            // The connection is ended at the deadline, which looks like an abort from here.
            Poll::Ready(Some(Err(_))) if self.deadline.deadline() <= Instant::now() => {
                ExporterFailure::Timeout
            }
            Poll::Ready(Some(Err(error))) => ExporterFailure::of(&error),
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => {
                ready!(self.deadline.as_mut().poll(cx));
                ExporterFailure::Timeout
            }
        };
        Poll::Ready(Some(Err(failure)))
    }
}

/// In no more memory than it needs: it may be kept for long.
fn tight(gathered: BytesMut) -> Bytes {
    let spare = gathered.capacity() - gathered.len();
    if spare > gathered.len() / 8 { Bytes::copy_from_slice(&gathered) } else { gathered.freeze() }
}

impl hyper::body::Body for PassedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(begun) = self.begun.take() {
            return Poll::Ready(Some(Ok(Frame::data(begun))));
        }
        self.next(cx).map_err(|failure| {
            self.metrics.failure(failure.label());
            format!("the exporter {}", failure.what()).into()
        })
    }

    fn is_end_stream(&self) -> bool {
        self.begun.is_none() && self.filtering.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.filtering.is_some() {
            return SizeHint::new();
        }
        let begun = self.begun.as_ref().map_or(0, Bytes::len) as u64;
        let rest = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + begun);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + begun);
        }
        hint
    }
}
