//! What is done about a disturbance, and about a Tor that does not work any more: arti alone waits for
//! connections that are dead, and the longer nothing worked the longer it waits to try again.

mod elsewhere;
mod seen;
mod step;
mod unreachable;

use std::time::Duration;

use elsewhere::Elsewhere;
pub use seen::{Reach, Seen, Traffic};
pub use step::{Reason, Step};
use tokio::time::Instant;
use unreachable::Unreachable;

use crate::disturbance::{Disturbance, Outlook};
use crate::tor::{Bootstrap, ClockNow, FILTERED, NOTEWORTHY, READ_ONLY, TorSettings, Unintroduced};

/// How often whoever acts on it looks whether anything comes from relays.
pub const TICK: Duration = Duration::from_secs(5);
/// With padding something comes from a relay every ten seconds or so. After so long a silence it is
/// worth a dial.
const DOUBTFUL: Duration = Duration::from_secs(15);
/// A dial that is worth anything is answered by a relay in less.
const CUT: Duration = Duration::from_secs(20);
/// A relay that accepts a connection says something in less.
const SAID: Duration = Duration::from_secs(5);
/// After so long a silence hardly any connection is alive when something happened besides, so a new
/// client costs nothing; it is there in a second.
const DEAD: Duration = Duration::from_secs(15);
/// So long a silence is not left to arti, whose pauses grow.
const SILENT: Duration = Duration::from_secs(30);
/// Least time between two clients that nothing comes to: the first, the second, and so on. Arti needs more
/// than a minute to say what is wrong, and to find its way round a guard.
const GAPS: [Duration; 3] = [Duration::from_secs(30), Duration::from_secs(90), Duration::from_secs(180)];
/// The same where a transport comes first, which needs more.
const TRANSPORT_GAPS: [Duration; 2] = [Duration::from_secs(120), Duration::from_secs(180)];
/// How much longer a silence must be where power counts, since relays are asked for less padding.
pub(crate) const LOW_POWER_SLACK: u32 = 20;
/// A client that is younger connects by itself.
const YOUNG: Duration = Duration::from_secs(5);
/// Least time between two clients since relays are there again: where they are so only now and then arti needs
/// its time, too.
const REOPENED_GAP: Duration = Duration::from_secs(30);
/// A client that has heard of no relay for so long has tried its guards in vain before: it would go on
/// waiting when they are there.
const SPENT: Duration = Duration::from_secs(10);
/// The same where a transport comes first.
const TRANSPORT_SPENT: Duration = Duration::from_secs(60);
/// Pause before a client that did not end, or did not start, is tried again.
const RETRY: Duration = Duration::from_secs(15);
/// Failures in a row before only a new process may help.
const FAILURES: u32 = 4;

/// What was seen and done so far.
#[derive(Debug)]
pub struct Healing {
    /// When the program began, or whatever might have been heard could be heard.
    begun: Instant,
    /// True while no route leads away: then nothing helps but a network.
    cut_off: bool,
    /// When the client was started.
    renewed: Instant,
    /// Least times between two of them for their silence.
    gaps: &'static [Duration],
    /// How many in a row heard nothing.
    silent: usize,
    /// How old the present one was when it was last so that it had not heard of any relay yet.
    deaf: Duration,
    /// Of what age it is of no use then, even if it hears of one.
    spent: Duration,
    /// When it was last so that nothing came for longer than usual.
    doubted: Option<Instant>,
    /// How much longer than usual a silence must be to mean something.
    slack: u32,
    /// How often in a row one could not be started.
    failures: u32,
    /// What was done about a device that cannot be reached.
    unreachable: Unreachable,
    /// When relays were there again last, and a client was started for it.
    reopened: Option<Instant>,
    /// When onion services were launched at other introduction points.
    elsewhere: Elsewhere,
}

