//! How many round trips a warm scrape takes.

use super::circuits;
use super::ground::Ground;
use super::outcome::Outcome;
use super::page::{Page, table};
use super::sample::Samples;
use super::sizes::Sizes;
use super::way::{Source, Way};
use crate::Failure;
use crate::stage::Stage;

/// The delay of each link, in milliseconds, one way.
pub const DELAY: u64 = 40;
/// A rendezvous circuit has fewer links than twice this.
const LINKS: f64 = 6.0;

/// The kinds of scrapes.
const KINDS: [&str; 3] = ["200 B, kept-alive", "node_exporter, kept-alive", "node_exporter, new connection"];

/// Measures; sets the delay and leaves it at none.
///
/// # Errors
/// When half of the circuits cannot be had; a scrape that fails is counted.
pub fn measure(ground: &Ground, page: &mut Page, sizes: &Sizes) -> Result<(), Failure> {
    let stage = Stage::begin(format!("round trips: {} circuits", sizes.trip_circuits));
    let mut links = [const { [const { Samples::new() }; 3] }; 4];
    let failures = circuits::most(sizes.trip_circuits, |number| {
        ground.delay(0);
        let circuit = ground.circuit()?;
        let mut tiny = circuit.kept(Source::Tiny)?;
        let mut node = circuit.kept(Source::Node)?;
        let mut outcomes = [const { [const { [const { Outcome::new() }; 3] }; 4] }; 2];
        for (delay, outcomes) in [0, DELAY].into_iter().zip(&mut outcomes) {
            ground.delay(delay);
            for round in 0..sizes.trips {
                stage.say(format!("circuit {}, {delay} ms, scrape {}", number + 1, round + 1));
                ground.change(Source::Tiny);
                for way in Way::turn(round) {
                    let at = way as usize;
                    super::go_on()?;
                    for kind in Way::kinds::<3>(round) {
                        let outcome = &mut outcomes[at][kind];
                        let (source, kept) = match kind {
                            0 => (Source::Tiny, &mut tiny[at]),
                            1 => (Source::Node, &mut node[at]),
                            _ => {
                                outcome.time(|| circuit.connect(way, Source::Node)?.scrape());
                                continue;
                            }
                        };
                        if outcome.time(|| kept.scrape()).is_none() {
                            *kept = circuit.up(way, source)?;
                        }
                    }
                }
            }
            for (way, outcomes) in Way::ALL.into_iter().zip(outcomes) {
                for (kind, outcome) in KINDS.into_iter().zip(outcomes) {
                    page.scrapes(
                        &format!("round trips, {delay} ms a link, {}, {kind}", way.title()),
                        outcome,
                    );
                }
            }
        }
        let [without, with] = &outcomes;
        for (at, of_way) in links.iter_mut().enumerate() {
            for (kind, of_kind) in of_way.iter_mut().enumerate() {
                // The least is what was held up least by other things than the delay.
                let [without, with] = [without, with].map(|all| all[at][kind].times.percentile(0.0));
                let crossed = (with - without) / (2 * DELAY) as f64;
                // Where no scrape was good there is nothing to count.
                if !crossed.is_nan() {
                    of_kind.push(crossed);
                }
            }
        }
        Ok(())
    })?;
    ground.delay(0);
    stage.done();
    failures.into_iter().for_each(|failure| page.fail(format!("trips, {failure}")));
    page.section(
        "Round trips of a warm scrape",
        "Counted on one circuit: what a scrape takes longer with 40 ms on every link than with none, divided by the \
         80 ms that a link then takes there and back, is the number of links that were crossed there and back. A \
         rendezvous circuit has 6 to 8 links, so up to 11 is one round trip and 12 or more are two; (b) on a \
         kept-alive connection is nothing but a request and its answer. Medians over the circuits, each of the \
         quickest scrape, and in brackets the most; goals are judged by that.",
    );
    let mut table = table(&["links crossed there and back", KINDS[0], KINDS[1], KINDS[2]]);
    for way in Way::ALL {
        let mut cells = vec![way.title().to_owned()];
        cells.extend(links[way as usize].iter().map(|own| {
            let [median, most] = [50.0, 100.0].map(|p| own.percentile(p));
            format!("{median:.1} ({most:.1})")
        }));
        table.add_row(cells);
    }
    page.table(&table);
    let ours = &links[Way::Ours as usize];
    // The shorter of two ways that send a request and get an answer, so that it excuses nothing else.
    let fewest =
        [ours, &links[Way::Socks as usize]].map(|way| way[0].percentile(50.0)).into_iter().reduce(f64::min);
    let trip = fewest.unwrap_or(f64::NAN) * (2 * DELAY) as f64;
    if !trip.is_nan() {
        page.round_trip = Some(trip);
        page.line(&format!(
            "A round trip at {DELAY} ms a link takes {trip:.0} ms, then, on circuits like these: by the shorter of (b) and (c) \
             with 200 B, kept-alive."
        ));
    }
    for kind in [1, 2] {
        let crossed = ours[kind].percentile(100.0);
        page.goal(
            format!("round trips of a warm scrape, {}", KINDS[kind]),
            "1",
            format!("{crossed:.1} links there and back, the most of {}", ours[kind].len()),
            crossed < 2.0 * LINKS - 0.5,
        );
    }
    Ok(())
}
