//! A session that is asked whether it is still there.

use tokio::time::error::Elapsed;

use super::standby::scraped;
use super::*;
use crate::pool::{ConnectionFailure, Taken};
use crate::session::ChannelFailure;

async fn suspected(target: &Target) {
    let mut state = target.state();
    let suspected = state.wait_for(|state| matches!(state, State::Suspect(_)));
    timeout(Duration::from_secs(1), suspected).await.expect("at once").expect("kept");
}

/// A target that is suspected, whose device does not answer, and its session.
async fn frozen(rig: &Rig) -> (Arc<Target>, Arc<Pool>) {
    let device = Device::new(Manner::Answer);
    let target = rig.target("a", &device);
    up(&target).await;
    let pool = target.pool().await.map_err(|_| ()).expect("up");
    device.freeze();
    target.doubt();
    suspected(&target).await;
    (target, pool)
}

#[tokio::test(start_paused = true)]
async fn one_that_answers_was_up_all_the_time() {
    let (rig, device) = (Rig::new(1), Device::new(Manner::Answer));
    let target = rig.target("a", &device);
    up(&target).await;
    let since = target.since();
    for _ in 0..3 {
        let mut state = target.state();
        state.mark_unchanged();
        target.doubt();
        // It may have answered before anybody sees that it is suspected.
        state.changed().await.expect("kept");
        state.wait_for(|state| matches!(state, State::Up(_))).await.expect("kept");
        scraped(&target).await;
    }
    assert_eq!((device.dials(), target.since()), (1, since));
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_is_given_up_and_used_until_then() {
    let rig = Rig::new(1);
    let (target, pool) = frozen(&rig).await;
    assert!(Arc::ptr_eq(&pool, &target.pool().await.map_err(|_| ()).expect("still used")));
    let asked = Instant::now();
    replaced(&target, &pool).await;
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    scraped(&target).await;
}

#[tokio::test(start_paused = true)]
async fn whoever_wants_another_does_not_wait_for_what_it_answers() {
    let rig = Rig::new(1);
    let (target, pool) = frozen(&rig).await;
    let asked = Instant::now();
    target.redial().await;
    replaced(&target, &pool).await;
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_scrape_that_is_much_too_late_goes_on_in_the_next_one() {
    let (rig, device) = (Rig::new(1), Device::new(Manner::Answer));
    let target = rig.target("a", &device);
    up(&target).await;
    for _ in 0..20 {
        scraped(&target).await;
    }
    device.freeze();
    let took = scraped(&target).await;
    assert!((1..=8).contains(&took.as_secs()), "{took:?}");
    assert_eq!(device.dials(), 2);
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_for_another_before_there_is_one_has_that() {
    let (rig, device) = (Rig::new(1), Device::that_takes(Duration::from_secs(3), Manner::Answer));
    let target = rig.target("a", &device);
    sleep(Duration::from_secs(1)).await;
    target.redial().await;
    up(&target).await;
    sleep(Duration::from_secs(10)).await;
    assert_eq!((device.sessions().as_str(), device.dials()), ("1", 1));
}

/// A target whose open channels are all in use, its session, and those channels; its device opens no others from
/// now on.
async fn opening_no_more(rig: &Rig) -> (Arc<Target>, Arc<Pool>, [Connected; 2]) {
    let device = Device::new(Manner::Answer);
    let target = rig.target("a", &device);
    up(&target).await;
    scraped(&target).await;
    let pool = target.pool().await.map_err(|_| ()).expect("up");
    let at_once = Duration::from_millis(10);
    let open = [take(&target, &pool, at_once).await, take(&target, &pool, at_once).await];
    device.freeze();
    (target, pool, open)
}

type Connected = Result<Result<Taken, ConnectionFailure>, Elapsed>;

async fn take(target: &Target, pool: &Pool, patience: Duration) -> Connected {
    timeout(patience, pool.take(0, &target.config.exporters[0])).await
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_was_given_up_at_once_is_no_reason_to_give_up_the_session() {
    let rig = Rig::new(1);
    let (target, pool, _open) = opening_no_more(&rig).await;
    for _ in 0..5 {
        assert!(take(&target, &pool, Duration::from_millis(500)).await.is_err());
    }
    assert!(!pool.session().is_over());
    for _ in 0..3 {
        assert!(take(&target, &pool, Duration::from_secs(3)).await.is_err());
    }
    assert!(pool.session().is_over());
}

#[tokio::test(start_paused = true)]
async fn a_channel_has_its_own_time_to_open() {
    let rig = Rig::new(1);
    let (target, pool, _open) = opening_no_more(&rig).await;
    let began = Instant::now();
    let opened = take(&target, &pool, Duration::from_secs(60)).await.expect("in its own time");
    assert!(matches!(opened, Err(ConnectionFailure::Channel(ChannelFailure::Late))));
    assert_eq!(began.elapsed().as_secs(), 10);
}
