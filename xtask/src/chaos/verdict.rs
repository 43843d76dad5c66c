//! What a record says of one run of a fault. Nothing here looks at the world.

use std::fmt;
use std::time::Duration;

use super::history::{Outcome, Probe, Told};

/// Good scrapes for so long, and none that is bad, is being back.
pub const STEADY: Duration = Duration::from_secs(5);
/// After so long of being down a program has to say so.
pub const DOWN_WITHIN: Duration = Duration::from_secs(25);
/// After so long of being up again a program has to say so.
pub const UP_WITHIN: Duration = Duration::from_secs(5);

/// When something began, and when the world was fine again.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The fault's beginning.
    pub began: Duration,
    /// Its end; the beginning, if it takes something away for good.
    pub fine: Duration,
}

/// What became of the scrapes on one way in one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Way {
    /// Time from the world being fine to the first good scrape with no bad one after it; `None` if there
    /// was none in time.
    pub back: Option<Duration>,
    /// Time from the world being fine until somebody listened again, if nobody did meanwhile.
    pub listening: Option<Duration>,
    /// Scrapes that were not good from the fault's beginning on.
    pub lost: usize,
    /// How long the longest took to be answered, by an answer of any kind.
    pub longest: Duration,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.back {
            Some(back) => write!(f, "back after {:.1} s, {} lost", back.as_secs_f64(), self.lost),
            None => write!(f, "not back, {} lost", self.lost),
        }
    }
}

/// Judges the scrapes of a way, in the order in which they were asked for, some from before the fault.
pub fn way(probes: &[Probe], span: Span, until: Duration) -> Way {
    let seen: Vec<_> = probes.iter().filter(|probe| probe.ended() >= span.began).collect();
    let last_bad = seen.iter().rposition(|probe| !probe.is_good());
    let end = last_bad.map_or(0, |place| place + 1);
    // What was asked for before the fault may have been answered before it, too, or just so.
    let good = seen[end..].iter().filter(|probe| probe.asked >= span.began && probe.ended() >= span.fine);
    let back_at = good.map(|probe| probe.ended()).min();
    let back_at = back_at.filter(|at| *at + STEADY <= until);
    let deaf = seen.iter().rposition(|probe| probe.outcome == Outcome::NobodyListened);
    let heard = deaf.and_then(|place| seen.get(place + 1));
    Way {
        back: back_at.map(|at| at - span.fine),
        listening: heard.map(|probe| probe.asked.saturating_sub(span.fine)),
        lost: seen.iter().filter(|probe| !probe.is_good()).count(),
        longest: seen.iter().map(|probe| probe.took).max().unwrap_or_default(),
    }
}

/// When the way was down, as scrapes show: from the first bad one that no good one follows within
/// [`STEADY`] to the first good one. Open at the end if it never came back.
pub fn outages(probes: &[Probe]) -> Vec<[Option<Duration>; 2]> {
    let mut outages: Vec<[Option<Duration>; 2]> = Vec::new();
    for probe in probes {
        let open = outages.last_mut().filter(|outage| outage[1].is_none());
        match (open, probe.is_good()) {
            (Some(outage), true) => outage[1] = Some(probe.ended()),
            (None, false) => {
                let begun = Some(probe.asked);
                match outages.last_mut() {
                    // A single good one between bad ones is no end.
                    Some(last) if last[1].is_some_and(|end| end + STEADY > probe.asked) => last[1] = None,
                    _ => outages.push([begun, None]),
                }
            }
            _ => {}
        }
    }
    outages
}

/// By how much a program was late to tell of what scrapes show; nothing where it was not asked to say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Truth {
    /// The longest time in which it said that all was well while it was down; `None` without an outage
    /// long enough to tell.
    pub down: Option<Duration>,
    /// The longest time of being up again until it said so.
    pub up: Option<Duration>,
}

impl Truth {
    /// True if it was in time with everything.
    pub fn is_told_in_time(&self) -> bool {
        self.down.is_none_or(|late| late <= DOWN_WITHIN) && self.up.is_none_or(|late| late <= UP_WITHIN)
    }
}

/// Compares what a program said until `until` with what scrapes show.
pub fn truth(probes: &[Probe], told: &[Told], until: Duration) -> Truth {
    let mut truth = Truth::default();
    for [from, to] in outages(probes) {
        let from = from.unwrap_or_default();
        let end = to.unwrap_or(until);
        if end.saturating_sub(from) > DOWN_WITHIN {
            truth.down = truth.down.max(Some(longest_lie(told, from, end)));
        }
        let Some(to) = to else { continue };
        let after = told.iter().filter(|told| told.at >= to && told.at < until);
        let mut late = Duration::ZERO;
        for told in after {
            if told.up == Some([true, true]) {
                break;
            }
            late = told.at - to;
        }
        truth.up = truth.up.max(Some(late));
    }
    truth
}

/// The longest time without a break in which a program said that all was well, of a time in which it
/// was not. Who comes back may say so a little before the first scrape shows it, and who is silent says
/// nothing wrong.
fn longest_lie(told: &[Told], from: Duration, to: Duration) -> Duration {
    // What it said before, it goes on saying.
    let (mut longest, mut since) = (Duration::ZERO, Some(from));
    for told in told.iter().filter(|told| told.at > from && told.at < to) {
        if told.up.is_some_and(|said| said != [false, false]) {
            longest = longest.max(told.at - *since.get_or_insert(told.at));
        } else {
            since = None;
        }
    }
    longest
}

#[cfg(test)]
mod tests;