impl Healing {
    /// A client was just started with these settings.
    pub fn new(now: Instant, settings: &TorSettings) -> Self {
        let slack = if settings.low_power() { LOW_POWER_SLACK } else { 1 };
        Self {
            begun: now,
            cut_off: Outlook::now().is_cut_off(),
            renewed: now,
            gaps: if settings.through_transports() { &TRANSPORT_GAPS } else { &GAPS },
            silent: 0,
            deaf: Duration::ZERO,
            spent: if settings.through_transports() { TRANSPORT_SPENT } else { SPENT },
            doubted: None,
            slack,
            failures: 0,
            unreachable: Unreachable::default(),
            reopened: None,
            elsewhere: Elsewhere::default(),
        }
    }

    /// There is no client, and need not be one.
    pub fn rests(&mut self, now: Instant) {
        self.renewed = now;
    }

    /// No client could be started in the place of the one that ended.
    pub fn failed(&mut self, now: Instant) {
        self.renewed = now;
        self.failures += 1;
    }

    /// This was done, and there is a client.
    pub fn succeeded(&mut self, step: Step, now: Instant) {
        if step != Step::Relaunch {
            // The one before may have taken its time to end.
            (self.failures, self.renewed) = (0, now);
        }
    }

    /// True if nothing came for longer than usual.
    pub fn is_doubtful(&self, silence: Option<Duration>) -> bool {
        !self.is_cut_off(silence) && silence.is_some_and(|silence| silence >= DOUBTFUL * self.slack)
    }

    /// How long until the next tick: a second where one decides soon what is said of the silence, and power
    /// does not count.
    pub fn pause(&self, silence: Option<Duration>) -> Duration {
        let decides =
            self.slack == 1 && silence.is_some_and(|silence| ((DOUBTFUL - TICK)..SILENT).contains(&silence));
        if decides { Duration::from_secs(1) } else { TICK }
    }

