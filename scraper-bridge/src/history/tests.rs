//! What is kept of scrapes, and for how long.

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
    assert_eq!((history.scrapes(3).len(), history.scrapes(0).len(), history.scrapes(9).len()), (24, 0, 0));
    let inner = history.locked();
    assert_eq!(inner.buckets.capacity(), BUCKETS);
    assert_eq!(inner.exporters[3].scrapes.capacity(), KEPT);
    let kept = inner.exporters[3].scrapes.iter().map(|scrape| scrape.failure.clone().expect("failed").why);
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
