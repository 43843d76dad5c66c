//! Scraping many exporters at an interval, as Prometheus does.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::outcome::Outcome;
use super::wire::Connection;
use crate::Failure;

/// Memory for a thread's stack: it holds little, and there are many.
const STACK: usize = 256 << 10;
/// How long a scrape may take, in seconds.
const TIMEOUT: u64 = 10;
/// Pause between two looks at what is scraped.
const LOOK: Duration = Duration::from_secs(5);

/// Scrapes each address once an interval, spread evenly over it, each on a connection of its own that is
/// kept; calls `look` every 5 s. A body of less than `least` bytes is a failed scrape.
///
/// # Errors
/// When no thread can be started or all of it is to stop, and what `look` fails with; threads that have not
/// heard of it go on until `length` is over.
pub fn scrape(
    addresses: &[SocketAddr],
    least: usize,
    (interval, length): (Duration, Duration),
    mut look: impl FnMut(Duration) -> Result<(), Failure>,
) -> Result<Outcome, Failure> {
    let outcome = Mutex::new(Outcome::new());
    let started = Instant::now();
    std::thread::scope(|scope| {
        for (number, address) in addresses.iter().enumerate() {
            let first = interval.mul_f64(number as f64 / addresses.len() as f64);
            let outcome = &outcome;
            let times = (started + first, interval, started + length);
            let scraping = move || one(*address, least, times, outcome);
            std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, scraping)?;
        }
        while started.elapsed() < length {
            super::pause(LOOK.min(length.saturating_sub(started.elapsed())))?;
            look(started.elapsed())?;
        }
        Ok::<_, Failure>(())
    })?;
    Ok(outcome.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn one(
    address: SocketAddr,
    least: usize,
    (first, interval, end): (Instant, Duration, Instant),
    outcome: &Mutex<Outcome>,
) {
    let (mut next, mut kept) = (first, None);
    while next < end {
        if super::pause(next.saturating_duration_since(Instant::now())).is_err() {
            return;
        }
        let began = Instant::now();
        let scraped = Connection::scrape_kept(&mut kept, address, TIMEOUT, least);
        let took = began.elapsed();
        outcome.lock().unwrap_or_else(PoisonError::into_inner).add(took, scraped);
        // A scrape that takes longer than an interval costs the ones that it is in the way of.
        while next <= Instant::now() {
            next += interval;
        }
    }
    // Its connection is open to the end, as it would be if this went on.
    let _ = super::pause(end.saturating_duration_since(Instant::now()));
}
