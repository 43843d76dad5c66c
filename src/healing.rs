//! What is done about a disturbance, and about a Tor that does not work any more: arti alone waits for
//! connections that are dead, and the longer nothing worked the longer it waits to try again.

use std::time::Duration;

use tokio::time::Instant;

use crate::disturbance::{Disturbance, Outlook};
use crate::tor::{Bootstrap, TorSettings};

/// With padding something comes from a relay every ten seconds or so. After so long a silence it is
/// worth a dial.
const DOUBTFUL: Duration = Duration::from_secs(15);
/// A dial that is worth anything is answered by a relay in less.
const CUT: Duration = Duration::from_secs(20);
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
const LOW_POWER_SLACK: u32 = 20;
/// A clock that was set by more moves onion services into another period, or certificates out of theirs.
const FAR: u64 = 30 * 60;
/// Pause before a client that did not end, or did not start, is tried again.
const RETRY: Duration = Duration::from_secs(15);
/// Failures in a row before only a new process may help.
const FAILURES: u32 = 4;
/// How long a device may be unreachable, though Tor works, before each step.
const UNREACHABLE_RENEW: Duration = Duration::from_secs(90);
/// Least time between two clients for that reason.
const UNREACHABLE_GAP: Duration = Duration::from_secs(15 * 60);
/// Clients that may not help before only a new process may.
const UNREACHABLE_RENEWALS: u32 = 3;

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
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Network, Self::Slept, Self::Clock, Self::Silence, Self::NotStarted, Self::Unreachable];

    /// Its name in metrics and in the log.
    pub fn label(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Slept => "slept",
            Self::Clock => "clock",
            Self::Silence => "silence",
            Self::NotStarted => "not_started",
            Self::Unreachable => "unreachable",
        }
    }
}

/// Whether somebody who dials the device gets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Yes, or nobody would dial.
    Proved,
    /// No, though nothing else is wrong.
    Lost,
    /// Nobody knows at this moment.
    Unknown,
}

/// What there is to see at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// How long nothing has come from any relay, if anything ever did.
    pub silence: Option<Duration>,
    /// Whether the device is reached.
    pub reach: Reach,
    /// True while there are sessions: then the way in is shut at most to those who come.
    pub in_use: bool,
    /// True while there is a Tor client.
    pub running: bool,
    /// True while the clock is wrong, which no client gets over.
    pub clock_wrong: bool,
}

/// What was seen and done so far.
#[derive(Debug)]
pub struct Healing {
    /// True while no route leads away: then nothing helps but a network.
    cut_off: bool,
    /// When the client was started.
    renewed: Instant,
    /// Least times between two of them for their silence.
    gaps: &'static [Duration],
    /// How many in a row heard nothing.
    silent: usize,
    /// How much longer than usual a silence must be to mean something.
    slack: u32,
    /// How often in a row one could not be started.
    failures: u32,
    /// Since when the device cannot be reached, and what was done about it.
    trouble: Option<Trouble>,
    /// When a client was started for that last, be it mended since or not.
    last_for_trouble: Option<Instant>,
}

#[derive(Debug)]
struct Trouble {
    since: Instant,
    renewals: u32,
}

