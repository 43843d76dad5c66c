//! State directories that cannot be written to.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tornet::process;

use super::{Fault, Tellers, forget, hold, seconds};
use crate::Failure;
use crate::chaos::history::Way;
use crate::chaos::scene::Scene;
use crate::chaos::verdict::Span;

/// How long it lasts.
const TIME: Duration = Duration::from_secs(60);
/// How long where the device is in another network meanwhile.
const TIME_MOVED: Duration = Duration::from_secs(20);
/// Room on the small file system, in bytes.
const ROOM: u64 = 24 << 20;
/// The file with the process that the agent was.
const NOTE: &str = "process";

pub fn faults() -> Vec<Fault> {
    let fault = |name, what, act| Fault {
        name,
        what,
        reach: None,
        free_on: Some(Way::Ours),
        short: 0,
        // It wants a mount namespace, which comes with the others.
        apart: true,
        told_by: Tellers::Neither,
        told_in: None,
        may_miss: false,
        for_recipe: false,
        act,
        tidy: same_process,
    };
    let moved = |name, what, act| Fault {
        reach: Some(seconds(20)),
        free_on: None,
        short: 1,
        told_by: Tellers::Both,
        ..fault(name, what, act)
    };
    vec![
        fault("disk-full", "device's state directory full for 60 s", |s, _| full(s, TIME, false)),
        fault("disk-read-only", "device's state directory read-only for 60 s", |s, _| {
            read_only(s, TIME, false)
        }),
        moved("disk-full-moved", "device's state directory full, then a new network", |s, _| {
            full(s, TIME_MOVED, true)
        }),
        moved("disk-read-only-moved", "device's state directory read-only, then a new network", |s, _| {
            read_only(s, TIME_MOVED, true)
        }),
    ]
}

/// The state directory becomes a file system of its own, with what was in it, and that one fills up.
fn full(scene: &mut Scene, time: Duration, moves: bool) -> Result<Span, Failure> {
    forget(scene, NOTE)?;
    let state = scene.agent_state.clone();
    let kept = state.with_extension("kept");
    if !kept.exists() {
        let [from, to] = [&kept, &state].map(|path| path.display().to_string());
        scene.agent.kill();
        sh(&format!(
            "cp -a {to} {from}; mount -t tmpfs -o size={ROOM},mode=0700 none {to}; cp -a {from}/. {to}"
        ))?;
        scene.agent.restart(&[])?;
        scene.wait_until_well(&scene.our_ways(), Duration::from_secs(5), Duration::from_secs(120))?;
    }
    let filler = state.join("filler");
    let filling = filler.clone();
    note_process(scene)?;
    hold(
        scene,
        move |scene| {
            fill(&filling);
            if moves { scene.device.cable()?.move_on() } else { Ok(()) }
        },
        time,
        move |_| Ok(fs::remove_file(filler)?),
    )
}

fn read_only(scene: &mut Scene, time: Duration, moves: bool) -> Result<Span, Failure> {
    let state = scene.agent_state.display().to_string();
    note_process(scene)?;
    let bind = format!("mount --bind {state} {state}; mount -o remount,bind,ro {state}");
    let unbind = format!("umount {state}");
    hold(
        scene,
        move |scene| {
            sh(&bind)?;
            if moves { scene.device.cable()?.move_on() } else { Ok(()) }
        },
        time,
        move |_| sh(&unbind),
    )
}

/// Writes until nothing more fits.
fn fill(file: &PathBuf) {
    let Ok(mut file) = fs::File::create(file) else { return };
    while file.write_all(&[0; 4096]).is_ok() {}
}

fn note_process(scene: &Scene) -> Result<(), Failure> {
    Ok(fs::write(scene.folder.join(NOTE), scene.agent.pid().to_string())?)
}

/// It is to recover without a restart.
fn same_process(scene: &mut Scene) -> Result<Option<String>, Failure> {
    // There is none if it could not be done.
    let Ok(before) = fs::read_to_string(scene.folder.join(NOTE)) else { return Ok(None) };
    let same = before == scene.agent.pid().to_string() && scene.agent.is_running();
    Ok((!same).then(|| "the agent was restarted".to_owned()))
}

fn sh(script: &str) -> Result<(), Failure> {
    Ok(process::run(Command::new("sh").args(["-ec", script]), "").map(drop)?)
}