    /// What is in the way of everybody who would come in or go out, if something is.
    pub fn hindrance(&self, seen: &Traffic, tor: &Bootstrap, now: Instant) -> Option<&'static str> {
        if self.is_cut_off(seen.silence) {
            return Some("there is no network; check the link");
        }
        let (silence, cut) = match seen.silence {
            Some(silence) => (silence, CUT),
            // A transport takes longer to get anywhere at first.
            None => (now - self.begun, CUT.max(self.spent)),
        };
        if silence < cut * self.slack {
            return None;
        }
        // One that was accepted since and would have been spoken on by now.
        let unheard = |ago: &Duration| *ago >= SAID && *ago + SAID < silence;
        Some(match tor {
            Bootstrap::Blocked { advice, .. } => advice,
            _ if seen.connected.iter().any(unheard) => FILTERED,
            _ if !seen.can_write => READ_ONLY,
            _ => "nothing comes from any Tor relay; check the network",
        })
    }

    /// Something happened; `clock` is what the clock is if it was set.
    pub fn disturbed(
        &mut self,
        what: Disturbance,
        clock: ClockNow,
        silence: Option<Duration>,
        now: Instant,
    ) -> Option<(Step, Reason)> {
        self.silent = 0;
        if let Disturbance::ClockSet(by) = what {
            self.elsewhere.clock_was_set(by, now);
        }
        let silent_for = self.silent_for(silence, now);
        let (reason, dead) = match what {
            Disturbance::Network(outlook) => {
                self.cut_off = outlook.is_cut_off();
                (Reason::Network, silent_for >= DEAD)
            }
            Disturbance::Slept(time) => (Reason::Slept, silent_for.max(time) >= DEAD),
            // More moves onion services into another period, or certificates out of theirs.
            Disturbance::ClockSet(seconds) if seconds.unsigned_abs() < NOTEWORTHY.as_secs() => return None,
            // What lives goes on. What was published by a clock that is ahead directories would take for later than
            // all that comes after it is right.
            Disturbance::ClockSet(_) if matches!(clock, ClockNow::Wrong | ClockNow::Right) => return None,
            Disturbance::ClockSet(_) => (Reason::Clock, true),
        };
        // Nothing could be heard before in a network, or at a time, that was none.
        self.begun = now;
        if self.is_cut_off(silence) {
            return None;
        }
        if dead { Some(self.renew(reason, now)) } else { Some((Step::Relaunch, reason)) }
    }

    /// Relays accept connections again that did not, and nothing has come from any yet.
    pub fn reopened(&mut self, silence: Option<Duration>, now: Instant) -> Option<(Step, Reason)> {
        if self.failures > 0 || now - self.renewed < YOUNG || self.silent_for(silence, now) < DEAD {
            return None;
        }
        self.renew_reopened(REOPENED_GAP, now)
    }

    /// Some seconds passed.
    pub fn tick(&mut self, seen: Seen, now: Instant) -> Option<(Step, Reason)> {
        // Whoever came in just now knows better than the last dial.
        let reach = if self.elsewhere.saw(seen.logins) { Reach::Proved } else { seen.reach };
        if reach == Reach::Proved {
            self.unreachable.is_over();
        }
        if self.failures > 0 || !seen.running {
            // With or without a network: there must be one for whenever there is.
            return (seen.can_write && now - self.renewed >= RETRY).then(|| match self.failures {
                ..FAILURES => self.renew(Reason::NotStarted, now),
                _ => (Step::GiveUp, Reason::NotStarted),
            });
        }
        if self.is_cut_off(seen.silence) || seen.clock_wrong {
            return None;
        }
        let silent_for = self.silent_for(seen.silence, now);
        if self.is_doubtful(Some(silent_for)) {
            self.doubted = Some(now);
        }
        let age = now - self.renewed;
        // A program's first client has had no outage, only a slow start. And where each client takes long to hear
        // of a relay the next one does, too, so it is left alone.
        if seen.silence.is_some_and(|silence| silence >= age) {
            self.deaf = age;
        } else if std::mem::take(&mut self.deaf) >= self.spent
            && seen.can_write
            && let Some(renewed) = self.renew_reopened(self.gaps[self.gaps.len() - 1], now)
        {
            return Some(renewed);
        }
        if !seen.can_write {
            return None;
        }
        if silent_for >= SILENT * self.slack {
            let gap = self.gaps[self.silent.min(self.gaps.len() - 1)];
            return (now - self.renewed >= gap).then(|| {
                self.silent += 1;
                self.renew(Reason::Silence, now)
            });
        }
        if seen.silence.is_some() {
            // Where nothing was ever heard each client begins its silence anew.
            self.silent = 0;
        }
        if let Some(Unintroduced { time, had_one }) = seen.unintroduced {
            // While nothing came it could not have one.
            let time = self.doubted.map_or(time, |doubted| time.min(now - doubted));
            if self.elsewhere.is_due(time, had_one, now) {
                return Some((Step::Relaunch, Reason::Unintroduced));
            }
        }
        if reach != Reach::Lost {
            return None;
        }
        let step = self.unreachable.step(&mut self.elsewhere, seen.in_use, now)?;
        Some(if step == Step::Renew {
            self.renew(Reason::Unreachable, now)
        } else {
            (step, Reason::Unreachable)
        })
    }

    /// True if what is done for this reason is to be done at other introduction points.
    pub fn is_elsewhere(&self, reason: Reason, now: Instant) -> bool {
        reason.may_be_elsewhere() && !self.elsewhere.is_refused(now)
    }

    /// No route leads away, and nothing comes either: some networks have routes to their own parts only.
    fn is_cut_off(&self, silence: Option<Duration>) -> bool {
        self.cut_off && silence.is_none_or(|silence| silence >= DOUBTFUL)
    }

    /// A client that never heard anything is silent since it was started.
    fn silent_for(&self, silence: Option<Duration>, now: Instant) -> Duration {
        silence.unwrap_or(now - self.renewed)
    }

    /// Now that relays are there again; nothing if that was so less than `gap` ago.
    fn renew_reopened(&mut self, gap: Duration, now: Instant) -> Option<(Step, Reason)> {
        if self.reopened.is_some_and(|last| now - last < gap) {
            return None;
        }
        self.reopened = Some(now);
        Some(self.renew(Reason::Silence, now))
    }

    fn renew(&mut self, reason: Reason, now: Instant) -> (Step, Reason) {
        (self.renewed, self.deaf) = (now, Duration::ZERO);
        (Step::Renew, reason)
    }
}

#[cfg(test)]
mod tests;
