//! An SSH channel as a byte stream that never blocks its session and never lies about its end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
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
    outgoing: PollSender<Bytes>,
    /// Told when CHANNEL_EOF has been sent; `None` from then on.
    eof_sent: Option<oneshot::Receiver<()>>,
    _close: DropGuard,
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
        let (on_eof, eof_sent) = oneshot::channel();
        let carrying = Carrying { read, write, to_reader, backlog: backlog.clone(), from_writer, on_eof };
        tokio::spawn(carrying.run(close.clone()));
        Self {
            incoming,
            backlog,
            rest: Bytes::new(),
            ended: false,
            outgoing: PollSender::new(to_peer),
            eof_sent: Some(eof_sent),
            _close: close.drop_guard(),
        }
    }
}

/// What goes with a stream: carries bytes between it and the channel.
struct Carrying<S: From<(ChannelId, ChannelMsg)>> {
    read: ChannelReadHalf,
    write: ChannelWriteHalf<S>,
    to_reader: mpsc::UnboundedSender<Item>,
    backlog: Arc<AtomicUsize>,
    from_writer: mpsc::Receiver<Bytes>,
    on_eof: oneshot::Sender<()>,
}

impl<S> Carrying<S>
where
    S: From<(ChannelId, ChannelMsg)> + Send + Sync + 'static,
{
    /// Works until the stream or the channel is gone, then closes the channel.
    async fn run(self, close: CancellationToken) {
        tokio::select! {
            () = close.cancelled() => {}
            // Sending can wait for a window that never opens again, so the end of reading ends it too.
            () = receive(self.read, self.to_reader, &self.backlog) => {}
            () = send(&self.write, self.from_writer, self.on_eof) => {}
        }
        let _ = tokio::time::timeout(CLOSE_LIMIT, self.write.close()).await;
    }
}

async fn receive(mut read: ChannelReadHalf, to_reader: mpsc::UnboundedSender<Item>, backlog: &AtomicUsize) {
    while let Some(message) = read.wait().await {
        let item = match message {
            ChannelMsg::Data { data } => {
                if backlog.fetch_add(data.len(), Ordering::Relaxed) + data.len() > MAX_BACKLOG {
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

async fn send<S>(
    write: &ChannelWriteHalf<S>,
    mut from_writer: mpsc::Receiver<Bytes>,
    on_eof: oneshot::Sender<()>,
) where
    S: From<(ChannelId, ChannelMsg)> + Send + Sync + 'static,
{
    while let Some(bytes) = from_writer.recv().await {
        if write.data_bytes(bytes).await.is_err() {
            return;
        }
    }
    if write.eof().await.is_ok() {
        let _ = on_eof.send(());
        // Half closed: the answer may still come.
        std::future::pending::<()>().await;
    }
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
                    self.backlog.fetch_sub(data.len(), Ordering::Relaxed);
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
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.outgoing.poll_reserve(cx)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        let n = buf.len().min(crate::ssh::MAX_PACKET as usize);
        self.outgoing
            .send_item(Bytes::copy_from_slice(&buf[..n]))
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The task that carries the bytes sends each at once.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.close();
        let Some(eof_sent) = &mut self.eof_sent else { return Poll::Ready(Ok(())) };
        let sent = ready!(Pin::new(eof_sent).poll(cx));
        self.eof_sent = None;
        Poll::Ready(sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe)))
    }
}
