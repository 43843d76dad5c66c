//! Scrapes beside those of other ways, interleaved in one run, with and without Tor.
//!
//! In reading order:
//! - `part`: what can be measured by itself;
//! - `sizes`: how much of everything;
//! - `wire`: just enough HTTP to measure with;
//! - `sample`: what was measured, and how sure one can be of a ratio;
//! - `outcome`: the same of scrapes, some of which may have failed;
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
mod outcome;
mod page;
mod part;
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
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tornet::process;

use crate::build::Programs;
use crate::{Failure, document, packages};
use ground::Ground;
use page::Page;
use part::Part;
use sizes::Sizes;

/// Set by Ctrl-C and SIGTERM.
static STOP: AtomicBool = AtomicBool::new(false);
/// Delays of each link of the two networks, one way, in milliseconds.
const DELAYS: [u64; 2] = [0, 40];

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub struct Bench {
    /// Few of everything: ten minutes at most. All of it takes an hour and a half
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
    /// Take the programs as a configuration of cargo has them built, which may leave them unoptimised; such
    /// figures are never published
    #[arg(long)]
    as_configured: bool,
}

/// Fails if all of it is to stop.
fn go_on() -> Result<(), Failure> {
    if STOP.load(Ordering::Relaxed) { Err("stopped; nothing is left behind".into()) } else { Ok(()) }
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
    /// Measures, prints tables, and writes the page.
    ///
    /// # Errors
    /// When something could not be measured: the rest is printed by then, and no page is written. When scrapes
    /// failed: the page is written and says so.
    pub fn run(self) -> Result<(), Failure> {
        packages::ensure(packages::BENCH)?;
        let (programs, crowd) = Programs::build_with_crowd(!self.as_configured)?;
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
        if self.as_configured {
            page.line("The programs are as this machine's configuration has them built, maybe unoptimised.");
        }
        let measured = self.measure(&mut page, &programs, &crowd);
        println!("\n{}\n", page.goals());
        measured?;
        let published = || self.is_full().then(|| document::published("benchmarks"));
        let missing = page.missing().join(", ");
        if !missing.is_empty() {
            return Err(
                format!("not measured: {missing}; the figures above stand, and no page is written").into()
            );
        }
        if let Some(file) = self.out.clone().or_else(published) {
            page.write(&file)?;
            println!("written to {}", file.display());
        }
        match page.failures() {
            0 => Ok(()),
            count => Err(format!("failed: {count}, as told above; the other figures stand").into()),
        }
    }

    /// True if all of it is measured, in full sizes.
    fn is_full(&self) -> bool {
        let Self {
            quick,
            only,
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
            && only.is_empty()
            && counts.iter().all(|count| count.is_none())
            && [minutes, onion_minutes].iter().all(|time| time.is_none())
    }

    /// Measures what is wanted. A part that fails is noted and costs the others nothing.
    fn measure(&self, page: &mut Page, programs: &Programs, crowd: &Path) -> Result<(), Failure> {
        let sizes = &self.sizes();
        let is_wanted = |part: Part| self.only.is_empty() || self.only.contains(&part);
        // What is added to the page is whole; `when` tells one part from the same one at another time.
        let part = |part: Part,
                    when: &str,
                    page: &mut Page,
                    measure: &mut dyn FnMut(&mut Page) -> Result<(), Failure>| {
            if !is_wanted(part) {
                return Ok(());
            }
            let measured = page.attempt(&format!("{}{when}", part.name()), || {
                let mut draft = Page::default();
                measure(&mut draft)?;
                Ok(draft)
            })?;
            measured.into_iter().for_each(|draft| page.append(draft));
            Ok::<_, Failure>(())
        };
        let is_full = self.is_full();
        part(Part::Size, "", page, &mut |page| memory::sizes(page, programs, is_full))?;
        part(Part::Plain, "", page, &mut |page| plain::measure(page, sizes, programs, crowd))?;
        part(Part::Load, "", page, &mut |page| load::measure(page, sizes, programs, crowd))?;
        part(Part::Fleet, "", page, &mut |page| fleet::plain(page, sizes, programs, crowd))?;
        if !self.only.is_empty() && !self.only.iter().any(|part| part.needs_tor()) {
            return Ok(());
        }
        let ground = page.attempt("all that needs Tor", || Ground::start(programs.clone()))?;
        let Some(mut ground) = ground else { return Ok(()) };
        part(Part::Cost, "", page, &mut |page| cost::measure(&ground, page, sizes))?;
        for delay in DELAYS {
            let when = format!(" at {delay} ms a link");
            ground.delay(delay);
            part(Part::Warm, &when, page, &mut |page| warm::measure(&ground, page, sizes.at(delay), delay))?;
            if delay == 0 {
                let when = "after scrapes of node_exporter";
                part(Part::Memory, "", page, &mut |page| memory::measure(&ground, page, when, true))?;
            }
            part(Part::Cold, &when, page, &mut |page| {
                cold::measure(&mut ground, page, sizes.at(delay), delay)
            })?;
            part(Part::Bodies, &when, page, &mut |page| {
                bodies::measure(&ground, page, sizes.at(delay), delay)
            })?;
        }
        if is_wanted(Part::Bodies) {
            let when = "after bodies of 10 MB";
            part(Part::Memory, "", page, &mut |page| memory::measure(&ground, page, when, false))?;
        }
        part(Part::Trips, "", page, &mut |page| trips::measure(&ground, page, sizes))?;
        for delay in DELAYS {
            let when = format!(" at {delay} ms a link");
            ground.delay(delay);
            part(Part::Start, &when, page, &mut |page| start::measure(&mut ground, page, sizes, delay))?;
        }
        ground.delay(0);
        part(Part::Onions, "", page, &mut |page| fleet::onions(page, sizes, &ground, crowd))
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
