//! What a device tells of itself, under the name `agent`: asked for when a session is up, and again
//! whenever an answer to a scrape says that it has changed.
//!
//! - [`judged`]: what of it is taken;
//! - [`kept`]: the last one on disk.

pub mod judged;
pub mod kept;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue, IF_MATCH};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use onionscrape::address::OnionAddress;
use onionscrape::http::{MAX_FIELDS, MAX_HEAD};
use onionscrape::pairing::{INVENTORY_PATH, Inventory, MAX_BODY, NEXT_HOST_KEY_PATH, OWN_NAME, REVISION};
use onionscrape::ssh::HostKeyPin;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::session::{Announced, HostKeys, Session};
use crate::target::Target;
use judged::{Refusal, Refused, parse};
use kept::Kept;

/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// Most complaints about one device in one session.
const MAX_COMPLAINTS: usize = 8;
/// Least time between two questions to one device, whatever it says.
const GAP: Duration = Duration::from_secs(10);

/// What a device says when it is asked.
pub struct Reply {
    /// The HTTP status.
    pub status: StatusCode,
    /// The value of [`REVISION`], if it has one.
    pub revision: Option<HeaderValue>,
    /// At most [`MAX_BODY`] bytes.
    pub body: Bytes,
}

/// Why there is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoReply {
    /// It did not come, or not to its end.
    BrokenOff,
    /// Its body is larger than [`MAX_BODY`].
    TooLarge,
}

/// Asks the agent itself, over a channel of its own, for at most a minute.
///
/// # Errors
/// When there is no whole answer of a size that can be right.
pub async fn ask(session: &Session, request: Request<Bytes>) -> Result<Reply, NoReply> {
    let asked = async {
        let (channel, ()) = session.channel(OWN_NAME.into(), 80, ()).await.ok()?;
        let (mut sender, connection) = http1::Builder::new()
            .max_headers(MAX_FIELDS)
            .max_buf_size(MAX_HEAD)
            .handshake(TokioIo::new(channel))
            .await
            .ok()?;
        tokio::spawn(connection);
        let mut request = request.map(Full::new);
        request.headers_mut().insert(HOST, HeaderValue::from_static(OWN_NAME));
        let mut response = sender.send_request(request).await.ok()?;
        let (status, revision) = (response.status(), response.headers_mut().remove(REVISION));
        let body = match Limited::new(response.into_body(), MAX_BODY).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => return Some(Err(NoReply::TooLarge)),
            Err(_) => return None,
        };
        Some(Ok(Reply { status, revision, body }))
    };
    timeout(ANSWER_LIMIT, asked).await.ok().flatten().unwrap_or(Err(NoReply::BrokenOff))
}

/// A request with this body.
pub fn request(method: Method, path: &'static str, body: impl Into<Bytes>) -> Request<Bytes> {
    let mut request = Request::new(body.into());
    *request.method_mut() = method;
    *request.uri_mut() = hyper::Uri::from_static(path);
    request
}

/// What a device said, as far as it can be shown.
pub fn one_line(answer: &[u8]) -> String {
    String::from_utf8_lossy(answer).chars().take(120).filter(|c| c.is_ascii_graphic() || *c == ' ').collect()
}

/// Keeps up with what one target's device tells.
pub struct Follower {
    /// The target.
    pub target: Arc<Target>,
    /// What is known of its host key and address.
    pub host_keys: Arc<HostKeys>,
    /// Where its inventory is kept.
    pub kept: Arc<Kept>,
}

