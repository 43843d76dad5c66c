//! A listener that nothing a peer does can end.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::{Body, Listener, MAX_FIELDS, MAX_HEAD};

/// Connections open at once on one listener; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 1024;
/// How long a connection may be idle between requests. Prometheus keeps its own for 5 minutes; a
/// shorter time here would make it connect anew for every scrape with a long interval.
const IDLE: Duration = Duration::from_secs(330);
/// Pause after a failed accept, which most often means that file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a peer may take nothing of what is sent to it. One that stopped reading would hold on to
/// a scrape for ever otherwise.
const STALLED: Duration = Duration::from_secs(30);
/// How long requests under way may go on after a shutdown began.
const GRACE: Duration = Duration::from_secs(5);

/// Serves a listener until `shutdown`, then lets requests under way finish for 5 s.
pub async fn serve<H, F>(listener: Listener, handler: H, shutdown: CancellationToken)
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let stop = shutdown.clone();
    let connection = move |peer| {
        let serving = serve_connection(peer, HalfClose::Gone, handler.clone(), stop.clone());
        async move {
            serving.await;
        }
    };
    serve_each(listener, connection, shutdown).await;
}

/// Has `connection` serve each peer of a listener until `shutdown`, then waits up to 5 s for them.
pub(super) async fn serve_each<C, F>(listener: Listener, connection: C, shutdown: CancellationToken)
where
    C: Fn(Peer) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &room) => accepted,
        };
        match accepted {
            Ok((peer, place)) => {
                let serving = connection(peer);
                connections.spawn(async move {
                    serving.await;
                    drop(place);
                });
            }
            Err(error) => {
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    connections.close();
    let _ = tokio::time::timeout(GRACE, connections.wait()).await;
}

/// A peer's byte stream, with a limit to waiting for it to read.
pub(super) type Peer = Pin<Box<dyn ByteStream>>;

/// What can be read and written.
pub(super) trait ByteStream: AsyncRead + AsyncWrite + Send {}

impl<S: AsyncRead + AsyncWrite + Send> ByteStream for S {}

fn patient(stream: impl ByteStream + 'static) -> Peer {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(STALLED));
    Box::pin(stream)
}

async fn accept(
    listener: &Listener,
    room: &Arc<Semaphore>,
) -> io::Result<(Peer, tokio::sync::OwnedSemaphorePermit)> {
    let place = room.clone().acquire_owned().await.map_err(io::Error::other)?;
    let peer = match listener {
        Listener::Tcp(listener) => {
            let (stream, _) = listener.accept().await?;
            let _ = stream.set_nodelay(true);
            patient(stream)
        }
        Listener::Unix(listener, _) => patient(listener.accept().await?.0),
    };
    Ok((peer, place))
}

/// What it means that the asker's half of a stream has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HalfClose {
    /// It is gone, so what it asked for is not wanted any more. TCP tells a closed connection in no
    /// other way, and Prometheus closes one when its time is up.
    Gone,
    /// It waits for the answer. SSH has another message for a closed channel.
    Waits,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By one side's wish, or by a fault on the way.
    Somehow,
    /// Because of bytes that are no request: wrong, ambiguous in their length, or a head that is too
    /// large. They were answered with 400 or 431 where there was an answer to give.
    Malformed,
}

/// Serves HTTP/1.1 on one byte stream until it ends, is idle for 330 s, or `shutdown`.
pub async fn serve_connection<S, H, F>(
    stream: S,
    half_close: HalfClose,
    handler: H,
    shutdown: CancellationToken,
) -> Ended
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let service = service_fn(|request| {
        let answer = handler(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_FIELDS)
        .half_close(half_close == HalfClose::Waits)
        .serve_connection(TokioIo::new(stream), service)
        // For CONNECT, where a handler takes it.
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    match ended {
        Ok(()) => Ended::Somehow,
        Err(error) => {
            debug!(%error, "an HTTP connection ended early");
            if error.is_parse() { Ended::Malformed } else { Ended::Somehow }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::http::Answer;

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_outlives_prometheus_own_patience() {
        let (mut prometheus, stream) = duplex(4096);
        let handler = |_| async { Answer::new(hyper::StatusCode::OK, "up").into() };
        tokio::spawn(serve_connection(stream, HalfClose::Gone, handler, CancellationToken::new()));
        // The second request comes after 329 s of silence, on the same connection.
        for _ in 0..2 {
            prometheus.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("still open");
            let mut answer = [0; 1024];
            let read = prometheus.read(&mut answer).await.expect("answered");
            assert!(answer[..read].starts_with(b"HTTP/1.1 200"));
            sleep(Duration::from_secs(329)).await;
        }
        let closed = timeout(Duration::from_secs(2), prometheus.read(&mut [0; 1])).await;
        assert_eq!(closed.expect("closed after 330 s").expect("in order"), 0);
    }
}
