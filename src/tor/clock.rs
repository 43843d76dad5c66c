//! How far this machine's clock is off, as relays see it.

use std::fmt;
use std::time::{Duration, SystemTime};

use tor_netdir::Timeliness;

use super::Tor;

/// How far the clock is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockSkew {
    /// Ahead by so much.
    Fast(Duration),
    /// Behind by so much.
    Slow(Duration),
}

impl fmt::Display for ClockSkew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, by) = match self {
            Self::Fast(by) => ("fast", by),
            Self::Slow(by) => ("slow", by),
        };
        write!(f, "{word} by {}", humantime::format_duration(Duration::from_secs(by.as_secs())))
    }
}

impl Tor {
    /// How far the clock is off, if it is by more than a quarter of an hour and Tor knows: relays say
    /// what time it is when they are connected to, and arti believes eight of them. A directory
    /// that is from the future says the same.
    pub fn clock_skew(&self) -> Option<ClockSkew> {
        self.skew_by_relays().or_else(|| self.skew_by_directory())
    }

    fn skew_by_relays(&self) -> Option<ClockSkew> {
        let estimate = self.client().circmgr().ok()?.skew_events().get()?;
        match estimate.skew() {
            _ if !estimate.noteworthy() => None,
            tor_proto::ClockSkew::Fast(by) => Some(ClockSkew::Fast(by)),
            tor_proto::ClockSkew::Slow(by) => Some(ClockSkew::Slow(by)),
            tor_proto::ClockSkew::None => None,
        }
    }

    fn skew_by_directory(&self) -> Option<ClockSkew> {
        let network = self.client().dirmgr().ok()?.netdir(Timeliness::Unchecked).ok()?;
        let ahead = network.lifetime().valid_after().duration_since(SystemTime::now()).ok()?;
        (ahead > NOTEWORTHY).then_some(ClockSkew::Slow(ahead))
    }
}

/// What arti, too, begins to call a problem.
const NOTEWORTHY: Duration = Duration::from_secs(15 * 60);
