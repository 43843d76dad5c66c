//! Faults at random for hours, on one of twenty devices, and what the programs hold meanwhile.

use std::time::{Duration, Instant};

use comfy_table::{Table, presets};

use super::fault::{self, Fault};
use super::held::Held;
use super::round::{Limits, Runs, make_well, repeat};
use super::scene::{Cast, Scene};
use super::{judge, place, report};
use crate::build::Programs;
use crate::{Failure, packages};

/// Devices besides the one that everything happens to.
const BESIDE: usize = 19;
/// Pause between two scrapes of each of those.
const BESIDE_PAUSE: Duration = Duration::from_secs(5);
/// Hours from which on a result stands in the docs.
const PUBLISHED: f64 = 2.0;
/// Pause between two faults.
const PAUSE: Duration = Duration::from_secs(20);
/// What changes a process into another, whose memory says nothing of the first one's, or what takes
/// hours in a row.
const LEFT_OUT: [&str; 5] = ["agent-killed", "bridge-killed", "clock", "disk-full", "device-link-15min"];

/// Options of `cargo xtask soak`.
#[derive(clap::Args)]
pub struct Soak {
    /// How long
    #[arg(long, default_value_t = 2.0)]
    hours: f64,
}

/// What the programs held at one time.
struct Sample {
    at: Duration,
    held: Vec<Held>,
}

impl Soak {
    /// Has faults happen at random and prints what the programs held.
    ///
    /// # Errors
    /// When something was seen that must never be, or the suite itself cannot go on.
    pub fn run(self) -> Result<(), Failure> {
        packages::ensure(packages::CHAOS)?;
        let programs = Programs::build()?;
        if !place::is_inside() {
            place::go_inside()?;
            return Err("a soak needs network namespaces: run it as root".into());
        }
        let folder = tempfile::Builder::new().prefix("onionscrape-soak-").tempdir()?;
        let cast = Cast { recipe: false, beside: BESIDE, beside_pause: BESIDE_PAUSE };
        let mut scene = Scene::start(&programs, folder.path(), cast)?;
        let faults: Vec<Fault> = fault::all()
            .into_iter()
            .filter(|fault| !LEFT_OUT.iter().any(|name| fault.name.starts_with(name)))
            .collect();
        let whole = Duration::from_secs_f64(self.hours * 3600.0);
        let started = Instant::now();
        let (mut samples, mut violations) = (vec![sample(&scene, started)?], Vec::new());
        let mut runs = 0;
        while started.elapsed() < whole {
            let fault = &faults[random(faults.len(), runs)];
            let row = repeat(&mut scene, fault, Runs::ONE, Limits::FULL, &mut violations)?;
            row.misses().iter().chain(&row.notes).for_each(|words| eprintln!("    {words}"));
            runs += 1;
            std::thread::sleep(PAUSE);
            make_well(&mut scene)?;
            samples.push(sample(&scene, started)?);
        }
        violations.extend(scene.history.violations(scene.judged_until));
        let result =
            format!("{runs} faults in {:.1} h, {} devices\n\n{}\n", self.hours, BESIDE + 1, table(&samples));
        println!("\n{result}");
        // The page says that nothing was seen which must never be.
        if self.hours >= PUBLISHED && violations.is_empty() {
            println!("written to {}", report::write_soak(&result)?.display());
        }
        judge(&violations)
    }
}

/// The programs that are looked at.
const NAMES: [&str; 3] =
    ["scraper-bridge", "target-agent, hit by the faults", "target-agent, one of the others"];

fn sample(scene: &Scene, started: Instant) -> Result<Sample, Failure> {
    let shelf = scene.shelves.first().ok_or("no other device")?;
    let pids = [scene.bridge.pid(), scene.agent.pid(), shelf.pid()];
    let held = pids.into_iter().map(Held::by).collect::<Result<_, _>>()?;
    Ok(Sample { at: started.elapsed(), held })
}

/// What was held after a quarter of the time, at the end, and at most.
fn table(samples: &[Sample]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["program", "what", "after a quarter", "at the end", "most", "per hour since"]);
    let (Some(last), Some(early)) = (samples.last(), samples.get(samples.len() / 4)) else { return table };
    let hours = (last.at - early.at).as_secs_f64() / 3600.0;
    for (place, name) in NAMES.into_iter().enumerate() {
        let of = |what: &dyn Fn(&Held) -> f64| {
            let values: Vec<_> =
                samples.iter().filter_map(|sample| sample.held.get(place)).map(what).collect();
            let at = |index: usize| values.get(index).copied().unwrap_or_default();
            let [early, end] = [at(samples.len() / 4), at(samples.len() - 1)];
            let most = values.iter().copied().fold(0.0, f64::max);
            [early, end, most, (end - early) / hours.max(f64::EPSILON)].map(|value| format!("{value:.1}"))
        };
        let rows = [
            ("memory, MB", of(&|held| held.memory as f64 / 1e6)),
            ("files", of(&|held| held.files as f64)),
            ("threads", of(&|held| held.threads as f64)),
        ];
        for (what, values) in rows {
            table.add_row([name, what].map(str::to_owned).into_iter().chain(values));
        }
    }
    table
}

/// A number below `bound`, another one in each run of the suite.
fn random(bound: usize, salt: usize) -> usize {
    use std::hash::BuildHasher as _;
    let number = std::hash::RandomState::new().hash_one(salt);
    usize::try_from(number % bound.max(1) as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grew_is_told_by_the_hour() {
        let held = |memory| Held { memory, files: 10, threads: 3 };
        let sample = |hour: u64| Sample {
            at: Duration::from_secs(hour * 3600),
            held: vec![held(40_000_000 + hour * 1_000_000), held(30_000_000), held(30_000_000)],
        };
        let text = table(&(0..=4).map(sample).collect::<Vec<_>>()).to_string();
        let line = text.lines().find(|line| line.contains("scraper-bridge") && line.contains("memory"));
        let cells: Vec<_> = line.unwrap_or_default().split('|').map(str::trim).collect();
        assert_eq!(cells[3..7], ["41.0", "44.0", "44.0", "1.0"], "{text}");
    }
}
