//! Relays that die, by what they are to the device and the bridge.

use std::time::{Duration, Instant};

use super::{Fault, Tellers, hold, seconds};
use crate::Failure;
use crate::chaos::history::Way;
use crate::chaos::scene::Scene;
use crate::chaos::traffic;
use crate::chaos::verdict::Span;

/// How long the whole network is down.
const OUTAGE: Duration = Duration::from_secs(120);
/// The same in a short run.
const SHORT_OUTAGE: Duration = Duration::from_secs(15);
/// How long the agent may take to write down where it is introduced.
const PATIENCE: Duration = Duration::from_secs(30);

/// Relays that go for good, one or a few.
pub fn faults() -> Vec<Fault> {
    let of_some = |fault| Fault { free_on: Some(Way::Standby), may_miss: true, ..fault };
    vec![
        of_some(fault(
            "guard-killed",
            "guard killed (the device's, the bridge's, in turn)",
            20,
            1,
            Tellers::Bridge,
            guard,
        )),
        of_some(fault(
            "way-killed",
            "middle or rendezvous relay killed, each in turn",
            20,
            1,
            Tellers::Bridge,
            on_the_way,
        )),
        fault("introductions-killed", "all introduction points killed", 45, 1, Tellers::Both, introductions),
    ]
}

/// All of them at once, for a while.
pub fn network_faults() -> Vec<Fault> {
    let faults = [
        fault(
            "network-down-15s",
            "whole Tor network down 15 s, then up",
            60,
            1,
            Tellers::Both,
            |scene, _| network(scene, SHORT_OUTAGE),
        ),
        fault(
            "network-down-2min",
            "whole Tor network down 2 min, then up",
            60,
            0,
            Tellers::Both,
            |scene, _| network(scene, OUTAGE),
        ),
    ];
    faults.into_iter().map(|fault| Fault { for_recipe: true, ..fault }).collect()
}

fn fault(
    name: &'static str,
    what: &'static str,
    reach: u64,
    short: usize,
    told_by: Tellers,
    act: fn(&mut Scene, usize) -> Result<Span, Failure>,
) -> Fault {
    let reach = Some(seconds(reach));
    Fault {
        name,
        what,
        reach,
        free_on: None,
        short,
        apart: true,
        told_by,
        told_in: None,
        may_miss: false,
        for_recipe: false,
        act,
        tidy: revive,
    }
}

fn guard(scene: &mut Scene, run: usize) -> Result<Span, Failure> {
    let traffic = traffic::measure(scene)?;
    let name = traffic.guard([scene.agent.pid(), scene.bridge.pid()][run % 2])?;
    kill(scene, &[name])
}

fn on_the_way(scene: &mut Scene, run: usize) -> Result<Span, Failure> {
    let traffic = traffic::measure(scene)?;
    let guards = [traffic.guard(scene.agent.pid())?, traffic.guard(scene.bridge.pid())?];
    let way = traffic.busy(&guards);
    let name = way.get(run % way.len().max(1)).ok_or("no relay but guards carries the scrapes")?;
    kill(scene, std::slice::from_ref(name))
}

/// The agent writes down its introduction points with the relays' identities.
fn introductions(scene: &mut Scene, _: usize) -> Result<Span, Failure> {
    let started = Instant::now();
    let names = loop {
        let text = find(&scene.agent_state, "ipts.json").and_then(|file| std::fs::read_to_string(file).ok());
        let text = text.unwrap_or_default();
        let nodes = scene.network.nodes().filter(|node| text.contains(&node.ed_identity));
        let names: Vec<_> = nodes.map(|node| node.name.clone()).collect();
        if !names.is_empty() {
            break names;
        }
        if started.elapsed() > PATIENCE {
            return Err("the agent has not written down its introduction points".into());
        }
        std::thread::sleep(Duration::from_millis(500));
    };
    kill(scene, &names)
}

fn kill(scene: &mut Scene, names: &[String]) -> Result<Span, Failure> {
    let began = scene.history.now();
    for name in names {
        scene.network.kill(name)?;
    }
    eprintln!("    killed: {}", names.join(", "));
    Ok(Span { began, fine: began })
}

fn network(scene: &mut Scene, time: Duration) -> Result<Span, Failure> {
    let names: Vec<_> = scene.network.nodes().map(|node| node.name.clone()).collect();
    let kill = |scene: &mut Scene| names.iter().try_for_each(|name| Ok(scene.network.kill(name)?));
    // All at once would be slow on a small machine, and each waits until it listens.
    let restart = |scene: &mut Scene| names.iter().try_for_each(|name| Ok(scene.network.restart(name)?));
    hold(scene, kill, time, restart)
}

/// Starts again what was killed.
fn revive(scene: &mut Scene) -> Result<Option<String>, Failure> {
    let names: Vec<_> = scene.network.nodes().map(|node| node.name.clone()).collect();
    for name in names {
        if scene.network.pid(&name)?.is_none() {
            scene.network.restart(&name)?;
        }
    }
    Ok(None)
}

/// A file of this name somewhere below a folder, but among those that were put aside.
fn find(folder: &std::path::Path, name: &str) -> Option<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    let mut folders = Vec::new();
    for entry in entries {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && entry.file_name() == "damaged" => {}
            Ok(kind) if kind.is_dir() => folders.push(entry.path()),
            _ if entry.file_name() == name => return Some(entry.path()),
            _ => {}
        }
    }
    folders.iter().find_map(|folder| find(folder, name))
}
