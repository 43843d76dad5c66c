//! Talking to the device while pairing with it.

use std::sync::Arc;
use std::time::Duration;

use hyper::{Method, StatusCode};
use onionscrape::lifecycle::Failure;
use onionscrape::pairing::{ENROL_PATH, Enrolment, INVENTORY_PATH, Inventory, VERSION};
use onionscrape::ssh::{KeyFile, LoginKey, UserKey};
use onionscrape::ticket::Ticket;
use onionscrape::tor::{ClientAuthKey, Tor};
use tokio::time::{Instant, sleep};

use super::pending::Pending;
use crate::dial::{Dial as _, OnionDial};
use crate::inventory::judged::parse;
use crate::inventory::{ask, one_line, request};
use crate::session::{HostKeys, LoginFailure, Session};

/// How long the device may take to be found at all, and, once it has enrolled the bridge, to be found
/// with the bridge's own key.
const REACH_LIMIT: Duration = Duration::from_secs(180);
/// How long a device may need to publish itself for a key that it has just been told of.
const PUBLICATION_LIMIT: Duration = Duration::from_secs(60);
/// What is wrong with a key that the device does not let in.
const SPENT: &str = "the ticket was used already, has expired or was withdrawn; make a new one on the device: target-agent ticket";
/// Pause between two dials.
const PAUSE: Duration = Duration::from_secs(2);
/// The SSH user; an agent takes any.
const USER: &str = "scrape";

/// The device that a ticket is of.
pub(super) struct Device<'a> {
    pub(super) tor: &'a Tor,
    pub(super) ticket: &'a Ticket,
    pub(super) pending: &'a Pending,
}

/// What to find the device and to log in with.
#[derive(Clone, Copy)]
struct Keys<'a> {
    client_auth: &'a ClientAuthKey,
    key: &'a KeyFile,
    /// True for those of the ticket, which are good for enrolling only.
    enrol: bool,
}

/// Why there is no session.
enum Closed {
    /// It may be better in a moment.
    Unreachable(String),
    /// The device cannot be found with this key; it can in a moment if it is publishing at this one.
    Unknown,
    /// It does not let this key in.
    Denied,
    /// It will not be better.
    For(String),
}

impl Device<'_> {
    /// Enrols, unless an earlier run did, and proves that the bridge's own keys are good.
    pub(super) async fn pair(&self) -> Result<Inventory, Failure> {
        let enrolment_key = KeyFile::of(self.ticket.enrolment_key());
        let by_ticket = Keys { client_auth: &self.ticket.client_auth, key: &enrolment_key, enrol: true };
        let own = Keys { client_auth: &self.pending.client_auth, key: &self.pending.key, enrol: false };
        let (session, enrol) = if self.pending.was_begun() {
            eprintln!("this ticket was tried before; the device may know this bridge already");
            self.reach(&[own, by_ticket]).await?
        } else {
            eprintln!("dialling the device");
            self.reach(&[by_ticket]).await?
        };
        if !enrol {
            return self.inventory(&session).await;
        }
        eprintln!("the device is the one of the ticket; enrolling");
        self.enrol(&session).await?;
        session.close().await;
        eprintln!("enrolled; dialling again with this bridge's own keys");
        let (session, _) = self.reach(&[own]).await.map_err(|Failure(why)| {
            Failure(format!(
                "the device has enrolled this bridge, but: {why}; run the same again, it goes on from here"
            ))
        })?;
        self.inventory(&session).await
    }

    /// A session, dialled with each of the keys in turn until there is one, or it is plain that there
    /// will be none; true if it is for enrolling.
    async fn reach(&self, keys: &[Keys<'_>]) -> Result<(Session, bool), Failure> {
        let began = Instant::now();
        let mut said = String::new();
        loop {
            let (mut denied, mut unreachable) = (0, None);
            for keys in keys {
                match self.session(*keys).await {
                    Ok(session) => return Ok((session, keys.enrol)),
                    Err(Closed::For(why)) => return Err(Failure(why)),
                    Err(Closed::Denied) => denied += 1,
                    Err(Closed::Unknown) => {}
                    Err(Closed::Unreachable(why)) => unreachable = Some(why),
                }
            }
            if denied == keys.len() {
                return Err(Failure(SPENT.into()));
            }
            let (why, limit, advice) = match unreachable {
                Some(why) => {
                    (why, REACH_LIMIT, "run the same again when the device is on and its agent runs")
                }
                None => (
                    "the device does not show itself to this ticket".into(),
                    PUBLICATION_LIMIT,
                    "either it was used already, or has expired, or the device has not published it yet: run the same again, or make a new ticket",
                ),
            };
            if began.elapsed() > limit {
                return Err(Failure(format!("{why}; {advice}")));
            }
            if said != why {
                eprintln!("not yet: {why}");
                said = why;
            }
            sleep(PAUSE).await;
        }
    }

    async fn session(&self, Keys { client_auth, key, .. }: Keys<'_>) -> Result<Session, Closed> {
        let dial = OnionDial::new(self.tor.clone(), self.ticket.onion.clone(), 22, Some(client_auth.clone()));
        let stream = dial.dial(None).await.map_err(|failure| {
            if failure.closed { Closed::Unknown } else { Closed::Unreachable(failure.to_string()) }
        })?;
        let host_key =
            HostKeys::pinned("the ticket's device", &self.ticket.onion, self.ticket.host_key.clone());
        let key = LoginKey::File { key: key.clone(), certificate: None };
        let login = Session::login(stream, &Arc::new(host_key), USER, &key).await;
        login.map(|(session, _)| session).map_err(|failure| match failure {
            LoginFailure::HostKey(_) => Closed::For(
                "another device answers: its host key is not the ticket's; make a new ticket on the device"
                    .into(),
            ),
            LoginFailure::Denied => Closed::Denied,
            LoginFailure::KeyExchange
            | LoginFailure::Authentication
            | LoginFailure::SshAgent
            | LoginFailure::Certificate => Closed::Unreachable("the session broke off".into()),
        })
    }

    async fn enrol(&self, session: &Session) -> Result<(), Failure> {
        let enrolment = Enrolment {
            version: VERSION,
            key: UserKey::of(self.pending.key.private().public_key()),
            client_auth: self.pending.client_auth.public().to_string(),
        };
        // Strings and numbers can always be written as JSON.
        let body = serde_json::to_vec(&enrolment).unwrap_or_default();
        let reply = ask(session, request(Method::POST, ENROL_PATH, body)).await.map_err(|_| broken_off())?;
        if reply.status != StatusCode::OK {
            let why = one_line(&reply.body);
            return Err(Failure(format!("the device does not take the ticket: {why}")));
        }
        Ok(())
    }

    async fn inventory(&self, session: &Session) -> Result<Inventory, Failure> {
        let reply = ask(session, request(Method::GET, INVENTORY_PATH, "")).await.map_err(|_| broken_off())?;
        let (inventory, _) = parse(&reply).map_err(|refused| Failure(refused.what))?;
        if inventory.exporters.is_empty() {
            return Err(Failure("the device has no exporter for this bridge".into()));
        }
        Ok(inventory)
    }
}

fn broken_off() -> Failure {
    Failure("the session broke off; run the same again, it goes on where it was".into())
}
