//! An exporter that behaves badly; the way to it is there all the time.

use std::time::Duration;

use super::{Fault, Tellers, hold, nothing};
use crate::Failure;
use crate::chaos::exporter::Manner;
use crate::chaos::scene::Scene;
use crate::chaos::verdict::Span;

/// Twenty scrapes and more are asked for in this time.
const TIME: Duration = Duration::from_secs(8);

pub fn faults() -> Vec<Fault> {
    let fault = |name, what, act| Fault {
        name,
        what,
        reach: None,
        free_on: None,
        short: 1,
        apart: false,
        told_by: Tellers::Neither,
        may_miss: false,
        for_recipe: true,
        act,
        tidy: nothing,
    };
    vec![
        fault("exporter-hangs", "exporter hangs, × 32", |scene, _| behaves(scene, Manner::Hangs)),
        fault("exporter-trickles", "exporter trickles 1 byte a second, × 32", |scene, _| {
            behaves(scene, Manner::Trickles)
        }),
        fault("exporter-dies", "exporter dies mid-body, × 32", |scene, _| behaves(scene, Manner::Dies)),
    ]
}

fn behaves(scene: &mut Scene, manner: Manner) -> Result<Span, Failure> {
    let tell = |scene: &mut Scene, manner| {
        scene.exporter.behave(manner);
        Ok(())
    };
    hold(scene, |scene| tell(scene, manner), TIME, |scene| tell(scene, Manner::Good))
}
