//! Findings on their way to whoever asked for them, one JSON object a line over a control socket.

use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::Response;
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Finding;
use crate::http::{Body, BodyError};
use crate::lifecycle::Failure;

/// Findings that may wait for whoever asked; then the doctor waits.
const WAITING: usize = 16;
/// Longest time between two findings: every hop is given up sooner.
const PATIENCE: Duration = Duration::from_secs(300);
/// Longest line, in bytes.
const MAX_LINE: usize = 64 << 10;
/// The media type of findings, one JSON object a line.
pub const FINDINGS: &str = "application/x-ndjson";

/// Who is told of findings; clones tell the same.
#[derive(Clone, Debug)]
pub struct Findings(mpsc::Sender<Finding>);

/// Where findings come out, in the order in which they were made.
pub type Receiver = mpsc::Receiver<Finding>;

impl Findings {
    /// Has `doctor` tell of its findings; it ends when nobody listens any more.
    pub fn from<D, F>(doctor: D) -> Receiver
    where
        D: FnOnce(Self) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(WAITING);
        let work = doctor(Self(sender.clone()));
        tokio::spawn(async move {
            tokio::select! {
                () = sender.closed() => {}
                () = work => {}
            }
        });
        receiver
    }

    /// Tells of one, waiting until it can be taken.
    pub async fn tell(&self, finding: Finding) {
        // When nobody listens any more, the doctor is dropped.
        let _ = self.0.send(finding).await;
    }
}

/// A response that tells of findings as they are made.
pub fn page_of(findings: Receiver) -> Response<Body> {
    let lines = stream::unfold(findings, |mut findings| async {
        let mut line = serde_json::to_vec(&findings.recv().await?).unwrap_or_default();
        line.push(b'\n');
        Some((Ok::<_, BodyError>(Frame::data(Bytes::from(line))), findings))
    });
    let mut response = Response::new(StreamBody::new(lines).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(FINDINGS));
    response
}

/// Reads such a response to its end; `each` is given every finding as it comes.
///
/// # Errors
/// When it breaks off, or is something else.
pub async fn findings_of(mut body: Incoming, mut each: impl FnMut(Finding)) -> Result<(), Failure> {
    let broke_off = || Failure("the running program broke off; see its log".into());
    let mut read = Vec::new();
    loop {
        let frame = timeout(PATIENCE, body.frame()).await.map_err(|_| broke_off())?;
        let Some(frame) = frame else { break };
        let Ok(data) = frame.map_err(|_| broke_off())?.into_data() else { continue };
        read.extend_from_slice(&data);
        while let Some(end) = read.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = read.drain(..=end).collect();
            each(serde_json::from_slice(&line).map_err(|_| {
                Failure("the running program answers in another way; restart it after an upgrade".into())
            })?);
        }
        if read.len() > MAX_LINE {
            return Err(broke_off());
        }
    }
    if read.is_empty() { Ok(()) } else { Err(broke_off()) }
}
