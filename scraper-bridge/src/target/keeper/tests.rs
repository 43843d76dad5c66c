//! The owner of a session, against an agent's SSH server over streams in memory. Time is paused, so
//! it passes only when nothing else can happen.
//!
//! - `rig`: agents in memory, and targets that dial them;
//! - the others: more tests.

mod inventory;
mod rig;
mod standby;
mod suspected;

use onionscrape::metrics::{classic_text, registry};
use rig::*;
use tokio::time::{Instant, timeout};

use super::*;
use crate::failure::ScrapeFailure;

#[tokio::test(start_paused = true)]
async fn one_dial_serves_everybody_who_waits() {
    let device = Device::new(Manner::Answer);
    let rig = Rig::new(16);
    let target = rig.target("a", &device);
    let waiting: Vec<_> = (0..50)
        .map(|_| {
            let target = target.clone();
            tokio::spawn(async move { target.pool().await.map(|_| ()) })
        })
        .collect();
    for scrape in waiting {
        scrape.await.expect("no panic").expect("a pool");
    }
    assert_eq!(device.dials(), 1);
    assert_eq!(rig.metric("onionscrape_target_connects_total{target=\"a\"}"), "1");
    assert_eq!(rig.metric("onionscrape_target_connected{target=\"a\"}"), "1");
}

