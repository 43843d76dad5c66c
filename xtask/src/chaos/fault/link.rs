//! What happens to a network: it is gone for a while, it is another one, it swallows what goes one way.

use std::time::Duration;

use super::{Fault, Tellers, hold, nothing, seconds};
use crate::Failure;
use crate::chaos::cable::Direction;
use crate::chaos::scene::Scene;
use crate::chaos::verdict::Span;

/// How long packets are swallowed: longer than any keepalive of the programs.
const HOLE: Duration = Duration::from_secs(60);

pub fn faults() -> Vec<Fault> {
    let fault = |name, what, reach, short, told_by, act| Fault {
        name,
        what,
        reach: Some(seconds(reach)),
        free_on: None,
        short,
        apart: true,
        told_by,
        told_in: None,
        may_miss: false,
        for_recipe: true,
        act,
        tidy: nothing,
    };
    let in_silence = |fault| Fault { told_in: Some(seconds(20)), ..fault };
    use Tellers::{Both, Bridge};
    vec![
        fault("address-changed", "device's address changes (new network)", 20, 1, Both, address_changed),
        fault("device-link-10s", "device's link down 10 s", 20, 1, Both, |s, _| device(s, seconds(10))),
        fault("device-link-2min", "device's link down 2 min", 20, 0, Both, |s, _| device(s, seconds(120))),
        fault("device-link-15min", "device's link down 15 min", 20, 0, Both, |s, _| device(s, seconds(900))),
        fault("bridge-link-10s", "bridge's link down 10 s", 15, 1, Bridge, |s, _| monitor(s, seconds(10))),
        fault("bridge-link-2min", "bridge's link down 2 min", 15, 0, Bridge, |s, _| monitor(s, seconds(120))),
        in_silence(fault(
            "swallowed-from-device",
            "packets from the device swallowed 60 s, nothing reset",
            30,
            0,
            Both,
            |scene, _| swallowed(scene, Direction::Out),
        )),
        in_silence(fault(
            "swallowed-to-device",
            "packets to the device swallowed 60 s, nothing reset",
            30,
            1,
            Both,
            |scene, _| swallowed(scene, Direction::In),
        )),
    ]
}

fn address_changed(scene: &mut Scene, _: usize) -> Result<Span, Failure> {
    let began = scene.history.now();
    scene.device.cable()?.move_on()?;
    Ok(Span { began, fine: scene.history.now() })
}

fn device(scene: &mut Scene, time: Duration) -> Result<Span, Failure> {
    hold(scene, |scene| scene.device.cable()?.pull(), time, |scene| scene.device.cable()?.plug())
}

fn monitor(scene: &mut Scene, time: Duration) -> Result<Span, Failure> {
    hold(scene, |scene| scene.monitor.cable()?.pull(), time, |scene| scene.monitor.cable()?.plug())
}

fn swallowed(scene: &mut Scene, direction: Direction) -> Result<Span, Failure> {
    hold(
        scene,
        |scene| scene.device.cable()?.swallow(direction),
        HOLE,
        |scene| scene.device.cable()?.let_through(direction),
    )
}
