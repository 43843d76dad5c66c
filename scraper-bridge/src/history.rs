//! The last scrapes of a target, for people who look.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// Scrapes that are kept of each target: an hour's at one in 15 s.
const KEPT: usize = 240;

/// The last scrapes of one target, of all its exporters.
#[derive(Debug, Default)]
pub struct History(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// The latest last.
    scrapes: VecDeque<Scrape>,
    last_good: Option<SystemTime>,
}

/// One scrape.
#[derive(Clone, Debug, PartialEq)]
pub struct Scrape {
    /// Which of the target's exporters it was.
    pub exporter: usize,
    /// When it ended.
    pub at: SystemTime,
    /// From the request to the last byte, or to the failure.
    pub took: Duration,
    /// Why it failed, if it did.
    pub failure: Option<String>,
}

impl History {
    /// Notes a scrape that has ended.
    pub fn add(&self, scrape: Scrape) {
        let mut inner = self.locked();
        if scrape.failure.is_none() {
            inner.last_good = Some(scrape.at);
        }
        if inner.scrapes.len() == KEPT {
            inner.scrapes.pop_front();
        }
        inner.scrapes.push_back(scrape);
    }

    /// When a scrape was good last, however long ago.
    pub fn last_good(&self) -> Option<SystemTime> {
        self.locked().last_good
    }

    /// The last scrape of an exporter.
    pub fn last(&self, exporter: usize) -> Option<Scrape> {
        self.locked().scrapes.iter().rev().find(|scrape| scrape.exporter == exporter).cloned()
    }

    /// How long a good scrape took: the `share` of them took no longer, 0 to 1. `None` without any.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let inner = self.locked();
        let good = inner.scrapes.iter().filter(|scrape| scrape.failure.is_none());
        let mut took: Vec<_> = good.map(|scrape| scrape.took).collect();
        took.sort_unstable();
        let rank = (took.len() as f64 * share).ceil() as usize;
        took.get(rank.clamp(1, took.len().max(1)) - 1).copied()
    }

    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrape(exporter: usize, milliseconds: u64, failure: Option<&str>) -> Scrape {
        let took = Duration::from_millis(milliseconds);
        let at = SystemTime::UNIX_EPOCH + took;
        Scrape { exporter, at, took, failure: failure.map(str::to_owned) }
    }

    #[test]
    fn quantiles_are_of_good_scrapes_only() {
        let history = History::default();
        assert_eq!((history.quantile(0.5), history.last_good(), history.last(0)), (None, None, None));
        for milliseconds in 1..=20 {
            history.add(scrape(0, milliseconds, None));
        }
        history.add(scrape(1, 9000, Some("timed out")));
        assert_eq!(history.quantile(0.5), Some(Duration::from_millis(10)));
        assert_eq!(history.quantile(0.95), Some(Duration::from_millis(19)));
        assert_eq!(history.quantile(0.0), Some(Duration::from_millis(1)));
        assert_eq!(history.quantile(1.0), Some(Duration::from_millis(20)));
        assert_eq!(history.last_good(), Some(SystemTime::UNIX_EPOCH + Duration::from_millis(20)));
        assert_eq!(history.last(1).and_then(|last| last.failure).as_deref(), Some("timed out"));
        assert_eq!(history.last(0).map(|last| last.took), Some(Duration::from_millis(20)));
    }

    #[test]
    fn only_the_last_are_kept() {
        let history = History::default();
        history.add(scrape(0, 1, None));
        for _ in 0..KEPT {
            history.add(scrape(0, 2, Some("down")));
        }
        assert_eq!(history.quantile(0.5), None);
        assert!(history.last_good().is_some(), "it is remembered all the same");
    }
}
