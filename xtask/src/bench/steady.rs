//! Scraping many exporters at an interval, as Prometheus does.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
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

/// What is said of a scrape that was not begun.
const IN_THE_WAY: &str = "the scrape before was still under way";

/// Scrapes each address once an interval, spread evenly over it, each on a connection of its own that is
/// kept; calls `look` at once, every 5 s and at the end. A body of less than `least` bytes is a failed scrape.
///
/// # Errors
/// When no thread can be started or all of it is to stop, and what `look` fails with, as soon as scrapes that
/// are under way are over.
pub fn scrape(
    addresses: &[SocketAddr],
    least: usize,
    (interval, length): (Duration, Duration),
    mut look: impl FnMut(Duration) -> Result<(), Failure>,
) -> Result<Outcome, Failure> {
    let (outcome, is_given_up) = (Mutex::new(Outcome::new()), AtomicBool::new(false));
    let started = Instant::now();
    std::thread::scope(|scope| {
        let mut all = || -> Result<(), Failure> {
            for (number, address) in addresses.iter().enumerate() {
                let first = interval.mul_f64(number as f64 / addresses.len() as f64);
                let (outcome, is_given_up) = (&outcome, &is_given_up);
                let times = (started + first, interval, started + length);
                let scraping = move || one(*address, least, times, outcome, is_given_up);
                std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, scraping)?;
            }
            loop {
                let elapsed = started.elapsed();
                look(elapsed)?;
                if elapsed >= length {
                    return Ok(());
                }
                super::pause(LOOK.min(length - elapsed))?;
            }
        };
        let watched = all();
        is_given_up.store(watched.is_err(), Ordering::Relaxed);
        watched
    })?;
    Ok(outcome.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn one(
    address: SocketAddr,
    least: usize,
    (first, interval, end): (Instant, Duration, Instant),
    outcome: &Mutex<Outcome>,
    is_given_up: &AtomicBool,
) {
    let (mut next, mut kept) = (first, None);
    while next < end {
        if !waited(next, is_given_up) {
            return;
        }
        let began = Instant::now();
        let connect = || Ok(Connection::tcp_within(address, TIMEOUT)?.at_least(least));
        let scraped = Connection::scrape_kept(&mut kept, connect);
        let (ended, mut outcome) = (Instant::now(), outcome.lock().unwrap_or_else(PoisonError::into_inner));
        outcome.add(ended - began, scraped);
        next += interval;
        // A scrape that takes longer than an interval costs the ones that it is in the way of: they are lost.
        while next <= ended && next < end {
            outcome.add(Duration::ZERO, Err(IN_THE_WAY.into()));
            next += interval;
        }
    }
    // Its connection is open to the end, as it would be if this went on.
    waited(end, is_given_up);
}

/// Waits until then; false if it is given up before.
fn waited(until: Instant, is_given_up: &AtomicBool) -> bool {
    loop {
        if is_given_up.load(Ordering::Relaxed) || super::go_on().is_err() {
            return false;
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(Duration::from_millis(200)));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn what_is_given_up_is_over_at_once() {
        let began = Instant::now();
        let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
        let times = (Duration::from_secs(600), Duration::from_secs(1200));
        let ended = scrape(&[nobody; 3], 5, times, |_| Err("the bridge ended".into()));
        assert!(ended.is_err_and(|error| error.to_string() == "the bridge ended"));
        assert!(began.elapsed() < Duration::from_secs(300), "{:?}", began.elapsed());
    }

    #[test]
    fn scrapes_that_another_is_in_the_way_of_are_lost() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("who scrapes");
            let mut exporter = BufReader::new(stream.try_clone().expect("both directions"));
            // The first answer takes three intervals and a half.
            std::thread::sleep(Duration::from_millis(700));
            let mut line = String::new();
            while exporter.read_line(&mut line).is_ok_and(|length| length > 0) {
                if line == "\r\n" {
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nup 1\n").expect("sent");
                }
                line.clear();
            }
        });
        let times = (Duration::from_millis(200), Duration::from_millis(2000));
        let outcome = scrape(&[address], 5, times, |_| Ok(())).expect("scraped");
        let lost = outcome.bad.get(IN_THE_WAY).copied().unwrap_or(0);
        assert!(lost >= 3, "{}", outcome.complaints());
        assert_eq!((outcome.times.len() + lost, outcome.bad.len()), (10, 1), "{}", outcome.complaints());
    }
}
