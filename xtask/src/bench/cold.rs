//! From no session to the first byte of a good answer.

use std::time::{Duration, Instant};

use super::circuits;
use super::ground::Ground;
use super::outcome::Outcome;
use super::page::{Page, table};
use super::sample::{Ratio, Samples};
use super::sizes::Scrapes;
use super::way::{Source, Way};
use super::wire::Connection;
use crate::Failure;
use crate::chain::get;
use crate::stage::Stage;

/// The lines of the table.
const LINES: [&str; 7] = [
    "(a) ssh, new circuits, descriptor fetched",
    "(a) ssh, new circuits, descriptor known",
    "(a) ssh, circuits still open",
    "(b) new circuits, descriptor fetched",
    "(b) new circuits, descriptor known",
    "(c) new circuits, descriptor fetched",
    "(d) new circuits, descriptor fetched",
];
/// The steps of a dial, as the bridge counts them, and what the page calls them.
const STEPS: [(&str, &str); 3] =
    [("onion", "descriptor, circuits, stream"), ("ssh_kex", "SSH key exchange"), ("auth", "SSH login")];
/// How long each is left alone before it dials over new circuits. C tor builds some ahead, one in a second, and so
/// does arti; dials that follow each other sooner would find none left, as they hardly do in life.
const STOCKING: Duration = Duration::from_secs(4);
/// Scrapes whose median is one round trip.
const TRIPS: usize = 5;

/// Measures on a network with this delay.
///
/// # Errors
/// When half the time a bridge does not tell or C tor does not forget; a start that brings no answer is counted.
pub fn measure(ground: &mut Ground, page: &mut Page, sizes: &Scrapes, delay: u64) -> Result<(), Failure> {
    let stage = Stage::begin(format!("cold, {delay} ms: {} starts each", sizes.colds));
    let mut outcomes = [const { Outcome::new() }; LINES.len()];
    let mut steps = [const { [const { Samples::new() }; STEPS.len()] }; 2];
    let failures = circuits::most(sizes.colds, |round| {
        stage.say(format!("{} of {}", round + 1, sizes.colds));
        super::go_on()?;
        outcomes.iter_mut().for_each(Outcome::next_group);
        let (fetching, dialling) = (&ground.word(), &ground.word());
        // C tor forgets all descriptors at once, so what fetches them again comes first.
        let [fetched, known, open, socks_fetched, socks_known, ours, migrating] = &mut outcomes;
        ground.rivals.forget()?;
        let both: [(&mut Outcome, Dial); 2] = [(fetched, ssh), (socks_fetched, through_socks)];
        for (outcome, dial) in in_turn(both, round) {
            super::pause(STOCKING)?;
            answered(outcome, dial(ground, fetching));
        }
        for way in Way::turn(round) {
            super::pause(STOCKING)?;
            match way {
                Way::Recipe => {
                    answered(known, ssh(ground, dialling));
                    answered(open, ssh(ground, dialling));
                }
                Way::Socks => answered(socks_known, through_socks(ground, dialling)),
                Way::Ours => ours_from_nothing(ground, way, ours, &mut steps[0])?,
                Way::OurBridge => ours_from_nothing(ground, way, migrating, &mut steps[1])?,
            }
        }
        Ok(())
    })?;
    stage.done();
    failures.into_iter().for_each(|failure| page.fail(format!("cold at {delay} ms a link, {failure}")));
    page.section(
        &format!("Cold: no session → first byte, {delay} ms a link"),
        "Circuits are new but where it says otherwise, and 4 s are left before each dial for building such ahead, as \
         all ways do. C tor keeps descriptors for hours, so it has them in memory \
         when it dials again, unless it was told to forget (`NEWNYM`); the bridge fetches the descriptor anew for \
         each dial, since a device that was lost may have chosen other introduction points. (a) starts `ssh` and \
         `socat`; ours: the bridge is told to throw its session away, which is when the clock starts, and the scrape waits \
         for the new one.",
    );
    let mut table = table(&["", "p50", "p90", "max", "p50 / (a), fetched", "p50 / (a), known"]);
    let times = outcomes.each_ref().map(|outcome| &outcome.times);
    for (line, (name, own)) in LINES.iter().zip(times).enumerate() {
        page.scrapes(&format!("cold, {delay} ms a link, {name}"), &outcomes[line]);
        let mut cells = vec![(*name).to_owned()];
        cells.extend([50.0, 90.0, 100.0].map(|p| format!("{:.0}", own.percentile(p))));
        cells.extend([0, 1].map(|to| Ratio::of(own, times[to], 50.0).to_string()));
        table.add_row(cells);
    }
    page.table(&table);
    where_it_goes(ground, page, &steps, delay)?;
    let what = format!("cold: no session → first byte, p50, {delay} ms a link");
    for (to, known) in ["fetched", "known"].into_iter().enumerate() {
        let ratio = Ratio::of(times[5], times[to], 50.0);
        page.ratio(&what, &format!("cold ssh of (a), descriptor {known}"), 0.60, ratio);
    }
    Ok(())
}

