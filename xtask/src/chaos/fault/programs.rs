//! Programs that are killed, and one that is stopped.

use std::time::Duration;

use tornet::process::Signal;

use super::{Fault, Tellers, hold, nothing, seconds};
use crate::Failure;
use crate::chaos::scene::Scene;
use crate::chaos::verdict::Span;

pub fn faults() -> Vec<Fault> {
    let stopped = |name, what, short, act| Fault {
        name,
        what,
        reach: Some(seconds(15)),
        free_on: None,
        short,
        apart: false,
        told_by: Tellers::Bridge,
        told_in: None,
        may_miss: false,
        for_recipe: true,
        act,
        tidy: nothing,
    };
    vec![
        Fault {
            name: "agent-killed",
            what: "agent killed with -9, restarted by a supervisor",
            reach: Some(seconds(10)),
            free_on: None,
            short: 2,
            apart: false,
            told_by: Tellers::Both,
            told_in: None,
            may_miss: false,
            for_recipe: true,
            act: agent_killed,
            tidy: nothing,
        },
        Fault {
            name: "bridge-killed",
            what: "bridge killed with -9, restarted",
            reach: Some(seconds(10)),
            free_on: None,
            short: 2,
            apart: false,
            told_by: Tellers::Bridge,
            told_in: None,
            may_miss: false,
            for_recipe: true,
            act: bridge_killed,
            tidy: nothing,
        },
        stopped("agent-stopped-5s", "SIGSTOP of the agent for 5 s", 1, |scene, _| stop(scene, seconds(5))),
        stopped("agent-stopped-60s", "SIGSTOP of the agent for 60 s", 0, |scene, _| stop(scene, seconds(60))),
        stopped("agent-stopped-5min", "SIGSTOP of the agent for 5 min", 0, |scene, _| {
            stop(scene, seconds(300))
        }),
    ]
}

fn agent_killed(scene: &mut Scene, _: usize) -> Result<Span, Failure> {
    let began = scene.history.now();
    scene.agent.restart(&[])?;
    let fine = scene.history.now();
    if let Some(recipe) = &mut scene.recipe {
        recipe.restart_device()?;
    }
    Ok(Span { began, fine })
}

fn bridge_killed(scene: &mut Scene, _: usize) -> Result<Span, Failure> {
    let began = scene.history.now();
    scene.bridge.restart(&[])?;
    let fine = scene.history.now();
    if let Some(recipe) = &mut scene.recipe {
        recipe.restart_monitor()?;
    }
    Ok(Span { began, fine })
}

fn stop(scene: &mut Scene, time: Duration) -> Result<Span, Failure> {
    let signal = |scene: &mut Scene, signal| {
        scene.agent.signal(signal)?;
        scene.recipe.as_ref().map_or(Ok(()), |recipe| recipe.signal_device(signal))
    };
    hold(scene, |scene| signal(scene, Signal::Stop), time, |scene| signal(scene, Signal::Continue))
}
