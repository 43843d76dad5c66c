//! An SSH channel as a byte stream that never blocks its session and never lies about its end.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use russh::{Channel, ChannelId, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard, PollSender};

/// Bytes that may wait here for a slow reader; a channel with more of them is closed.
///
/// A session has one reading loop for all its channels, so a channel must never make it wait. SSH's
/// window cannot help: it is opened again on receipt, not when the bytes have been used.
const MAX_BACKLOG: usize = 8 << 20;
/// Writes that may wait for the peer's window.
const QUEUED_WRITES: usize = 4;
/// How long a closing message may take to reach a session that is stuck.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// An SSH channel as `AsyncRead + AsyncWrite`.
///
/// - Reading ends cleanly only where the peer sent CHANNEL_EOF (RFC 4254, section 5.3). A channel
///   that is closed without it, or whose session died, ends in `ConnectionReset`.
/// - What the peer sends is taken at once, so other channels of the session go on; beyond 8 MiB
///   not yet read the channel is closed and reading ends in `ConnectionReset`.
/// - Shutting down sends CHANNEL_EOF, and is done when all that was written has been sent; dropping
///   the stream closes the channel at once, so what still waits for the peer's window is lost.
pub struct ChannelStream {
    incoming: mpsc::UnboundedReceiver<Item>,
    backlog: Arc<AtomicUsize>,
    rest: Bytes,
    ended: bool,
    outgoing: PollSender<Outgoing>,
    end: End,
    closed: CancellationToken,
    _close: DropGuard,
}

/// How far the writing side has come with its end.
enum End {
    /// There may be more to write.
    Open,
    /// CHANNEL_EOF waits behind what was written; one is told here when it has been sent.
    Asked(oneshot::Receiver<()>),
    /// It has been sent.
    Sent,
}

/// What is written. Only an `Eof` ends a channel cleanly; a stream that is merely dropped, after an
/// error most of all, must not look as if all had been said.
enum Outgoing {
    Data(Bytes),
    Eof(oneshot::Sender<()>),
}

enum Item {
    Data(Bytes),
    Eof,
}

impl ChannelStream {
    /// Takes over an open channel; needs a tokio runtime, since a small task goes with it.
    pub fn new<S>(channel: Channel<S>) -> Self
    where
        S: From<(ChannelId, ChannelMsg)> + Send + Sync + 'static,
    {
        let (read, write) = channel.split();
        let (to_reader, incoming) = mpsc::unbounded_channel();
        let (to_peer, from_writer) = mpsc::channel(QUEUED_WRITES);
        let backlog = Arc::new(AtomicUsize::new(0));
        let close = CancellationToken::new();
        let carrying = Carrying { read, write, to_reader, backlog: backlog.clone(), from_writer };
        let closed = CancellationToken::new();
        tokio::spawn(carrying.run(close.clone(), closed.clone().drop_guard()));
        Self {
            incoming,
            backlog,
            rest: Bytes::new(),
            ended: false,
            outgoing: PollSender::new(to_peer),
            end: End::Open,
            closed,
            _close: close.drop_guard(),
        }
    }

    /// Is cancelled when the channel is closed, by whichever side, also while nobody reads from it.
    pub fn closed(&self) -> CancellationToken {
        self.closed.clone()
    }
}

/// What a packet weighs in the backlog: its data, and what keeping it costs, so that a peer cannot
/// send empty ones without end.
fn weight(data: &Bytes) -> usize {
    data.len() + 64
}

/// What goes with a stream: carries bytes between it and the channel.
struct Carrying<S: From<(ChannelId, ChannelMsg)>> {
    read: ChannelReadHalf,
    write: ChannelWriteHalf<S>,
    to_reader: mpsc::UnboundedSender<Item>,
    backlog: Arc<AtomicUsize>,
    from_writer: mpsc::Receiver<Outgoing>,
}

impl<S> Carrying<S>
where
    S: From<(ChannelId, ChannelMsg)> + Send + Sync + 'static,
{
    /// Works until the stream or the channel is gone, then closes the channel; `_closed` is dropped
    /// with it.
    async fn run(self, close: CancellationToken, _closed: DropGuard) {
        tokio::select! {
            () = close.cancelled() => {}
            // Sending can wait for a window that never opens again, so the end of reading ends it too.
            () = receive(self.read, self.to_reader, &self.backlog) => {}
            () = send(&self.write, self.from_writer) => {}
        }
        let _ = tokio::time::timeout(CLOSE_LIMIT, self.write.close()).await;
    }
}

async fn receive(mut read: ChannelReadHalf, to_reader: mpsc::UnboundedSender<Item>, backlog: &AtomicUsize) {
    while let Some(message) = read.wait().await {
        let item = match message {
            ChannelMsg::Data { data } => {
                let weight = weight(&data);
                if backlog.fetch_add(weight, Ordering::Relaxed) + weight > MAX_BACKLOG {
                    return;
                }
                Item::Data(data)
            }
            ChannelMsg::Eof => Item::Eof,
            ChannelMsg::Close => return,
            _ => continue,
        };
        if to_reader.send(item).is_err() {
            return;
        }
    }
}

async fn send<S>(write: &ChannelWriteHalf<S>, mut from_writer: mpsc::Receiver<Outgoing>)
where
    S: From<(ChannelId, ChannelMsg)> + Send + Sync + 'static,
{
    while let Some(outgoing) = from_writer.recv().await {
        match outgoing {
            Outgoing::Data(bytes) => {
                if write.data_bytes(bytes).await.is_err() {
                    return;
                }
            }
            Outgoing::Eof(sent) => {
                if write.eof().await.is_ok() {
                    let _ = sent.send(());
                    // Half closed: the answer may still come.
                    std::future::pending::<()>().await;
                }
                return;
            }
        }
    }
}

fn broken() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

fn reset() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the SSH channel was closed before the end of its data")
}

impl AsyncRead for ChannelStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() && !self.ended {
            match ready!(self.incoming.poll_recv(cx)) {
                Some(Item::Data(data)) => {
                    self.backlog.fetch_sub(weight(&data), Ordering::Relaxed);
                    self.rest = data;
                }
                Some(Item::Eof) => self.ended = true,
                None => return Poll::Ready(Err(reset())),
            }
        }
        let n = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest[..n]);
        self.rest.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ChannelStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if !matches!(self.end, End::Open) {
            return Poll::Ready(Err(broken()));
        }
        ready!(self.outgoing.poll_reserve(cx)).map_err(|_| broken())?;
        let n = bufs.iter().map(|buf| buf.len()).sum::<usize>().min(crate::ssh::MAX_PACKET as usize);
        // Head and body of an answer are copied once, into one packet.
        let mut data = BytesMut::with_capacity(n);
        for buf in bufs {
            data.extend_from_slice(&buf[..buf.len().min(n - data.len())]);
        }
        self.outgoing.send_item(Outgoing::Data(data.freeze())).map_err(|_| broken())?;
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The task that carries the bytes sends each at once.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.end, End::Open) {
            ready!(self.outgoing.poll_reserve(cx)).map_err(|_| broken())?;
            let (sent, asked) = oneshot::channel();
            self.outgoing.send_item(Outgoing::Eof(sent)).map_err(|_| broken())?;
            self.end = End::Asked(asked);
        }
        if let End::Asked(asked) = &mut self.end {
            ready!(Pin::new(asked).poll(cx)).map_err(|_| broken())?;
            self.end = End::Sent;
        }
        Poll::Ready(Ok(()))
    }
}
