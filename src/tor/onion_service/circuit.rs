//! One circuit to a client, and the streams that the client opens on it.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tor_cell::relaycell::msg::{Connected, End, EndReason};
use tor_hsservice::{RendRequest, StreamRequest};
use tor_proto::stream::IncomingStreamRequest;
use tracing::debug;

use super::Known;
use crate::tor::{TorStream, one_line};

/// The one virtual port.
const PORT: u16 = 22;
/// How long the way to the client's rendezvous point may take.
const ACCEPT_LIMIT: Duration = Duration::from_secs(60);
/// How long a stream may take to be accepted or refused.
const STREAM_LIMIT: Duration = Duration::from_secs(10);
/// How long a circuit may be without a stream.
const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// How long a circuit may last on which nobody is known: enough for two logins, one after the other.
const STRANGER_LIMIT: Duration = Duration::from_secs(180);

/// Meets the client and serves the circuit until it ends, is idle for a minute, is a stranger's for
/// three, or `shutdown`.
pub(super) async fn serve<A, F>(request: RendRequest, answer: A, shutdown: CancellationToken)
where
    A: Fn(TorStream, Known) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let meeting = Box::pin(timeout(ACCEPT_LIMIT, request.accept()));
    let wishes = match shutdown.run_until_cancelled(meeting).await {
        None => return,
        Some(Err(_)) => return debug!("a client was not met in time"),
        Some(Ok(Err(error))) => return debug!(error = one_line(&error), "a client was not met"),
        Some(Ok(Ok(wishes))) => wishes,
    };
    let mut wishes = pin!(wishes);
    let mut streams = JoinSet::new();
    // Streams that are refused do not count, and those of strangers not for long: they could hold all
    // circuits with them.
    let (met, known) = (Instant::now(), Known::default());
    let mut idle_since = met;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            wish = wishes.next() => match wish {
                Some(wish) => {
                    if let Some(stream) = stream(wish).await {
                        streams.spawn(answer(stream, known.clone()));
                    }
                }
                None => break,
            },
            Some(_) = streams.join_next() => idle_since = Instant::now(),
            () = sleep_until(met + STRANGER_LIMIT), if !known.0.is_cancelled() => return debug!("a stranger's circuit was closed"),
            () = sleep_until(idle_since + IDLE_LIMIT), if streams.is_empty() => return debug!("an idle circuit was closed"),
        }
    }
    // What answers has its own way to end on a shutdown, and ends by itself on a circuit that did.
    while streams.join_next().await.is_some() {}
}

/// The byte stream that a client asks for, if it asks for the right port.
async fn stream(wish: StreamRequest) -> Option<TorStream> {
    match wish.request() {
        IncomingStreamRequest::Begin(begin) if begin.port() == PORT => {
            match timeout(STREAM_LIMIT, wish.accept(Connected::new_empty())).await {
                Ok(Ok(stream)) => Some(TorStream::new(stream)),
                Ok(Err(error)) => {
                    debug!(error = one_line(&error), "a stream was not accepted");
                    None
                }
                Err(_) => None,
            }
        }
        IncomingStreamRequest::Begin(begin) => {
            debug!(port = begin.port(), "a stream to a port other than 22 was refused");
            // DONE is what every onion service answers here; another reason would tell it apart.
            let refusal = wish.reject(End::new_with_reason(EndReason::DONE));
            let _ = timeout(STREAM_LIMIT, refusal).await;
            None
        }
        _ => {
            let _ = wish.shutdown_circuit();
            None
        }
    }
}
