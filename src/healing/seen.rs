//! What decisions go by.

use std::time::Duration;

use crate::tor::Unintroduced;

/// Whether somebody who dials the device gets through Tor to its onion service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Yes, or nobody would dial.
    Proved,
    /// No, though nothing else is wrong.
    Lost,
    /// Nobody knows at this moment.
    Unknown,
}

/// What there is to see at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// How long nothing has come from any relay, if anything ever did.
    pub silence: Option<Duration>,
    /// Whether the device is reached.
    pub reach: Reach,
    /// The onion service to which nobody can be introduced, if nothing else is wrong.
    pub unintroduced: Option<Unintroduced>,
    /// True while there are sessions: then the way in is shut at most to those who come.
    pub in_use: bool,
    /// How many there were so far.
    pub logins: u64,
    /// True while there is a Tor client.
    pub running: bool,
    /// True unless the state cannot be written, so that nothing can be begun.
    pub can_write: bool,
    /// True while the clock is wrong, which no client gets over.
    pub clock_wrong: bool,
}

/// What there is to see of relays at a moment.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// How long nothing has come from any, if anything ever did.
    pub silence: Option<Duration>,
    /// How long ago one, or whatever stands in its way, accepted each of the last connections, as far as that is
    /// known.
    pub connected: Vec<Duration>,
    /// As in [`Seen`].
    pub can_write: bool,
}
