//! Whether this machine's clock is plainly wrong, since it shows a time that is over.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tor_netdir::Timeliness;
use tracing::warn;

use super::skew::NOTEWORTHY;
use super::{Tor, TorClient};
use crate::files::{read_private, replace_private};

/// When the arti that is built in was released, in seconds since 1970: it cannot be earlier now.
const RELEASED: u64 = 1_790_812_800;
/// Which release of arti-client that is.
#[cfg(test)]
const RELEASE: &str = "0.47.0";
/// Where the last time that was seen is kept, in the folder of Tor's state.
const LAST_SEEN: &str = "last_seen";

/// What is wrong with a clock that shows `now`, if that is before this program was made, and what to do.
pub fn before_release(now: SystemTime) -> Option<&'static str> {
    (now + NOTEWORTHY < UNIX_EPOCH + Duration::from_secs(RELEASED))
        .then_some("the clock is plainly wrong, since it shows a time before this program was made; set it")
}

/// What is known of the time without the clock.
#[derive(Debug)]
pub(super) struct Clock {
    file: PathBuf,
    /// A time that is over for certain: the directories signed what is valid from then on.
    seen: Option<SystemTime>,
}

impl Clock {
    /// With what is kept in the folder of Tor's state, which need not be there.
    pub(super) fn open(state: &Path) -> Self {
        let file = state.join(LAST_SEEN);
        let text =
            read_private(&file).inspect_err(|error| warn!("{error}; the clock is not compared with it"));
        let seen = text.ok().flatten().and_then(|text| parse(&text));
        Self { file, seen }
    }

    /// What is wrong with the clock, if that is plain, and what to do.
    pub(super) fn fault(&self) -> Option<&'static str> {
        self.fault_at(SystemTime::now())
    }

    fn fault_at(&self, now: SystemTime) -> Option<&'static str> {
        let early = before_release(now);
        if early.is_some() {
            early
        } else if self.seen.is_some_and(|seen| now + TOLERATED < seen) {
            Some("the clock is plainly wrong, since it shows a time before the last that was seen; set it")
        } else {
            None
        }
    }

    /// Keeps a time that is over; needs a tokio runtime.
    pub(super) fn saw(&mut self, time: SystemTime) {
        if self.seen.is_some_and(|seen| time <= seen) {
            return;
        }
        self.seen = Some(time);
        let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let file = self.file.clone();
        tokio::task::spawn_blocking(move || {
            // Twice, so that damage to one is seen.
            if let Err(error) = replace_private(&file, format!("{seconds} {seconds}\n").as_bytes()) {
                warn!("{error}");
            }
        });
    }
}

fn parse(text: &str) -> Option<SystemTime> {
    let (one, other) = text.trim().split_once(' ')?;
    let seconds = one.parse().ok().filter(|_| one == other)?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

impl Tor {
    /// From when on the directory is valid that is in use, if one is.
    pub(super) fn directory_from(client: &TorClient) -> Option<SystemTime> {
        let network = client.dirmgr().ok()?.netdir(Timeliness::Timely).ok()?;
        Some(network.lifetime().valid_after())
    }
}

/// By so much a directory may be ahead of the clock, and arti uses it.
const TOLERATED: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_clock_that_shows_what_is_over_is_plainly_wrong() {
        let folder = tempfile::tempdir().expect("folder");
        let mut clock = Clock::open(folder.path());
        assert_eq!(clock.fault(), None, "this machine's own clock");
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert!(clock.fault_at(at(3600)).expect("1970").contains("before this program was made"));
        let later = RELEASED + 10 * 86_400;
        clock.saw(at(later));
        assert!(
            clock.fault_at(at(later - 2 * 86_400)).expect("over").contains("before the last that was seen")
        );
        assert_eq!(clock.fault_at(at(later - 7200)), None, "Tor works with that, and says so itself");
        let kept = async {
            while Clock::open(folder.path()).seen != Some(at(later)) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), kept).await.expect("kept");
    }

    #[test]
    fn the_release_whose_date_is_known_is_the_one_that_is_built_in() {
        let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock"));
        let lock = lock.expect("Cargo.lock");
        let (_, found) = lock.split_once("name = \"arti-client\"\nversion = \"").expect("arti-client");
        let (version, _) = found.split_once('"').expect("its version");
        assert_eq!(version, RELEASE, "look up when it was released");
    }

    #[test]
    fn what_is_damaged_says_nothing() {
        assert_eq!(parse("17 17\n"), Some(UNIX_EPOCH + Duration::from_secs(17)));
        for damaged in ["", "17", "17 18", "x x", "-1 -1", "99999999999999999999 99999999999999999999"] {
            assert_eq!(parse(damaged), None, "{damaged}");
        }
    }
}
