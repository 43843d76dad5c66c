//! Findings on their way to whoever asked for them, one JSON object a line over a control socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::Response;
use hyper::body::Frame;
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

/// The last line. Without it the doctor did not come to its end.
const END: &[u8] = b"{\"end\":true}\n";

/// Where findings come out, in the order in which they were made.
#[derive(Debug)]
pub struct Receiver {
    findings: mpsc::Receiver<Finding>,
    /// True once the doctor came to its end; one that panics does not.
    is_whole: Arc<AtomicBool>,
}

impl Receiver {
    /// Gives every finding to `each` as it comes.
    ///
    /// # Errors
    /// When the doctor did not come to its end.
    pub async fn drain(mut self, mut each: impl FnMut(Finding)) -> Result<(), Failure> {
        while let Some(finding) = self.findings.recv().await {
            each(finding);
        }
        if self.is_whole() {
            return Ok(());
        }
        Err(Failure("the doctor broke off; that is a mistake in this program".into()))
    }

    fn is_whole(&self) -> bool {
        self.is_whole.load(Ordering::Acquire)
    }
}

impl Findings {
    /// Has `doctor` tell of its findings; it ends when nobody listens any more.
    pub fn from<D, F>(doctor: D) -> Receiver
    where
        D: FnOnce(Self) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        let (sender, findings) = mpsc::channel(WAITING);
        let work = doctor(Self(sender.clone()));
        let is_whole = Arc::new(AtomicBool::new(false));
        let whole = is_whole.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = sender.closed() => {}
                () = work => whole.store(true, Ordering::Release),
            }
        });
        Receiver { findings, is_whole }
    }

    /// Tells of one, waiting until it can be taken.
    pub async fn tell(&self, finding: Finding) {
        // When nobody listens any more, the doctor is dropped.
        let _ = self.0.send(finding).await;
    }
}

/// A response that tells of findings as they are made.
pub fn page_of(findings: Receiver) -> Response<Body> {
    let lines = stream::unfold(Some(findings), |told| async {
        let mut told = told?;
        let (line, more) = match told.findings.recv().await {
            Some(finding) => {
                let mut line = serde_json::to_vec(&finding).unwrap_or_default();
                line.push(b'\n');
                (Bytes::from(line), Some(told))
            }
            None if told.is_whole() => (Bytes::from_static(END), None),
            None => return None,
        };
        Some((Ok::<_, BodyError>(Frame::data(line)), more))
    });
    let mut response = Response::new(StreamBody::new(lines).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(FINDINGS));
    response
}

/// Reads such a response to its end; `each` is given every finding as it comes.
///
/// # Errors
/// When it breaks off, or is something else.
pub async fn findings_of<B>(mut body: B, mut each: impl FnMut(Finding)) -> Result<(), Failure>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
{
    let broke_off = || Failure("the running program broke off; see its log".into());
    let (mut read, mut is_whole) = (Vec::new(), false);
    loop {
        let frame = timeout(PATIENCE, body.frame()).await.map_err(|_| broke_off())?;
        let Some(frame) = frame else { break };
        let Ok(data) = frame.map_err(|_| broke_off())?.into_data() else { continue };
        read.extend_from_slice(&data);
        while let Some(end) = read.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = read.drain(..=end).collect();
            if line == END {
                is_whole = true;
                continue;
            }
            each(serde_json::from_slice(&line).map_err(|_| {
                Failure("the running program answers in another way; restart it after an upgrade".into())
            })?);
        }
        if read.len() > MAX_LINE {
            return Err(broke_off());
        }
    }
    if read.is_empty() && is_whole { Ok(()) } else { Err(broke_off()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many findings come over, and whether that is all, on both ways.
    async fn told<F>(doctor: impl Fn(Findings) -> F) -> (usize, bool)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (mut near, mut far) = (0, 0);
        let here = Findings::from(&doctor).drain(|_| near += 1).await;
        let there = findings_of(page_of(Findings::from(&doctor)).into_body(), |_| far += 1).await;
        assert_eq!((near, here.is_ok()), (far, there.is_ok()));
        (near, here.is_ok())
    }

    #[tokio::test]
    async fn a_doctor_that_breaks_off_is_not_one_that_is_done() {
        let well = |findings: Findings| async move {
            // Every byte of this takes six in JSON.
            findings.tell(Finding::passed("exporter app", "\u{1}".repeat(1 << 20))).await;
        };
        assert_eq!(told(well).await, (1, true), "what is found is cut to what fits");
        let panics = |findings: Findings| async move {
            findings.tell(Finding::passed("clock", "right")).await;
            panic!("a mistake of the doctor's own");
        };
        assert_eq!(told(panics).await, (1, false));
    }
}
