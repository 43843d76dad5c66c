//! Many scrapes at once, without Tor.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::outcome::Outcome;
use super::page::{Page, table};
use super::plain::{AGENT, OURS, Plain, SSH, WAYS};
use super::sample::{Ratio, Samples};
use super::sizes::Sizes;
use super::way::Source;
use super::wire::Connection;
use crate::Failure;
use crate::build::Programs;
use crate::stage::Stage;

/// Memory for a thread's stack: those who ask need little.
const STACK: usize = 256 << 10;
/// Turns that the ways take: enough to say how sure one can be.
const TURNS: usize = 5;
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
    let mut connects = [const { Samples::new() }; 4];
    for turn in 0..TURNS {
        for (kept, (outcomes, lengths)) in outcomes.iter_mut().zip(&mut lengths).enumerate() {
            for way in (0..WAYS.len()).map(|way| (way + turn) % WAYS.len()) {
                stage.say(format!("turn {} of {TURNS}, {}", turn + 1, WAYS[way]));
                outcomes[way].next_group();
                let connects = Some(&mut connects[way]).filter(|_| kept == 0);
                let (address, amount) = (plain.offered[way][1], (sizes.load / TURNS, sizes.at_once));
                lengths[way] += storm(address, amount, connects, &mut outcomes[way])?;
            }
        }
    }
    stage.done();
    page.section(
        &format!("Without Tor: {} scrapes of 200 B, {} at once", sizes.load, sizes.at_once),
        "Each of those who ask at once asks again as soon as it has an answer; the ways take turns. Connections that \
         are kept are made before the clock starts; `connecting` is how long that took for each, all at once.",
    );
    let titles = ["kept-alive connections", "a new connection for each"];
    for (kept, ((title, outcomes), lengths)) in titles.iter().zip(&outcomes).zip(&lengths).enumerate() {
        let mut head =
            vec![*title, "scrapes a second", "p50", "p99", "p50 / ssh -L", "p99 / ssh -L", "errors"];
        head.extend(["connecting p50", "connecting p99"].iter().filter(|_| kept == 0));
        let mut table = table(&head);
        for (((name, own), length), connects) in WAYS.iter().zip(outcomes).zip(lengths).zip(&connects) {
            page.scrapes(&format!("{} at once, {title}, {name}", sizes.at_once), own);
            let rate = own.times.len() as f64 / length.as_secs_f64();
            let mut cells = vec![(*name).to_owned(), format!("{rate:.0}")];
            cells.extend([50.0, 99.0].map(|p| format!("{:.0}", own.times.percentile(p))));
            cells.extend([50.0, 99.0].map(|p| Ratio::of(&own.times, &outcomes[SSH].times, p).to_string()));
            cells.push(own.complaints());
            if kept == 0 {
                cells.extend([50.0, 99.0].map(|p| format!("{:.0}", connects.percentile(p))));
            }
            table.add_row(cells);
        }
        page.table(&table);
        let what = format!("{} scrapes, {} at once, {title}", sizes.load, sizes.at_once);
        let p99 = Ratio::of(&outcomes[OURS].times, &outcomes[SSH].times, 99.0);
        page.ratio(format!("{what}, {}: p99", WAYS[OURS]), "ssh -L", 1.0, p99);
        for way in [OURS, AGENT] {
            let own = &outcomes[way];
            page.goal(format!("{what}, {}: errors", WAYS[way]), "0", own.complaints(), own.bad.is_empty());
        }
    }
    Ok(())
}

/// So many scrapes, so many at once; returns how long they took. If connections are kept, they are made before
/// the clock starts, and `connects` is told how long each took.
fn storm(
    address: SocketAddr,
    (scrapes, at_once): (usize, usize),
    connects: Option<&mut Samples>,
    outcome: &mut Outcome,
) -> Result<Duration, Failure> {
    let keep = connects.is_some();
    let next = AtomicUsize::new(0);
    let (found, connects) = (Mutex::new(outcome), Mutex::new(connects));
    let gate = Gate::default();
    let connect = || Ok(Connection::tcp_within(address, TIMEOUT)?.at_least(Source::Tiny.least()));
    std::thread::scope(|scope| {
        // Those who wait are let go whatever happens.
        let opened = Opened(&gate);
        for _ in 0..at_once {
            let (next, found, connects, gate) = (&next, &found, &connects, &gate);
            let asking = move || {
                let mut kept = None;
                if keep {
                    let began = Instant::now();
                    // One that fails is made by the first scrape, which tells why it fails again.
                    kept = connect().ok();
                    if let Some(connects) = locked(connects).as_mut() {
                        connects.time(began.elapsed());
                    }
                }
                gate.wait();
                while next.fetch_add(1, Ordering::Relaxed) < scrapes && super::go_on().is_ok() {
                    let began = Instant::now();
                    let scraped = Connection::scrape_kept(&mut kept, connect);
                    let took = began.elapsed();
                    if !keep {
                        kept = None;
                    }
                    locked(found).add(took, scraped);
                }
            };
            std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, asking)?;
        }
        while gate.waiting() < at_once {
            super::pause(Duration::from_millis(5))?;
        }
        drop(opened);
        Ok::<_, Failure>(())
    })?;
    let began = gate.opened.get().copied().ok_or("nobody was let go")?;
    Ok(began.elapsed())
}

/// Where all wait until all are there.
#[derive(Default)]
struct Gate {
    waiting: Mutex<usize>,
    open: Condvar,
    opened: OnceLock<Instant>,
}

impl Gate {
    fn wait(&self) {
        let mut waiting = locked(&self.waiting);
        *waiting += 1;
        let is_shut = |_: &mut usize| self.opened.get().is_none();
        drop(self.open.wait_while(waiting, is_shut));
    }

    fn waiting(&self) -> usize {
        *locked(&self.waiting)
    }
}

/// Opens the gate when it is dropped.
struct Opened<'a>(&'a Gate);

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        // While it is locked nobody is between looking and waiting.
        let _waiting = locked(&self.0.waiting);
        self.0.opened.get_or_init(Instant::now);
        self.0.open.notify_all();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
