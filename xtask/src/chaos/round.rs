//! One fault, so many times, on a scene that is well before each of them.

use std::time::{Duration, Instant};

use super::fault::Fault;
use super::history::{Program, Way};
use super::prober;
use super::row::Row;
use super::scene::Scene;
use super::verdict::{self, STEADY, Span};
use crate::Failure;

/// How long after the way is back it is waited for programs that still say that it is not.
const TOLD_LIMIT: Duration = Duration::from_secs(60);
/// How long everything may take to be well after a new start.
const ANEW_LIMIT: Duration = Duration::from_secs(120);

/// How long each way may take to be back before a run is given up.
#[derive(Clone, Copy)]
pub struct Limits {
    /// Our programs.
    pub ours: Duration,
    /// How long it is watched what scrapes of the other devices take while nothing happens; no time at all leaves
    /// them out.
    calm: Duration,
    /// The original recipe, which is often not back at all: each run then takes so long.
    pub recipe: Duration,
}

impl Limits {
    /// For a full run.
    pub const FULL: Self = Self {
        ours: Duration::from_secs(180),
        recipe: Duration::from_secs(180),
        calm: Duration::from_secs(60),
    };
    /// For a short one.
    pub const SHORT: Self =
        Self { ours: Duration::from_secs(60), recipe: Duration::from_secs(60), calm: Duration::ZERO };
}

/// How often a fault happens.
#[derive(Clone, Copy)]
pub struct Runs {
    /// At most so often.
    pub most: usize,
    /// After so long no further run is begun.
    pub time: Duration,
}

impl Runs {
    /// Once.
    pub const ONE: Self = Self { most: 1, time: Duration::MAX };
}

/// Has a fault happen so often.
///
/// # Errors
/// When the suite itself cannot go on.
pub fn repeat(
    scene: &mut Scene,
    fault: &Fault,
    runs: Runs,
    limits: Limits,
    violations: &mut Vec<String>,
) -> Result<Row, Failure> {
    let mut row = Row::of(fault, limits);
    let is_exporter = fault.name.starts_with("exporter-");
    let mut beside = Vec::new();
    let mut hits = [0, 0];
    let began = Instant::now();
    for run in (0..runs.most).take_while(|run| *run == 0 || began.elapsed() < runs.time) {
        let recipe_is_well = make_well(scene)?;
        if is_exporter && scene.calm.is_empty() {
            scene.calm = watch(scene, limits.calm);
        }
        eprintln!("  {} {} of {}", fault.name, run + 1, runs.most);
        let dials = scene.dials();
        let span = match (fault.act)(scene, run) {
            Ok(span) => span,
            Err(error) => {
                row.notes.insert(format!("could not be done: {error}"));
                (fault.tidy)(scene)?;
                break;
            }
        };
        wait_until_back(scene, fault, span, limits, &mut row)?;
        if let (true, Some(then), Some(now)) = (fault.may_miss, dials, scene.dials()) {
            (0..hits.len()).for_each(|way| hits[way] += usize::from(then[way] != now[way]));
        }
        let until = scene.history.now();
        let probes = scene.history.probes(Way::Ours, span.began.saturating_sub(STEADY));
        let ours = verdict::way(&probes, span, until);
        if is_exporter {
            row.notes.extend(budget(&ours));
            beside.extend(latencies(scene, span.began, span.fine));
        }
        for program in [Program::Agent, Program::Bridge] {
            if fault.told_by.contains(program) {
                let told = scene.history.said(program, span.began);
                row.truths.push((program, verdict::truth(&probes, &told, until)));
            }
        }
        if fault.name == "bridge-killed" {
            let late = ours.listening.filter(|late| *late > Duration::from_secs(1));
            row.notes.extend(late.map(|late| format!("listeners back after {:.1} s", late.as_secs_f64())));
        }
        let probes = scene.history.probes(Way::Standby, span.began.saturating_sub(STEADY));
        let standby = verdict::way(&probes, span, until);
        eprintln!("    {ours}; with standby {standby}");
        row.ours.push(ours);
        row.standby.push(standby);
        if fault.for_recipe && scene.recipe.is_some() && recipe_is_well {
            let probes = scene.history.probes(Way::Recipe, span.began.saturating_sub(STEADY));
            let recipe = verdict::way(&probes, span, until);
            eprintln!("    recipe {recipe}");
            row.recipe.push(recipe);
        }
        row.notes.extend((fault.tidy)(scene)?);
        let mut broken = scene.history.violations(scene.judged_until);
        scene.judged_until = until;
        let identity = scene.identity_now()?;
        if identity != scene.identity {
            broken.push("the device has another identity".to_owned());
        }
        violations.extend(broken.into_iter().map(|what| format!("{}: {what}", fault.name)));
    }
    if fault.may_miss {
        let [plain, standby] = hits;
        row.notes.insert(format!("hit {plain} of {0}, with standby {standby} of {0}", row.ours.len()));
    }
    row.notes.extend(neighbours([scene.calm.clone(), beside]));
    Ok(row)
}

