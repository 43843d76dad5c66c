//! The last scrapes of a target, for people who look: each of the latest by itself, those of the last
//! hours counted together. A target takes 4 KiB, and 2 KiB more for each exporter.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::failure::ScrapeFailure;
use crate::hops::Hops;
use crate::remedy;

/// Scrapes of each exporter that are kept one by one.
pub const KEPT: usize = 24;
/// Good scrapes of a target by which its latency is told: an hour's at one in 15 s.
const TIMED: usize = 240;
/// The time whose scrapes are counted together.
pub const BUCKET: Duration = Duration::from_secs(300);
/// How many such times are kept: six hours.
pub const BUCKETS: usize = 72;
/// Longest description of a failure, in letters; a device may have had a say in it.
const LONGEST_WHY: usize = 120;

/// The last scrapes of one target, of all its exporters.
#[derive(Debug)]
pub struct History(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    /// Of each exporter.
    exporters: Vec<OfExporter>,
    /// How long good scrapes took, in microseconds, the latest last.
    took: VecDeque<u32>,
    /// Those with a scrape in them, the latest last.
    buckets: VecDeque<Bucket>,
    /// From where buckets are numbered. The clock on the wall may be set meanwhile.
    origin: Instant,
    last_good: Option<SystemTime>,
}

#[derive(Debug, Default)]
struct OfExporter {
    /// The latest last.
    scrapes: VecDeque<Scrape>,
    /// The stretch of time in which the last one failed, if it did and nothing went well since.
    failed_in: Option<i64>,
}

/// One scrape.
#[derive(Clone, Debug, PartialEq)]
pub struct Scrape {
    /// When it ended.
    pub at: SystemTime,
    /// From the request to the last byte, or to the failure.
    pub hops: Hops,
    /// Why it failed, if it did.
    pub failure: Option<Failed>,
}

/// Why a scrape failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Failed {
    /// In words, as Prometheus was told.
    pub why: Arc<str>,
    /// What to do about it, if it is not the session that is missing.
    pub remedy: Option<&'static str>,
}

impl Failed {
    /// What is kept of a failure.
    pub fn new(failure: &ScrapeFailure, exporter: &str) -> Self {
        let why = failure.answer(exporter).reason;
        let why: String = why.chars().filter(|letter| !letter.is_control()).take(LONGEST_WHY).collect();
        let no_session = matches!(failure, ScrapeFailure::NotConnected(_) | ScrapeFailure::Denied(_));
        let remedy = (!no_session).then(|| remedy::of_scrape(failure));
        Self { why: why.into(), remedy }
    }
}

/// The scrapes of one stretch of time, [`BUCKET`] long.
#[derive(Clone, Debug, PartialEq)]
pub struct Bucket {
    number: i64,
    /// When its first scrape ended.
    pub began: SystemTime,
    /// All of them.
    pub scrapes: u32,
    /// Those that failed.
    pub failures: u32,
    median: u32,
    longest: u32,
}

impl Bucket {
    /// Half of the good ones took no longer.
    pub fn median(&self) -> Option<Duration> {
        self.of_good(self.median)
    }

    /// None of the good ones took longer.
    pub fn longest(&self) -> Option<Duration> {
        self.of_good(self.longest)
    }

    fn of_good(&self, micros: u32) -> Option<Duration> {
        (self.failures < self.scrapes).then(|| Duration::from_micros(micros.into()))
    }
}

impl Default for History {
    fn default() -> Self {
        Self(Mutex::new(Inner {
            exporters: Vec::new(),
            took: VecDeque::new(),
            buckets: VecDeque::new(),
            origin: Instant::now(),
            last_good: None,
        }))
    }
}

impl History {
    /// Notes a scrape of the target's exporter number `exporter` that ended then. They come in the
    /// order in which they end.
    pub fn add(&self, exporter: usize, ended: Instant, hops: Hops, failure: Option<Failed>) {
        let now = SystemTime::now();
        let at = now.checked_sub(ended.elapsed()).unwrap_or(now);
        let mut inner = self.locked();
        if failure.is_none() {
            inner.last_good = Some(at);
            let took = u32::try_from(hops.total().as_micros()).unwrap_or(u32::MAX);
            push(&mut inner.took, took, TIMED);
        }
        inner.count(ended, at, failure.is_some());
        let failed_in = failure.is_some().then(|| inner.number(ended));
        if inner.exporters.len() <= exporter {
            inner.exporters.resize_with(exporter + 1, OfExporter::default);
        }
        inner.exporters[exporter].failed_in = failed_in;
        let of = &mut inner.exporters[exporter].scrapes;
        // A device that is off fails in the same words again and again.
        let before =
            of.back().and_then(|last| last.failure.clone()).filter(|last| Some(last) == failure.as_ref());
        push(of, Scrape { at, hops, failure: before.or(failure) }, KEPT);
    }