#[tokio::test(start_paused = true)]
async fn a_bad_target_costs_the_others_nothing() {
    let rig = Rig::new(3);
    let (failing, mismatched) = (Device::new(Manner::Fail), Device::new(Manner::Answer));
    let hanging: Vec<_> = (0..2).map(|_| Device::new(Manner::Hang)).collect();
    for (index, device) in hanging.iter().enumerate() {
        rig.target(&format!("hanging{index}"), device);
    }
    let failing_target = rig.target("failing", &failing);
    let mismatched_target = rig.target_with_host_key("mismatched", &mismatched, "another_host");
    let good = Device::new(Manner::Answer);
    let target = rig.target("good", &good);
    up(&target).await;
    // An hour with bad neighbours: the good one keeps its session, and they keep theirs to themselves.
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(target.pool().await.is_ok());
    assert_eq!(good.dials(), 1);
    assert!(hanging.iter().all(|device| device.dials() == 1));
    assert!(matches!(failing_target.pool().await, Err(ScrapeFailure::NotConnected(_))));
    assert!(matches!(mismatched_target.pool().await, Err(ScrapeFailure::Denied(_))));
    // A pause is half a minute to a minute where a person is needed, so an hour has 60 to 130 dials; else
    // it is 5 to 10 s for the first 20 min.
    assert!((60..=130).contains(&mismatched.dials()), "{} dials", mismatched.dials());
    assert!((160..=340).contains(&failing.dials()), "{} dials", failing.dials());
    let failures =
        "onionscrape_target_connect_failures_total{target=\"mismatched\",stage=\"host_key\"}".to_owned();
    assert_eq!(rig.metric(&failures), mismatched.dials().to_string());
    // Lost with its device, it is dialled anew and does not stand in line behind the hanging ones.
    let third = rig.target("third", &Device::new(Manner::Hang));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(matches!(&*third.state().borrow(), State::Dialling(_)));
    target.redial().await;
    up(&target).await;
    assert_eq!(good.dials(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ends_is_dialled_anew_at_once_only_if_it_was_of_use() {
    let device = Device::new(Manner::Answer);
    let rig = Rig::new(16);
    let target = rig.target("a", &device);
    up(&target).await;
    // Of use: half a minute of life.
    tokio::time::sleep(Duration::from_secs(31)).await;
    let lost_at = Instant::now();
    let pool = target.pool().await.map_err(|_| ()).expect("up");
    pool.session().give_up();
    pool.session().ended().await;
    replaced(&target, &pool).await;
    assert!(lost_at.elapsed() < pauses::FIRST, "no pause: {:?}", lost_at.elapsed());
    assert_eq!(device.dials(), 2);
    // Of none: a device that takes everybody in and throws them out again is not hammered.
    device.stop.cancel();
    device.set(Manner::Answer);
    let before = device.dials();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let dials = device.dials() - before;
    assert!((160..=340).contains(&dials), "{dials} dials in an hour");
}

#[tokio::test(start_paused = true)]
async fn redial_cuts_the_pause_short_and_a_scrape_never_dials() {
    let device = Device::new(Manner::Fail);
    let rig = Rig::new(16);
    let target = rig.target("a", &device);
    tokio::time::sleep(Duration::from_secs(600)).await;
    let dials = device.dials();
    for _ in 0..100 {
        assert!(target.pool().await.is_err());
    }
    assert_eq!(device.dials(), dials, "scrapes do not dial");
    device.set(Manner::Answer);
    let asked = Instant::now();
    target.redial().await;
    up(&target).await;
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert_eq!(device.dials(), dials + 1);
    rig.shutdown.cancel();
    rig.tasks.close();
    timeout(Duration::from_secs(5), rig.tasks.wait()).await.expect("the keeper ends with the bridge");
}

#[tokio::test(start_paused = true)]
async fn a_device_from_which_nothing_comes_is_given_up_in_time() {
    let device = Device::new(Manner::Answer);
    let rig = Rig::new(16);
    let target = rig.target("a", &device);
    up(&target).await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(device.dials(), 1, "a quiet session is no dead one");
    device.set(Manner::Hang);
    device.freeze();
    let silent_since = Instant::now();
    let mut state = target.state();
    let lost = state.wait_for(|state| state.pool().is_none()).await.expect("kept");
    assert!(matches!(&*lost, State::Dialling(Some(trouble)) if trouble.what == UNANSWERED));
    assert!(silent_since.elapsed() <= Duration::from_secs(20), "{:?}", silent_since.elapsed());
    assert_eq!(rig.metric("onionscrape_ssh_keepalive_failures_total{target=\"a\"}"), "1");
}

#[tokio::test(start_paused = true)]
async fn another_network_ends_every_pause() {
    let device = Device::new(Manner::Fail);
    let rig = Rig::new(16);
    let target = rig.target("a", &device);
    tokio::time::sleep(Duration::from_secs(600)).await;
    device.set(Manner::Answer);
    let looked = Instant::now();
    target.look();
    up(&target).await;
    assert!(looked.elapsed() < Duration::from_secs(1), "{:?}", looked.elapsed());
    // While it is dialled, too: the dial that fails says nothing of the new network.
    let device = Device::new(Manner::Hang);
    let target = rig.target("b", &device);
    tokio::time::sleep(Duration::from_secs(5)).await;
    target.look();
    assert_eq!(device.dials(), 1);
}

#[tokio::test(start_paused = true)]
async fn many_that_are_lost_together_come_back_without_a_stampede() {
    const AT_ONCE: usize = 16;
    let rig = Rig::new(AT_ONCE);
    let devices: Vec<_> =
        (0..200).map(|_| Device::that_takes(Duration::from_secs(3), Manner::Answer)).collect();
    let targets: Vec<_> = devices
        .iter()
        .enumerate()
        .map(|(number, device)| rig.target(&format!("t{number}"), device))
        .collect();
    let dials = || devices.iter().map(|device| device.dials()).sum::<usize>();
    for target in &targets {
        up(target).await;
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    let before = dials();
    devices.iter().step_by(20).for_each(|device| device.set(Manner::Hang));
    let lost = Instant::now();
    for target in &targets {
        target.pool().await.map_err(|_| ()).expect("up").session().give_up();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(dials() - before <= AT_ONCE, "{} dials at once", dials() - before);
    for target in targets.iter().enumerate().filter(|(number, _)| number % 20 != 0).map(|(_, target)| target)
    {
        up(target).await;
    }
    assert!(lost.elapsed() <= Duration::from_secs(180), "{:?}", lost.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_not_kept_any_more_leaves_no_session() {
    let rig = Rig::new(1);
    let device = Device::new(Manner::Answer);
    let target = rig.target("a", &device);
    let pool = timeout(Duration::from_secs(60), target.pool()).await.expect("in time").expect("up");
    // Its inventory is being followed by now.
    sleep(Duration::from_secs(60)).await;
    assert!(target.inventory().is_some());
    assert_eq!(device.sessions(), "1");
    rig.shutdown.cancel();
    drop((pool, target));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(device.sessions(), "0");
}

#[tokio::test(start_paused = true)]
async fn it_moves_to_an_announced_address_beside_the_session_that_is_up() {
    let rig = Rig::new(1);
    let device = Device::new(Manner::Answer);
    device.announce_elsewhere();
    let target = rig.target("a", &device);
    let pool = timeout(Duration::from_secs(60), target.pool()).await.expect("in time").expect("up");
    // The new address is tried at once, and then every ten minutes; scrapes have the old one meanwhile.
    sleep(Duration::from_secs(60)).await;
    assert_eq!(device.dials(), 2);
    assert!(Arc::ptr_eq(&pool, &target.pool().await.expect("up")), "nobody noticed");
    sleep(Duration::from_secs(500)).await;
    assert_eq!(device.dials(), 2);
    *device.manner_elsewhere.lock().expect("lock") = Manner::Answer;
    sleep(Duration::from_secs(100)).await;
    assert_eq!(device.dials(), 3);
    let moved = target.pool().await.expect("up");
    assert!(!Arc::ptr_eq(&pool, &moved), "this is the session at the new address");
    assert_eq!(device.sessions(), "2", "a scrape under way may finish in the old one");
    drop(pool);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(device.sessions(), "1");

    // The old address is over: what is there does not count any more.
    device.set(Manner::Hang);
    target.redial().await;
    timeout(Duration::from_secs(60), target.pool()).await.expect("not the old one").expect("up");
    assert_eq!(device.dials(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_crowd_of_scrapes_shares_the_channels_that_are_open() {
    let (rig, device) = (Rig::new(1), Device::new(Manner::Answer));
    let target = rig.target("a", &device);
    up(&target).await;
    futures::future::join_all((0..300).map(|_| standby::scraped(&target))).await;
    let text = classic_text(&registry("0", |own| device.metrics.register(own)));
    let opened: f64 = text
        .lines()
        .filter(|line| line.starts_with("onionscrape_ssh_channel_opens_total"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    assert!((1.0..=16.0).contains(&opened), "{opened} channels for 300 scrapes");
}
