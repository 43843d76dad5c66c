//! Everything that can happen to a device in a backpack, one fault after the other, and how soon it is back.
//!
//! In reading order:
//! - `place`, `cable`: networks of their own for device and monitor, and what can be done to them;
//! - `body`, `exporter`: an exporter whose answers prove whose they are, and how old;
//! - `supervised`, `recipe`: our programs, and the original recipe beside them;
//! - `scene`: all of it, running;
//! - `prober`, `watcher`, `sockets`: who looks;
//! - `history`, `verdict`: what was seen, and what it says;
//! - `fault`, `traffic`: what happens, and to which relay;
//! - `round`: one fault, so many times;
//! - `row`, `report`: the table;
//! - `damage`: damaged files and broken off writes;
//! - `soak`, `held`: faults for hours, and what the programs hold meanwhile.

mod body;
mod cable;
mod damage;
mod exporter;
mod fault;
mod held;
mod history;
mod place;
mod prober;
mod recipe;
mod report;
mod round;
mod row;
mod scene;
pub mod soak;
mod sockets;
mod supervised;
mod traffic;
mod verdict;
mod watcher;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::build::Programs;
use crate::{Failure, packages};
use fault::{Fault, Tellers};
use round::{Limits, Runs, repeat};
use row::Row;
use scene::{Cast, Scene};

/// After so long a short run begins no further fault.
const SHORT_LIMIT: Duration = Duration::from_secs(7 * 60);
/// Options of `cargo xtask chaos`.
#[derive(clap::Args)]
pub struct Chaos {
    /// Runs of each fault
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Begin no further run of a fault that has taken so many minutes
    #[arg(long, default_value_t = 15)]
    minutes: u64,
    /// Only faults whose names begin so
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Each fault once or twice, without the long ones and without the recipe: 10 minutes at most
    #[arg(long)]
    quick: bool,
    /// Leave the original recipe out
    #[arg(long)]
    alone: bool,
    /// Keep logs and state in this folder, which must be empty
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Print the names of all faults
    #[arg(long)]
    list: bool,
}

impl Chaos {
    /// Has everything happen and prints the table.
    ///
    /// # Errors
    /// When something was seen that must never be, or the suite itself cannot go on.
    pub fn run(self) -> Result<(), Failure> {
        if self.list {
            let names = fault::all().into_iter().map(|fault| (fault.name, fault.what)).chain(damage::NAMES);
            names.for_each(|(name, what)| println!("{name:<24} {what}"));
            return Ok(());
        }
        packages::ensure(packages::CHAOS)?;
        let programs = Programs::build()?;
        if !place::is_inside() {
            place::go_inside()?;
            eprintln!("no network namespaces here: faults of networks, relays and disks are left out");
        }
        let temporary = tempfile::Builder::new().prefix("onionscrape-chaos-").tempdir()?;
        let folder = self.keep.clone().unwrap_or_else(|| temporary.path().to_owned());
        std::fs::create_dir_all(&folder)?;

        let mut outcome = Outcome::default();
        let ended = self.go_through(&programs, &folder, &mut outcome);
        self.conclude(&outcome, ended)
    }

    /// Has everything happen, one after the other, and notes what came of it.
    fn go_through(&self, programs: &Programs, folder: &Path, outcome: &mut Outcome) -> Result<(), Failure> {
        for (name, what) in damage::NAMES {
            if self.is_wanted(name) {
                outcome.add(damage::run(name, what, programs, folder, self.quick)?);
            }
        }
        let mut faults: Vec<_> = fault::all().into_iter().filter(|fault| self.runs_of(fault) > 0).collect();
        // First what is over soon, so that what takes long does not cost it its turn.
        faults.sort_by_key(|fault| self.quick && fault.told_by != Tellers::Neither);
        if faults.is_empty() {
            return Ok(());
        }
        let mut scene = Scene::start(programs, folder, self.cast())?;
        let ended = self.have_happen(&faults, &mut scene, outcome);
        // Also what came after the last fault was judged.
        outcome.violations.extend(scene.history.violations(scene.judged_until));
        ended
    }

    fn have_happen(&self, faults: &[Fault], scene: &mut Scene, outcome: &mut Outcome) -> Result<(), Failure> {
        let started = Instant::now();
        for fault in faults {
            if fault.apart && !place::is_inside() {
                outcome.left_out.push(format!("{}: there are no network namespaces", fault.name));
            } else if self.quick && started.elapsed() > SHORT_LIMIT {
                outcome.left_out.push(format!("{}: no time", fault.name));
            } else {
                let limits = if self.quick { Limits::SHORT } else { Limits::FULL };
                let time = Duration::from_secs(self.minutes.saturating_mul(60));
                let runs = Runs { most: self.runs_of(fault), time };
                let row = repeat(scene, fault, runs, limits, &mut outcome.violations)?;
                if row.ours.len() < runs.most {
                    let (name, done, most) = (fault.name, row.ours.len(), runs.most);
                    outcome.left_out.push(format!("{name}: {done} of {most} runs in {} min", self.minutes));
                }
                outcome.rows.push(row);
            }
        }
        Ok(())
    }

    fn cast(&self) -> Cast {
        Cast { recipe: !self.quick && !self.alone, beside: 1, beside_pause: prober::PAUSE }
    }

    fn is_wanted(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.starts_with(only.as_str()))
    }

    fn runs_of(&self, fault: &Fault) -> usize {
        match (self.is_wanted(fault.name), self.quick && self.only.is_empty()) {
            (false, _) => 0,
            (true, true) => fault.short,
            (true, false) => self.runs,
        }
    }

    fn conclude(&self, outcome: &Outcome, ended: Result<(), Failure>) -> Result<(), Failure> {
        println!("\n{}\n", report::table(&outcome.rows));
        for line in &outcome.others {
            println!("{line}");
        }
        for line in &outcome.left_out {
            println!("left out: {line}");
        }
        // The page says that nothing was seen which must never be.
        if !self.quick && self.only.is_empty() && outcome.violations.is_empty() && ended.is_ok() {
            println!(
                "written to {}",
                report::write(&outcome.rows, &outcome.others, &outcome.left_out)?.display()
            );
        }
        judge(&outcome.violations)?;
        ended.map_err(|why| format!("the suite could not go on: {why}").into())
    }
}

/// Something was seen that must never be. Every other failure says only that the suite could not go on.
#[derive(Debug)]
pub struct MustNeverBe(Vec<String>);

impl MustNeverBe {
    /// What a process ends with that has seen such a thing.
    pub const EXIT: u8 = 3;
}

impl fmt::Display for MustNeverBe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "what must never be:\n  {}", self.0.join("\n  "))
    }
}

impl std::error::Error for MustNeverBe {}

/// Fails if something was seen that must never be.
fn judge(violations: &[String]) -> Result<(), Failure> {
    match violations {
        [] => Ok(()),
        violations => Err(MustNeverBe(violations.to_vec()).into()),
    }
}

/// What came of a whole run.
#[derive(Default)]
struct Outcome {
    rows: Vec<Row>,
    /// Lines about what is no row.
    others: Vec<String>,
    left_out: Vec<String>,
    violations: Vec<String>,
}

impl Outcome {
    fn add(&mut self, damage: damage::Outcome) {
        self.others.push(damage.line);
        self.violations.extend(damage.violations);
    }
}