/// Waits until every way that the fault is for is back and the programs that can know say so, or have had
/// their time.
fn wait_until_back(
    scene: &mut Scene,
    fault: &Fault,
    span: Span,
    limits: Limits,
    row: &mut Row,
) -> Result<(), Failure> {
    let mut over = None;
    loop {
        if scene.agent.look_after()? {
            row.notes.insert("agent asked its supervisor for a restart".to_owned());
        }
        if scene.bridge.look_after()? {
            row.notes.insert("bridge ended by itself".to_owned());
        }
        let now = scene.history.now();
        let is_over = |way: Way, limit| {
            let probes = scene.history.probes(way, span.began);
            // Any that is still under way may yet turn out to be lost.
            let is_back = |back| scene.history.is_complete(way, span.fine + back + STEADY);
            now.saturating_sub(span.fine) > limit
                || verdict::way(&probes, span, now).back.is_some_and(is_back)
        };
        let recipe = !fault.for_recipe || scene.recipe.is_none() || is_over(Way::Recipe, limits.recipe);
        if is_over(Way::Ours, limits.ours) && is_over(Way::Standby, limits.ours) && recipe {
            // Who says of a way that never came back that it is down does not lie.
            let probes = scene.history.probes(Way::Ours, span.began);
            let is_back = verdict::way(&probes, span, now).back.is_some();
            let is_late = now - *over.get_or_insert(now) > TOLD_LIMIT;
            let says_so = |program| {
                let told = scene.history.said(program, span.fine);
                told.last().is_some_and(|told| told.up == Some([true, true]))
            };
            let mut asked = [Program::Agent, Program::Bridge].into_iter();
            if !is_back
                || is_late
                || asked.all(|program| !fault.told_by.contains(program) || says_so(program))
            {
                return Ok(());
            }
        }
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// Waits until all is well, and starts anew what does not become so by itself. False if the recipe
/// does not all the same.
///
/// # Errors
/// When that does not help our programs.
pub fn make_well(scene: &mut Scene) -> Result<bool, Failure> {
    let ways = scene.ways();
    for patience in [ANEW_LIMIT / 4, ANEW_LIMIT, ANEW_LIMIT] {
        let waited = scene.wait_until_well(&ways, STEADY, patience);
        let unwell = scene.unwell(&ways, STEADY);
        if waited.is_ok() || unwell.is_empty() {
            return Ok(true);
        }
        eprintln!("    started anew, because not well: {unwell:?}");
        if unwell.iter().any(|way| *way != Way::Recipe) {
            scene.agent.restart(&[])?;
            scene.bridge.restart(&[])?;
        }
        if let (true, Some(recipe)) = (unwell.contains(&Way::Recipe), &mut scene.recipe) {
            recipe.restart_device()?;
            recipe.restart_monitor()?;
        }
    }
    match scene.wait_until_well(&ways, STEADY, ANEW_LIMIT) {
        Err(_) if scene.unwell(&ways, STEADY) == [Way::Recipe] => Ok(false),
        waited => waited.map(|()| true),
    }
}

/// How long scrapes of the other devices take, watched for a while.
fn watch(scene: &Scene, time: Duration) -> Vec<Duration> {
    let from = scene.history.now();
    std::thread::sleep(time);
    latencies(scene, from, from + time)
}

/// How long scrapes of the devices took to which nothing happens.
fn latencies(scene: &Scene, from: Duration, to: Duration) -> Vec<Duration> {
    let probes = scene.history.probes(Way::Beside, from);
    probes.iter().filter(|probe| probe.asked < to).map(|probe| probe.took).collect()
}

/// Says so if an answer came later than its budget allows.
fn budget(way: &verdict::Way) -> Option<String> {
    let late = way.longest.checked_sub(prober::BUDGET + Duration::from_millis(250))?;
    Some(format!("an answer {:.1} s over its budget", late.as_secs_f64()))
}

/// Says so if scrapes of the other devices became slower by more than a tenth.
fn neighbours(times: [Vec<Duration>; 2]) -> Option<String> {
    let p99 = |mut times: Vec<Duration>| {
        times.sort();
        times.get((times.len() * 99).div_ceil(100).max(1) - 1).copied()
    };
    let [calm, then] = times.map(p99);
    let (calm, then) = (calm?, then?);
    (then > calm.mul_f64(1.1)).then(|| format!("other target's p99 {then:.0?} after {calm:.0?}"))
}
