//! Scrapes while everything is up, on connections that are kept and on new ones.

use super::circuits;
use super::ground::Ground;
use super::outcome::Outcome;
use super::page::{Page, table};
use super::sample::Ratio;
use super::sizes::Scrapes;
use super::trips;
use super::way::{Source, Way};
use crate::Failure;
use crate::stage::Stage;

/// How Prometheus comes.
const KINDS: [&str; 2] = ["kept-alive connection", "new connection"];

/// Measures on a network with this delay.
///
/// # Errors
/// When half of the circuits cannot be had; a scrape that fails is counted.
pub fn measure(ground: &Ground, page: &mut Page, sizes: &Scrapes, delay: u64) -> Result<(), Failure> {
    let stage = Stage::begin(format!("warm, {delay} ms: {} scrapes each", sizes.circuits * sizes.scrapes));
    let mut outcomes = [const { [const { Outcome::new() }; 4] }; 2];
    let mut bytes = [0; 4];
    let failures = circuits::most(sizes.circuits, |number| {
        let circuit = ground.circuit()?;
        let mut kept = circuit.kept(Source::Node)?;
        outcomes.iter_mut().flatten().for_each(Outcome::next_group);
        for round in 0..sizes.scrapes {
            stage.say(format!("circuit {} of {}, scrape {}", number + 1, sizes.circuits, round + 1));
            super::go_on()?;
            for way in Way::turn(round) {
                let at = way as usize;
                for kind in Way::kinds::<2>(round) {
                    let outcome = &mut outcomes[kind][at];
                    if kind == 1 {
                        outcome.time(|| circuit.connect(way, Source::Node)?.scrape());
                        continue;
                    }
                    match outcome.time(|| kept[at].scrape()) {
                        Some(size) => bytes[at] = size,
                        None => kept[at] = circuit.up(way, Source::Node)?,
                    }
                }
            }
        }
        Ok(())
    })?;
    stage.done();
    failures.into_iter().for_each(|failure| page.fail(format!("warm at {delay} ms a link, {failure}")));
    page.section(
        &format!("A warm scrape of node_exporter, {delay} ms a link"),
        &format!(
            "{} scrapes of each kind over {} circuits, one right after the other, in turn the one on a new connection \
             first. `bytes` is the body as Prometheus gets it: with gzip, but \
             for (c), whose bridge has undone the compression between the two programs.",
            sizes.circuits * sizes.scrapes,
            sizes.circuits
        ),
    );
    let times = outcomes.each_ref().map(|kind| kind.each_ref().map(|outcome| &outcome.times));
    for ((title, times), outcomes) in KINDS.into_iter().zip(&times).zip(&outcomes) {
        let (last, tail) = times[Way::Recipe as usize].tail();
        let head = ["p50 / (a)", &format!("{tail} / (a)"), "p50 / (b)", &format!("{tail} / (b)")];
        let mut table = table(&[&[title, "p50", "p90", &tail, "bytes"], &head[..]].concat());
        for way in Way::ALL {
            let own = times[way as usize];
            page.scrapes(&format!("{title}, {delay} ms a link, {}", way.title()), &outcomes[way as usize]);
            let mut cells = vec![way.title().to_owned()];
            cells.extend([50.0, 90.0, last].map(|p| format!("{:.0}", own.percentile(p))));
            cells.push(bytes[way as usize].to_string());
            for other in [Way::Recipe, Way::Socks] {
                cells.extend([50.0, last].map(|p| Ratio::of(own, times[other as usize], p).to_string()));
            }
            table.add_row(cells);
        }
        page.table(&table);
    }
    let [kept, new] = &times;
    let ours = Way::Ours as usize;
    let judged = [(50.0, "p50".to_owned()), kept[ours].tail()];
    for (p, title) in &judged {
        let what = format!("warm scrape, kept-alive, {title}, {delay} ms a link");
        for (other, name, bound) in [(Way::Recipe, "(a)", 0.80), (Way::Socks, "(b)", 0.95)] {
            let other = kept[other as usize];
            let ratio = Ratio::of(kept[ours], other, *p);
            if delay == trips::DELAY {
                page.ratio_of_trip(&what, (name, other.percentile(*p)), bound, ratio);
            } else {
                page.ratio(&what, name, bound, ratio);
            }
        }
    }
    for (p, title) in &judged {
        let what = format!("warm scrape, new connection, {title}, {delay} ms a link");
        page.ratio(what, "kept-alive, or quicker", 1.05, Ratio::of(new[ours], kept[ours], *p));
    }
    Ok(())
}
