//! What is decided while a service cannot be reached or has no introduction points.

use super::*;

#[test]
fn introduction_points_are_kept_while_directories_would_refuse_others() {
    let start = Instant::now();
    let at = |second| start + Duration::from_secs(second);
    let mut healing = begun(start);
    let set = |healing: &mut Healing, by, clock, second| {
        assert_eq!(healing.disturbed(Disturbance::ClockSet(by), clock, SOME, at(second)), None);
        healing.is_elsewhere(Reason::Unreachable, at(second))
    };
    assert!(set(&mut healing, 7200, ClockNow::Wrong, 0), "what is later they take");
    assert!(!set(&mut healing, -7200, ClockNow::Right, 60));
    let unintroduced = Some(Unintroduced { time: Duration::from_secs(15), had_one: true });
    let lost = seen(SOME, Reach::Lost);
    assert_eq!(healing.tick(Seen { unintroduced, in_use: true, ..lost }, at(65)), None);
    assert_eq!(healing.tick(lost, at(155)), Some((Step::Renew, Reason::Unreachable)));
    assert!(!healing.is_elsewhere(Reason::Unreachable, at(155)), "with those that there are");
    assert_eq!(healing.tick(lost, at(7260)), Some((Step::Relaunch, Reason::Unreachable)));
    assert!(healing.is_elsewhere(Reason::Unreachable, at(7260)), "it is as late as it was");
    assert!(!set(&mut healing, -7200, ClockNow::Wrong, 8000));
    assert!(set(&mut healing, 7200, ClockNow::Right, 8060));
    assert!(!set(&mut healing, -172_800, ClockNow::Wrong, 9000));
    assert!(healing.is_elsewhere(Reason::Unreachable, at(9000 + 3 * 3600)), "forgotten");
    assert!(!healing.is_elsewhere(Reason::Network, at(9000 + 3 * 3600)));
}

#[test]
fn introduction_points_that_nobody_has_tried_yet_are_given_their_time() {
    let start = Instant::now();
    let at = |second| start + Duration::from_secs(second);
    let gone = Unintroduced { time: Duration::from_secs(15), had_one: true };
    let step = |reason| Some((Step::Relaunch, reason));
    for (logins, relaunched) in [(7, None), (8, step(Reason::Unreachable))] {
        let mut healing = begun(start);
        let seen = |reach, logins| Seen { logins, in_use: true, ..seen(SOME, reach) };
        let unintroduced = Seen { unintroduced: Some(gone), ..seen(Reach::Proved, 7) };
        assert_eq!(healing.tick(unintroduced, at(15)), step(Reason::Unintroduced));
        // It takes a while until it is seen that nobody gets through.
        assert_eq!(healing.tick(seen(Reach::Proved, logins), at(16)), None);
        assert_eq!(healing.tick(seen(Reach::Lost, logins), at(40)), relaunched);
    }
}

#[test]
fn nobody_knowing_for_a_moment_ends_no_trouble() {
    let start = Instant::now();
    let mut healing = begun(start);
    let mut steps = Vec::new();
    let mut renewed = 0;
    for second in (0..4 * 3600).step_by(5) {
        // Each new client leaves it unknown for a while.
        let reach = if second < renewed + 60 && renewed > 0 { Reach::Unknown } else { Reach::Lost };
        let now = start + Duration::from_secs(second);
        if let Some((step, _)) = healing.tick(seen(SOME, reach), now) {
            steps.push(step);
            match step {
                Step::Renew => renewed = second,
                Step::GiveUp => break,
                Step::Relaunch => {}
            }
        }
    }
    let wanted = [Step::Relaunch, Step::Renew, Step::Renew, Step::Renew, Step::GiveUp];
    assert_eq!(steps, wanted);
}

