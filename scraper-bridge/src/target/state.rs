//! What a target's session is doing.

use std::sync::Arc;
use std::time::SystemTime;

use super::Trouble;
use crate::pool::Pool;

/// What a target's session is doing.
#[derive(Clone)]
pub enum State {
    /// The way to the target is not open at all, for this reason (Tor is not ready).
    Blocked(String),
    /// A session is coming about. The last attempt, if there was one, failed so.
    Dialling(Option<Trouble>),
    /// Scrapes can use this.
    Up(Arc<Pool>),
    /// They still can, while it is asked whether it is there at all.
    Suspect(Arc<Pool>),
    /// The last dial failed so. The next one comes by itself, at this time if anything is dialled.
    Waiting(Trouble, Option<SystemTime>),
    /// The target is not who it should be, or will not have us; a person has to act. It is dialled from
    /// time to time all the same, next at this time.
    Refused(Trouble, SystemTime),
}

impl State {
    /// The state's name.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Blocked(_) => "blocked",
            Self::Dialling(_) => "connecting",
            Self::Up(_) => "up",
            Self::Suspect(_) => "suspect",
            Self::Waiting(..) => "waiting",
            Self::Refused(..) => "refused",
        }
    }

    /// What scrapes can use.
    pub fn pool(&self) -> Option<&Arc<Pool>> {
        match self {
            Self::Up(pool) | Self::Suspect(pool) => Some(pool),
            _ => None,
        }
    }

    /// When the target is dialled next, if that is known.
    pub fn next_dial(&self) -> Option<SystemTime> {
        match self {
            Self::Waiting(_, until) => *until,
            Self::Refused(_, until) => Some(*until),
            _ => None,
        }
    }
}
