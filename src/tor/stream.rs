//! A stream through Tor, made to behave as SSH expects.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tor_proto::client::stream::DataStream;

/// A Tor stream whose writes go out before it waits for an answer, and which ends cleanly.
///
/// Arti keeps up to 498 bytes back until it is told to flush; SSH programs write and then read, so
/// two of them would wait for each other for ever. Flushing when reading begins, rather than after
/// each write, fills Tor's cells. Arti also closes every stream with the reason MISC and reports
/// that as an error; here it is the end of the stream.
pub struct TorStream {
    inner: DataStream,
    unflushed: bool,
    ended: bool,
}

impl TorStream {
    /// Takes over a stream that is open.
    pub fn new(inner: DataStream) -> Self {
        Self { inner, unflushed: false, ended: false }
    }

    /// Waits until the far end has accepted the stream, which a dial does not; true if it did, even if it has
    /// closed the stream since. Whoever gives this up drops the stream, too: it cannot be read any more.
    pub async fn accepted(&mut self) -> bool {
        self.inner.wait_for_connection().await.is_ok()
    }
}

impl AsyncRead for TorStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ended {
            return Poll::Ready(Ok(()));
        }
        // A flush that cannot finish yet has registered to be woken; reading goes on meanwhile.
        if self.unflushed && AsyncWrite::poll_flush(Pin::new(&mut self.inner), cx)?.is_ready() {
            self.unflushed = false;
        }
        match ready!(AsyncRead::poll_read(Pin::new(&mut self.inner), cx, buf)) {
            Err(error) if is_end(&error) => {
                self.ended = true;
                Poll::Ready(Ok(()))
            }
            result => Poll::Ready(result),
        }
    }
}

impl AsyncWrite for TorStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(AsyncWrite::poll_write(Pin::new(&mut self.inner), cx, buf))?;
        self.unflushed = true;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(AsyncWrite::poll_flush(Pin::new(&mut self.inner), cx))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(Pin::new(&mut self.inner), cx)
    }
}

fn is_end(error: &io::Error) -> bool {
    use tor_proto::Error::EndReceived;
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<tor_proto::Error>());
    matches!(cause, Some(EndReceived(reason)) if matches!(reason.to_string().as_str(), "MISC" | "DONE"))
}
