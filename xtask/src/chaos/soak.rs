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
    held: [Held; 3],
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
        judge(&violations)?;
        match grown(&samples) {
            grown if grown.is_empty() => Ok(()),
            grown => Err(format!("not flat: {}", grown.join(", ")).into()),
        }
    }
}

/// The programs that are looked at.
const NAMES: [&str; 3] =
    ["scraper-bridge", "target-agent, hit by the faults", "target-agent, one of the others"];

fn sample(scene: &Scene, started: Instant) -> Result<Sample, Failure> {
    Ok(Sample { at: started.elapsed(), held: scene.held()? })
}

/// What a program holds, and by how much it may be more later, besides a tenth: how many relays a program is
/// connected with is left to chance.
struct What {
    name: &'static str,
    of: fn(&Held) -> f64,
    slack: f64,
}

const WHAT: [What; 4] = [
    What { name: "memory, MB", of: |held| held.memory as f64 / 1e6, slack: 4.0 },
    What { name: "files", of: |held| held.files as f64, slack: 8.0 },
    What { name: "threads", of: |held| held.threads as f64, slack: 2.0 },
    What { name: "tasks", of: |held| held.tasks as f64, slack: 20.0 },
];

/// How one of these changed in one program. The first quarter counts for nothing: caches fill then.
struct Course {
    /// Median of the second quarter.
    early: f64,
    /// Median of the last quarter.
    late: f64,
    most: f64,
    /// From the one to the other.
    per_hour: f64,
    is_flat: bool,
}

impl Course {
    fn of(samples: &[Sample], place: usize, what: &What) -> Self {
        let value = |sample: &Sample| (what.of)(&sample.held[place]);
        let quarter = |number: usize| {
            let part = &samples[samples.len() * (number - 1) / 4..samples.len() * number / 4];
            let middle = |mut values: Vec<f64>| {
                values.sort_by(f64::total_cmp);
                values.get(values.len() / 2).copied().unwrap_or_default()
            };
            let hours = part.iter().map(|sample| sample.at.as_secs_f64() / 3600.0);
            (middle(part.iter().map(value).collect()), middle(hours.collect()))
        };
        let ((early, began), (late, ended)) = (quarter(2), quarter(4));
        Self {
            early,
            late,
            most: samples.iter().map(value).fold(0.0, f64::max),
            per_hour: (late - early) / (ended - began).max(f64::EPSILON),
            is_flat: late <= early * 1.1 + what.slack,
        }
    }
}

/// All courses, with the names of the program and of what it holds.
fn courses(samples: &[Sample]) -> impl Iterator<Item = ([&'static str; 2], Course)> {
    let each = NAMES.into_iter().enumerate();
    let each = each.flat_map(|(place, name)| WHAT.iter().map(move |what| (place, name, what)));
    each.map(move |(place, name, what)| ([name, what.name], Course::of(samples, place, what)))
}

/// What was not flat, if there is a sample of each quarter.
fn grown(samples: &[Sample]) -> Vec<String> {
    if samples.len() < 4 {
        return Vec::new();
    }
    let grown = courses(samples).filter(|(_, course)| !course.is_flat);
    grown.map(|([program, what], _)| format!("{program}: {what}")).collect()
}

/// What was held early, late and at most.
fn table(samples: &[Sample]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["program", "what", "second quarter", "last quarter", "most", "per hour", "flat"]);
    for (names, course) in courses(samples) {
        let Course { early, late, most, per_hour, is_flat } = course;
        let values = [early, late, most, per_hour].map(|value| format!("{value:.1}"));
        let is_flat = if is_flat { "yes" } else { "**no**" };
        table.add_row(names.map(str::to_owned).into_iter().chain(values).chain([is_flat.to_owned()]));
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
    fn what_grows_is_told_by_the_hour_and_is_not_flat() {
        let held = |memory, tasks| Held { memory, files: 10, threads: 3, tasks };
        let sample = |minute: u64| Sample {
            at: Duration::from_secs(minute * 60),
            held: [
                held(40_000_000 + minute * 100_000, 100),
                held(30_000_000, 100 + minute),
                held(30_000_000, 100),
            ],
        };
        let samples: Vec<_> = (0..120).map(sample).collect();
        let text = table(&samples).to_string();
        let cells = |program: &str, what: &str| {
            let line = text.lines().find(|line| line.contains(program) && line.contains(what));
            let cells = line.unwrap_or_default().split('|').map(|cell| cell.trim().to_owned());
            cells.skip(3).take(5).collect::<Vec<_>>()
        };
        assert_eq!(cells("bridge", "memory"), ["44.5", "50.5", "51.9", "6.0", "yes"], "{text}");
        assert_eq!(
            cells("hit by the faults", "tasks"),
            ["145.0", "205.0", "219.0", "60.0", "**no**"],
            "{text}"
        );
        assert_eq!(grown(&samples), ["target-agent, hit by the faults: tasks"]);
    }
}
