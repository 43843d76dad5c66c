//! Launching onion services at other introduction points, no more often than does good.

use std::time::Duration;

use tokio::time::Instant;

/// How long an onion service may be without an introduction point after it had one: each is tried anew at
/// once, and needs a circuit. Arti says the same for some seconds when one of several is lost.
const INTRODUCED_AGAIN: Duration = Duration::from_secs(12);
/// The same where it had none since it was launched: on a bad network circuits take long.
const INTRODUCED_FIRST: Duration = Duration::from_secs(60);
/// Least time between two launches where the last introduction points worked.
const GAP_AGAIN: Duration = Duration::from_secs(15);
/// So many in a row are let pass at that pace, as relays do fail; then it is doubled each time: whoever can make one
/// fail should not have a say in which is next.
const FREE: u32 = 3;
/// The same where they never did, doubled from the second on.
const GAP_FIRST: Duration = Duration::from_secs(120);
/// How often it is doubled.
const DOUBLINGS: u32 = 4;
/// After so long a time without one they are no longer in a row.
const ROW: Duration = Duration::from_secs(20 * 60);
/// Directories forget a descriptor of arti's after so long.
const FORGOTTEN: Duration = Duration::from_secs(3 * 3600);

/// Those that there were.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    /// In a row.
    times: u32,
    last: Option<Instant>,
    /// Whether somebody came in since the last one.
    worked: bool,
    /// How many sessions there were when that was looked at.
    logins: u64,
    /// Until when directories may refuse a descriptor with others.
    refused: Option<Instant>,
}

impl Elsewhere {
    /// True if it is time for one, when there has been no introduction point for so long; noted.
    pub(super) fn is_due(&mut self, time: Duration, had_one: bool, now: Instant) -> bool {
        let least = if had_one { INTRODUCED_AGAIN } else { INTRODUCED_FIRST };
        time >= least && self.begins(had_one, now)
    }

    /// True if it is time for one, when nobody who dials gets through; noted.
    pub(super) fn is_due_for_dials(&mut self, now: Instant) -> bool {
        self.begins(self.worked, now)
    }

    /// There were so many sessions so far; true if one began since that was looked at. A device that was reached before
    /// the last choice says nothing of it.
    pub(super) fn saw(&mut self, logins: u64) -> bool {
        let came_in = logins > std::mem::replace(&mut self.logins, logins);
        self.worked |= came_in;
        came_in
    }

    /// The clock was set by so many seconds. A descriptor's revision is made of the time: directories refuse what is
    /// published after the clock was set back, until it shows later times than it did.
    pub(super) fn clock_was_set(&mut self, by: i64, now: Instant) {
        let left = self.refused.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        let time = Duration::from_secs(by.unsigned_abs());
        let left = if by < 0 { left.saturating_add(time) } else { left.saturating_sub(time) };
        self.refused = Some(now + left.min(FORGOTTEN));
    }

    /// True while those that directories know of had better be kept.
    pub(super) fn is_refused(&self, now: Instant) -> bool {
        self.refused.is_some_and(|until| now < until)
    }

    /// Begins one, unless directories would refuse it or the last was too short a time ago.
    fn begins(&mut self, had_one: bool, now: Instant) -> bool {
        if self.is_refused(now) {
            return false;
        }
        if self.last.is_some_and(|last| now - last >= ROW) {
            self.times = 0;
        }
        let (gap, free) = if had_one { (GAP_AGAIN, FREE) } else { (GAP_FIRST, 1) };
        let gap = gap * 2u32.pow(self.times.saturating_sub(free).min(DOUBLINGS));
        if self.last.is_some_and(|last| now - last < gap) {
            return false;
        }
        (self.times, self.last, self.worked) = (self.times + 1, Some(now), false);
        true
    }
}
