//! Whoever speaks in one session: what they showed, and what it is good for at this moment.

use std::sync::Arc;
use std::time::SystemTime;

use tracing::{info, warn};

use super::channel::Destination;
use super::identity::Shown;
use super::server::Shared;
use crate::access::{Admitted, NAME_PORT, Permits};
use crate::config::OWN_NAME;
use crate::enrolment::Desk;
use crate::metrics::{Denied, TicketOutcome};

/// Whoever speaks in one session.
pub(super) struct Visitor {
    server: Arc<Shared>,
    /// What was shown last, and accepted. Russh ends a login only after a signature, so when there is
    /// a login this was signed with.
    shown: Option<Shown>,
}

impl Visitor {
    pub(super) fn new(server: Arc<Shared>) -> Self {
        Self { server, shown: None }
    }

    /// True if what is shown is good for coming in at this moment; else nothing counts as shown.
    pub(super) fn shows(&mut self, shown: Shown) -> bool {
        self.shown = None;
        match self.admitted(&shown) {
            Admitted::As(..) | Admitted::Invited(_) => self.shown = Some(shown),
            Admitted::TicketUsed(bridge) => {
                warn!(%bridge, "a ticket that was used already was shown again; if that was not you, somebody saw it");
                self.server.metrics.ticket(TicketOutcome::Used);
            }
            Admitted::TicketExpired(bridge) => {
                info!(%bridge, "a ticket was shown whose time is over");
                self.server.metrics.ticket(TicketOutcome::Expired);
            }
            Admitted::No => {}
        }
        self.shown.is_some()
    }

    /// Forgets what was shown.
    pub(super) fn shows_nothing(&mut self) {
        self.shown = None;
    }

    /// What was shown, what people call it, and what it may open, which is `None` for a ticket; `None` if it was
    /// withdrawn since.
    pub(super) fn admission(&self) -> Option<(Shown, String, Option<Permits>)> {
        let shown = self.shown.clone()?;
        match self.admitted(&shown) {
            Admitted::As(name, permits) => Some((shown, name, Some(permits))),
            Admitted::Invited(name) => Some((shown, name, None)),
            _ => None,
        }
    }

    /// What a channel to `host` and `port` leads to for this visitor at this moment, and what people call the
    /// visitor; else what to count.
    pub(super) fn destination(&self, host: &str, port: u32) -> Result<(String, Destination), Denied> {
        let server = &self.server;
        let shown = self.shown.as_ref().ok_or(Denied::DirectTcpip)?;
        match (self.admitted(shown), shown.key()) {
            (Admitted::As(name, permits), _) => {
                let found = server.services.find(host, port, shown, &permits).ok_or(Denied::DirectTcpip)?;
                // Whoever may come in may know what there is for them, and which keys are to come.
                let is_own = matches!(found, Destination::Own(..));
                if is_own || permits.allows(host, port) {
                    Ok((name, found))
                } else {
                    Err(Denied::NotPermitted)
                }
            }
            (Admitted::Invited(name), Some(key)) if host == OWN_NAME && port == u32::from(NAME_PORT) => {
                let desk = Desk {
                    access: server.access.clone(),
                    pages: server.services.pages.clone(),
                    metrics: server.metrics.clone(),
                };
                Ok((name, Destination::Enrolment(Box::new((desk, key.clone())))))
            }
            _ => Err(Denied::NotPermitted),
        }
    }

    fn admitted(&self, shown: &Shown) -> Admitted {
        shown.admitted(&self.server.access.now(), SystemTime::now())
    }
}
