//! A second session to a target, over other circuits, beside the one that its scrapes use.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use onionscrape::address::OnionAddress;

use crate::pool::Pool;

/// A session, and where the device was reached.
pub(super) struct Connection {
    pub(super) pool: Arc<Pool>,
    /// `None` if that is no onion address.
    pub(super) address: Option<OnionAddress>,
}

/// The place of the second session; empty most of the time where none is wanted.
#[derive(Default)]
pub(super) struct Standby(Mutex<Option<Connection>>);

impl Standby {
    /// The session, if there is one, for a scrape that needs it.
    pub(super) fn pool(&self) -> Option<Arc<Pool>> {
        self.locked().as_ref().map(|connection| connection.pool.clone())
    }

    /// Puts a session there.
    pub(super) fn put(&self, connection: Connection) {
        *self.locked() = Some(connection);
    }

    /// Takes the session out.
    pub(super) fn take(&self) -> Option<Connection> {
        self.locked().take()
    }

    fn locked(&self) -> MutexGuard<'_, Option<Connection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
