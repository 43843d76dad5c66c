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
    /// The time in which it is so, if it is.
    now: Option<Spell>,
    /// When the last client was started for that, be it mended since or not.
    renewed: Option<Instant>,
}

#[derive(Debug)]
struct Spell {
    since: Instant,
    /// Whether other introduction points were chosen for it.
    elsewhere: bool,
    /// How many clients were started for it.
    renewals: u32,
}

impl Unreachable {
    /// Somebody gets through.
    pub(super) fn is_over(&mut self) {
        self.now = None;
    }

    /// What is to be done, while nobody does. Sessions that are alive are not ended for those who come.
    pub(super) fn step(&mut self, elsewhere: &mut Elsewhere, in_use: bool, now: Instant) -> Option<Step> {
        let Self { now: spell, renewed } = self;
        let spell = spell.get_or_insert(Spell { since: now, elsewhere: false, renewals: 0 });
        if !spell.elsewhere && elsewhere.is_due_for_dials(now) {
            spell.elsewhere = true;
            return Some(Step::Relaunch);
        }
        if in_use || now - spell.since < RENEW || renewed.is_some_and(|last| now - last < GAP) {
            return None;
        }
        *renewed = Some(now);
        // It chooses others, too, where it may.
        spell.elsewhere |= !elsewhere.is_refused(now);
        if spell.renewals == RENEWALS {
            return Some(Step::GiveUp);
        }
        spell.renewals += 1;
        Some(Step::Renew)
    }
}
