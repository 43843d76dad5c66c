//! Many targets on one bridge: without Tor, and as onion services.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use comfy_table::Table;
use tempfile::TempDir;

use super::bridge::{Bridge, Login, target};
use super::crowd::{Crowd, Kind};
use super::exporter::{Change, Exporter};
use super::ground::Ground;
use super::outcome::Outcome;
use super::page::{Page, table};
use super::sizes::Sizes;
use super::steady;
use super::usage;
use super::way::Source;
use crate::Failure;
use crate::build::Programs;
use crate::chain::get;
use crate::stage::Stage;

/// How often each target is scraped.
const INTERVAL: Duration = Duration::from_secs(15);
/// The size of a body where there is no Tor.
const BODY: usize = 100_000;
/// How long all targets may take to be connected.
const CONNECT_LIMIT: Duration = Duration::from_secs(900);
/// Processes that agents without Tor are spread over.
const CROWDS: usize = 2;
/// What is left out of the drift of descriptors: connections and channels come with the first scrapes.
const SETTLED: Duration = Duration::from_secs(45);

/// What a bridge with so many targets was seen to need.
struct Seen {
    targets: usize,
    connected: Duration,
    outcome: Outcome,
    /// Megabytes resident, at most.
    memory: f64,
    /// Processors that were busy, on average.
    cores: f64,
    /// Descriptors once it had settled, at the end, and at most.
    descriptors: [usize; 3],
}

/// Agents, a bridge, and a key that lets it in.
struct Stand<'a> {
    bridge: Bridge,
    devices: &'a [(String, String)],
    scheme: &'static str,
    login: Login<'a>,
    /// Bytes that a body has at least.
    least: usize,
}

impl Stand<'_> {
    fn targets(&self, count: usize) -> String {
        let one = |(number, (address, key)): (usize, &(String, String))| {
            let address = format!("{}{address}", self.scheme);
            target(&format!("device{number:04}"), &address, key, self.login, [("app", None)])
        };
        self.devices.iter().take(count).enumerate().map(one).collect()
    }

    /// Scrapes so many of them for a while.
    fn watch(&self, count: usize, length: Duration, stage: &Stage) -> Result<Seen, Failure> {
        self.bridge.retarget(&self.targets(count))?;
        let began = Instant::now();
        loop {
            // A bridge that is busy dialling may be too slow to tell.
            let up = connected(self.bridge.admin).unwrap_or(0);
            if !self.bridge.process.is_running() {
                return Err(format!("the bridge ended: {}", self.bridge.process.log_tail()).into());
            }
            stage.say(format!("{up} of {count} connected"));
            if up >= count {
                break;
            }
            if began.elapsed() > CONNECT_LIMIT {
                return Err(
                    format!("only {up} of {count} targets are connected after {CONNECT_LIMIT:?}").into()
                );
            }
            super::pause(Duration::from_millis(200))?;
        }
        let connected = began.elapsed();
        let addresses: Vec<_> = self.bridge.offered()?.into_values().collect();
        if addresses.len() != count {
            return Err(format!("{} of {count} targets are offered", addresses.len()).into());
        }
        let pid = self.bridge.process.pid();
        let (before, from) = (usage::cpu(&[pid]), Instant::now());
        let mut memory = usage::memory(pid)?.resident;
        let mut descriptors = [0; 3];
        let outcome = steady::scrape(&addresses, self.least, (INTERVAL, length), |elapsed| {
            stage.say(format!(
                "{count} targets, {:.0} of {:.0} s",
                elapsed.as_secs_f64(),
                length.as_secs_f64()
            ));
            memory = memory.max(usage::memory(pid)?.resident);
            let open = usage::descriptors(pid)?;
            let [settled, last, most] = &mut descriptors;
            if elapsed < SETTLED || *settled == 0 {
                *settled = open;
            }
            (*last, *most) = (open, open.max(*most));
            Ok(())
        })?;
        let cores = usage::cpu(&[pid]).saturating_sub(before).as_secs_f64() / from.elapsed().as_secs_f64();
        Ok(Seen { targets: count, connected, outcome, memory, cores, descriptors })
    }
}

