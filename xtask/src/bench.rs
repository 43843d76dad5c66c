//! Scrapes beside those of other ways, interleaved in one run, with and without Tor.
//!
//! In reading order:
//! - `part`, `step`: what can be measured by itself, and in which order;
//! - `sizes`: how much of everything;
//! - `taken`: the programs, out of cargo's reach;
//! - `wire`: just enough HTTP to measure with;
//! - `sample`: what was measured, and how sure one can be of a ratio;
//! - `outcome`: the same of scrapes, some of which may have failed;
//! - `usage`: what processes take;
//! - `page`, `record`, `whole`: what a step found, kept in a file, and the page of all of them;
//! - `exporter`: bodies of a size of one's choice;
//! - `way`, `rivals`, `bridge`, `ground`: every way over Tor, running;
//! - `circuits`: many of them, of which some may fail;
//! - `warm`, `cold`, `bodies`, `trips`, `cost`, `memory`, `start`, `idle`: what is measured of them;
//! - `payer`: what a scrape costs by any way;
//! - `plain`, `load`: the same programs without Tor, one scrape after the other and many at once;
//! - `crowd`, `steady`, `stand`, `fleet`: many targets.

mod bodies;
mod bridge;
mod circuits;
mod cold;
mod cost;
mod crowd;
mod exporter;
mod fleet;
mod ground;
mod idle;
mod load;
mod memory;
mod outcome;
mod page;
mod part;
mod payer;
mod plain;
mod record;
mod rivals;
mod sample;
mod sizes;
mod stand;
mod start;
mod steady;
mod step;
mod taken;
mod trips;
mod usage;
mod warm;
mod way;
mod whole;
mod wire;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tornet::process;

use crate::build::target_folder;
use crate::{Failure, document, packages};
use part::Part;
use record::Record;
use sizes::Sizes;
use step::{Means, Step};
use taken::{How, Taken};
use whole::Whole;

/// Set by Ctrl-C and SIGTERM.
static STOP: AtomicBool = AtomicBool::new(false);
/// What is measured beside our programs or makes them, and how it is asked for its version.
const PROGRAMS: [[&str; 2]; 5] = [
    ["tor", "--version"],
    ["ssh", "-V"],
    ["socat", "-V"],
    ["prometheus-node-exporter", "--version"],
    ["rustc", "--version"],
];

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub struct Bench {
    /// Few of everything, of programs that are quick to build: ten minutes at most. All of it takes some two hours
    #[arg(long)]
    quick: bool,
    /// Only these parts, and these in any case. In full sizes what is measured is kept in `target/bench`: the rest may
    /// follow on another day, and the page is written once all is there, of one commit on one machine
    #[arg(long, value_enum, value_name = "PART", value_delimiter = ',')]
    only: Vec<Part>,
    /// Measure all parts, even those that an earlier run has measured at this commit on this machine
    #[arg(long, conflicts_with = "only")]
    anew: bool,
    /// Write the page to this file, whatever is measured [default of a full run: docs/benchmarks.md]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Targets at once without Tor [default: 1000, quick: 100]
    #[arg(long)]
    targets: Option<usize>,
    /// Minutes that these are scraped for [default: 30, quick: 0.5]
    #[arg(long)]
    minutes: Option<f64>,
    /// Targets at once with onion services [default: 200, quick: 5]
    #[arg(long)]
    onions: Option<usize>,
    /// Minutes that these are scraped for [default: 15, quick: 0.5]
    #[arg(long)]
    onion_minutes: Option<f64>,
    /// Scrapes under load [default: 20000, quick: 2000]
    #[arg(long)]
    load: Option<usize>,
    /// Of these, how many at once [default: 500]
    #[arg(long)]
    at_once: Option<usize>,
    /// Take the programs as a configuration of cargo has them built, which may leave them unoptimised; such
    /// figures are never published
    #[arg(long)]
    as_configured: bool,
}

/// Fails if all of it is to stop.
fn go_on() -> Result<(), Failure> {
    if STOP.load(Ordering::Relaxed) { Err("stopped; no process is left behind".into()) } else { Ok(()) }
}

/// Waits for so long.
///
/// # Errors
/// When all of it is to stop, within a fifth of a second.
fn pause(length: Duration) -> Result<(), Failure> {
    let end = Instant::now() + length;
    loop {
        go_on()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(Duration::from_millis(200)));
    }
}

