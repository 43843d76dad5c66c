//! An exporter that behaves badly; the way to it is there all the time.

use std::time::Duration;

use super::{Fault, Tellers, hold, nothing};
use crate::Failure;
use crate::chaos::exporter::Manner;
use crate::chaos::scene::Scene;
use crate::chaos::verdict::Span;

/// Each scrape that it keeps waiting holds one of a session's twelve channels until its time is up, after 9.5 s.
/// So two dozen scrapes and more get to it in this time, and 80 are to be answered in theirs.
const TIME: Duration = Duration::from_secs(20);

pub fn faults() -> Vec<Fault> {
    let fault = |name, what, act| Fault {
        name,
        what,
        reach: None,
        free_on: None,
        short: 1,
        apart: false,
        told_by: Tellers::Neither,
        told_in: None,
        may_miss: false,
        for_recipe: true,
        act,
        tidy: nothing,
    };
    vec![
        fault("exporter-hangs", "exporter hangs for 20 s", |scene, _| behaves(scene, Manner::Hangs)),
        fault("exporter-trickles", "exporter trickles 1 byte a second for 20 s", |scene, _| {
            behaves(scene, Manner::Trickles)
        }),
        fault("exporter-dies", "exporter dies mid-body for 20 s", |scene, _| behaves(scene, Manner::Dies)),
    ]
}

fn behaves(scene: &mut Scene, manner: Manner) -> Result<Span, Failure> {
    let tell = |scene: &mut Scene, manner| {
        scene.exporter.behave(manner);
        Ok(())
    };
    hold(scene, |scene| tell(scene, manner), TIME, |scene| tell(scene, Manner::Good))
}
