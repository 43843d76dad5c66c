//! The hops from this machine to Tor, which both programs have: the clock, and Tor itself.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::{Finding, Findings};
use crate::tor::{Bootstrap, ClockSkew, Tor};

/// How long Tor may take in all. The first time it fetches some megabytes.
const READY_LIMIT: Duration = Duration::from_secs(180);
/// How long Tor may be stuck before that is taken at its word; arti often goes on after some seconds.
const STUCK_LIMIT: Duration = Duration::from_secs(15);

/// Waits until Tor is ready, or is plainly not getting there, and tells how it and the clock are.
/// True if it can be used.
pub async fn examine_network(tor: &Tor, findings: &Findings) -> bool {
    let started = Instant::now();
    if !tor.can_write() {
        let state = tor.settings().state.display();
        let found = format!("nothing can be written to {state}; Tor goes on as it is, and cannot begin anew");
        findings.tell(Finding::failed("tor state", found, OF_READ_ONLY)).await;
    }
    let reached = settled(tor.bootstrap()).await;
    let clock = clock(&reached, tor.clock_skew());
    let wrong = clock.is_failed();
    findings.tell(clock).await;
    if wrong {
        return false;
    }
    let network = match &reached {
        Bootstrap::Done => Finding::passed("tor", "it knows the network"),
        going @ Bootstrap::Going { .. } => Finding::failed("tor", going.to_string(), OF_TOR),
        stuck @ Bootstrap::Blocked { .. } => Finding::failed("tor", stuck.to_string(), OF_TOR),
    };
    findings.tell(network.after(started.elapsed())).await;
    reached.is_done()
}

/// What to do when Tor's state cannot be written.
const OF_READ_ONLY: &str = "look at the disk: the kernel makes one that fails read-only (`dmesg`)";
/// What to do when Tor cannot be used.
const OF_TOR: &str = "look at this machine's network: Tor relays are reached by outgoing TCP; where Tor is \
                      blocked, configure bridges under [tor]";

/// Where Tor's way to readiness ends for now.
async fn settled(mut bootstrap: watch::Receiver<Bootstrap>) -> Bootstrap {
    let end = Instant::now() + READY_LIMIT;
    let mut stuck_since = None;
    loop {
        let now = bootstrap.borrow_and_update().clone();
        let give_up = match &now {
            Bootstrap::Done => return now,
            Bootstrap::Going { .. } => {
                stuck_since = None;
                end
            }
            Bootstrap::Blocked { .. } => end.min(*stuck_since.get_or_insert_with(Instant::now) + STUCK_LIMIT),
        };
        tokio::select! {
            () = sleep_until(give_up) => return now,
            changed = bootstrap.changed() => if changed.is_err() { return now },
        }
    }
}

/// What is known of the clock. A clock that is right is no news; one that is wrong keeps Tor out, and
/// everything else that has dates.
fn clock(reached: &Bootstrap, skew: Option<ClockSkew>) -> Finding {
    let blocked = reached.is_blocked_by("clock_skewed");
    let remedy = "set this machine's clock, best by a time service such as systemd-timesyncd or chrony";
    match skew {
        Some(skew) => Finding::failed("clock", format!("wrong: {skew}, say Tor's relays"), remedy),
        None if blocked => Finding::failed("clock", "wrong by more than Tor can do with", remedy),
        None if reached.is_done() => Finding::passed("clock", "right enough for Tor's relays and directory"),
        None => Finding::skipped("clock", "Tor has not come far enough to say"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Outcome;

    const STUCK: Bootstrap = Bootstrap::Blocked { ratio: 0.1, kind: "clock_skewed", advice: "set it" };
    const GOING: Bootstrap = Bootstrap::Going { ratio: 0.5 };

    #[tokio::test(start_paused = true)]
    async fn tor_is_waited_for_as_long_as_it_goes_on() {
        let (tell, seen) = watch::channel(STUCK);
        let waiting = tokio::spawn(settled(seen));
        tokio::time::sleep(STUCK_LIMIT / 2).await;
        tell.send_replace(GOING);
        tokio::time::sleep(STUCK_LIMIT * 2).await;
        tell.send_replace(STUCK);
        tokio::time::sleep(STUCK_LIMIT / 2).await;
        assert!(!waiting.is_finished(), "it was not stuck for long enough");
        tell.send_replace(Bootstrap::Done);
        assert_eq!(waiting.await.expect("settled"), Bootstrap::Done);
    }

    #[tokio::test(start_paused = true)]
    async fn tor_is_given_up_when_it_is_stuck_or_takes_for_ever() {
        for (state, limit) in [(STUCK, STUCK_LIMIT), (GOING, READY_LIMIT)] {
            let (_tell, seen) = watch::channel(state.clone());
            let started = Instant::now();
            assert_eq!(settled(seen).await, state);
            assert_eq!(started.elapsed().as_secs(), limit.as_secs());
        }
    }

    #[test]
    fn the_clock_is_wrong_if_anybody_says_so() {
        let fast = ClockSkew::Fast(Duration::from_secs(7200));
        let wrong = clock(&GOING, Some(fast));
        assert_eq!(wrong.outcome, Outcome::Failed);
        assert!(wrong.found.contains("fast by 2h"), "{}", wrong.found);
        assert_eq!(clock(&STUCK, None).outcome, Outcome::Failed);
        assert_eq!(clock(&GOING, None).outcome, Outcome::Skipped);
        assert_eq!(clock(&Bootstrap::Done, None).outcome, Outcome::Passed);
    }
}
