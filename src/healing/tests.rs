//! What is decided, about everything that can happen.

mod reach;

use super::*;

const SOME: Option<Duration> = Some(Duration::from_secs(3));

fn begun(now: Instant) -> Healing {
    Healing {
        begun: now,
        cut_off: false,
        renewed: now,
        gaps: &GAPS,
        silent: 0,
        deaf: Duration::ZERO,
        spent: SPENT,
        doubted: None,
        slack: 1,
        failures: 0,
        unreachable: Unreachable::default(),
        reopened: None,
        elsewhere: Elsewhere::default(),
    }
}

fn seen(silence: Option<Duration>, reach: Reach) -> Seen {
    Seen {
        silence,
        reach,
        unintroduced: None,
        in_use: false,
        logins: 0,
        running: true,
        can_write: true,
        clock_wrong: false,
    }
}

fn seconds(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

fn hindrance(
    healing: &Healing,
    silence: Option<Duration>,
    accepted: &[u64],
    now: Instant,
) -> Option<&'static str> {
    let connected = accepted.iter().copied().map(Duration::from_secs).collect();
    healing.hindrance(&Traffic { silence, connected, can_write: true }, &Bootstrap::Done, now)
}

fn disturbed(
    healing: &mut Healing,
    what: Disturbance,
    silence: Option<Duration>,
    now: Instant,
) -> Option<(Step, Reason)> {
    healing.disturbed(what, ClockNow::Unknown, silence, now)
}

fn network() -> Disturbance {
    Disturbance::Network(Outlook::of(Some("10.0.0.1".parse().expect("IP")), None))
}

fn cut_off() -> Disturbance {
    Disturbance::Network(Outlook::of(None, None))
}

#[test]
fn what_is_alive_is_kept_and_what_is_dead_is_not_waited_for() {
    let now = Instant::now();
    let mut healing = begun(now);
    assert_eq!(disturbed(&mut healing, network(), SOME, now), Some((Step::Relaunch, Reason::Network)));
    assert_eq!(disturbed(&mut healing, network(), seconds(60), now), Some((Step::Renew, Reason::Network)));
    let slept = |time| Disturbance::Slept(Duration::from_secs(time));
    assert_eq!(disturbed(&mut healing, slept(10), SOME, now), Some((Step::Relaunch, Reason::Slept)));
    assert_eq!(disturbed(&mut healing, slept(300), SOME, now), Some((Step::Renew, Reason::Slept)));
    assert_eq!(disturbed(&mut healing, Disturbance::ClockSet(-300), SOME, now), None);
    assert_eq!(
        disturbed(&mut healing, Disturbance::ClockSet(7200), SOME, now),
        Some((Step::Renew, Reason::Clock))
    );
}

#[test]
fn nothing_is_begun_by_a_clock_that_is_wrong() {
    let now = Instant::now();
    let mut healing = begun(now);
    let mut set = |clock| healing.disturbed(Disturbance::ClockSet(7200), clock, SOME, now);
    assert_eq!(set(ClockNow::Wrong), None);
    assert_eq!(set(ClockNow::Right), None, "what was begun before goes on");
    assert_eq!(set(ClockNow::RightAgain), Some((Step::Renew, Reason::Clock)));
}

#[test]
fn nothing_is_done_without_a_network_and_all_at_once_with_one() {
    let start = Instant::now();
    let mut healing = begun(start);
    // Routes may be missing to where nobody wants to go.
    assert_eq!(disturbed(&mut healing, cut_off(), SOME, start), Some((Step::Relaunch, Reason::Network)));
    assert_eq!(hindrance(&healing, SOME, &[], start), None);
    assert_eq!(disturbed(&mut healing, cut_off(), seconds(20), start), None);
    assert!(!healing.is_doubtful(seconds(600)));
    assert!(hindrance(&healing, seconds(20), &[], start).expect("cut off").contains("no network"));
    let later = start + Duration::from_secs(8 * 3600);
    assert_eq!(healing.tick(seen(seconds(8 * 3600), Reach::Lost), later), None);
    assert_eq!(
        disturbed(&mut healing, network(), seconds(8 * 3600), later),
        Some((Step::Renew, Reason::Network))
    );
}

