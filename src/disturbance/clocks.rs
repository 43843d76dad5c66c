//! What the system's clocks say of the time that passed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use super::Disturbance;

/// A program that comes late by so much was stopped, and not just kept waiting by others.
const LATE: Duration = Duration::from_secs(30);
/// A machine that slept for less slept through nothing.
const NAP: Duration = Duration::from_secs(5);
/// A clock that is corrected by less is not set.
const STEP: i64 = 2;

/// When they were looked at last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    /// Since the machine was started, with its sleep.
    since_boot: Duration,
    /// The same without its sleep.
    awake: Duration,
    /// Since 1970, in seconds.
    unix: i64,
}

impl Clocks {
    /// As they are.
    pub(super) fn now() -> Self {
        // From libc, as everything else has it: what fakes the time for a test fakes it there.
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix = i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX);
        Self { since_boot: time_of(ClockId::Boottime), awake: time_of(ClockId::Monotonic), unix }
    }

    /// Looks again, no more than `usual` after the last time if nothing kept us from it: whether the clock was set,
    /// and whether there was a sleep. Whatever is begun for the sleep is begun by the clock as it is now.
    pub(super) fn look(&mut self, usual: Duration) -> [Option<Disturbance>; 2] {
        let before = std::mem::replace(self, Self::now());
        self.since(before, usual)
    }

    fn since(self, before: Self, usual: Duration) -> [Option<Disturbance>; 2] {
        let passed = self.since_boot.saturating_sub(before.since_boot);
        let awake = self.awake.saturating_sub(before.awake);
        let set = (self.unix - before.unix).saturating_sub_unsigned(passed.as_secs());
        let slept = passed.saturating_sub(awake) >= NAP || awake > usual + LATE;
        [
            (set.abs() > STEP).then_some(Disturbance::ClockSet(set)),
            slept.then(|| Disturbance::Slept(passed.saturating_sub(usual))),
        ]
    }
}

fn time_of(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    // Neither part of a time since the start is ever negative.
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_and_a_clock_that_is_set_are_told_apart() {
        let of_three = |since_boot, awake, unix| Clocks {
            since_boot: Duration::from_secs(since_boot),
            awake: Duration::from_secs(awake),
            unix,
        };
        let at = |since_boot, unix| of_three(since_boot, since_boot, unix);
        let of = |now: Clocks, before| now.since(before, Duration::from_secs(5));
        let slept = |seconds| Some(Disturbance::Slept(Duration::from_secs(seconds)));
        let set = |seconds| Some(Disturbance::ClockSet(seconds));
        assert_eq!(of(at(105, 1005), at(100, 1000)), [None, None]);
        assert_eq!(of(at(130, 1030), at(100, 1000)), [None, None], "busy, not asleep");
        assert_eq!(of(of_three(115, 105, 1015), at(100, 1000)), [None, slept(10)]);
        assert_eq!(of(at(405, 1305), at(100, 1000)), [None, slept(300)]);
        assert_eq!(of(at(105, 8205), at(100, 1000)), [set(7200), None]);
        assert_eq!(of(at(105, 5), at(100, 1000)), [set(-1000), None]);
        assert_eq!(of(at(405, 8505), at(100, 1000)), [set(7200), slept(300)], "both at once");
        assert_eq!(of(at(105, 1007), at(100, 1000)), [None, None], "corrected");
    }

    #[test]
    fn the_clocks_can_be_read() {
        let mut clocks = Clocks::now();
        assert!(clocks.unix > 1_700_000_000 && !clocks.since_boot.is_zero());
        assert_eq!(clocks.look(Duration::from_secs(5)), [None, None]);
    }
}
