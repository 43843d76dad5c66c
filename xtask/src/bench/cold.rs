//! From no session to the first byte of an answer.

use std::time::Instant;

use super::ground::Ground;
use super::page::{Page, table};
use super::sample::{Ratio, Samples};
use super::sizes::Sizes;
use super::way::{Source, Way};
use super::wire::Connection;
use crate::Failure;
use crate::stage::Stage;

/// Measures on a network with this delay.
///
/// # Errors
/// When no answer comes.
pub fn measure(ground: &Ground, page: &mut Page, sizes: &Sizes, delay: u64) -> Result<(), Failure> {
    let stage = Stage::begin(format!("cold, {delay} ms: {} starts each", sizes.colds));
    let mut times = [const { Samples::new() }; 5];
    for round in 0..sizes.colds {
        stage.say(format!("{} of {}", round + 1, sizes.colds));
        let name = format!("cold{delay}x{round}");
        times.iter_mut().for_each(Samples::next_group);
        times[0].time(ground.rivals.cold(&name)?);
        times[1].time(ground.rivals.cold(&name)?);
        let started = Instant::now();
        let mut scrape = Connection::new(ground.rivals.through_socks(&name, 0)?, "exporter");
        scrape.request()?;
        scrape.first_byte()?;
        times[2].time(started.elapsed());
        for (at, way) in [(3, Way::Ours), (4, Way::OurBridge)] {
            ground.redial(way)?;
            let started = Instant::now();
            let mut scrape = Connection::tcp(ground.offered(way, Source::Node)?)?;
            scrape.request()?;
            scrape.first_byte()?;
            times[at].time(started.elapsed());
            scrape.read_answer()?;
        }
    }
    stage.done();
    page.section(
        &format!("Cold: no session → first byte, {delay} ms a link"),
        "The descriptor is known, as it is after a session was lost; the circuits are new. Ours: the bridge \
         throws its session away, and the scrape waits for the new one.",
    );
    let mut table = table(&["", "p50", "p90", "max", "p50 / (a)"]);
    let names = [
        "(a) ssh, new circuits",
        "(a) ssh, circuits still open",
        "(b) new circuits",
        "(c) new circuits",
        "(d) new circuits",
    ];
    for (name, own) in names.iter().zip(&times) {
        let mut cells = vec![(*name).to_owned()];
        cells.extend([50.0, 90.0, 100.0].map(|p| format!("{:.0}", own.percentile(p))));
        cells.push(Ratio::of(own, &times[0], 50.0).to_string());
        table.add_row(cells);
    }
    page.table(&table);
    let what = format!("cold: no session → first byte, p50, {delay} ms a link");
    page.ratio(what, "cold ssh of (a)", 0.60, Ratio::of(&times[3], &times[0], 50.0));
    Ok(())
}
