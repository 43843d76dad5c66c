//! Who did what: a line for each session and for each channel, without addresses, keys, or anything
//! that a peer said.

use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{self, AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tracing::info;

/// Bytes that went through something, both ways.
#[derive(Clone, Debug, Default)]
pub(super) struct Traffic(Arc<(AtomicU64, AtomicU64)>);

impl Traffic {
    fn received(&self, bytes: usize) {
        self.0.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn sent(&self, bytes: usize) {
        self.0.1.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn counts(&self) -> (u64, u64) {
        (self.0.0.load(Ordering::Relaxed), self.0.1.load(Ordering::Relaxed))
    }
}

/// One session or channel, from its begin to the line about its end.
pub(super) struct Record {
    key: String,
    /// The exporter's name; `None` for a session.
    exporter: Option<String>,
    traffic: Traffic,
    since: Instant,
}

impl Record {
    /// The record of a session of the key with this name.
    pub(super) fn session(key: String) -> Self {
        info!(%key, "a session began");
        Self { key, exporter: None, traffic: Traffic::default(), since: Instant::now() }
    }

    /// The record of a channel to this exporter.
    pub(super) fn channel(key: String, exporter: String) -> Self {
        Self { key, exporter: Some(exporter), traffic: Traffic::default(), since: Instant::now() }
    }

    /// Counts what goes through the channel.
    pub(super) fn traffic(&self) -> Traffic {
        self.traffic.clone()
    }

    /// Writes the line.
    pub(super) fn end(self, why: &'static str, channels: Option<u64>) {
        let (received, sent) = self.traffic.counts();
        let seconds = format!("{:.3}", self.since.elapsed().as_secs_f64());
        let key = self.key;
        match self.exporter {
            Some(exporter) => info!(%key, %exporter, %seconds, received, sent, why, "a channel ended"),
            None => info!(%key, %seconds, channels, why, "a session ended"),
        }
    }
}

/// A byte stream whose bytes are counted.
pub(super) struct Counted<S> {
    stream: S,
    traffic: Traffic,
}

impl<S> Counted<S> {
    pub(super) fn new(stream: S, traffic: Traffic) -> Self {
        Self { stream, traffic }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        self.traffic.received(buf.filled().len() - before);
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf));
        if let Ok(bytes) = written {
            self.traffic.sent(bytes);
        }
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs));
        if let Ok(bytes) = written {
            self.traffic.sent(bytes);
        }
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
