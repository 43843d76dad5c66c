//! What the programs take while a session is open and nobody scrapes.

use std::time::{Duration, Instant};

use super::ground::Ground;
use super::page::{Page, table};
use super::stand::connected;
use super::usage;
use super::way::{Source, Way};
use super::wire::Connection;
use crate::Failure;
use crate::stage::Stage;

/// How long what the last scrape left to do is given.
const SETTLE: Duration = Duration::from_secs(5);
const DAY: Duration = Duration::from_hours(24);

/// Measures for so long.
///
/// # Errors
/// When there is no session any more, or a program has ended.
pub fn measure(ground: &Ground, page: &mut Page, length: Duration) -> Result<(), Failure> {
    let stage = Stage::begin(format!("idle: {:.0} s", length.as_secs_f64()));
    let offered = ground.offered(Way::Ours, Source::Node)?;
    Connection::tcp(offered)?.at_least(Source::Node.least()).scrape()?;
    super::pause(SETTLE)?;
    let programs =
        [("target-agent", ground.chain.agent.pid()), ("scraper-bridge", ground.chain.bridge.pid())];
    let look = || -> Result<Vec<(Duration, u64)>, Failure> {
        programs.iter().map(|(_, pid)| Ok((usage::cpu(&[*pid]), usage::written(*pid)?))).collect()
    };
    let (before, began) = (look()?, Instant::now());
    super::pause(length)?;
    let (after, took) = (look()?, began.elapsed());
    if connected(ground.chain.bridge_admin)? == 0 {
        return Err("the session ended while nobody scraped".into());
    }
    stage.done();
    page.section(
        "Idle",
        &format!(
            "What the programs take for {:.0} s while a session is open and nobody scrapes: processor time, and what \
             they have written to the disk (`write_bytes`; nothing is counted where the state directory is in memory).",
            length.as_secs_f64()
        ),
    );
    let mut table = table(&["", "% of a core", "kB written a day"]);
    for ((name, _), (before, after)) in programs.iter().zip(before.iter().zip(&after)) {
        let share = after.0.saturating_sub(before.0).as_secs_f64() / took.as_secs_f64();
        let written = after.1.saturating_sub(before.1) as f64 / 1000.0 * DAY.div_duration_f64(took);
        table.add_row([(*name).to_owned(), format!("{:.2}", share * 100.0), format!("{written:.0}")]);
    }
    page.table(&table);
    Ok(())
}
