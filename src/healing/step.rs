//! What can be done, and why.

/// What can be done, from cheap to costly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Dead connections are closed, and onion services launched again: milliseconds, and sessions that
    /// are alive stay so.
    Relaunch,
    /// A new Tor client takes the old one's place: seconds, and every session ends.
    Renew,
    /// The program ends, for whatever supervises it to start it again.
    GiveUp,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Relaunch, Self::Renew, Self::GiveUp];

    /// What can be done of it: while Tor's state cannot be written there is no other client, and connections that
    /// are dead can be closed all the same.
    pub fn possible(self, can_write: bool) -> Self {
        if self == Self::Renew && !can_write { Self::Relaunch } else { self }
    }

    /// Its name in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Relaunch => "relaunch",
            Self::Renew => "renew",
            Self::GiveUp => "give_up",
        }
    }
}

/// Why something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// There is another network.
    Network,
    /// The device, or the agent, was asleep.
    Slept,
    /// The clock was set.
    Clock,
    /// Nothing comes from any relay.
    Silence,
    /// The Tor client that was to take another's place did not start.
    NotStarted,
    /// The own address cannot be dialled, though Tor works.
    Unreachable,
    /// An onion service has no introduction point that works, though Tor does.
    Unintroduced,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Network,
        Self::Slept,
        Self::Clock,
        Self::Silence,
        Self::NotStarted,
        Self::Unreachable,
        Self::Unintroduced,
    ];

    /// True if the machine may be in another network than before.
    pub fn may_have_moved(self) -> bool {
        matches!(self, Self::Network | Self::Slept)
    }

    /// True if the introduction points may be why nobody gets through.
    pub fn may_be_elsewhere(self) -> bool {
        matches!(self, Self::Unreachable | Self::Unintroduced)
    }

    /// Its name in metrics and in the log.
    pub fn label(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Slept => "slept",
            Self::Clock => "clock",
            Self::Silence => "silence",
            Self::NotStarted => "not_started",
            Self::Unreachable => "unreachable",
            Self::Unintroduced => "unintroduced",
        }
    }
}