#[test]
fn a_silence_is_not_left_to_arti() {
    let start = Instant::now();
    let mut healing = begun(start);
    let mut renewals = Vec::new();
    for second in (0..600).step_by(5) {
        let now = start + Duration::from_secs(second);
        assert_eq!(healing.is_doubtful(seconds(second)), second >= DOUBTFUL.as_secs());
        assert_eq!(healing.pause(seconds(second)) < TICK, (10..30).contains(&second));
        assert_eq!(hindrance(&healing, seconds(second), &[], now).is_some(), second >= CUT.as_secs());
        if let Some(step) = healing.tick(seen(seconds(second), Reach::Proved), now) {
            assert_eq!(step, (Step::Renew, Reason::Silence));
            renewals.push(second);
        }
    }
    assert_eq!(renewals, [30, 120, 300, 480], "with pauses that grow, but not far");
    let again = start + Duration::from_secs(600);
    assert_eq!(disturbed(&mut healing, network(), seconds(600), again), Some((Step::Renew, Reason::Network)));
    let later = again + Duration::from_secs(30);
    assert_eq!(
        healing.tick(seen(seconds(630), Reach::Unknown), later),
        Some((Step::Renew, Reason::Silence)),
        "from the start in another network"
    );
    assert_eq!(healing.tick(seen(SOME, Reach::Proved), start + Duration::from_secs(1000)), None);
}

#[test]
fn what_accepts_connections_and_says_nothing_is_no_relay() {
    let start = Instant::now();
    let healing = begun(start);
    let said = |silence, accepted: &[u64], second| {
        let now = start + Duration::from_secs(second);
        hindrance(&healing, silence, accepted, now).unwrap_or("nothing")
    };
    assert_eq!(said(None, &[5], 19), "nothing");
    assert!(said(None, &[1, 5], 20).contains("captive portal"));
    assert!(said(None, &[4], 20).contains("nothing comes from any"), "it may yet say something");
    assert!(said(None, &[], 20).contains("nothing comes from any"));
    assert!(said(seconds(60), &[30], 600).contains("captive portal"), "it has gone to where there is one");
    assert!(said(seconds(60), &[58], 600).contains("nothing comes from any"), "the last of a good network");
    assert!(said(seconds(60), &[300], 600).contains("nothing comes from any"));
    assert_eq!(said(SOME, &[5], 600), "nothing");
    let read_only = Traffic { silence: seconds(20), connected: Vec::new(), can_write: false };
    let said = healing.hindrance(&read_only, &Bootstrap::Done, start).expect("silence");
    assert!(said.contains("nothing can be written"), "{said}");
    let transport = Healing { spent: TRANSPORT_SPENT, ..begun(start) };
    let at = |second| hindrance(&transport, None, &[], start + Duration::from_secs(second));
    assert_eq!((at(59), at(60).is_some()), (None, true), "a transport takes its time");
}

#[test]
fn a_way_that_is_open_again_is_taken_at_once() {
    let start = Instant::now();
    let at = |second| start + Duration::from_secs(second);
    let mut healing = begun(start);
    assert_eq!(healing.tick(seen(seconds(30), Reach::Proved), at(30)), Some((Step::Renew, Reason::Silence)));
    assert_eq!(healing.reopened(seconds(32), at(32)), None, "that one finds out by itself");
    assert_eq!(healing.reopened(seconds(60), at(60)), Some((Step::Renew, Reason::Silence)));
    assert_eq!(healing.reopened(seconds(85), at(85)), None, "one that opens now and then");
    assert_eq!(healing.reopened(seconds(95), at(95)), Some((Step::Renew, Reason::Silence)));
    assert_eq!(healing.reopened(SOME, at(200)), None, "it is heard already");
}

#[test]
fn a_client_that_tried_in_vain_is_not_left_to_wait_when_relays_are_there_again() {
    let start = Instant::now();
    let at = |second| start + Duration::from_secs(second);
    let mut healing = begun(start);
    assert_eq!(healing.tick(seen(seconds(30), Reach::Proved), at(30)), Some((Step::Renew, Reason::Silence)));
    assert_eq!(healing.tick(seen(seconds(35), Reach::Unknown), at(35)), None);
    assert_eq!(healing.tick(seen(seconds(1), Reach::Unknown), at(36)), None, "it was quick");
    assert_eq!(healing.tick(seen(seconds(40), Reach::Unknown), at(70)), Some((Step::Renew, Reason::Silence)));
    assert_eq!(healing.tick(seen(seconds(60), Reach::Unknown), at(90)), None);
    assert_eq!(healing.tick(seen(seconds(1), Reach::Unknown), at(95)), Some((Step::Renew, Reason::Silence)));
    assert_eq!(healing.tick(seen(seconds(13), Reach::Unknown), at(107)), None);
    assert_eq!(
        healing.tick(seen(seconds(1), Reach::Unknown), at(110)),
        None,
        "a slow network, or one that comes and goes"
    );
    assert_eq!(healing.tick(seen(seconds(1), Reach::Unknown), at(140)), None, "it has heard");
}

