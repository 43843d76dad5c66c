use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::*;

/// Follows dials that end as `dials` says (and well after that), and says which states were seen
/// when, in seconds.
async fn seen(dials: &[bool], bootstrap: &[(u64, Bootstrap)], until: u64) -> Vec<(u64, String)> {
    seen_with(dials, bootstrap, (&[], &[]), until).await
}

/// The same with things in the way, each from a time on, and with logins.
async fn seen_with(
    dials: &[bool],
    bootstrap: &[(u64, Bootstrap)],
    (hindrances, logins): (&[(u64, Option<&'static str>)], &[u64]),
    until: u64,
) -> Vec<(u64, String)> {
    let (progress, watched) = watch::channel(Bootstrap::Going { ratio: 0.0 });
    let (tell, mut status) = watch::channel(AgentStatus::Bootstrapping);
    let dials = Arc::new(Mutex::new(VecDeque::from(dials.to_vec())));
    let probe = move || {
        let through = dials.lock().expect("lock").pop_front().unwrap_or(true);
        async move { through }
    };
    let shutdown = CancellationToken::new();
    let start = Instant::now();
    let (hinder, hindrance) = watch::channel(None);
    let signs = Signs { bootstrap: watched, hindrance, look: Arc::default(), low_power: false };
    let metrics = Metrics::new();
    tokio::spawn(follow(signs, async {}, probe, tell, metrics.clone(), shutdown.clone()));
    let logins = logins.to_vec();
    tokio::spawn(async move {
        for at in logins {
            tokio::time::sleep_until(start + Duration::from_secs(at)).await;
            drop(metrics.session());
        }
    });
    let hindrances = hindrances.to_vec();
    tokio::spawn(async move {
        for (at, hindrance) in hindrances {
            tokio::time::sleep_until(start + Duration::from_secs(at)).await;
            hinder.send_replace(hindrance);
        }
        std::future::pending::<()>().await;
    });
    let bootstrap = bootstrap.to_vec();
    tokio::spawn(async move {
        for (at, state) in bootstrap {
            tokio::time::sleep_until(start + Duration::from_secs(at)).await;
            progress.send_replace(state);
        }
        std::future::pending::<()>().await;
    });
    let mut states = Vec::new();
    let watching = async {
        while status.changed().await.is_ok() {
            let now = status.borrow_and_update().to_string();
            if states.last().is_none_or(|(_, last)| *last != now) {
                states.push((start.elapsed().as_secs(), now));
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(until), watching).await;
    shutdown.cancel();
    states
}

fn states(of: &[(u64, &str)]) -> Vec<(u64, String)> {
    of.iter().map(|(at, state)| (*at, (*state).to_owned())).collect()
}

#[tokio::test(start_paused = true)]
async fn reachable_is_what_a_dial_proved() {
    let seen = seen(&[false, false, true], &[(5, Bootstrap::Done)], 100).await;
    assert_eq!(seen, states(&[(0, "bootstrapping"), (5, "publishing"), (7, "reachable")]));
}

#[tokio::test(start_paused = true)]
async fn a_blocked_bootstrap_is_trouble() {
    let blocked = Bootstrap::Blocked { ratio: 0.1, kind: "offline", advice: "no network; check the link" };
    let seen =
        seen(&[], &[(1, blocked), (9, Bootstrap::Going { ratio: 0.5 }), (12, Bootstrap::Done)], 100).await;
    assert_eq!(
        seen,
        states(&[
            (0, "bootstrapping"),
            (1, "in trouble, because no network; check the link"),
            (9, "bootstrapping"),
            (12, "reachable"),
        ])
    );
}

#[tokio::test(start_paused = true)]
async fn one_failure_is_not_trouble_but_three_are() {
    let once = seen(&[true, false, true], &[(0, Bootstrap::Done)], 1000).await;
    assert_eq!(once.last().map(|(_, state)| state.as_str()), Some("reachable"));
    assert_eq!(once.iter().filter(|(at, _)| *at > 0).count(), 0, "{once:?}");
    let lost = seen(&[true, false, false, false, false, false, true], &[(0, Bootstrap::Done)], 1000).await;
    let trouble = "in trouble, because the onion service cannot be reached from outside";
    assert_eq!(lost[lost.len() - 2..], states(&[(66, trouble), (96, "reachable")])[..]);
}

#[tokio::test(start_paused = true)]
async fn who_logs_in_proves_that_others_can() {
    let seen = seen_with(&[false; 400], &[(0, Bootstrap::Done)], (&[], &[10, 205]), 300).await;
    let trouble = "in trouble, because the onion service cannot be reached from outside";
    let wanted = [(0, "publishing"), (10, "reachable"), (76, trouble), (205, "reachable"), (271, trouble)];
    assert_eq!(seen, states(&wanted), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_breaks_off_is_a_reason_to_look() {
    let (tell, mut status) = watch::channel(AgentStatus::Bootstrapping);
    let (_progress, bootstrap) = watch::channel(Bootstrap::Done);
    let (_hinder, hindrance) = watch::channel(None);
    let signs = Signs { bootstrap, hindrance, look: Arc::default(), low_power: true };
    let dials = Arc::new(Mutex::new(VecDeque::from([true])));
    let probe = move || {
        let through = dials.lock().expect("lock").pop_front().unwrap_or(false);
        async move { through }
    };
    let (metrics, shutdown) = (Metrics::new(), CancellationToken::new());
    tokio::spawn(follow(signs, async {}, probe, tell, metrics.clone(), shutdown.clone()));
    status.wait_for(|status| *status == AgentStatus::Reachable).await.expect("followed");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(*status.borrow(), AgentStatus::Reachable);
    let lost = Instant::now();
    metrics.lost_session();
    status.wait_for(|status| matches!(status, AgentStatus::InTrouble { .. })).await.expect("followed");
    assert_eq!(lost.elapsed().as_secs(), 6);
    shutdown.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_device_that_is_never_reached_is_in_trouble() {
    let seen = seen(&[false; 400], &[(0, Bootstrap::Done)], 400).await;
    let trouble = "in trouble, because the onion service cannot be reached from outside";
    assert_eq!(seen.last(), Some(&(181, trouble.to_owned())), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn nobody_gets_through_what_is_in_the_way() {
    let hindrances = [(50, Some("there is no network")), (290, None)];
    let dials = [true, false, false, true];
    let seen = seen_with(&dials, &[(0, Bootstrap::Done)], (&hindrances, &[]), 400).await;
    let seen: Vec<_> = seen.into_iter().filter(|(at, _)| *at > 0).collect();
    let trouble = "in trouble, because there is no network";
    assert_eq!(seen, states(&[(50, trouble), (290, "publishing"), (302, "reachable")]));
}

#[tokio::test(start_paused = true)]
async fn what_was_in_the_way_takes_nothing_from_the_time_to_get_through() {
    for gone in [150, 290] {
        let hindrances = [(50, Some("there is no network")), (gone, None)];
        let mut dials = vec![true];
        dials.extend([false; 600]);
        let seen = seen_with(&dials, &[(0, Bootstrap::Done)], (&hindrances, &[]), gone + 300).await;
        let told: Vec<_> = seen.iter().filter(|(at, _)| *at >= gone).collect();
        let [(published, publishing), (lost, trouble)] = told[..] else { panic!("{seen:?}") };
        assert!(*published == gone && publishing == "publishing", "{seen:?}");
        assert!((gone + 180..gone + 190).contains(lost) && trouble.contains("from outside"), "{seen:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_logs_in_although_something_was_in_the_way_has_got_through() {
    // What was in the way is seen to be gone a moment later, or at the same time.
    for seen_gone in [201, 200] {
        let hindrances = [(50, Some("there is no network")), (seen_gone, None)];
        let mut dials = vec![true];
        dials.extend([false; 400]);
        let seen = seen_with(&dials, &[(0, Bootstrap::Done)], (&hindrances, &[200]), 210).await;
        let seen: Vec<_> = seen.into_iter().filter(|(at, _)| *at > 0).collect();
        let wanted = [(50, "in trouble, because there is no network"), (seen_gone, "reachable")];
        assert_eq!(seen, states(&wanted));
    }
}