    /// When a scrape was good last, however long ago.
    pub fn last_good(&self) -> Option<SystemTime> {
        self.locked().last_good
    }

    /// The last scrapes of an exporter, the latest last; [`KEPT`] at most.
    pub fn scrapes(&self, exporter: usize) -> Vec<Scrape> {
        let inner = self.locked();
        inner.exporters.get(exporter).map(|of| of.scrapes.iter().cloned().collect()).unwrap_or_default()
    }

    /// Why the last scrape of an exporter failed, if it did within the hours that are kept: nobody who
    /// has stopped asking is in trouble for ever.
    pub fn failure(&self, exporter: usize) -> Option<Failed> {
        let inner = self.locked();
        let of = inner.exporters.get(exporter)?;
        let now = inner.number(Instant::now());
        of.failed_in.filter(|number| now - number < BUCKETS as i64)?;
        of.scrapes.back()?.failure.clone()
    }

    /// Notes that the exporter was reached in a way that is no scrape, so that it does not fail any more.
    pub fn reached(&self, exporter: usize) {
        if let Some(of) = self.locked().exporters.get_mut(exporter) {
            of.failed_in = None;
        }
    }

    /// The last hours, the latest last, without those times that had no scrape; [`BUCKETS`] at most. Each
    /// with how many such times ago it was: 0 is the one that goes on.
    pub fn buckets(&self) -> Vec<(usize, Bucket)> {
        let inner = self.locked();
        let now = inner.number(Instant::now());
        let aged = |bucket: &Bucket| {
            let ago = usize::try_from(now - bucket.number).unwrap_or_default();
            (ago < BUCKETS).then(|| (ago, bucket.clone()))
        };
        inner.buckets.iter().filter_map(aged).collect()
    }

    /// How long a good scrape took of late: the `share` of them took no longer, 0 to 1. `None` without
    /// any.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        quantile(self.locked().took.iter().copied(), share)
    }

    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn number(&self, at: Instant) -> i64 {
        let seconds = match at.checked_duration_since(self.origin) {
            Some(after) => after.as_secs() as i64,
            None => -((self.origin - at).as_secs() as i64) - 1,
        };
        seconds.div_euclid(BUCKET.as_secs() as i64)
    }

    fn count(&mut self, ended: Instant, at: SystemTime, failed: bool) {
        let number = self.number(ended);
        // Of two that end at once the one may be noted before the other.
        if self.buckets.back().is_none_or(|last| last.number < number) {
            let fresh = Bucket { number, began: at, scrapes: 0, failures: 0, median: 0, longest: 0 };
            push(&mut self.buckets, fresh, BUCKETS);
        }
        let Some(bucket) = self.buckets.back_mut() else { return };
        bucket.scrapes = bucket.scrapes.saturating_add(1);
        if failed {
            bucket.failures = bucket.failures.saturating_add(1);
            return;
        }
        let good = (bucket.scrapes - bucket.failures) as usize;
        let of_this = self.took.iter().rev().take(good).copied();
        bucket.longest = bucket.longest.max(self.took.back().copied().unwrap_or_default());
        bucket.median = quantile(of_this, 0.5).map_or(0, |median| median.as_micros() as u32);
    }
}

fn push<T>(to: &mut VecDeque<T>, item: T, most: usize) {
    if to.len() == most {
        to.pop_front();
    }
    // Grows to what is allowed and no further.
    if to.len() == to.capacity() {
        to.reserve_exact(most.min((to.len() * 2).max(4)) - to.len());
    }
    to.push_back(item);
}

fn quantile(micros: impl Iterator<Item = u32>, share: f64) -> Option<Duration> {
    let mut took: Vec<u32> = micros.collect();
    let rank = (took.len() as f64 * share).ceil() as usize;
    let index = rank.clamp(1, took.len().max(1)) - 1;
    if took.is_empty() {
        return None;
    }
    Some(Duration::from_micros((*took.select_nth_unstable(index).1).into()))
}

#[cfg(test)]
mod tests;
