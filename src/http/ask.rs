//! Asking a running program over its control socket.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::lifecycle::Failure;

/// How long an answer may take to begin: a scrape by hand may take its time.
const LIMIT: Duration = Duration::from_secs(300);

/// Asks a program of ours on the other end of `stream`; its answer begins within 300 s.
///
/// # Errors
/// When it does not answer.
pub async fn ask(stream: UnixStream, method: Method, path: &str) -> Result<Response<Incoming>, Failure> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(Failure::of)?;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "control")
        .body(Empty::<Bytes>::new())
        .map_err(Failure::of)?;
    match timeout(LIMIT, sender.send_request(request)).await {
        Ok(answered) => {
            answered.map_err(|error| Failure(format!("the running program does not answer: {error}")))
        }
        Err(_) => Err(Failure("the running program does not answer; restart it".into())),
    }
}
