//! Scrapes beside those of other ways, interleaved in one run, with and without Tor.
//!
//! In reading order:
//! - `sizes`: how much of everything;
//! - `wire`: just enough HTTP to measure with;
//! - `sample`: what was measured, and how sure one can be of a ratio;
//! - `usage`: what processes take;
//! - `page`: the page of figures;
//! - `exporter`: bodies of a size of one's choice;
//! - `way`, `rivals`, `bridge`, `ground`: every way over Tor, running;
//! - `warm`, `cold`, `bodies`, `trips`, `cost`, `memory`, `start`: what is measured of them;
//! - `plain`, `load`: the same programs without Tor, one scrape after the other and many at once;
//! - `crowd`, `steady`, `fleet`: many targets.

mod bodies;
mod bridge;
mod cold;
mod cost;
mod crowd;
mod exporter;
mod fleet;
mod ground;
mod load;
mod memory;
mod page;
mod plain;
mod rivals;
mod sample;
mod sizes;
mod start;
mod steady;
mod trips;
mod usage;
mod warm;
mod way;
mod wire;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tornet::process;

use crate::build::{Programs, workspace};
use crate::{Failure, packages};
use ground::Ground;
use page::Page;
use sizes::Sizes;

/// Set by Ctrl-C and SIGTERM.
static STOP: AtomicBool = AtomicBool::new(false);
/// Delays of each link of the two networks, one way, in milliseconds.
const DELAYS: [u64; 2] = [0, 40];

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub struct Bench {
    /// Few of everything: ten minutes at most. All of it takes some two hours
    #[arg(long)]
    quick: bool,
    /// Only these parts
    #[arg(long, value_enum, value_name = "PART")]
    only: Vec<Part>,
    /// Write the page to this file [default of a full run: docs/benchmarks.md]
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
}

/// A part of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Scrapes while everything is up
    Warm,
    /// From no session to the first byte
    Cold,
    /// Small and large bodies
    Bodies,
    /// Round trips of a scrape
    Trips,
    /// Processor time and bytes of a scrape
    Cost,
    /// Memory with one target
    Memory,
    /// From a start to the first scrape
    Start,
    /// The programs' files
    Size,
    /// Without Tor, one scrape after the other
    Plain,
    /// Without Tor, many at once
    Load,
    /// Many targets without Tor
    Fleet,
    /// Many targets with onion services
    Onions,
}

impl Part {
    /// Whether it needs the network and all rivals.
    fn needs_tor(self) -> bool {
        !matches!(self, Self::Size | Self::Plain | Self::Load | Self::Fleet)
    }
}

impl Bench {
    /// Measures, prints tables, and writes the page.
    ///
    /// # Errors
    /// When a part cannot be measured; what was found before is printed by then.
    pub fn run(self) -> Result<(), Failure> {
        packages::ensure(packages::BENCH)?;
        let (programs, crowd) = Programs::build_with_crowd()?;
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
        let mut page = Page::default();
        let measured = self.measure(&mut page, programs, &crowd);
        if STOP.load(Ordering::Relaxed) {
            return Err("stopped; nothing is left behind".into());
        }
        println!("\n{}\n", page.goals());
        measured?;
        let published = || self.is_full().then(|| workspace().join("docs/benchmarks.md"));
        if let Some(file) = self.out.clone().or_else(published) {
            page.write(&file)?;
            println!("written to {}", file.display());
        }
        Ok(())
    }

    /// True if all of it is measured, in full sizes.
    fn is_full(&self) -> bool {
        let Self { quick, only, out: _, targets, minutes, onions, onion_minutes, load, at_once } = self;
        let counts = [targets, onions, load, at_once];
        !quick
            && only.is_empty()
            && counts.iter().all(|count| count.is_none())
            && [minutes, onion_minutes].iter().all(|time| time.is_none())
    }

    fn measure(&self, page: &mut Page, programs: Programs, crowd: &Path) -> Result<(), Failure> {
        let sizes = &self.sizes();
        let is_wanted = |part: Part| self.only.is_empty() || self.only.contains(&part);
        if is_wanted(Part::Size) {
            memory::sizes(page, &programs)?;
        }
        if is_wanted(Part::Plain) {
            plain::measure(page, sizes, &programs, crowd)?;
        }
        if is_wanted(Part::Load) {
            load::measure(page, sizes, &programs, crowd)?;
        }
        if is_wanted(Part::Fleet) {
            fleet::plain(page, sizes, &programs, crowd)?;
        }
        if !self.only.is_empty() && !self.only.iter().any(|part| part.needs_tor()) {
            return Ok(());
        }
        let mut ground = Ground::start(programs)?;
        if is_wanted(Part::Cost) {
            cost::measure(&ground, page, sizes)?;
        }
        for delay in DELAYS {
            ground.delay(delay);
            if is_wanted(Part::Warm) {
                warm::measure(&ground, page, sizes, delay)?;
            }
            if is_wanted(Part::Memory) && delay == 0 {
                memory::measure(&ground, page, "after scrapes of node_exporter", true)?;
            }
            if is_wanted(Part::Cold) {
                cold::measure(&ground, page, sizes, delay)?;
            }
            if is_wanted(Part::Bodies) {
                bodies::measure(&ground, page, sizes, delay)?;
            }
        }
        if is_wanted(Part::Memory) && is_wanted(Part::Bodies) {
            memory::measure(&ground, page, "after bodies of 10 MB", false)?;
        }
        if is_wanted(Part::Trips) {
            trips::measure(&ground, page, sizes)?;
        }
        for delay in DELAYS {
            ground.delay(delay);
            if is_wanted(Part::Start) {
                start::measure(&mut ground, page, sizes, delay)?;
            }
        }
        ground.delay(0);
        if is_wanted(Part::Onions) {
            fleet::onions(page, sizes, &ground, crowd)?;
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
