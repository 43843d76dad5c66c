//! What is done about a device that nobody who dials it reaches, though Tor works.

use std::time::Duration;

use tokio::time::Instant;

use super::Step;
use super::elsewhere::Elsewhere;

/// How long it may be so before there is a new client.
const RENEW: Duration = Duration::from_secs(90);
/// Least time between two clients for that reason.
const GAP: Duration = Duration::from_secs(15 * 60);
/// Clients that may not help before only a new process may.
const RENEWALS: u32 = 3;

/// What was done so far.
#[derive(Debug, Default)]
pub(super) struct Unreachable {
    /// Since when it is so, and how many clients were started for it.
    now: Option<(Instant, u32)>,
    /// When the last one was, be it mended since or not.
    renewed: Option<Instant>,
}

impl Unreachable {
    /// Somebody gets through.
    pub(super) fn is_over(&mut self) {
        self.now = None;
    }

    /// What is to be done, while nobody does. Sessions that are alive are not ended for those who come.
    pub(super) fn step(&mut self, elsewhere: &mut Elsewhere, in_use: bool, now: Instant) -> Option<Step> {
        let Some((since, renewals)) = &mut self.now else {
            self.now = Some((now, 0));
            if elsewhere.was_just_now(now) {
                return None;
            }
            elsewhere.begins(now);
            return Some(Step::Relaunch);
        };
        if in_use || now - *since < RENEW || self.renewed.is_some_and(|last| now - last < GAP) {
            return None;
        }
        self.renewed = Some(now);
        if *renewals == RENEWALS {
            return Some(Step::GiveUp);
        }
        *renewals += 1;
        Some(Step::Renew)
    }
}
