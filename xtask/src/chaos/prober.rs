//! Asks for a scrape every quarter of a second, as if Prometheus were in a hurry, and notes how it went.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::body;
use super::history::{History, Outcome, Probe, Way};
use super::place::Place;
use crate::Failure;

/// Pause between two scrapes.
pub const PAUSE: Duration = Duration::from_millis(250);
/// What the asker says that it waits, as Prometheus does by default.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What the bridge has of it for a scrape: half a second is left for the answer to get there.
pub const BUDGET: Duration = Duration::from_millis(9500);
/// What it really waits, to see by how much an answer is late.
const PATIENCE: Duration = Duration::from_secs(13);
/// Scrapes under way at once; so many there can be only if the patience has no effect.
const AT_ONCE: usize = 64;

/// Asks until it is dropped.
pub struct Prober(Arc<AtomicBool>);

impl Prober {
    /// Starts asking at `address` in this place for what is said to be the exporter of `target`.
    ///
    /// # Errors
    /// When the place cannot be entered.
    pub fn start(
        place: &Place,
        way: Way,
        target: &str,
        address: SocketAddr,
        pause: Duration,
        history: &Arc<History>,
    ) -> Result<Self, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, history) = (Arc::clone(&stop), Arc::clone(history));
        let target: Arc<str> = target.into();
        place.within(move || {
            std::thread::spawn(move || {
                let under_way = Arc::new(AtomicUsize::new(0));
                let mut next = Instant::now();
                while !stopped.load(Ordering::Relaxed) {
                    if under_way.fetch_add(1, Ordering::Relaxed) < AT_ONCE {
                        let (history, under_way) = (Arc::clone(&history), Arc::clone(&under_way));
                        let target = Arc::clone(&target);
                        std::thread::spawn(move || {
                            let asked = history.begin(way);
                            history.probe(ask(way, &target, address, asked, history.epoch()));
                            under_way.fetch_sub(1, Ordering::Relaxed);
                        });
                    } else {
                        under_way.fetch_sub(1, Ordering::Relaxed);
                    }
                    next += pause;
                    std::thread::sleep(next.saturating_duration_since(Instant::now()));
                }
            });
            Ok(())
        })?;
        Ok(Self(stop))
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn ask(way: Way, target: &str, address: SocketAddr, asked: Duration, epoch: Instant) -> Probe {
    let outcome = match fetch(address) {
        Ok((200, text)) => match body::read(target, &text) {
            Ok(said) if said.at < asked => Outcome::Wrong(format!(
                "answer {} was made {:.1} s before it was asked for",
                said.number,
                (asked - said.at).as_secs_f64()
            )),
            Ok(_) => Outcome::Good,
            Err(what) => Outcome::Wrong(what),
        },
        Ok((status, text)) => Outcome::Failed(format!("{status} {}", text.trim())),
        Err(ureq::Error::Timeout(_)) => Outcome::Unanswered,
        Err(ureq::Error::Io(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            Outcome::NobodyListened
        }
        Err(ureq::Error::ConnectionFailed) => Outcome::NobodyListened,
        Err(error) => Outcome::Failed(error.to_string()),
    };
    Probe { way, asked, took: epoch.elapsed() - asked, outcome }
}

/// One scrape on a connection of its own. A body that breaks off is an error.
fn fetch(address: SocketAddr) -> Result<(u16, String), ureq::Error> {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .proxy(None)
        .build();
    let mut response = ureq::Agent::new_with_config(config)
        .get(format!("http://{address}/metrics"))
        .header("x-prometheus-scrape-timeout-seconds", TIMEOUT.as_secs().to_string())
        .header("connection", "close")
        .call()?;
    let status = response.status().as_u16();
    Ok((status, response.body_mut().read_to_string()?))
}
