//! Scraping many exporters at an interval, as Prometheus does.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::sample::Samples;
use super::wire::Connection;
use crate::Failure;

/// Memory for a thread's stack: it holds little, and there are many.
const STACK: usize = 256 << 10;
/// How long a scrape may take, in seconds.
const TIMEOUT: u64 = 10;
/// Pause between two looks at what is scraped.
const LOOK: Duration = Duration::from_secs(5);

/// What came of it.
pub struct Outcome {
    /// Times of good scrapes, in milliseconds.
    pub times: Samples,
    /// Scrapes that were not good, by what was said.
    pub bad: BTreeMap<String, usize>,
}

impl Outcome {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self { times: Samples::new(), bad: BTreeMap::new() }
    }

    /// Adds a scrape.
    pub fn add(&mut self, took: Duration, scraped: Result<(), Failure>) {
        match scraped {
            Ok(()) => self.times.time(took),
            Err(error) => *self.bad.entry(error.to_string()).or_default() += 1,
        }
    }

    /// How many of 1 were good.
    pub fn good(&self) -> f64 {
        let good = self.times.len() as f64;
        good / (good + self.bad.values().sum::<usize>() as f64)
    }

    /// What was not good, in a few words.
    pub fn complaints(&self) -> String {
        let said: Vec<_> = self.bad.iter().map(|(what, count)| format!("{count} × {what}")).collect();
        if said.is_empty() { "none".to_owned() } else { said.join("; ") }
    }
}

/// Scrapes each address once an interval, spread evenly over it, each on a connection of its own that is
/// kept; calls `look` every 5 s.
///
/// # Errors
/// When no thread can be started, and what `look` fails with.
pub fn scrape(
    addresses: &[SocketAddr],
    interval: Duration,
    length: Duration,
    mut look: impl FnMut(Duration) -> Result<(), Failure>,
) -> Result<Outcome, Failure> {
    let outcome = Mutex::new(Outcome::new());
    let started = Instant::now();
    std::thread::scope(|scope| {
        for (number, address) in addresses.iter().enumerate() {
            let first = interval.mul_f64(number as f64 / addresses.len() as f64);
            let outcome = &outcome;
            let scraping = move || one(*address, started + first, interval, started + length, outcome);
            std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, scraping)?;
        }
        while started.elapsed() < length {
            std::thread::sleep(LOOK.min(length.saturating_sub(started.elapsed())));
            look(started.elapsed())?;
        }
        Ok::<_, Failure>(())
    })?;
    Ok(outcome.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn one(address: SocketAddr, first: Instant, interval: Duration, end: Instant, outcome: &Mutex<Outcome>) {
    let (mut next, mut kept) = (first, None);
    while next < end {
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        let began = Instant::now();
        let scraped = Connection::scrape_kept(&mut kept, address, TIMEOUT);
        let took = began.elapsed();
        outcome.lock().unwrap_or_else(PoisonError::into_inner).add(took, scraped);
        // A scrape that takes longer than an interval costs the ones that it is in the way of.
        while next <= Instant::now() {
            next += interval;
        }
    }
    // Its connection is open to the end, as it would be if this went on.
    std::thread::sleep(end.saturating_duration_since(Instant::now()));
}