/// Targets whose session is up, by the bridge's own metrics.
fn connected(admin: SocketAddr) -> Result<usize, Failure> {
    let metrics = get(&format!("http://{admin}/metrics"))?.1;
    let is_up = |line: &&str| line.starts_with("onionscrape_target_connected{") && line.ends_with(" 1");
    Ok(metrics.lines().filter(is_up).count())
}

/// Steps on the way to `most`: 1, 10, 100…, and itself.
fn steps(most: usize) -> BTreeSet<usize> {
    let powers = std::iter::successors(Some(1), |step| Some(step * 10));
    powers.take_while(|step| *step < most).chain([most]).collect()
}

/// Measures without Tor.
///
/// # Errors
/// When a part of it does not start or not all targets are connected in time.
pub fn plain(page: &mut Page, sizes: &Sizes, programs: &Programs, crowd: &Path) -> Result<(), Failure> {
    let folder: TempDir = tempfile::Builder::new().prefix("onionscrape-bench-fleet-").tempdir()?;
    let bridge = Bridge::start(programs, &folder.path().join("bridge"), "", "")?;
    let key_file = folder.path().join("bridge/state/id_ed25519");
    let line = bridge.key(programs)?;
    let exporters = [("app", Exporter::start(BODY, Change::Every(INTERVAL))?.address)];
    let kind = Kind { program: crowd, tor: None, key: &line, exporters: &exporters };
    let agents = Crowd::start(&kind, &folder.path().join("crowd"), sizes.targets, CROWDS)?;
    let login = Login { user: "prometheus", key_file: &key_file };
    let stand = Stand { bridge, devices: &agents.devices, scheme: "ssh://", login, least: BODY };
    let seen = grow(&stand, sizes.targets, sizes.growth, sizes.minutes, "without Tor")?;
    page.section(
        "How cost grows, without Tor",
        &format!(
            "One bridge with more and more targets by `ssh://`, each an agent with a host key and a listener of its \
             own, scraped every {} s on a kept-alive connection; bodies of 100 kB of which 5 % change in that time. Memory and \
             processor are the bridge's; descriptors are those after {} s, at the end, and at most.",
            INTERVAL.as_secs(),
            SETTLED.as_secs()
        ),
    );
    page.table(&rows(&seen));
    if let Some(last) = seen.last() {
        let what = format!("{} targets at 15 s for {} min, 100 kB, without Tor", last.targets, sizes.minutes);
        let good = last.outcome.good();
        page.goal(format!("{what}: good"), "≥ 99.99 %", format!("{:.3} %", good * 100.0), good >= 0.9999);
        page.at_most(format!("{what}: processors"), 1.0, "cores", last.cores);
        page.at_most(format!("{what}: memory, resident"), 256.0, "MB", last.memory);
        let [settled, end, most] = last.descriptors;
        let found = format!("{settled} settled, {end} at the end, {most} at most");
        // In a short run there is nothing to tell a drift from.
        if sizes.minutes * 60.0 >= 4.0 * SETTLED.as_secs_f64() {
            // Idle connections may come and go by a few.
            page.goal(format!("{what}: descriptors"), "no drift", found, end <= settled + settled / 100 + 8);
        }
    }
    Ok(())
}