#[test]
fn a_client_is_as_old_as_it_is_and_not_as_what_led_to_it() {
    let start = Instant::now();
    let at = |second| start + Duration::from_secs(second);
    let mut healing = begun(start);
    assert_eq!(healing.tick(seen(seconds(30), Reach::Proved), at(30)), Some((Step::Renew, Reason::Silence)));
    // The one before took long to end.
    healing.succeeded(Step::Renew, at(50));
    assert_eq!(healing.tick(seen(seconds(52), Reach::Unknown), at(52)), None);
    assert_eq!(healing.tick(seen(seconds(1), Reach::Unknown), at(53)), None, "it heard within three seconds");
    healing.succeeded(Step::Relaunch, at(60));
    assert_eq!(
        healing.tick(seen(seconds(70), Reach::Unknown), at(140)),
        Some((Step::Renew, Reason::Silence))
    );
}

#[test]
fn a_slow_way_to_relays_is_not_begun_again_and_again() {
    for (gaps, spent, takes) in
        [(&GAPS[..], SPENT, 25), (&GAPS, SPENT, 35), (&TRANSPORT_GAPS, TRANSPORT_SPENT, 65)]
    {
        let start = Instant::now();
        let mut healing = Healing { gaps, spent, ..begun(start) };
        let (mut born, mut heard, mut renewals) = (0, 0, Vec::new());
        // Each client hears for the first time so many seconds after its start, and from then on.
        for second in 1..1800 {
            if second - born >= takes {
                heard = second;
            }
            let now = start + Duration::from_secs(second);
            if healing.tick(seen(seconds(second - heard), Reach::Unknown), now).is_some() {
                (born, renewals) = (second, [renewals, vec![second]].concat());
            }
        }
        assert!(renewals.len() <= 3 && renewals.last() < Some(&300), "{takes} s: {renewals:?}");
    }
}

#[test]
fn a_disk_that_is_well_again_costs_nothing() {
    let start = Instant::now();
    let at = |second| start + Duration::from_secs(second);
    let mut healing = begun(start);
    assert_eq!(healing.tick(seen(seconds(30), Reach::Proved), at(30)), Some((Step::Renew, Reason::Silence)));
    let read_only = |silence| Seen { can_write: false, ..seen(silence, Reach::Unknown) };
    assert_eq!(healing.tick(read_only(seconds(50)), at(50)), None);
    assert_eq!(healing.tick(read_only(seconds(1)), at(55)), None, "it has heard");
    assert_eq!(healing.tick(seen(seconds(1), Reach::Proved), at(7200)), None);
}

#[test]
fn a_client_that_does_not_start_is_tried_again() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut healing = begun(start);
    healing.failed(start);
    assert_eq!(healing.tick(seen(SOME, Reach::Proved), at(5)), None);
    assert_eq!(healing.tick(seen(SOME, Reach::Proved), at(15)), Some((Step::Renew, Reason::NotStarted)));
    healing.succeeded(Step::Renew, at(20));
    assert_eq!(healing.tick(seen(SOME, Reach::Proved), at(40)), None);
    for _ in 0..FAILURES {
        healing.failed(start);
    }
    assert_eq!(healing.tick(seen(SOME, Reach::Proved), at(40)), Some((Step::GiveUp, Reason::NotStarted)));
}

#[test]
fn clients_that_hear_nothing_from_the_start_are_silent_too() {
    let start = Instant::now();
    let mut healing = begun(start);
    let mut renewals = Vec::new();
    for second in (0..900).step_by(5) {
        let now = start + Duration::from_secs(second);
        if let Some(step) = healing.tick(seen(None, Reach::Unknown), now) {
            assert_eq!(step, (Step::Renew, Reason::Silence));
            healing.succeeded(Step::Renew, now);
            renewals.push(second);
        }
    }
    assert_eq!(renewals, [30, 120, 300, 480, 660, 840]);
}

#[test]
fn a_client_that_is_gone_is_replaced_and_what_none_gets_over_is_waited_for() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut healing = begun(start);
    let gone = Seen { running: false, ..seen(SOME, Reach::Unknown) };
    assert_eq!(healing.tick(gone, at(5)), None);
    assert_eq!(healing.tick(gone, at(15)), Some((Step::Renew, Reason::NotStarted)));
    let wrong = Seen { clock_wrong: true, ..seen(None, Reach::Unknown) };
    assert_eq!(healing.tick(wrong, at(3600)), None);
    let read_only = |running| Seen { running, can_write: false, ..seen(seconds(600), Reach::Lost) };
    assert_eq!(healing.tick(read_only(true), at(3600)), None);
    assert_eq!(healing.tick(read_only(false), at(3600)), None, "nor would another start");
    healing.failed(at(3600));
    assert_eq!(healing.tick(gone, at(3615)), Some((Step::Renew, Reason::NotStarted)), "with all its tries");
}
