//! Many targets on one bridge: without Tor, and as onion services.

use std::path::Path;

use tempfile::TempDir;

use super::bridge::{Bridge, Login};
use super::crowd::{Crowd, Kind};
use super::exporter::{Change, Exporter};
use super::ground::Ground;
use super::page::{NOT_MEASURED, Page};
use super::sizes::Sizes;
use super::stand::{INTERVAL, SETTLED, Seen, Stand, grow, rows};
use super::way::Source;
use crate::Failure;
use crate::build::Programs;

/// The size of a body where there is no Tor.
const BODY: usize = 100_000;
/// Processes that agents without Tor are spread over.
const CROWDS: usize = 2;

/// Measures without Tor.
///
/// # Errors
/// When a part of it does not start, or a single target cannot be scraped; what fails with more of them is noted.
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
    let seen =
        grow(page, (sizes.targets, sizes.growth, sizes.minutes), "without Tor", |count, length, stage| {
            stand.watch(count, length, stage)
        })?;
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
    let what = format!("{} targets at 15 s for {} min, 100 kB, without Tor", sizes.targets, sizes.minutes);
    let last = seen.last().filter(|last| last.targets == sizes.targets);
    let figure = |of: fn(&Seen) -> f64| last.map_or(f64::NAN, of);
    let good = figure(|last| last.outcome.good());
    let found = last.map_or(NOT_MEASURED.to_owned(), |_| format!("{:.3} %", good * 100.0));
    page.goal(format!("{what}: good"), "≥ 99.99 %", found, good >= 0.9999);
    page.at_most(format!("{what}: processors"), 1.0, "cores", figure(|last| last.cores));
    page.at_most(format!("{what}: memory, resident"), 256.0, "MB", figure(|last| last.memory));
    // In a short run there is nothing to tell a drift from.
    if sizes.minutes * 60.0 >= 4.0 * SETTLED.as_secs_f64() {
        let (found, is_steady) = last.map_or((NOT_MEASURED.to_owned(), false), |last| {
            let [settled, end, most] = last.descriptors;
            // Idle connections may come and go by a few.
            let is_steady = end <= settled + settled / 100 + 8;
            (format!("{settled} settled, {end} at the end, {most} at most"), is_steady)
        });
        page.goal(format!("{what}: descriptors"), "no drift", found, is_steady);
    }
    Ok(())
}

/// Measures with onion services on the private network.
///
/// # Errors
/// When a part of it does not start, or a single target cannot be scraped; what fails with more of them is noted.
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
    let seen = grow(
        page,
        (sizes.onions, sizes.growth, sizes.onion_minutes),
        "onion services",
        |count, length, stage| stand.watch(count, length, stage),
    )?;
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
    let what = format!("{} onions at 15 s for {} min", sizes.onions, sizes.onion_minutes);
    let last = seen.last().filter(|last| last.targets == sizes.onions);
    let found = last.map_or(NOT_MEASURED.to_owned(), |last| {
        let p95 = last.outcome.times.percentile(95.0);
        format!("{:.2} %, p95 {p95:.0} ms", last.outcome.good() * 100.0)
    });
    let is_good = last.is_some_and(|last| last.outcome.good() >= 0.999);
    page.goal(format!("{what}: good"), "≥ 99.9 %", found, is_good);
    if let (Some(first), Some(last)) = (seen.first(), seen.last())
        && last.targets > first.targets
    {
        let further = (last.memory - first.memory) * 1000.0 / (last.targets - first.targets) as f64;
        page.at_most("memory of each further target with an onion of its own", 200.0, "kB", further);
    }
    Ok(())
}