/// Measures with onion services on the private network.
///
/// # Errors
/// When a part of it does not start or not all targets are connected in time.
pub fn onions(page: &mut Page, sizes: &Sizes, ground: &Ground, crowd: &Path) -> Result<(), Failure> {
    let (programs, tor) = (&ground.programs, ground.tor_section());
    let folder: TempDir = tempfile::Builder::new().prefix("onionscrape-bench-onions-").tempdir()?;
    let folder = folder.path();
    let key_file = folder.join("bridge/state/id_ed25519");
    let bridge = Bridge::start(programs, &folder.join("bridge"), &tor, "")?;
    let line = bridge.key(programs)?;
    let exporters = [("app", ground.node)];
    let kind = Kind { program: crowd, tor: Some(&tor), key: &line, exporters: &exporters };
    let agents = Crowd::start(&kind, &folder.join("crowd"), sizes.onions, sizes.onions.div_ceil(50))?;
    let login = Login { user: "prometheus", key_file: &key_file };
    let stand = Stand { bridge, devices: &agents.devices, scheme: "", login, least: Source::Node.least() };
    let seen = grow(&stand, sizes.onions, sizes.growth, sizes.onion_minutes, "onion services")?;
    page.section(
        "How cost grows, with onion services",
        &format!(
            "One bridge with more and more onion services of its own key and circuits each, on the private network \
             without delay, scraped every {} s; node_exporter. The agents share Tor clients, 50 each; they and all \
             relays share the machine's processors.",
            INTERVAL.as_secs()
        ),
    );
    page.table(&rows(&seen));
    if let (Some(first), Some(last)) = (seen.first(), seen.last()) {
        let what = format!("{} onions at 15 s for {} min", last.targets, sizes.onion_minutes);
        let good = last.outcome.good();
        let p95 = last.outcome.times.percentile(95.0);
        let found = format!("{:.2} %, p95 {p95:.0} ms", good * 100.0);
        page.goal(format!("{what}: good"), "≥ 99.9 %", found, good >= 0.999);
        if last.targets > first.targets {
            let further = (last.memory - first.memory) * 1000.0 / (last.targets - first.targets) as f64;
            page.at_most("memory of each further target with an onion of its own", 200.0, "kB", further);
        }
    }
    Ok(())
}

fn grow(
    stand: &Stand<'_>,
    most: usize,
    short: Duration,
    minutes: f64,
    what: &str,
) -> Result<Vec<Seen>, Failure> {
    let mut all = Vec::new();
    for count in steps(most) {
        // What follows takes longer, and may fail.
        if !all.is_empty() {
            println!("{}\n", rows(&all));
        }
        let length = if count == most { Duration::from_secs_f64(minutes * 60.0) } else { short };
        let stage = Stage::begin(format!("{what}: {count} targets for {:.0} s", length.as_secs_f64()));
        all.push(stand.watch(count, length, &stage)?);
        stage.done();
    }
    Ok(all)
}

fn rows(seen: &[Seen]) -> Table {
    let mut table = table(&[
        "targets",
        "s until all are connected",
        "scrapes",
        "good",
        "p50",
        "p95",
        "p99 or max of fewer than 100",
        "MB resident",
        "kB for each further one",
        "cores",
        "descriptors",
        "errors",
    ]);
    for (at, one) in seen.iter().enumerate() {
        let further = at.checked_sub(1).and_then(|before| seen.get(before)).map(|before| {
            (one.memory - before.memory) * 1000.0 / one.targets.saturating_sub(before.targets) as f64
        });
        let times = &one.outcome.times;
        let scrapes = times.len() + one.outcome.bad.values().sum::<usize>();
        let mut cells = vec![one.targets.to_string(), format!("{:.1}", one.connected.as_secs_f64())];
        cells.extend([scrapes.to_string(), format!("{:.3} %", one.outcome.good() * 100.0)]);
        cells.extend([50.0, 95.0, times.tail().0].map(|p| format!("{:.1}", times.percentile(p))));
        cells.push(format!("{:.1}", one.memory));
        cells.push(further.map_or(String::new(), |further| format!("{further:.0}")));
        cells.push(format!("{:.3}", one.cores));
        cells.push(one.descriptors.map(|count| count.to_string()).join(", "));
        cells.push(one.outcome.complaints());
        table.add_row(cells);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_end_with_the_most() {
        assert_eq!(steps(1000).into_iter().collect::<Vec<_>>(), [1, 10, 100, 1000]);
        assert_eq!(steps(200).into_iter().collect::<Vec<_>>(), [1, 10, 100, 200]);
        assert_eq!(steps(1).into_iter().collect::<Vec<_>>(), [1]);
    }
}
