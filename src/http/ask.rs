//! Asking a running program over its control socket.

use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use crate::lifecycle::Failure;

/// Asks a program of ours on the other end of `stream`. How long it may take is the caller's to say.
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
    sender
        .send_request(request)
        .await
        .map_err(|error| Failure(format!("the running program does not answer: {error}")))
}
