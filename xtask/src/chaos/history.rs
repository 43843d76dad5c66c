//! What was seen, by everybody who looked, with times since the suite began.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Which chain of programs a scrape goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `scraper-bridge` and `target-agent`, to the device that everything happens to.
    Ours,
    /// The same programs to the same device, as a second target for which another session stands by.
    Standby,
    /// The same bridge, to a device that nothing happens to.
    Beside,
    /// C tor, socat, autossh and sshd, to the device that everything happens to.
    Recipe,
}

/// One of our programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `target-agent`.
    Agent,
    /// `scraper-bridge`.
    Bridge,
}

/// One scrape.
#[derive(Clone, Debug)]
pub struct Probe {
    /// What it went through.
    pub way: Way,
    /// When it was asked for.
    pub asked: Duration,
    /// How long until its end.
    pub took: Duration,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a scrape ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With an answer that is whole, of the right exporter, and not older than the request.
    Good,
    /// Nobody listened.
    NobodyListened,
    /// With an error, in words.
    Failed(String),
    /// With nothing, for so long that the asker gave up.
    Unanswered,
    /// With an answer that looked good and was not: what was wrong.
    Wrong(String),
}

impl Probe {
    /// When it ended.
    pub fn ended(&self) -> Duration {
        self.asked + self.took
    }

    /// True for a good answer.
    pub fn is_good(&self) -> bool {
        self.outcome == Outcome::Good
    }
}

/// What a program said of the way to the device.
#[derive(Clone, Debug)]
pub struct Told {
    /// Which.
    pub program: Program,
    /// When.
    pub at: Duration,
    /// Whether it said that the way is there, in its status and in its metrics; `None` where it did not
    /// answer.
    pub up: Option<[bool; 2]>,
}

/// The record. It grows for as long as the suite runs, by a few hundred bytes a second.
pub struct History {
    epoch: Instant,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    probes: Vec<Probe>,
    /// Scrapes that have not ended, with when they were asked for.
    under_way: Vec<(Way, Duration)>,
    told: Vec<Told>,
    violations: Vec<(Duration, String)>,
}

impl History {
    /// An empty one, that begins now.
    pub fn new() -> Self {
        Self { epoch: Instant::now(), seen: Mutex::default() }
    }

    /// When it began.
    pub fn epoch(&self) -> Instant {
        self.epoch
    }

    /// Time since it began.
    pub fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// Notes that a scrape begins now, and when that is.
    pub fn begin(&self, way: Way) -> Duration {
        let now = self.now();
        self.with(|seen| seen.under_way.push((way, now)));
        now
    }

    /// Adds a scrape that has ended.
    pub fn probe(&self, probe: Probe) {
        self.with(|seen| {
            if let Some(place) = seen.under_way.iter().position(|began| *began == (probe.way, probe.asked)) {
                seen.under_way.swap_remove(place);
            }
            seen.probes.push(probe);
        });
    }

    /// True if every scrape that was asked for on a way until then has ended.
    pub fn is_complete(&self, way: Way, until: Duration) -> bool {
        self.with(|seen| !seen.under_way.iter().any(|(known, asked)| *known == way && *asked <= until))
    }

    /// Adds what a program said.
    pub fn told(&self, told: Told) {
        self.with(|seen| seen.told.push(told));
    }

    /// Adds something that must never be.
    pub fn violation(&self, what: String) {
        let now = self.now();
        self.with(|seen| {
            // What stays wrong is said once.
            if !seen.violations.iter().any(|(_, known)| *known == what) {
                seen.violations.push((now, what));
            }
        });
    }

    /// All scrapes on a way that ended after `since`, in the order in which they were asked for.
    pub fn probes(&self, way: Way, since: Duration) -> Vec<Probe> {
        let is_meant = |probe: &&Probe| probe.way == way && probe.ended() >= since;
        let mut probes: Vec<_> = self.with(|seen| seen.probes.iter().filter(is_meant).cloned().collect());
        probes.sort_by_key(|probe| probe.asked);
        probes
    }

    /// What a program said after `since`, in order.
    pub fn said(&self, program: Program, since: Duration) -> Vec<Told> {
        let is_meant = |told: &&Told| told.program == program && told.at >= since;
        self.with(|seen| seen.told.iter().filter(is_meant).cloned().collect())
    }

    /// Everything that was seen since then and must never be.
    pub fn violations(&self, since: Duration) -> Vec<String> {
        self.with(|seen| {
            let wrong = seen.probes.iter().filter(|probe| probe.ended() >= since).filter_map(|probe| {
                match &probe.outcome {
                    Outcome::Wrong(what) => Some(what.clone()),
                    _ => None,
                }
            });
            let others = seen.violations.iter().filter(|(at, _)| *at >= since);
            let mut all: Vec<_> = wrong.chain(others.map(|(_, what)| what.clone())).collect();
            all.sort();
            all.dedup();
            all
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Seen) -> T) -> T {
        act(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
