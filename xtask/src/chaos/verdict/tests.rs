use super::super::history::{Outcome, Probe, Program, Told, Way as Asked};
use super::*;

fn s(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// Scrapes every second that take a tenth, of which those asked for in `bad` fail.
fn probes(until: u32, bad: std::ops::Range<u32>) -> Vec<Probe> {
    (0..until)
        .map(|at| Probe {
            way: Asked::Ours,
            asked: s(at.into()),
            took: s(0.1),
            outcome: if bad.contains(&at) { Outcome::Failed("503".into()) } else { Outcome::Good },
        })
        .collect()
}

/// What a program says every second: up, but not in `down`.
fn told(until: u32, down: std::ops::Range<u32>) -> Vec<Told> {
    let says =
        |at: u32| Told { program: Program::Bridge, at: s(at.into()), up: Some([!down.contains(&at); 2]) };
    (0..until).map(says).collect()
}

fn seconds(time: Option<Duration>) -> Option<f64> {
    time.map(|time| (time.as_secs_f64() * 10.0).round() / 10.0)
}

#[test]
fn back_is_the_first_good_scrape_with_no_bad_one_after_it() {
    let span = Span { began: s(10.0), fine: s(20.0) };
    let judged = way(&probes(40, 10..23), span, s(40.0));
    assert_eq!((seconds(judged.back), judged.lost), (Some(3.1), 13));
    let mut flapping = probes(40, 10..23);
    flapping[25].outcome = Outcome::Unanswered;
    assert_eq!(seconds(way(&flapping, span, s(40.0)).back), Some(6.1));
    assert_eq!(way(&probes(40, 10..40), span, s(40.0)).back, None);
    // It has not been good for long enough.
    assert_eq!(way(&probes(40, 10..38), span, s(40.0)).back, None);
}

#[test]
fn what_nothing_happened_to_is_back_at_once() {
    let span = Span { began: s(10.0), fine: s(10.0) };
    let judged = way(&probes(20, 0..0), span, s(20.0));
    assert_eq!(judged, Way { back: Some(s(0.1)), longest: s(0.1), ..Way::default() });
    // One that was on its way when it began is lost, too.
    let mut hit = probes(20, 0..0);
    hit[9] = Probe { took: s(3.0), outcome: Outcome::Unanswered, ..hit[9].clone() };
    let judged = way(&hit, span, s(20.0));
    assert_eq!((judged.lost, seconds(judged.back)), (1, Some(0.1)));
}

#[test]
fn who_listens_again_is_noted() {
    let mut probes = probes(20, 5..9);
    for probe in &mut probes[5..7] {
        probe.outcome = Outcome::NobodyListened;
    }
    let judged = way(&probes, Span { began: s(5.0), fine: s(5.5) }, s(20.0));
    assert_eq!(seconds(judged.listening), Some(1.5));
}

#[test]
fn outages_are_joined_if_little_lies_between_them() {
    let mut probes = probes(60, 10..20);
    probes[22].outcome = Outcome::Unanswered;
    let found = outages(&probes);
    assert_eq!(found, [[Some(s(10.0)), Some(s(23.1))]]);
    assert_eq!(outages(&probes[..12]), [[Some(s(10.0)), None]]);
}

#[test]
fn a_program_is_late_by_the_last_wrong_thing_it_said() {
    let probes = probes(100, 10..60);
    let truth = |down| truth(&probes, &told(100, down), s(100.0));
    let honest = truth(20..62);
    assert_eq!((seconds(honest.down), seconds(honest.up)), (Some(9.0), Some(0.9)));
    assert!(honest.is_told_in_time());
    assert!(!truth(50..61).is_told_in_time(), "it told too late of being down");
    assert!(!truth(20..80).is_told_in_time(), "it told too late of being up");
    assert!(!truth(0..0).is_told_in_time(), "it never told");
    // It thinks for a while that it is back, and has a new time for finding out.
    let mut wavering = told(100, 20..62);
    for told in &mut wavering[30..50] {
        told.up = Some([true; 2]);
    }
    assert_eq!(seconds(super::truth(&probes, &wavering, s(100.0)).down), Some(19.0));
}

#[test]
fn a_short_outage_need_not_be_told_of_and_silence_is_no_lie() {
    let short = truth(&probes(60, 10..20), &told(60, 0..0), s(60.0));
    assert_eq!(short, Truth { down: None, up: Some(s(0.0)) });
    let mut silent = told(100, 0..0);
    for told in &mut silent[10..61] {
        told.up = None;
    }
    assert!(truth(&probes(100, 10..60), &silent, s(100.0)).is_told_in_time());
}
