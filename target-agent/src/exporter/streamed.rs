//! A body that is too long to be waited for, made small as it comes.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::Frame;
use onionscrape::compression::{Coding, SMALL, StreamEncoder, Unencodable};
use onionscrape::http::{Body, BodyError};

use crate::metrics::ExporterMetrics;

/// A body on its way into the coding `zstd`; it ends cleanly only where the exporter's did.
pub(super) struct StreamedBody {
    body: Body,
    /// What came of it and is not made small yet.
    rest: Bytes,
    /// True if others are to have a turn before there is more.
    rests: bool,
    /// Gone when the end is made.
    encoder: Option<StreamEncoder>,
    before: usize,
    after: usize,
    metrics: ExporterMetrics,
}

impl StreamedBody {
    /// Makes `body` small.
    ///
    /// # Errors
    /// When there is no memory for it; gives the body back.
    pub(super) fn new(body: Body, metrics: ExporterMetrics) -> Result<Self, Body> {
        match StreamEncoder::new() {
            Ok(encoder) => Ok(Self {
                body,
                rest: Bytes::new(),
                rests: false,
                encoder: Some(encoder),
                before: 0,
                after: 0,
                metrics,
            }),
            Err(Unencodable) => Err(body),
        }
    }

    fn advance(&mut self, part: Option<&Bytes>) -> Result<Vec<u8>, Unencodable> {
        let encoded = match part {
            Some(part) => self.encoder.as_mut().ok_or(Unencodable)?.push(part)?,
            None => self.encoder.take().ok_or(Unencodable)?.finish()?,
        };
        self.before += part.map_or(0, Bytes::len);
        self.after += encoded.len();
        Ok(encoded)
    }
}

impl hyper::body::Body for StreamedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        while self.encoder.is_some() {
            if std::mem::take(&mut self.rests) {
                // The agent has one thread for all that waits, and what was gathered may be long.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let part = if self.rest.is_empty() {
                let frame = ready!(Pin::new(&mut self.body).poll_frame(cx)).transpose()?;
                frame.map(|frame| frame.into_data().unwrap_or_default())
            } else {
                Some(std::mem::take(&mut self.rest))
            };
            let part = part.map(|mut part| {
                self.rest = part.split_off(part.len().min(SMALL));
                self.rests = !self.rest.is_empty();
                part
            });
            let encoded = self.advance(part.as_ref()).map_err(|_| "there is no memory to compress it")?;
            if part.is_none() {
                self.metrics.compressed(Coding::Zstd, self.before, self.after);
            }
            if !encoded.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(encoded.into()))));
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.encoder.is_none()
    }
}