impl Bench {
    /// Builds what is measured, measures, prints tables, and writes the page; after every step a draft of it to
    /// `target/benchmarks.partial.md`.
    ///
    /// # Errors
    /// When something does not build: nothing is measured then. When scrapes failed or something could not be
    /// measured: the page is written and says so. When it was stopped: the draft has what was measured until then.
    pub fn run(self) -> Result<(), Failure> {
        packages::ensure(packages::BENCH)?;
        let origin = document::Origin::now(&PROGRAMS);
        let how = self.how();
        let taken = Taken::build(how)?;
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        std::thread::spawn(move || {
            for _ in signals.forever() {
                STOP.store(true, Ordering::Relaxed);
                // Whoever waits for a child sees it end, gives up, and cleans up on the way out.
                process::end_all();
            }
        });
        let as_many_as_may_be = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: as_many_as_may_be, maximum: as_many_as_may_be })?;
        if self.is_in_full() && !origin.is_clean {
            println!("nothing is kept for another run: what is measured differs from the commit");
        }
        let kept = (self.is_in_full() && origin.is_clean).then(|| target_folder().join("bench"));
        let draft = target_folder().join("benchmarks.partial.md");
        let mut whole = Whole::begin(origin, how.words().to_owned(), kept, draft.clone())?;
        whole.write(&draft)?;
        let means = Means {
            sizes: &self.sizes(),
            programs: &taken.programs,
            crowd: &taken.crowd,
            is_given: how == How::Given,
        };
        let measured = self.measure(&mut whole, &means);
        println!("\n{}\n", whole.goals());
        measured.map_err(|error| format!("{error}; what was measured is in {}", draft.display()))?;
        let missing = whole.missing();
        let is_whole = self.is_in_full() && (self.only.is_empty() || missing.is_empty());
        let published = || is_whole.then(|| document::published("benchmarks"));
        let file = self.out.clone().or_else(published);
        if let Some(file) = &file {
            whole.write(file)?;
        }
        println!("written to {}", file.unwrap_or(draft).display());
        if !missing.is_empty() {
            println!("not measured: {}", missing.join(", "));
        }
        match whole.failures() {
            0 => Ok(()),
            count => Err(format!("failed: {count}, as told above; the other figures stand").into()),
        }
    }

    /// How the programs are built. What is given to people takes many minutes.
    fn how(&self) -> How {
        match self {
            Self { as_configured: true, .. } => How::Configured,
            Self { quick: true, .. } => How::Release,
            _ => How::Given,
        }
    }

    /// True if what is measured is measured in full sizes, of programs as they are given to people.
    fn is_in_full(&self) -> bool {
        let Self {
            quick,
            only: _,
            anew: _,
            out: _,
            targets,
            minutes,
            onions,
            onion_minutes,
            load,
            at_once,
            as_configured,
        } = self;
        let counts = [targets, onions, load, at_once];
        !quick
            && !as_configured
            && counts.iter().all(|count| count.is_none())
            && [minutes, onion_minutes].iter().all(|time| time.is_none())
    }

    /// Takes the steps that are wanted. One that fails is noted and costs the others nothing.
    fn measure(&self, whole: &mut Whole, means: &Means<'_>) -> Result<(), Failure> {
        let (wanted, known) = whole.to_take(&self.only, self.anew);
        if !known.is_empty() {
            let names: Vec<_> = known.into_iter().map(Step::name).collect();
            println!("measured before, and not again without --anew: {}", names.join(", "));
        }
        let mut ground = None;
        for step in wanted {
            let record = Record::of(step, whole.origin(), |page| {
                let measured = step.measure(page, means, &mut ground);
                if measured.is_err() {
                    // A program may have ended, or may hold what went wrong; all is begun anew.
                    ground = None;
                }
                measured
            })?;
            whole.add(step, record)?;
        }
        Ok(())
    }

    fn sizes(&self) -> Sizes {
        let usual = if self.quick { Sizes::QUICK } else { Sizes::FULL };
        Sizes {
            targets: self.targets.unwrap_or(usual.targets),
            minutes: self.minutes.unwrap_or(usual.minutes),
            onions: self.onions.unwrap_or(usual.onions),
            onion_minutes: self.onion_minutes.unwrap_or(usual.onion_minutes),
            load: self.load.unwrap_or(usual.load),
            at_once: self.at_once.unwrap_or(usual.at_once),
            ..usual
        }
    }
}