#[test]
fn sessions_that_live_are_not_ended_for_those_who_come() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut healing = begun(start);
    let used = Seen { in_use: true, ..seen(SOME, Reach::Lost) };
    assert_eq!(healing.tick(used, at(0)), Some((Step::Relaunch, Reason::Unreachable)));
    for second in (5..4 * 3600).step_by(5) {
        assert_eq!(healing.tick(used, at(second)), None);
    }
    let lost = seen(SOME, Reach::Lost);
    assert_eq!(healing.tick(lost, at(15_000)), Some((Step::Renew, Reason::Unreachable)));
    // It comes and goes: not with a new client each time.
    assert_eq!(healing.tick(seen(SOME, Reach::Proved), at(15_010)), None);
    assert_eq!(healing.tick(lost, at(15_020)), Some((Step::Relaunch, Reason::Unreachable)));
    assert_eq!(healing.tick(lost, at(15_800)), None);
    assert_eq!(healing.tick(lost, at(15_900)), Some((Step::Renew, Reason::Unreachable)));
}

#[test]
fn steps_grow_while_it_cannot_be_reached() {
    let start = Instant::now();
    let mut healing = begun(start);
    let mut steps = Vec::new();
    for second in (0..4 * 3600).step_by(5) {
        let now = start + Duration::from_secs(second);
        if let Some((step, reason)) = healing.tick(seen(SOME, Reach::Lost), now) {
            assert_eq!(reason, Reason::Unreachable);
            steps.push((second, step));
            if step == Step::GiveUp {
                break;
            }
        }
    }
    let renew = |second| (second, Step::Renew);
    let wanted = [(0, Step::Relaunch), renew(90), renew(990), renew(1890), (2790, Step::GiveUp)];
    assert_eq!(steps, wanted);
    let now = start + Duration::from_secs(5 * 3600);
    assert_eq!(healing.tick(seen(SOME, Reach::Proved), now), None);
    assert_eq!(
        healing.tick(seen(SOME, Reach::Lost), now),
        Some((Step::Relaunch, Reason::Unreachable)),
        "from the start"
    );
}

#[test]
fn introduction_points_that_are_gone_are_replaced_and_a_slow_network_is_not_hurried() {
    let start = Instant::now();
    let at = |second| start + Duration::from_secs(second);
    let without = |time, had_one| {
        let unintroduced = Some(Unintroduced { time: Duration::from_secs(time), had_one });
        Seen { unintroduced, in_use: true, ..seen(SOME, Reach::Unknown) }
    };
    let step = Some((Step::Relaunch, Reason::Unintroduced));
    let mut healing = begun(start);
    assert_eq!(healing.tick(without(10, true), at(10)), None);
    assert_eq!(healing.tick(without(15, true), at(15)), step);
    // Those that were chosen then may be dead, too; but each choice takes the time of several circuits.
    let after: Vec<_> =
        (0..600).filter(|second| healing.tick(without(*second, false), at(15 + second)) == step).collect();
    assert_eq!(after, [60 * 2, 60 * 6], "never hurried, and ever more slowly");
    // Nor by whoever makes those fail that worked, again and again.
    let start_of_row = 15 + 360 + 20 * 60;
    let forced: Vec<_> = (0..600)
        .filter(|second| healing.tick(without(15, true), at(start_of_row + second)) == step)
        .collect();
    assert_eq!(forced, [0, 15, 30, 45, 75, 135, 255, 495]);
    // And not for the time in which nothing came at all.
    let mut cut = begun(start);
    assert_eq!(cut.tick(Seen { silence: seconds(19), ..without(0, true) }, at(20)), None);
    assert_eq!(cut.tick(without(20, true), at(25)), None);
    assert_eq!(cut.tick(without(27, true), at(32)), step);
    // What cannot be dialled though they were chosen just now is given time; less if they worked.
    let lost = Seen { reach: Reach::Lost, ..without(1, true) };
    assert_eq!(healing.tick(lost, at(start_of_row + 500)), None);
    assert_eq!(healing.tick(seen(SOME, Reach::Proved), at(start_of_row + 510)), None);
    let came_in = Seen { logins: 1, ..lost };
    assert_eq!(
        healing.tick(came_in, at(start_of_row + 800)),
        None,
        "somebody got through, whatever the dial says"
    );
    assert_eq!(healing.tick(came_in, at(start_of_row + 805)), Some((Step::Relaunch, Reason::Unreachable)));
    assert_eq!(healing.tick(Seen { clock_wrong: true, ..without(600, true) }, at(9000)), None);
}
