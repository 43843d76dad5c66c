//! What a bridge does in a session that a ticket let it into: it hands over keys of its own.

use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use hyper::body::Body as HttpBody;
use hyper::{Method, Request, Response, StatusCode};
use onionscrape::address::Name;
use onionscrape::http::{Answer, Body};
use onionscrape::pairing::{ENROL_PATH, Enrolment, MAX_BODY, VERSION};
use onionscrape::ssh::UserKey;
use onionscrape::tor::ClientAuthPublicKey;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::access::{Access, Refused};
use crate::admin::Pages;
use crate::metrics::{Metrics, TicketOutcome};

/// How long a request may take to come in.
const BODY_LIMIT: Duration = Duration::from_secs(30);

/// Takes a ticket in exchange for a bridge's own keys.
#[derive(Clone)]
pub struct Desk {
    /// Who may come in.
    pub access: Access,
    /// What there is to scrape.
    pub pages: Pages,
    /// Counts outcomes.
    pub metrics: Metrics,
}

impl Desk {
    /// Answers the bridge that logged in with the enrolment key `ticket`.
    pub async fn answer<B>(&self, ticket: &UserKey, request: Request<B>) -> Response<Body>
    where
        B: HttpBody + Send,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        match self.enrol(ticket, request).await {
            Ok(name) => {
                self.metrics.ticket(TicketOutcome::Taken);
                info!(bridge = %name, "a bridge was paired");
                let permits =
                    self.access.now().files.iter().find(|file| file.name == name).map(|file| file.permits());
                self.pages.inventory(&permits.unwrap_or_default())
            }
            Err(answer) => answer.into(),
        }
    }

    async fn enrol<B>(&self, ticket: &UserKey, request: Request<B>) -> Result<Name, Answer>
    where
        B: HttpBody + Send,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if request.method() != Method::POST || request.uri().path() != ENROL_PATH {
            return Err(Answer::new(
                StatusCode::FORBIDDEN,
                "a ticket is good for enrolling and nothing else",
            ));
        }
        let wrong = |why: &str| {
            Answer::new(StatusCode::BAD_REQUEST, format!("the enrolment is not understood: {why}"))
        };
        let body = timeout(BODY_LIMIT, Limited::new(request.into_body(), MAX_BODY).collect()).await;
        let body = body
            .map_err(|_| wrong("it did not come in time"))?
            .map_err(|_| wrong("it is cut short or too long"))?;
        let enrolment: Enrolment =
            serde_json::from_slice(&body.to_bytes()).map_err(|_| wrong("it is not of the expected form"))?;
        if enrolment.version != VERSION {
            return Err(wrong("it is of another version; use releases that fit each other"));
        }
        let client_auth: ClientAuthPublicKey =
            enrolment.client_auth.parse().map_err(|_| wrong("its client authorisation key is wrong"))?;
        let (access, ticket) = (self.access.clone(), ticket.clone());
        // The agent has one thread for everything, which must not wait for a disk.
        let taken = spawn_blocking(move || access.take_ticket(&ticket, enrolment.key, client_auth)).await;
        let taken = taken.unwrap_or_else(|error| Err(Refused::Disk(error.to_string())));
        taken.map_err(|refused| match refused {
            Refused::NotValid => {
                self.metrics.ticket(TicketOutcome::Used);
                Answer::new(StatusCode::FORBIDDEN, "the ticket was used already or has expired")
            }
            Refused::KeyInUse(name) => {
                warn!(bridge = %name, "a ticket was handed in with a key that may come in already");
                Answer::new(StatusCode::CONFLICT, "the key handed over may come in already")
            }
            Refused::Disk(error) => {
                warn!("a bridge could not be paired: {error}");
                Answer::new(StatusCode::INSUFFICIENT_STORAGE, "the device cannot write the bridge's file")
            }
        })
    }
}
