//! How far this machine's clock is off, in the eyes of others.

use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use tor_circmgr::DirInfo;
use tor_netdir::Timeliness;
use tracing::warn;

use super::{Tor, TorClient};

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
    /// `None` if it is not worth a word.
    fn of(skew: tor_proto::ClockSkew) -> Option<Self> {
        match skew.if_above(NOTEWORTHY) {
            tor_proto::ClockSkew::Fast(by) => Some(Self::Fast(by)),
            tor_proto::ClockSkew::Slow(by) => Some(Self::Slow(by)),
            tor_proto::ClockSkew::None => None,
        }
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
    /// there are so many the word of the one counts that this client's ways begin with. A directory that is
    /// from the future says the same.
    pub fn clock_skew(&self) -> Option<ClockSkew> {
        let client = self.client()?;
        let by_relays = match client.arti.circmgr().ok()?.skew_events().get() {
            Some(estimate) if estimate.noteworthy() => ClockSkew::of(estimate.skew()),
            Some(_) => None,
            None => client.skew.get().copied(),
        };
        by_relays.or_else(|| by_directory(&client.arti))
    }
}

/// Asks the relay that this client's ways begin with, and says what comes of it. False if no relay could be asked.
pub(super) async fn ask_first_relay(client: &TorClient, skew: &OnceLock<ClockSkew>) -> bool {
    let (Ok(circuits), Ok(directory)) = (client.circmgr(), client.dirmgr()) else { return false };
    let Ok(network) = directory.netdir(Timeliness::Timely) else { return false };
    let Ok(tunnel) = circuits.get_or_launch_dir(DirInfo::Directory(&network)).await else { return false };
    let Ok(seen) = tunnel.first_hop_clock_skew().await else { return false };
    if let Some(seen) = ClockSkew::of(seen) {
        warn!("the clock is {seen}, says the relay that is connected to; set it");
        // It is asked once.
        let _ = skew.set(seen);
    }
    true
}

fn by_directory(client: &TorClient) -> Option<ClockSkew> {
    let network = client.dirmgr().ok()?.netdir(Timeliness::Unchecked).ok()?;
    let ahead = network.lifetime().valid_after().duration_since(SystemTime::now()).ok()?;
    (ahead > NOTEWORTHY).then_some(ClockSkew::Slow(ahead))
}