impl Healing {
    /// A client was just started with these settings.
    pub fn new(now: Instant, settings: &TorSettings) -> Self {
        let slack = if settings.low_power() { LOW_POWER_SLACK } else { 1 };
        Self {
            cut_off: Outlook::now().is_cut_off(),
            renewed: now,
            gaps: if settings.through_transports() { &TRANSPORT_GAPS } else { &GAPS },
            silent: 0,
            slack,
            failures: 0,
            trouble: None,
            last_for_trouble: None,
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

    /// There is a client again.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// True if nothing came for longer than usual.
    pub fn is_doubtful(&self, silence: Option<Duration>) -> bool {
        !self.is_cut_off(silence) && silence.is_some_and(|silence| silence >= DOUBTFUL * self.slack)
    }

    /// What is in the way of everybody who would come in or go out, if something is.
    pub fn hindrance(&self, silence: Option<Duration>, tor: &Bootstrap) -> Option<&'static str> {
        if self.is_cut_off(silence) {
            return Some("there is no network; check the link");
        }
        if silence.is_none_or(|silence| silence < CUT * self.slack) {
            return None;
        }
        Some(match tor {
            Bootstrap::Blocked { advice, .. } => advice,
            _ => "nothing comes from any Tor relay; check the network",
        })
    }

    /// Something happened.
    pub fn disturbed(
        &mut self,
        what: Disturbance,
        silence: Option<Duration>,
        now: Instant,
    ) -> Option<(Step, Reason)> {
        self.silent = 0;
        let silent_for = self.silent_for(silence, now);
        let (reason, dead) = match what {
            Disturbance::Network(outlook) => {
                self.cut_off = outlook.is_cut_off();
                (Reason::Network, silent_for >= DEAD)
            }
            Disturbance::Slept(time) => (Reason::Slept, silent_for.max(time) >= DEAD),
            Disturbance::ClockSet(seconds) if seconds.unsigned_abs() < FAR => return None,
            Disturbance::ClockSet(_) => (Reason::Clock, true),
        };
        if self.is_cut_off(silence) {
            return None;
        }
        if dead { Some(self.renew(reason, now)) } else { Some((Step::Relaunch, reason)) }
    }

    /// Some seconds passed.
    pub fn tick(&mut self, seen: Seen, now: Instant) -> Option<(Step, Reason)> {
        if seen.reach == Reach::Proved {
            self.trouble = None;
        }
        if self.failures > 0 || !seen.running {
            // With or without a network: there must be one for whenever there is.
            return (now - self.renewed >= RETRY).then(|| match self.failures {
                ..FAILURES => self.renew(Reason::NotStarted, now),
                _ => (Step::GiveUp, Reason::NotStarted),
            });
        }
        if self.is_cut_off(seen.silence) || seen.clock_wrong {
            return None;
        }
        if self.silent_for(seen.silence, now) >= SILENT * self.slack {
            let gap = self.gaps[self.silent.min(self.gaps.len() - 1)];
            return (now - self.renewed >= gap).then(|| {
                self.silent += 1;
                self.renew(Reason::Silence, now)
            });
        }
        self.silent = 0;
        if seen.reach != Reach::Lost {
            return None;
        }
        let Some(trouble) = &mut self.trouble else {
            self.trouble = Some(Trouble { since: now, renewals: 0 });
            return Some((Step::Relaunch, Reason::Unreachable));
        };
        let too_soon = |last: Instant| now - last < UNREACHABLE_GAP;
        if seen.in_use
            || now - trouble.since < UNREACHABLE_RENEW
            || self.last_for_trouble.is_some_and(too_soon)
        {
            return None;
        }
        if trouble.renewals == UNREACHABLE_RENEWALS {
            return Some((Step::GiveUp, Reason::Unreachable));
        }
        trouble.renewals += 1;
        self.last_for_trouble = Some(now);
        Some(self.renew(Reason::Unreachable, now))
    }

    /// No route leads away, and nothing comes either: some networks have routes to their own parts only.
    fn is_cut_off(&self, silence: Option<Duration>) -> bool {
        self.cut_off && silence.is_none_or(|silence| silence >= DOUBTFUL)
    }

    /// A client that never heard anything is silent since it was started.
    fn silent_for(&self, silence: Option<Duration>, now: Instant) -> Duration {
        silence.unwrap_or(now - self.renewed)
    }

    fn renew(&mut self, reason: Reason, now: Instant) -> (Step, Reason) {
        self.renewed = now;
        (Step::Renew, reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOME: Option<Duration> = Some(Duration::from_secs(3));

    fn begun(now: Instant) -> Healing {
        Healing {
            cut_off: false,
            renewed: now,
            gaps: &GAPS,
            silent: 0,
            slack: 1,
            failures: 0,
            trouble: None,
            last_for_trouble: None,
        }
    }

    fn seen(silence: Option<Duration>, reach: Reach) -> Seen {
        Seen { silence, reach, in_use: false, running: true, clock_wrong: false }
    }

    fn seconds(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    fn network() -> Disturbance {
        Disturbance::Network(Outlook::of(Some("10.0.0.1".parse().expect("IP")), None))
    }

    fn cut_off() -> Disturbance {
        Disturbance::Network(Outlook::of(None, None))
    }

    #[test]
    fn what_is_alive_is_kept_and_what_is_dead_is_not_waited_for() {
        let now = Instant::now();
        let mut healing = begun(now);
        assert_eq!(healing.disturbed(network(), SOME, now), Some((Step::Relaunch, Reason::Network)));
        assert_eq!(healing.disturbed(network(), seconds(60), now), Some((Step::Renew, Reason::Network)));
        let slept = |time| Disturbance::Slept(Duration::from_secs(time));
        assert_eq!(healing.disturbed(slept(10), SOME, now), Some((Step::Relaunch, Reason::Slept)));
        assert_eq!(healing.disturbed(slept(300), SOME, now), Some((Step::Renew, Reason::Slept)));
        assert_eq!(healing.disturbed(Disturbance::ClockSet(-300), SOME, now), None);
        assert_eq!(
            healing.disturbed(Disturbance::ClockSet(7200), SOME, now),
            Some((Step::Renew, Reason::Clock))
        );
    }

    #[test]
    fn nothing_is_done_without_a_network_and_all_at_once_with_one() {
        let start = Instant::now();
        let mut healing = begun(start);
        // Routes may be missing to where nobody wants to go.
        assert_eq!(healing.disturbed(cut_off(), SOME, start), Some((Step::Relaunch, Reason::Network)));
        assert_eq!(healing.hindrance(SOME, &Bootstrap::Done), None);
        assert_eq!(healing.disturbed(cut_off(), seconds(20), start), None);
        assert!(!healing.is_doubtful(seconds(600)));
        assert!(healing.hindrance(seconds(20), &Bootstrap::Done).expect("cut off").contains("no network"));
        let later = start + Duration::from_secs(8 * 3600);
        assert_eq!(healing.tick(seen(seconds(8 * 3600), Reach::Lost), later), None);
        assert_eq!(
            healing.disturbed(network(), seconds(8 * 3600), later),
            Some((Step::Renew, Reason::Network))
        );
    }

    #[test]
    fn a_silence_is_not_left_to_arti() {
        let start = Instant::now();
        let mut healing = begun(start);
        let mut renewals = Vec::new();
        for second in (0..600).step_by(5) {
            let now = start + Duration::from_secs(second);
            assert_eq!(healing.is_doubtful(seconds(second)), second >= DOUBTFUL.as_secs());
            assert_eq!(
                healing.hindrance(seconds(second), &Bootstrap::Done).is_some(),
                second >= CUT.as_secs()
            );
            if let Some(step) = healing.tick(seen(seconds(second), Reach::Proved), now) {
                assert_eq!(step, (Step::Renew, Reason::Silence));
                renewals.push(second);
            }
        }
        assert_eq!(renewals, [30, 120, 300, 480], "with pauses that grow, but not far");
        let again = start + Duration::from_secs(600);
        assert_eq!(healing.disturbed(network(), seconds(600), again), Some((Step::Renew, Reason::Network)));
        let later = again + Duration::from_secs(30);
        assert_eq!(
            healing.tick(seen(seconds(630), Reach::Unknown), later),
            Some((Step::Renew, Reason::Silence)),
            "from the start in another network"
        );
        assert_eq!(healing.tick(seen(SOME, Reach::Proved), start + Duration::from_secs(1000)), None);
    }

    #[test]
    fn a_client_that_does_not_start_is_tried_again() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut healing = begun(start);
        healing.failed(start);
        assert_eq!(healing.tick(seen(SOME, Reach::Proved), at(5)), None);
        assert_eq!(healing.tick(seen(SOME, Reach::Proved), at(15)), Some((Step::Renew, Reason::NotStarted)));
        healing.succeeded();
        assert_eq!(healing.tick(seen(SOME, Reach::Proved), at(40)), None);
        for _ in 0..FAILURES {
            healing.failed(start);
        }
        assert_eq!(healing.tick(seen(SOME, Reach::Proved), at(40)), Some((Step::GiveUp, Reason::NotStarted)));
    }

    #[test]
    fn a_client_that_hears_nothing_from_the_start_is_silent() {
        let start = Instant::now();
        let mut healing = begun(start);
        assert_eq!(healing.tick(seen(None, Reach::Proved), start + Duration::from_secs(25)), None);
        assert_eq!(
            healing.tick(seen(None, Reach::Proved), start + Duration::from_secs(30)),
            Some((Step::Renew, Reason::Silence))
        );
    }

    #[test]
    fn a_client_that_is_gone_is_replaced_and_a_wrong_clock_is_waited_for() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut healing = begun(start);
        let gone = Seen { running: false, ..seen(SOME, Reach::Unknown) };
        assert_eq!(healing.tick(gone, at(5)), None);
        assert_eq!(healing.tick(gone, at(15)), Some((Step::Renew, Reason::NotStarted)));
        let wrong = Seen { clock_wrong: true, ..seen(None, Reach::Unknown) };
        assert_eq!(healing.tick(wrong, at(3600)), None);
    }

    #[test]
    fn nobody_knowing_for_a_moment_ends_no_trouble() {
        let start = Instant::now();
        let mut healing = begun(start);
        let mut steps = Vec::new();
        let mut renewed = 0;
        for second in (0..4 * 3600).step_by(5) {
            // Each new client leaves it unknown for a while.
            let reach = if second < renewed + 60 && renewed > 0 { Reach::Unknown } else { Reach::Lost };
            let now = start + Duration::from_secs(second);
            if let Some((step, _)) = healing.tick(seen(SOME, reach), now) {
                steps.push(step);
                match step {
                    Step::Renew => renewed = second,
                    Step::GiveUp => break,
                    Step::Relaunch => {}
                }
            }
        }
        let wanted = [Step::Relaunch, Step::Renew, Step::Renew, Step::Renew, Step::GiveUp];
        assert_eq!(steps, wanted);
    }

    #[test]
    fn sessions_that_live_are_not_ended_for_those_who_come() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut healing = begun(start);
        let used = Seen { in_use: true, ..seen(SOME, Reach::Lost) };
        assert_eq!(healing.tick(used, at(0)), Some((Step::Relaunch, Reason::Unreachable)));
        for second in (5..4 * 3600).step_by(5) {
            assert_eq!(healing.tick(used, at(second)), None);
        }
        let lost = seen(SOME, Reach::Lost);
        assert_eq!(healing.tick(lost, at(15_000)), Some((Step::Renew, Reason::Unreachable)));
        // It comes and goes: not with a new client each time.
        assert_eq!(healing.tick(seen(SOME, Reach::Proved), at(15_010)), None);
        assert_eq!(healing.tick(lost, at(15_020)), Some((Step::Relaunch, Reason::Unreachable)));
        assert_eq!(healing.tick(lost, at(15_800)), None);
        assert_eq!(healing.tick(lost, at(15_900)), Some((Step::Renew, Reason::Unreachable)));
    }

    #[test]
    fn steps_grow_while_it_cannot_be_reached() {
        let start = Instant::now();
        let mut healing = begun(start);
        let mut steps = Vec::new();
        for second in (0..4 * 3600).step_by(5) {
            let now = start + Duration::from_secs(second);
            if let Some((step, reason)) = healing.tick(seen(SOME, Reach::Lost), now) {
                assert_eq!(reason, Reason::Unreachable);
                steps.push((second, step));
                if step == Step::GiveUp {
                    break;
                }
            }
        }
        let renew = |second| (second, Step::Renew);
        let wanted = [(0, Step::Relaunch), renew(90), renew(990), renew(1890), (2790, Step::GiveUp)];
        assert_eq!(steps, wanted);
        let now = start + Duration::from_secs(5 * 3600);
        assert_eq!(healing.tick(seen(SOME, Reach::Proved), now), None);
        assert_eq!(
            healing.tick(seen(SOME, Reach::Lost), now),
            Some((Step::Relaunch, Reason::Unreachable)),
            "from the start"
        );
    }
}
