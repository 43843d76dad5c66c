//! Bodies of other sizes, which exporters send as they are.

use super::circuits;
use super::ground::{Circuit, Ground};
use super::outcome::Outcome;
use super::page::{Page, table};
use super::sample::Ratio;
use super::sizes::Scrapes;
use super::way::{Source, Way};
use super::wire::Connection;
use crate::Failure;
use crate::stage::Stage;

/// The lines of the table; the last one is our way without compression.
const LINES: [Way; 5] = [Way::Recipe, Way::Socks, Way::Ours, Way::OurBridge, Way::Ours];
/// Its place.
const UNCOMPRESSED: usize = 4;

/// Measures on a network with this delay.
///
/// # Errors
/// When half of the circuits cannot be had for the smallest body, and what fails with larger ones is noted; a scrape
/// that fails is counted.
pub fn measure(ground: &Ground, page: &mut Page, sizes: &Scrapes, delay: u64) -> Result<(), Failure> {
    page.section(
        &format!("Other bodies, {delay} ms a link"),
        "On kept-alive connections. Between two rounds a twentieth of the lines gets another value, the same for all \
         ways; the exporter does not compress, and (a), (b) and (d) do not either. (c) does between its programs, \
         against the body before, unless `uncompressed`: then who scrapes says `identity;q=0`, and the bridge has the \
         body come as it is.",
    );
    for (source, scrapes) in
        [(Source::Tiny, sizes.tiny), (Source::Large, sizes.large), (Source::Huge, sizes.huge)]
    {
        if scrapes == 0 {
            continue;
        }
        let what = format!("bodies of {} at {delay} ms a link", source.title());
        let mut outcomes = [const { Outcome::new() }; LINES.len()];
        match scrape(ground, sizes, (source, scrapes), &what, &mut outcomes) {
            Ok(failures) => failures.into_iter().for_each(|failure| page.fail(format!("{what}, {failure}"))),
            Err(failure) if source == Source::Tiny => return Err(failure),
            Err(failure) => {
                super::go_on()?;
                page.cut_short(format!("{what}: {failure}"));
            }
        }
        let mut table = table(&[source.title(), "scrapes", "p50", "p90", "max", "p50 / (a)", "p50 / (b)"]);
        let times = outcomes.each_ref().map(|outcome| &outcome.times);
        for (at, own) in times.into_iter().enumerate() {
            page.scrapes(&format!("{}, {delay} ms a link, {}", source.title(), title(at)), &outcomes[at]);
            let mut cells = vec![title(at), own.len().to_string()];
            cells.extend([50.0, 90.0, 100.0].map(|p| format!("{:.0}", own.percentile(p))));
            let to = |other: Way| Ratio::of(own, times[other as usize], 50.0).to_string();
            cells.extend([to(Way::Recipe), to(Way::Socks)]);
            table.add_row(cells);
        }
        page.table(&table);
        if source == Source::Huge {
            for (how, at, bound) in
                [("uncompressed", UNCOMPRESSED, 1.0), ("compressed", Way::Ours as usize, 0.3)]
            {
                let ratio = Ratio::of(times[at], times[Way::Recipe as usize], 50.0);
                page.ratio(format!("10 MB body, {how}, p50, {delay} ms a link"), "(a)", bound, ratio);
            }
        }
    }
    Ok(())
}

/// Scrapes by each line; returns what failed on the way.
///
/// # Errors
/// When half of the circuits cannot be had.
fn scrape(
    ground: &Ground,
    sizes: &Scrapes,
    (source, scrapes): (Source, usize),
    what: &str,
    outcomes: &mut [Outcome; LINES.len()],
) -> Result<Vec<String>, Failure> {
    let stage = Stage::begin(what);
    let circuits = scrapes.min(sizes.body_circuits);
    let failures = circuits::most(circuits, |number| {
        let circuit = ground.circuit()?;
        outcomes.iter_mut().for_each(Outcome::next_group);
        let mut kept = (0..LINES.len()).map(|at| up(&circuit, at, source)).collect::<Result<Vec<_>, _>>()?;
        for round in 0..scrapes.div_ceil(circuits) {
            ground.change(source);
            for at in (0..LINES.len()).map(|at| (at + round + number) % LINES.len()) {
                super::go_on()?;
                stage.say(format!("circuit {}, scrape {}, {}", number + 1, round + 1, title(at)));
                if outcomes[at].time(|| kept[at].scrape()).is_none() {
                    kept[at] = up(&circuit, at, source)?;
                }
            }
        }
        Ok(())
    })?;
    stage.done();
    Ok(failures)
}

fn title(line: usize) -> String {
    let title = LINES[line].title();
    if line == UNCOMPRESSED { format!("{title}, uncompressed") } else { title.to_owned() }
}

/// A connection over which a scrape has gone.
fn up(circuit: &Circuit<'_>, line: usize, source: Source) -> Result<Connection, Failure> {
    if line != UNCOMPRESSED {
        return circuit.up(LINES[line], source);
    }
    super::go_on()?;
    let scraped = || -> Result<Connection, Failure> {
        let mut connection = circuit.connect(LINES[line], source)?.without_compression();
        connection.scrape()?;
        Ok(connection)
    };
    scraped().map_err(|error| format!("{}: {error}", title(line)).into())
}
