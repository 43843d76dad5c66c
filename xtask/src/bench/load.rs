//! Many scrapes at once, without Tor.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::page::{Page, table};
use super::plain::{OURS, Plain, SSH, WAYS};
use super::sample::Ratio;
use super::sizes::Sizes;
use super::steady::Outcome;
use super::wire::Connection;
use crate::Failure;
use crate::build::Programs;
use crate::stage::Stage;

/// Memory for a thread's stack: those who ask need little.
const STACK: usize = 256 << 10;
/// Turns that the ways take.
const TURNS: usize = 4;
/// How long a scrape may take, in seconds.
const TIMEOUT: u64 = 30;

/// Many scrapes at once.
///
/// # Errors
/// When a part of it does not start; a scrape that fails is counted.
pub fn measure(page: &mut Page, sizes: &Sizes, programs: &Programs, crowd: &Path) -> Result<(), Failure> {
    let plain = Plain::start(programs, crowd)?;
    let stage = Stage::begin(format!("without Tor: {} scrapes, {} at once", sizes.load, sizes.at_once));
    let mut outcomes = [const { [const { Outcome::new() }; 4] }; 2];
    let mut lengths = [[Duration::ZERO; 4]; 2];
    for turn in 0..TURNS {
        for (kept, (outcomes, lengths)) in outcomes.iter_mut().zip(&mut lengths).enumerate() {
            for way in 0..WAYS.len() {
                stage.say(format!("turn {} of {TURNS}, {}", turn + 1, WAYS[way]));
                outcomes[way].times.next_group();
                let address = plain.offered[way][1];
                let started = Instant::now();
                storm(address, sizes.load / TURNS, sizes.at_once, kept == 0, &mut outcomes[way])?;
                lengths[way] += started.elapsed();
            }
        }
    }
    stage.done();
    page.section(
        &format!("Without Tor: {} scrapes of 200 B, {} at once", sizes.load, sizes.at_once),
        "Each of those who ask at once asks again as soon as it has an answer; the ways take turns.",
    );
    let titles = ["kept-alive connections", "a new connection for each"];
    for ((title, outcomes), lengths) in titles.iter().zip(&outcomes).zip(&lengths) {
        let head = [title, "scrapes a second", "p50", "p99", "p50 / ssh -L", "p99 / ssh -L", "errors"];
        let mut table = table(&head);
        for ((name, own), length) in WAYS.iter().zip(outcomes).zip(lengths) {
            let rate = own.times.len() as f64 / length.as_secs_f64();
            let mut cells = vec![(*name).to_owned(), format!("{rate:.0}")];
            cells.extend([50.0, 99.0].map(|p| format!("{:.0}", own.times.percentile(p))));
            cells.extend([50.0, 99.0].map(|p| Ratio::of(&own.times, &outcomes[SSH].times, p).to_string()));
            cells.push(own.complaints());
            table.add_row(cells);
        }
        page.table(&table);
        let [own, ssh] = [OURS, SSH].map(|way| &outcomes[way]);
        let what = format!("{} scrapes, {} at once, ssh://, {title}", sizes.load, sizes.at_once);
        page.ratio(format!("{what}: p99"), "ssh -L", 1.0, Ratio::of(&own.times, &ssh.times, 99.0));
        page.goal(format!("{what}: errors"), "0", own.complaints(), own.bad.is_empty());
    }
    Ok(())
}

/// So many scrapes, so many at once.
fn storm(
    address: SocketAddr,
    scrapes: usize,
    at_once: usize,
    keep: bool,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(outcome);
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            let (next, found) = (&next, &found);
            let asking = move || {
                let mut kept = None;
                while next.fetch_add(1, Ordering::Relaxed) < scrapes {
                    let began = Instant::now();
                    let scraped = Connection::scrape_kept(&mut kept, address, TIMEOUT);
                    let took = began.elapsed();
                    if !keep {
                        kept = None;
                    }
                    found.lock().unwrap_or_else(PoisonError::into_inner).add(took, scraped);
                }
            };
            std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, asking)?;
        }
        Ok(())
    })
}
