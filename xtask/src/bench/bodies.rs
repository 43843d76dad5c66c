//! Bodies of other sizes, which exporters send as they are.

use std::time::Instant;

use super::ground::Ground;
use super::page::{Page, table};
use super::sample::{Ratio, Samples};
use super::sizes::Sizes;
use super::way::{Source, Way};
use crate::Failure;
use crate::stage::Stage;

/// Measures on a network with this delay.
///
/// # Errors
/// When a scrape fails.
pub fn measure(ground: &Ground, page: &mut Page, sizes: &Sizes, delay: u64) -> Result<(), Failure> {
    page.section(
        &format!("Other bodies, {delay} ms a link"),
        "On kept-alive connections. A twentieth of the lines has another value in each answer; the exporter does \
         not compress.",
    );
    let mut table = table(&["", "body", "scrapes", "p50", "p90", "max", "p50 / (a)", "p50 / (b)"]);
    let [at_once, late] = sizes.huge;
    let huge = if delay == 0 { at_once } else { late };
    for (source, scrapes) in [(Source::Tiny, sizes.tiny), (Source::Large, sizes.large), (Source::Huge, huge)]
    {
        if scrapes == 0 {
            continue;
        }
        let stage = Stage::begin(format!("bodies, {delay} ms: {}", source.title()));
        let mut times = [const { Samples::new() }; 4];
        let circuits = scrapes.min(sizes.body_circuits);
        for number in 0..circuits {
            let circuit = ground.circuit(&format!("{}{delay}x{number}", source.name()))?;
            times.iter_mut().for_each(Samples::next_group);
            let mut kept = circuit.kept(source)?;
            for round in 0..scrapes.div_ceil(circuits) {
                for way in Way::ALL {
                    stage.say(format!("circuit {}, scrape {}, {}", number + 1, round + 1, way.title()));
                    let started = Instant::now();
                    kept[way as usize].scrape()?;
                    times[way as usize].time(started.elapsed());
                }
            }
        }
        stage.done();
        for way in Way::ALL {
            let own = &times[way as usize];
            let mut cells = vec![way.title().to_owned(), source.title().to_owned(), own.len().to_string()];
            cells.extend([50.0, 90.0, 100.0].map(|p| format!("{:.0}", own.percentile(p))));
            let to = |other: Way| Ratio::of(own, &times[other as usize], 50.0).to_string();
            cells.extend([to(Way::Recipe), to(Way::Socks)]);
            table.add_row(cells);
        }
        if source == Source::Huge {
            let ratio = Ratio::of(&times[Way::Ours as usize], &times[Way::Recipe as usize], 50.0);
            page.ratio(format!("10 MB body, p50, {delay} ms a link"), "(a)", 1.0, ratio);
        }
    }
    page.table(&table);
    Ok(())
}
