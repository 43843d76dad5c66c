//! What all runs of one fault come to.

use std::collections::BTreeSet;
use std::time::Duration;

use super::fault::Fault;
use super::history::{Program, Way as Asked};
use super::round::Limits;
use super::verdict::{Truth, Way};

/// One fault, in all its runs.
pub struct Row {
    /// What it is.
    pub what: &'static str,
    /// How soon the device is to be back.
    pub reach: Option<Duration>,
    /// How soon the programs are to tell.
    pub told_in: Option<Duration>,
    /// The way on which it is to cost no scrape.
    pub free_on: Option<Asked>,
    /// How long each way was waited for.
    pub limits: Limits,
    /// What became of our scrapes in each run.
    pub ours: Vec<Way>,
    /// The same where a session stands by.
    pub standby: Vec<Way>,
    /// And of the recipe's; empty if the fault is not for it.
    pub recipe: Vec<Way>,
    /// How soon each program told the truth, in each run.
    pub truths: Vec<(Program, Truth)>,
    /// What else is to be known.
    pub notes: BTreeSet<String>,
}

impl Row {
    /// An empty one.
    pub fn of(fault: &Fault, limits: Limits) -> Self {
        let (ours, standby, recipe, truths) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let Fault { what, reach, told_in, free_on, .. } = *fault;
        let notes = BTreeSet::new();
        Self { what, reach, told_in, free_on, limits, ours, standby, recipe, truths, notes }
    }

    /// What is short of the figure, in words; nothing if all is well.
    pub fn misses(&self) -> Vec<String> {
        let mut misses = Vec::new();
        if let (Some(reach), Some(Times { p95, .. })) = (self.reach, Times::of(&self.ours)) {
            match p95 {
                None => misses.push("not back in time".to_owned()),
                Some(p95) if p95 > reach => {
                    misses.push(format!("misses by {}", show(p95 - reach)));
                }
                Some(_) => {}
            }
        }
        let costly = |ways: &[Way]| ways.iter().map(|way| way.lost).max().filter(|lost| *lost > 0);
        match self.free_on {
            Some(Asked::Standby) => {
                misses.extend(costly(&self.standby).map(|lost| format!("loses up to {lost} with standby")));
            }
            Some(_) => misses.extend(costly(&self.ours).map(|lost| format!("loses up to {lost}"))),
            None => {}
        }
        for program in [Program::Agent, Program::Bridge] {
            let mut truths = self.truths.iter().filter(|(whose, _)| *whose == program);
            let down = self.told(program).down;
            if truths.any(|(_, truth)| !truth.is_told_in_time()) {
                misses.push(format!("{} tells late", name(program)));
            } else if let (Some(down), Some(goal)) = (down, self.told_in)
                && down > goal
            {
                misses.push(format!("{} tells {} late", name(program), show(down - goal)));
            }
        }
        misses
    }

    /// The longest times until a program told of being down and of being up.
    pub fn told(&self, program: Program) -> Truth {
        let of = self.truths.iter().filter(|(whose, _)| *whose == program).map(|(_, truth)| truth);
        of.fold(Truth::default(), |all, one| Truth { down: all.down.max(one.down), up: all.up.max(one.up) })
    }

    /// How soon it is to be back, and where it is to lose nothing.
    fn goal(&self) -> String {
        let soon = self.reach.map(|reach| format!("≤ {} s", reach.as_secs()));
        let told = self.told_in.map(|goal| format!("told ≤ {} s", goal.as_secs()));
        let free = self.free_on.map(|way| match way {
            Asked::Standby => "standby 0 lost".to_owned(),
            _ => "0 lost".to_owned(),
        });
        let goals: Vec<_> = soon.into_iter().chain(told).chain(free).collect();
        if goals.is_empty() { "–".to_owned() } else { goals.join(", ") }
    }