impl Follower {
    /// Asks, and asks again at each change. It ends when it is dropped.
    pub async fn follow(self, session: &Session) {
        let mut revision = self.target.revision();
        // What was complained of in this session: a device must not fill the log.
        let mut said = HashSet::new();
        let mut is_first = true;
        loop {
            // Who does not answer is not asked again before something changes.
            let mut known = revision.borrow_and_update().clone();
            match ask(session, request(Method::GET, INVENTORY_PATH, "")).await {
                Ok(reply) => {
                    known = reply.revision.clone().or(known);
                    match parse(&reply) {
                        Ok((inventory, left_out)) => {
                            self.count(left_out);
                            let mut wrong = self.heard(session, &inventory, is_first).await;
                            is_first = false;
                            self.target.has(inventory.clone());
                            wrong.extend(self.keep(inventory).await);
                            self.complain(&mut said, wrong);
                        }
                        Err(refused) => self.refuse(&mut said, refused),
                    }
                }
                Err(NoReply::TooLarge) => self.refuse(&mut said, Refusal::TooLarge.into()),
                Err(NoReply::BrokenOff) => {}
            }
            sleep(GAP).await;
            if known.is_none() {
                // It has not said yet which revision it was asked for.
                known = revision.borrow().clone();
            }
            let changed = revision.wait_for(|now| now.is_some() && *now != known);
            if changed.await.is_err() {
                return;
            }
        }
    }

    /// Writes it down off the runtime's threads; says what is wrong with that.
    async fn keep(&self, inventory: Inventory) -> Option<String> {
        let kept = self.kept.clone();
        let written = spawn_blocking(move || kept.write(&inventory)).await.ok()?;
        written.err().map(|error| format!("the device's inventory could not be kept: {error}"))
    }

    fn refuse(&self, said: &mut HashSet<String>, refused: Refused) {
        self.count([(refused.reason, 1)]);
        self.complain(said, [refused.what]);
    }

    fn count(&self, left_out: impl IntoIterator<Item = (Refusal, u64)>) {
        for (reason, times) in left_out {
            self.target.metrics.inventory_refused(reason, times);
        }
    }

    fn complain(&self, said: &mut HashSet<String>, wrong: impl IntoIterator<Item = String>) {
        for what in wrong {
            if said.len() < MAX_COMPLAINTS && said.insert(what.clone()) {
                warn!(target = self.name(), "{what}");
            }
        }
    }

    fn name(&self) -> &str {
        self.target.config.name.as_str()
    }

    /// Acts on what is to come; says what is wrong with it.
    async fn heard(&self, session: &Session, inventory: &Inventory, is_first: bool) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut next_key = None;
        if let Some(next) = &inventory.next_host_key {
            match self.host_keys.announced(&next.key, &next.proof) {
                Announced::Accepted(pin) => next_key = Some(pin),
                Announced::NotOurs => wrong.push(
                    "the device will have another host key; change it where it is known by, the bridge does not"
                        .to_owned(),
                ),
                Announced::Unproved => {
                    wrong.push("the device announces a host key that it has not proved to have".to_owned());
                }
                Announced::Lost => {}
            }
        }
        let mut next_onion = None;
        if let Some(next) = &inventory.next_onion {
            match next.parse::<OnionAddress>() {
                Ok(onion) => match self.host_keys.address_announced(&onion) {
                    Announced::NotOurs => wrong.push(
                        "the device will have another address; change it in the configuration, with what its host key is known by"
                            .to_owned(),
                    ),
                    _ => next_onion = Some(onion),
                },
                Err(_) => wrong.push("the device announces an address that is none".to_owned()),
            }
        }
        if is_first {
            self.host_keys.settle(next_key.as_ref(), next_onion.as_ref());
        }
        if let Some(pin) = next_key {
            self.confirm(session, &pin).await;
        }
        wrong
    }

    /// Lets the device know that the key to come is written down here.
    async fn confirm(&self, session: &Session, pin: &HostKeyPin) {
        let mut request = request(Method::POST, NEXT_HOST_KEY_PATH, "");
        // A fingerprint has no letters that a header could not have.
        if let Ok(value) = HeaderValue::try_from(format!("\"{pin}\"")) {
            request.headers_mut().insert(IF_MATCH, value);
        }
        match ask(session, request).await {
            Ok(reply) if reply.status == StatusCode::OK => {
                info!(
                    target = self.name(),
                    "the device will have another host key, and may show it from now on"
                );
            }
            _ => debug!(target = self.name(), "that the next host key is known could not be confirmed"),
        }
    }
}
