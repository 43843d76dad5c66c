//! A body that came compressed, on its way out of that.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming, SizeHint};
use onionscrape::compression::{Coding, Decoder, Digest, Gathered, Room, Shelf};
use tokio::time::{Instant, timeout, timeout_at};

use super::offer::Taken;
use crate::failure::ScrapeFailure;
use crate::target::Target;

/// So much is looked at before any of it goes on, in bytes: of most pages everything, so that one that
/// cannot be read is asked for again. A larger one can only be broken off.
const BEGINNING: usize = 256 << 10;
/// More than what is decompressed has, a compressed body does not need, but for this, in bytes.
const OVERHEAD: u64 = 64 << 10;
/// How long the rest of an answer is waited for that is of no use, so that its connection still is.
const REST: Duration = Duration::from_millis(50);

/// A body that came compressed; what is read of it is not.
pub(super) struct Decoded {
    incoming: Incoming,
    /// What came and was not put in yet.
    input: Bytes,
    decoder: Decoder,
    coding: Coding,
    begun: Option<Bytes>,
    is_whole: bool,
    /// Bytes that came, and may come at most.
    came: u64,
    most: u64,
    /// Bytes that came out.
    out: u64,
    /// The body that it is told by.
    told_by: Option<Digest>,
    /// What later ones can be told by, the room that it takes until it is kept, and what it is kept as.
    gathered: Option<(Gathered, Room, u64)>,
    shelf: Arc<Shelf>,
    target: Arc<Target>,
}

/// Why nothing of a body can go on.
pub(super) struct NotBegun {
    pub(super) failure: ScrapeFailure,
    /// True if the connection is good for another request.
    pub(super) is_drained: bool,
}

impl Decoded {
    /// Waits for the beginning of a body of `most` bytes at most.
    pub(super) async fn begin(
        incoming: Incoming,
        taken: Taken,
        target: Arc<Target>,
        most: u64,
        deadline: Instant,
    ) -> Result<Self, NotBegun> {
        let Taken { coding, dictionary, shelf, kept_as } = taken;
        let told_by = dictionary.as_ref().map(|dictionary| dictionary.digest());
        let mut body = Self {
            incoming,
            input: Bytes::new(),
            decoder: Decoder::new(coding, dictionary),
            coding,
            begun: None,
            is_whole: false,
            came: 0,
            most: most.saturating_add(OVERHEAD),
            out: 0,
            told_by,
            gathered: kept_as.map(|asked| (Gathered::default(), shelf.room(), asked)),
            shelf,
            target,
        };
        let beginning = timeout_at(deadline, body.beginning(most)).await;
        let failure = match beginning.unwrap_or(Err(ScrapeFailure::Timeout("in the middle of the body"))) {
            Ok(beginning) => {
                body.begun = Some(beginning).filter(|beginning| !beginning.is_empty());
                return Ok(body);
            }
            Err(failure) => failure,
        };
        let is_drained = failure == ScrapeFailure::Undecodable && body.drain().await;
        Err(NotBegun { failure, is_drained })
    }

    /// The next bytes.
    pub(super) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ScrapeFailure>>> {
        if let Some(begun) = self.begun.take() {
            return Poll::Ready(Some(Ok(begun)));
        }
        if self.is_whole { Poll::Ready(None) } else { self.poll_more(cx) }
    }

    /// True if nothing more comes, and all was right.
    pub(super) fn is_at_end(&self) -> bool {
        self.is_whole && self.begun.is_none()
    }

    /// How much more comes.
    pub(super) fn size_hint(&self) -> SizeHint {
        let begun = self.begun.as_ref().map_or(0, Bytes::len) as u64;
        if self.is_whole { SizeHint::with_exact(begun) } else { SizeHint::new() }
    }

    async fn beginning(&mut self, most: u64) -> Result<Bytes, ScrapeFailure> {
        let mut beginning = BytesMut::new();
        while let Some(data) = poll_fn(|cx| self.poll_more(cx)).await.transpose()? {
            let announced = self.decoder.announced().unwrap_or_default();
            if announced.max(self.out) > most {
                return Err(ScrapeFailure::TooLarge);
            }
            beginning.extend_from_slice(&data);
            if beginning.len() >= BEGINNING {
                break;
            }
        }
        Ok(beginning.freeze())
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ScrapeFailure>>> {
        let failed = |failure| Poll::Ready(Some(Err(failure)));
        loop {
            match self.decoder.next(&mut self.input) {
                Err(_) => return failed(self.undecodable()),
                Ok(Some(data)) => {
                    self.out += data.len() as u64;
                    if let Some((gathered, room, ..)) = &mut self.gathered {
                        if room.take(data.len()) {
                            gathered.expect(self.decoder.announced().unwrap_or_default());
                            gathered.push(&data);
                        } else {
                            self.gathered = None;
                        }
                    }
                    return Poll::Ready(Some(Ok(data)));
                }
                Ok(None) => {}
            }
            match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
                None if self.decoder.is_at_end() => {
                    self.finish();
                    return Poll::Ready(None);
                }
                None => return failed(self.undecodable()),
                Some(Err(_)) => return failed(ScrapeFailure::Aborted),
                Some(Ok(frame)) => {
                    // All of what was there is taken.
                    self.input = frame.into_data().unwrap_or_default();
                    self.came += self.input.len() as u64;
                    if self.came > self.most {
                        return failed(ScrapeFailure::TooLarge);
                    }
                }
            }
        }
    }

    /// The body is whole: the next one can be told by it.
    fn finish(&mut self) {
        self.is_whole = true;
        self.target.metrics.decompressed(self.coding, self.came, self.out);
        if let Some((gathered, _room, asked)) = self.gathered.take()
            && let Some(dictionary) = gathered.finish()
        {
            // Without room for it the next one is compressed by itself.
            let _ = self.shelf.replace(asked, self.shelf.stored(Arc::new(dictionary)));
        }
    }

    /// That it cannot be read. The next one is not told by what this one was told by.
    fn undecodable(&self) -> ScrapeFailure {
        if let Some(digest) = self.told_by {
            self.shelf.forget(digest);
        }
        ScrapeFailure::Undecodable
    }

    /// Reads what is left of the answer, if that is little.
    async fn drain(&mut self) -> bool {
        let rest = async {
            let mut left = BEGINNING;
            loop {
                match self.incoming.frame().await {
                    None => return true,
                    Some(Err(_)) => return false,
                    Some(Ok(frame)) => {
                        let length = frame.data_ref().map_or(0, Bytes::len);
                        let Some(less) = left.checked_sub(length) else { return false };
                        left = less;
                    }
                }
            }
        };
        timeout(REST, rest).await.unwrap_or(false)
    }
}
