//! A second session: scrapes do not notice that the first one dies.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;

use super::*;
use crate::config::ScrapeLimits;
use crate::scrape::Scraper;

const LIMITS: ScrapeLimits = ScrapeLimits {
    timeout: Duration::from_secs(10),
    max_timeout: Duration::from_secs(10),
    max_body: 1 << 20,
};

fn request() -> Request<Empty<Bytes>> {
    Request::builder().uri("/metrics").body(Empty::new()).expect("request")
}

/// How long a scrape took that was good.
pub(super) async fn scraped(target: &Arc<Target>) -> Duration {
    let started = Instant::now();
    let response = Scraper::new(target.clone(), 0, LIMITS).answer(request()).await;
    assert_eq!(response.status(), 200, "{:?}", response.headers());
    let body = response.into_body().collect().await.expect("whole").to_bytes();
    assert!(body.starts_with(b"# HELP "), "{body:?}");
    started.elapsed()
}

async fn stood_by(target: &Target) {
    let there = async {
        while !target.has_standby() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(60), there).await.expect("in time");
}

/// A target with a second session that was scraped often enough to know what is usual.
async fn in_use(rig: &Rig, device: &Arc<Device>) -> Arc<Target> {
    let target = rig.target_with_standby("a", device);
    up(&target).await;
    stood_by(&target).await;
    for _ in 0..20 {
        assert!(scraped(&target).await < Duration::from_millis(250));
    }
    target
}

#[tokio::test(start_paused = true)]
async fn it_takes_the_place_of_one_that_is_lost() {
    let (rig, device) = (Rig::new(1), Device::new(Manner::Answer));
    let target = rig.target_with_standby("a", &device);
    up(&target).await;
    let since = target.since();
    for round in 1..=3 {
        stood_by(&target).await;
        assert_eq!((device.sessions().as_str(), device.dials()), ("2", round + 1));
        assert_eq!(rig.metric("onionscrape_target_standby_connected{target=\"a\"}"), "1");
        let pool = target.pool().await.map_err(|_| ()).expect("up");
        pool.session().cut();
        assert!(scraped(&target).await < Duration::from_secs(1), "round {round}");
        assert!(!Arc::ptr_eq(&pool, &target.pool().await.map_err(|_| ()).expect("up")));
    }
    assert_eq!(target.since(), since, "it was up all the time");
    assert_eq!(rig.metric("onionscrape_scrape_failures_total{target=\"a\",reason=\"aborted\"}"), "0");
}

#[tokio::test(start_paused = true)]
async fn a_scrape_that_is_late_is_sent_in_both() {
    let (rig, device) = (Rig::new(1), Device::new(Manner::Answer));
    let target = in_use(&rig, &device).await;
    let counted = |what: &str| rig.metric(&format!("onionscrape_{what}_total{{target=\"a\"}}"));
    assert_eq!(counted("scrape_standby_requests"), "0", "none was late");
    device.frozen.lock().expect("lock")[0].cancel();
    let took = scraped(&target).await;
    assert!((250..500).contains(&took.as_millis()), "{took:?}");
    assert_eq!(counted("scrape_standby_requests"), "1");
    assert_eq!(counted("scrape_standby_answers"), "1");
    assert_eq!(counted("scrape_requests"), "21", "it is one scrape");
    // The first one is asked, does not answer, and the second one is the first from then on.
    let frozen = target.pool().await.map_err(|_| ()).expect("up");
    sleep(Duration::from_secs(6)).await;
    assert_eq!(counted("ssh_keepalive_failures"), "1");
    assert!(!Arc::ptr_eq(&frozen, &target.pool().await.map_err(|_| ()).expect("up")));
    assert!(scraped(&target).await < Duration::from_millis(250));
    stood_by(&target).await;
}

#[tokio::test(start_paused = true)]
async fn when_both_are_dead_both_are_given_up_together() {
    let (rig, device) = (Rig::new(1), Device::new(Manner::Answer));
    let target = in_use(&rig, &device).await;
    sleep(Duration::from_secs(60)).await;
    device.freeze();
    let took = scraped(&target).await;
    // Both are asked for a sign of life at the same time, and the next one is dialled.
    assert!(took < Duration::from_secs(6), "{took:?}");
    stood_by(&target).await;
    assert_eq!(device.dials(), 4);
}

#[tokio::test(start_paused = true)]
async fn without_one_what_is_late_is_sent_again_only_when_the_session_is_given_up() {
    let (rig, device) = (Rig::new(1), Device::new(Manner::Answer));
    let target = rig.target("a", &device);
    up(&target).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!((device.sessions().as_str(), device.dials()), ("1", 1));
    device.frozen.lock().expect("lock")[0].cancel();
    let took = scraped(&target).await;
    assert!((5..10).contains(&took.as_secs()), "{took:?}");
    assert_eq!(device.dials(), 2);
    assert_eq!(rig.metric("onionscrape_scrape_standby_requests_total{target=\"a\"}"), "0");
}

#[tokio::test(start_paused = true)]
async fn without_one_a_scrape_that_loses_its_session_waits_for_the_next() {
    let (rig, device) = (Rig::new(1), Device::that_takes(Duration::from_secs(3), Manner::Answer));
    let target = rig.target("a", &device);
    up(&target).await;
    scraped(&target).await;
    // A session has proved itself after a while, and is dialled anew at once.
    sleep(Duration::from_secs(60)).await;
    target.pool().await.map_err(|_| ()).expect("up").session().cut();
    let took = scraped(&target).await;
    assert!((3000..4000).contains(&took.as_millis()), "{took:?}");
    assert_eq!(device.dials(), 2);
    assert_eq!(rig.metric("onionscrape_scrape_failures_total{target=\"a\",reason=\"aborted\"}"), "0");
}

#[tokio::test(start_paused = true)]
async fn a_scrape_that_loses_both_waits_for_the_next() {
    let (rig, device) = (Rig::new(1), Device::new(Manner::Answer));
    let target = rig.target_with_standby("a", &device);
    up(&target).await;
    stood_by(&target).await;
    sleep(Duration::from_secs(60)).await;
    target.pool().await.map_err(|_| ()).expect("up").session().cut();
    target.standby.pool().expect("there").session().cut();
    scraped(&target).await;
    assert_eq!(rig.metric("onionscrape_scrape_failures_total{target=\"a\",reason=\"aborted\"}"), "0");
}

#[tokio::test(start_paused = true)]
async fn when_the_second_is_lost_in_the_firsts_place_there_is_no_pause() {
    let (rig, device) = (Rig::new(1), Device::new(Manner::Answer));
    let target = in_use(&rig, &device).await;
    device.set(Manner::Hang);
    let first = target.pool().await.map_err(|_| ()).expect("up");
    let second = target.standby.pool().expect("there");
    first.session().cut();
    replaced(&target, &first).await;
    second.session().cut();
    device.set(Manner::Answer);
    let started = Instant::now();
    replaced(&target, &second).await;
    assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
}