/// The steps of our dials, beside the time of one round trip.
fn where_it_goes(
    ground: &Ground,
    page: &mut Page,
    steps: &[[Samples; 3]; 2],
    delay: u64,
) -> Result<(), Failure> {
    let mut trip = Samples::new();
    let mut kept = Connection::tcp(ground.offered(Way::Ours, Source::Tiny)?)?.at_least(Source::Tiny.least());
    kept.scrape()?;
    for _ in 0..TRIPS {
        let mut scrape = Outcome::new();
        scrape.time(|| kept.scrape());
        trip.push(scrape.times.percentile(50.0));
    }
    let trip = trip.percentile(50.0);
    page.line(&format!(
        "Where the bridge's time goes, by its own counting (`onionscrape_target_connect_hop_duration_seconds`), in \
         milliseconds{}. What is left is the channel, which is opened before anybody asks for it, and the answer.",
        if delay > 0 {
            format!(" and, in brackets, in round trips of {trip:.0} ms, the median of {TRIPS} warm scrapes of 200 B")
        } else {
            String::new()
        }
    ));
    let mut table = table(&["p50", STEPS[0].1, STEPS[1].1, STEPS[2].1]);
    for (way, steps) in [Way::Ours, Way::OurBridge].into_iter().zip(steps) {
        let mut cells = vec![way.title().to_owned()];
        cells.extend(steps.iter().map(|own| {
            let ms = own.percentile(50.0);
            if delay > 0 { format!("{ms:.0} ({:.1})", ms / trip) } else { format!("{ms:.0}") }
        }));
        table.add_row(cells);
    }
    page.table(&table);
    Ok(())
}

fn in_turn<T, const N: usize>(all: [T; N], round: usize) -> [T; N] {
    let mut all = all;
    all.rotate_left(round % N);
    all
}

/// Adds what was timed elsewhere.
fn answered(outcome: &mut Outcome, took: Result<Duration, Failure>) {
    match took {
        Ok(took) => outcome.add(took, Ok(())),
        Err(error) => outcome.add(Duration::ZERO, Err(error)),
    }
}

/// What takes how long until the first byte, by the word of its circuit.
type Dial = fn(&Ground, &str) -> Result<Duration, Failure>;

fn ssh(ground: &Ground, circuit: &str) -> Result<Duration, Failure> {
    ground.rivals.cold(circuit, Source::Node.least())
}

fn through_socks(ground: &Ground, circuit: &str) -> Result<Duration, Failure> {
    until_first_byte(|| Ok(Connection::new(ground.rivals.through_socks(circuit, 0)?, "exporter")))
}

/// The time from before there is a connection to node_exporter to the first byte of a good answer, which is read
/// to its end, so that nothing is in the way of the next one.
fn until_first_byte(connect: impl FnOnce() -> Result<Connection, Failure>) -> Result<Duration, Failure> {
    let began = Instant::now();
    let came = connect()?.at_least(Source::Node.least()).scrape_from_first_byte()?;
    Ok(came - began)
}

/// One of our bridges.
fn ours_from_nothing(
    ground: &Ground,
    way: Way,
    outcome: &mut Outcome,
    steps: &mut [Samples; 3],
) -> Result<(), Failure> {
    let admin = if way == Way::OurBridge { ground.migrating.admin } else { ground.chain.bridge_admin };
    let before = dialled(admin)?;
    let offered = ground.offered(way, Source::Node)?;
    let dial = || {
        ground.redial(way)?;
        Connection::tcp(offered)
    };
    answered(outcome, until_first_byte(dial));
    let after = dialled(admin)?;
    for (own, (before, after)) in steps.iter_mut().zip(before.into_iter().zip(after)) {
        let [seconds, count] = [0, 1].map(|at| after[at] - before[at]);
        // More than one dial, or none in that time, says nothing of this one.
        if count == 1.0 {
            own.push(seconds * 1000.0);
        }
    }
    Ok(())
}

/// Seconds that dials took, and how many, for each step, by a bridge's own metrics.
fn dialled(admin: std::net::SocketAddr) -> Result<[[f64; 2]; 3], Failure> {
    let metrics = get(&format!("http://{admin}/metrics"))?.1;
    Ok(STEPS.map(|(step, _)| {
        ["sum", "count"].map(|what| {
            let wanted = format!("onionscrape_target_connect_hop_duration_seconds_{what}{{hop=\"{step}\"}} ");
            let found = metrics.lines().find_map(|line| line.strip_prefix(&wanted)?.parse().ok());
            found.unwrap_or(0.0)
        })
    }))
}
