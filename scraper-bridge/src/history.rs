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
mod tests {
    use super::*;
    use crate::hops::Hop;

    fn add(history: &History, exporter: usize, milliseconds: u64, failure: Option<&ScrapeFailure>) {
        let mut hops = Hops::default();
        hops.add(Hop::Answer, Duration::from_millis(milliseconds));
        history.add(exporter, Instant::now(), hops, failure.map(|failure| Failed::new(failure, "node")));
    }

    const TIMEOUT: ScrapeFailure = ScrapeFailure::Timeout("in the middle of the body");

    #[tokio::test(start_paused = true)]
    async fn quantiles_are_of_good_scrapes_only() {
        let history = History::default();
        assert_eq!((history.quantile(0.5), history.last_good(), history.failure(0)), (None, None, None));
        for milliseconds in 1..=20 {
            add(&history, 0, milliseconds, None);
        }
        let last_good = history.last_good();
        add(&history, 1, 9000, Some(&TIMEOUT));
        assert_eq!(history.quantile(0.5), Some(Duration::from_millis(10)));
        assert_eq!(history.quantile(0.95), Some(Duration::from_millis(19)));
        assert_eq!(history.quantile(0.0), Some(Duration::from_millis(1)));
        assert_eq!(history.quantile(1.0), Some(Duration::from_millis(20)));
        assert!(last_good.is_some() && history.last_good() == last_good);
        let failed = history.failure(1).expect("it failed");
        assert_eq!(&*failed.why, "timed out in the middle of the body");
        assert_eq!(history.failure(0), None);
        assert_eq!(history.scrapes(0).last().map(|last| last.hops.total()), Some(Duration::from_millis(20)));
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_last_are_kept() {
        let history = History::default();
        add(&history, 3, 1, None);
        for _ in 0..2000 {
            add(&history, 3, 2, Some(&TIMEOUT));
            tokio::time::advance(BUCKET).await;
        }
        assert!(history.last_good().is_some(), "it is remembered all the same");
        assert_eq!(
            (history.scrapes(3).len(), history.scrapes(0).len(), history.scrapes(9).len()),
            (24, 0, 0)
        );
        let inner = history.locked();
        assert_eq!(inner.buckets.capacity(), BUCKETS);
        assert_eq!(inner.exporters[3].scrapes.capacity(), KEPT);
        let kept =
            inner.exporters[3].scrapes.iter().map(|scrape| scrape.failure.clone().expect("failed").why);
        let kept: Vec<_> = kept.collect();
        assert!(kept.iter().all(|why| Arc::ptr_eq(why, &kept[0])), "the same words once");
        let size = inner.buckets.capacity() * size_of::<Bucket>() + TIMED * size_of::<u32>();
        assert!(size <= 4 << 10, "{size}");
        assert!(KEPT * size_of::<Scrape>() <= 2 << 10, "{}", size_of::<Scrape>());
    }

    #[tokio::test(start_paused = true)]
    async fn hours_are_told_in_buckets() {
        let history = History::default();
        for milliseconds in [10, 30, 20] {
            add(&history, 0, milliseconds, None);
        }
        add(&history, 1, 5000, Some(&TIMEOUT));
        tokio::time::advance(BUCKET * 3).await;
        add(&history, 0, 40, None);
        add(&history, 0, 9, Some(&TIMEOUT));
        tokio::time::advance(BUCKET).await;
        add(&history, 0, 9, Some(&TIMEOUT));
        let seen = || {
            let buckets = history.buckets().into_iter();
            let milliseconds = |took: Option<Duration>| took.map(|took| took.as_millis());
            buckets
                .map(|(_, b)| (b.scrapes, b.failures, milliseconds(b.median()), milliseconds(b.longest())))
                .collect::<Vec<_>>()
        };
        let all = [(4, 1, Some(20), Some(30)), (2, 1, Some(40), Some(40)), (1, 1, None, None)];
        assert_eq!(seen(), all);
        // Six hours after the first, it is the first that goes.
        tokio::time::advance(BUCKET * (BUCKETS as u32 - 5)).await;
        assert_eq!(seen(), all);
        tokio::time::advance(BUCKET).await;
        assert_eq!(seen(), all[1..]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_with_a_scrape_has_its_place_however_they_fall() {
        let history = History::default();
        // One in two minutes, six hours long: the first of each five minutes comes at another second.
        for _ in 0..BUCKETS as u64 * BUCKET.as_secs() / 120 {
            tokio::time::advance(Duration::from_secs(120)).await;
            add(&history, 0, 1, None);
        }
        let ago = |buckets: Vec<(usize, Bucket)>| buckets.into_iter().map(|(ago, _)| ago).collect::<Vec<_>>();
        assert_eq!(ago(history.buckets()), (0..BUCKETS).rev().collect::<Vec<_>>());
        tokio::time::advance(BUCKET * 2).await;
        assert_eq!(ago(history.buckets()), (2..BUCKETS).rev().collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_over_with_the_hours_or_when_something_goes_well() {
        let history = History::default();
        let fails = || history.failure(0).is_some();
        add(&history, 0, 1, Some(&TIMEOUT));
        tokio::time::advance(BUCKET * (BUCKETS as u32 - 1)).await;
        assert!(fails());
        tokio::time::advance(BUCKET).await;
        assert!(!fails() && history.scrapes(0).len() == 1, "it is told of, and is no trouble any more");
        add(&history, 0, 1, Some(&TIMEOUT));
        assert!(fails());
        history.reached(0);
        assert!(!fails());
        add(&history, 0, 1, Some(&TIMEOUT));
        add(&history, 0, 1, None);
        assert!(!fails());
    }
}
