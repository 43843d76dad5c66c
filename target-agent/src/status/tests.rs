use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::*;

/// What happens around an agent.
#[derive(Clone)]
enum Event {
    /// Tor comes so far.
    Tor(Bootstrap),
    /// Something is in the way from now on, or nothing any more.
    Hindrance(Option<&'static str>),
    /// A bridge logs in.
    Login,
    /// A session breaks off.
    Loss,
}
use Event::{Hindrance, Login, Loss};

const UP: (u64, Event) = (0, Event::Tor(Bootstrap::Done));

/// Follows dials that end as `dials` says (and well after that) while this happens, each from a second on, and says
/// which states were seen when, in seconds.
async fn seen(dials: &[bool], events: &[(u64, Event)], until: u64) -> Vec<(u64, String)> {
    let dials: Vec<_> = dials.iter().map(|through| if *through { Met::Ssh } else { Met::Nobody }).collect();
    seen_once(async {}, &dials, events, until).await
}

/// The same, with dials as soon as it is `published`.
async fn seen_once(
    published: impl Future<Output = ()> + Send + 'static,
    dials: &[Met],
    events: &[(u64, Event)],
    until: u64,
) -> Vec<(u64, String)> {
    let (progress, bootstrap) = watch::channel(Bootstrap::Going { ratio: 0.0 });
    let (tell, mut status) = watch::channel(AgentStatus::Bootstrapping);
    let dials = Arc::new(Mutex::new(VecDeque::from(dials.to_vec())));
    let probe = move || {
        let met = dials.lock().expect("lock").pop_front().unwrap_or(Met::Ssh);
        async move { met }
    };
    let (metrics, shutdown, start) = (Metrics::new(), CancellationToken::new(), Instant::now());
    let (hinder, hindrance) = watch::channel(None);
    let signs = Signs { bootstrap, hindrance, look: Arc::default(), low_power: false };
    tokio::spawn(follow(signs, published, probe, tell, metrics.clone(), shutdown.clone()));
    let events = events.to_vec();
    tokio::spawn(async move {
        for (at, event) in events {
            tokio::time::sleep_until(start + Duration::from_secs(at)).await;
            match event {
                Event::Tor(state) => {
                    progress.send_replace(state);
                }
                Hindrance(what) => {
                    hinder.send_replace(what);
                }
                Login => drop(metrics.session()),
                Loss => metrics.lost_session(),
            }
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
    let seen = seen(&[false, false, true], &[(5, Event::Tor(Bootstrap::Done))], 100).await;
    assert_eq!(seen, states(&[(0, "bootstrapping"), (5, "publishing"), (7, "reachable")]));
}

#[tokio::test(start_paused = true)]
async fn a_blocked_bootstrap_is_trouble() {
    let blocked = Bootstrap::Blocked { ratio: 0.1, kind: "offline", advice: "no network; check the link" };
    let goes_on = [(1, blocked), (9, Bootstrap::Going { ratio: 0.5 }), (12, Bootstrap::Done)];
    let seen = seen(&[], &goes_on.map(|(at, state)| (at, Event::Tor(state))), 100).await;
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
    let once = seen(&[true, false, true], &[UP], 1000).await;
    assert_eq!(once.last().map(|(_, state)| state.as_str()), Some("reachable"));
    assert_eq!(once.iter().filter(|(at, _)| *at > 0).count(), 0, "{once:?}");
    let lost = seen(&[true, false, false, false, false, false, true], &[UP], 1000).await;
    let trouble = "in trouble, because the onion service cannot be reached from outside";
    assert_eq!(lost[lost.len() - 2..], states(&[(66, trouble), (96, "reachable")])[..]);
}

#[tokio::test(start_paused = true)]
async fn who_logs_in_proves_that_others_can() {
    let seen = seen(&[false; 400], &[UP, (10, Login), (205, Login)], 300).await;
    let trouble = "in trouble, because the onion service cannot be reached from outside";
    let wanted = [(0, "publishing"), (10, "reachable"), (76, trouble), (205, "reachable"), (271, trouble)];
    assert_eq!(seen, states(&wanted), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn who_logs_in_has_found_what_was_published() {
    let seen = seen_once(std::future::pending(), &[], &[UP, (3, Login)], 100).await;
    assert_eq!(seen, states(&[(0, "publishing"), (3, "reachable")]));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_breaks_off_is_a_reason_to_look() {
    let lost = seen(&[true, false, false, false, false], &[UP, (30, Loss)], 50).await;
    let trouble = "in trouble, because the onion service cannot be reached from outside";
    assert_eq!(lost.last(), Some(&(36, trouble.to_owned())), "{lost:?}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_ssh_server_is_trouble_and_no_loss_of_the_way_in() {
    use Met::{Nobody, Silence, Ssh};
    let dials = [&[Ssh][..], &[Silence; 3], &[Nobody], &[Silence], &[Nobody; 3], &[Silence]].concat();
    let seen = seen_once(async {}, &dials, &[UP], 400).await;
    let [silent, lost] = [NO_SSH, NO_WAY_IN].map(|because| AgentStatus::InTrouble { because });
    assert_eq!((silent.way_in(), lost.way_in()), (healing::Reach::Proved, healing::Reach::Lost));
    let [silent, lost] = [silent, lost].map(|status| status.to_string());
    let wanted = [(66, &*silent), (195, &*lost), (205, &*silent), (265, "reachable")];
    assert_eq!(seen[seen.len() - 4..], states(&wanted)[..], "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_device_that_is_never_reached_is_in_trouble() {
    let seen = seen(&[false; 400], &[UP], 400).await;
    let trouble = "in trouble, because the onion service cannot be reached from outside";
    assert_eq!(seen.last(), Some(&(181, trouble.to_owned())), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn nobody_gets_through_what_is_in_the_way() {
    let events = [UP, (50, Hindrance(Some("there is no network"))), (290, Hindrance(None))];
    let seen = seen(&[true, false, false, true], &events, 400).await;
    let seen: Vec<_> = seen.into_iter().filter(|(at, _)| *at > 0).collect();
    let trouble = "in trouble, because there is no network";
    assert_eq!(seen, states(&[(50, trouble), (290, "publishing"), (302, "reachable")]));
}

#[tokio::test(start_paused = true)]
async fn what_was_in_the_way_takes_nothing_from_the_time_to_get_through() {
    for gone in [150, 290] {
        let events = [UP, (50, Hindrance(Some("there is no network"))), (gone, Hindrance(None))];
        let mut dials = vec![true];
        dials.extend([false; 600]);
        let seen = seen(&dials, &events, gone + 300).await;
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
        let hindered = (50, Hindrance(Some("there is no network")));
        let events = [UP, hindered, (200, Login), (seen_gone, Hindrance(None))];
        let mut dials = vec![true];
        dials.extend([false; 400]);
        let seen = seen(&dials, &events, 210).await;
        let seen: Vec<_> = seen.into_iter().filter(|(at, _)| *at > 0).collect();
        let wanted = [(50, "in trouble, because there is no network"), (seen_gone, "reachable")];
        assert_eq!(seen, states(&wanted));
    }
}
