//! What a device tells of itself, under the name `agent`: asked for when a session is up, and again
//! whenever an answer to a scrape says that it has changed.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue, IF_MATCH};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use onionscrape::address::OnionAddress;
use onionscrape::http::{MAX_FIELDS, MAX_HEAD};
use onionscrape::pairing::{INVENTORY_PATH, Inventory, MAX_BODY, NEXT_HOST_KEY_PATH, REVISION, VERSION};
use onionscrape::ssh::HostKeyPin;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::session::{Announced, HostKeys, Session};
use crate::target::Target;

/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// Most exporters that are taken from a device.
const MAX_EXPORTERS: usize = 64;
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

/// Asks the agent itself, over a channel of its own, for at most a minute; `None` if there is no
/// whole answer.
pub async fn ask(session: &Session, request: Request<Bytes>) -> Option<Reply> {
    let asked = async {
        let (channel, ()) = session.channel("agent".into(), 80, ()).await.ok()?;
        let (mut sender, connection) = http1::Builder::new()
            .max_headers(MAX_FIELDS)
            .max_buf_size(MAX_HEAD)
            .handshake(TokioIo::new(channel))
            .await
            .ok()?;
        tokio::spawn(connection);
        let mut request = request.map(Full::new);
        request.headers_mut().insert(HOST, HeaderValue::from_static("agent"));
        let mut response = sender.send_request(request).await.ok()?;
        let (status, revision) = (response.status(), response.headers_mut().remove(REVISION));
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await.ok()?.to_bytes();
        Some(Reply { status, revision, body })
    };
    timeout(ANSWER_LIMIT, asked).await.ok().flatten()
}

/// A request with this body.
pub fn request(method: Method, path: &'static str, body: impl Into<Bytes>) -> Request<Bytes> {
    let mut request = Request::new(body.into());
    *request.method_mut() = method;
    *request.uri_mut() = hyper::Uri::from_static(path);
    request
}

/// The inventory in a reply.
///
/// # Errors
/// Says why there is none that can be used.
pub fn parse(reply: &Reply) -> Result<Inventory, String> {
    if reply.status != StatusCode::OK {
        return Err(format!("the device does not say what it has: status {}", reply.status.as_u16()));
    }
    let odd = |why: &str| format!("the device's inventory cannot be used: {why}");
    let inventory: Inventory =
        serde_json::from_slice(&reply.body).map_err(|_| odd("it is not of the expected form"))?;
    if inventory.version != VERSION {
        return Err(odd("it is of another version; use releases that fit each other"));
    }
    if inventory.exporters.len() > MAX_EXPORTERS {
        return Err(odd("it has too many exporters"));
    }
    let names: HashSet<_> = inventory.exporters.iter().map(|exporter| &exporter.name).collect();
    if names.len() != inventory.exporters.len() {
        return Err(odd("two exporters have one name"));
    }
    Ok(inventory)
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
            if let Some(reply) = ask(session, request(Method::GET, INVENTORY_PATH, "")).await {
                known = reply.revision.clone().or(known);
                match parse(&reply) {
                    Ok(inventory) => {
                        let wrong = self.heard(session, &inventory, is_first).await;
                        self.complain(&mut said, wrong);
                        is_first = false;
                        self.target.has(inventory);
                    }
                    Err(why) => self.complain(&mut said, [why]),
                }
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
            Some(reply) if reply.status == StatusCode::OK => {
                info!(
                    target = self.name(),
                    "the device will have another host key, and may show it from now on"
                );
            }
            _ => debug!(target = self.name(), "that the next host key is known could not be confirmed"),
        }
    }
}