    /// The cells of this row.
    pub fn cells(&self) -> Vec<String> {
        let mut cells = vec![self.what.to_owned(), self.goal()];
        cells.push(self.ours.len().to_string());
        let none = || "–".to_owned();
        let times = |ways: &[Way], limit: Duration| match Times::of(ways) {
            Some(Times { p50, p95, max }) => {
                let [p50, p95, max] =
                    [p50, p95, max].map(|time| time.map_or_else(|| format!("> {} s", limit.as_secs()), show));
                [p50, p95, max, lost(ways)]
            }
            None => [(); 4].map(|()| none()),
        };
        cells.extend(times(&self.ours, self.limits.ours));
        let [_, standby, _, lost] = times(&self.standby, self.limits.ours);
        cells.extend([standby, lost]);
        cells.extend(times(&self.recipe, self.limits.recipe));
        cells.extend([Program::Agent, Program::Bridge].map(|program| {
            let Truth { down, up } = self.told(program);
            let show = |time: Option<Duration>| {
                time.map_or_else(|| "–".to_owned(), |time| format!("{:.1}", time.as_secs_f64()))
            };
            format!("{} / {}", show(down), show(up))
        }));
        let notes = self.misses().into_iter().chain(self.notes.iter().cloned());
        cells.push(notes.collect::<Vec<_>>().join("; "));
        cells
    }
}

/// A program's name.
pub fn name(program: Program) -> &'static str {
    match program {
        Program::Agent => "agent",
        Program::Bridge => "bridge",
    }
}

/// Times until the way was back, by nearest rank; one that is missing is longer than all others.
#[derive(Debug, PartialEq)]
struct Times {
    p50: Option<Duration>,
    p95: Option<Duration>,
    max: Option<Duration>,
}

impl Times {
    fn of(ways: &[Way]) -> Option<Self> {
        let mut times: Vec<_> = ways.iter().map(|way| way.back).collect();
        times.sort_by_key(|time| (time.is_none(), *time));
        let rank = |p: usize| times.get((times.len() * p).div_ceil(100).max(1) - 1).copied();
        Some(Self { p50: rank(50)?, p95: rank(95)?, max: rank(100)? })
    }
}

fn show(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Scrapes lost in a run, on average.
fn lost(ways: &[Way]) -> String {
    let lost: usize = ways.iter().map(|way| way.lost).sum();
    format!("{:.0}", lost as f64 / ways.len().max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back(seconds: Option<u64>) -> Way {
        Way { back: seconds.map(Duration::from_secs), lost: 4, ..Way::default() }
    }

    fn row(ours: Vec<Way>) -> Row {
        let reach = Some(Duration::from_secs(10));
        Row {
            what: "x",
            reach,
            told_in: None,
            free_on: None,
            limits: Limits::FULL,
            ours,
            standby: vec![back(Some(1))],
            recipe: Vec::new(),
            truths: Vec::new(),
            notes: BTreeSet::new(),
        }
    }

    #[test]
    fn one_that_did_not_come_back_is_the_longest() {
        let row = row(vec![back(Some(3)), back(None), back(Some(5))]);
        assert_eq!(row.cells()[3..9], ["5.0 s", "> 180 s", "> 180 s", "4", "1.0 s", "4"]);
        assert_eq!(row.misses(), ["not back in time"]);
    }

    #[test]
    fn a_miss_is_said_with_its_size() {
        let mut row = row(vec![back(Some(12))]);
        assert_eq!(row.misses(), ["misses by 2.0 s"]);
        row.ours = vec![back(Some(9))];
        assert!(row.misses().is_empty());
        row.free_on = Some(Asked::Standby);
        assert_eq!(
            (row.misses(), row.goal()),
            (vec!["loses up to 4 with standby".into()], "≤ 10 s, standby 0 lost".into())
        );
        row.standby[0].lost = 0;
        assert!(row.misses().is_empty());
        let late = Truth { down: Some(Duration::from_secs(30)), up: None };
        row.truths.push((Program::Agent, late));
        assert_eq!(row.misses(), ["agent tells late"]);
        row.told_in = Some(Duration::from_secs(20));
        row.truths[0].1.down = Some(Duration::from_secs(22));
        assert_eq!(row.misses(), ["agent tells 2.0 s late"]);
    }
}
