//! How far this machine's clock is off, in the eyes of others.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tor_circmgr::DirInfo;
use tor_netdir::Timeliness;
use tracing::warn;

use super::{Tor, TorClient};
use crate::disturbance::Disturbance;

/// From so much on it is a problem, for arti, too.
pub(crate) const NOTEWORTHY: Duration = Duration::from_secs(15 * 60);

/// How far the clock is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockSkew {
    /// Ahead by so much.
    Fast(Duration),
    /// Behind by so much.
    Slow(Duration),
}

impl ClockSkew {
    /// Of a clock that is ahead by so many seconds; `None` if that is not worth a word.
    fn of(ahead: i64) -> Option<Self> {
        let by = Duration::from_secs(ahead.unsigned_abs());
        let word = if ahead > 0 { Self::Fast(by) } else { Self::Slow(by) };
        (by > NOTEWORTHY).then_some(word)
    }

    /// By how many seconds the clock is ahead; negative if it is behind.
    pub(crate) fn seconds_ahead(self) -> i64 {
        match self {
            Self::Fast(by) => seconds(by),
            Self::Slow(by) => -seconds(by),
        }
    }
}

/// What a clock that was set is now, as far as the relay knows that a client's ways begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockNow {
    /// Nobody has said.
    Unknown,
    /// Wrong: whatever is begun now is begun at the wrong time.
    Wrong,
    /// Right, as it was when the client began.
    Right,
    /// Right, and the client began at the wrong time, or does not work.
    RightAgain,
}

/// The first relay's word on a client's clock.
#[derive(Clone, Debug, Default)]
pub(super) struct Skew(Arc<Mutex<Word>>);

#[derive(Debug, Default)]
struct Word {
    /// By how many seconds the clock was ahead when the relay said so.
    said: Option<i64>,
    /// By how many it was set since.
    set: i64,
}

impl Skew {
    /// By how many seconds it is ahead now, and was when the relay said so.
    fn now(&self) -> Option<(i64, i64)> {
        let word = self.locked();
        word.said.map(|said| (said.saturating_add(word.set), said))
    }

    /// True if it was set since the relay spoke.
    fn was_set(&self) -> bool {
        self.locked().set != 0
    }

    fn says(&self, ahead: i64) {
        *self.locked() = Word { said: Some(ahead), set: 0 };
    }

    fn is_set(&self, by: i64) {
        let mut word = self.locked();
        word.set = word.set.saturating_add(by);
    }

    fn locked(&self) -> MutexGuard<'_, Word> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
    /// what time it is when they are connected to (tor-spec, NETINFO cells). Arti believes eight of them; until
    /// there are so many, and when the clock was set since, the word of the one counts that this client's ways begin
    /// with. A directory that is from the future says the same.
    pub fn clock_skew(&self) -> Option<ClockSkew> {
        let client = self.client()?;
        let by_one = || client.skew.now().and_then(|(ahead, _)| ClockSkew::of(ahead));
        let by_relays = match client.arti.circmgr().ok()?.skew_events().get() {
            Some(estimate) if !client.skew.was_set() => {
                estimate.noteworthy().then(|| ClockSkew::of(ahead(estimate.skew()))).flatten()
            }
            _ => by_one(),
        };
        by_relays.or_else(|| by_directory(&client.arti))
    }

    /// What the clock is now, if it is what was disturbed.
    pub fn clock_after(&self, what: Disturbance) -> ClockNow {
        let (Disturbance::ClockSet(by), Some(client)) = (what, self.client()) else {
            return ClockNow::Unknown;
        };
        client.skew.is_set(by);
        match client.skew.now().map(|(now, said)| (ClockSkew::of(now), ClockSkew::of(said))) {
            None => ClockNow::Unknown,
            Some((Some(off), _)) => {
                warn!("the clock was set, and is {off} now; set it right");
                ClockNow::Wrong
            }
            Some((None, None)) if client.arti.bootstrap_status().ready_for_traffic() => ClockNow::Right,
            Some((None, _)) => ClockNow::RightAgain,
        }
    }
}

/// By how many seconds the clock is ahead.
fn ahead(skew: tor_proto::ClockSkew) -> i64 {
    match skew {
        tor_proto::ClockSkew::Fast(by) => seconds(by),
        tor_proto::ClockSkew::Slow(by) => -seconds(by),
        tor_proto::ClockSkew::None => 0,
    }
}

fn seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

/// Asks the relay that this client's ways begin with, and says what comes of it. False if no relay could be asked.
pub(super) async fn ask_first_relay(client: &TorClient, skew: &Skew) -> bool {
    let (Ok(circuits), Ok(directory)) = (client.circmgr(), client.dirmgr()) else { return false };
    let Ok(network) = directory.netdir(Timeliness::Timely) else { return false };
    let Ok(tunnel) = circuits.get_or_launch_dir(DirInfo::Directory(&network)).await else { return false };
    let Ok(seen) = tunnel.first_hop_clock_skew().await else { return false };
    skew.says(ahead(seen));
    if let Some(off) = ClockSkew::of(ahead(seen)) {
        warn!("the clock is {off}, says the relay that is connected to; set it");
    }
    true
}

fn by_directory(client: &TorClient) -> Option<ClockSkew> {
    let network = client.dirmgr().ok()?.netdir(Timeliness::Unchecked).ok()?;
    let ahead = network.lifetime().valid_after().duration_since(SystemTime::now()).ok()?;
    (ahead > NOTEWORTHY).then_some(ClockSkew::Slow(ahead))
}
