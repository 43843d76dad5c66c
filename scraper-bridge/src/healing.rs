//! Getting the sessions back, whatever happened to the monitor.

use std::sync::Arc;

use onionscrape::disturbance::Disturbances;
use onionscrape::healing::{Healing, Reach, Reason, Seen, Step, TICK};
use onionscrape::tor::{ClockNow, Poked, Reopening, Tor, TorOnDemand};
use tokio::time::{Instant, interval};
use tracing::{info, warn};

use crate::fleet::{Fleet, Offered};
use crate::metrics::Metrics;

/// Works until it is dropped.
pub async fn keep(tor: TorOnDemand, fleet: Arc<Fleet>, metrics: Metrics) {
    let mut disturbances = Disturbances::watch();
    let watched = tor.clone();
    let reopening = Reopening::watch(move || watched.started().cloned());
    let mut ticks = interval(TICK);
    let mut healing = Healing::new(Instant::now(), tor.settings());
    loop {
        let silence = || tor.started().and_then(Tor::silence);
        let decision = tokio::select! {
            disturbance = disturbances.next() => {
                info!("{disturbance}");
                let clock = tor.started().map_or(ClockNow::Unknown, |tor| tor.clock_after(disturbance));
                healing.disturbed(disturbance, clock, silence(), Instant::now())
            }
            () = reopening.next() => {
                info!("relays accept connections again");
                healing.reopened(silence(), Instant::now())
            }
            _ = ticks.tick() => {
                if tor.started().is_none() {
                    healing.rests(Instant::now());
                }
                // A device that cannot be reached is no reason to doubt the monitor's own Tor.
                let seen = look_around(&tor, healing.is_doubtful(silence()));
                metrics.tor.note_state(seen.can_write);
                metrics.tor.note_clock(tor.started().and_then(Tor::clock_skew));
                healing.tick(seen, Instant::now())
            }
        };
        if let Some((step, reason)) = decision {
            let step = step.possible(tor.started().is_none_or(Tor::can_write));
            if tor.started().is_some() {
                metrics.healing.taken(step, reason);
            }
            if act(&tor, step, reason).await {
                healing.succeeded(step, Instant::now());
            } else {
                healing.failed(Instant::now());
            }
            if reason == Reason::Unintroduced {
                // What comes in says nothing of what goes out.
                continue;
            }
            // Silence from Tor says nothing of a way that does without.
            let all = reason.may_have_moved();
            for Offered { target, .. } in fleet.offered() {
                if all || target.config.transport.label() == "onion" {
                    target.look();
                }
            }
        }
    }
}

fn look_around(tor: &TorOnDemand, doubtful: bool) -> Seen {
    let tor = tor.started();
    let clear = !doubtful && tor.is_some_and(|tor| tor.bootstrap().borrow().is_done());
    Seen {
        silence: tor.and_then(Tor::silence),
        reach: Reach::Proved,
        unintroduced: tor.and_then(Tor::unintroduced).filter(|_| clear),
        in_use: false,
        logins: 0,
        running: tor.is_none_or(Tor::is_running),
        can_write: tor.is_none_or(Tor::can_write),
        clock_wrong: tor.is_some_and(|tor| tor.bootstrap().borrow().is_blocked_by("clock_skewed")),
    }
}

/// False if there is no client for it.
async fn act(tor: &TorOnDemand, step: Step, reason: Reason) -> bool {
    let (moved, elsewhere) = (reason.may_have_moved(), reason.may_be_elsewhere());
    let is_gone = reason == Reason::NotStarted;
    let reason = reason.label();
    match (tor.started(), step) {
        (None, _) => info!(reason, "sessions are asked whether they are alive"),
        (Some(tor), Step::Relaunch) if elsewhere => {
            tor.introduce_elsewhere(false);
            info!(reason, "onion service launched again at other introduction points");
        }
        (Some(tor), Step::Relaunch) => {
            let Poked { closed, .. } = tor.poke(moved);
            info!(reason, closed, "sessions are asked whether they are alive");
        }
        // Targets without Tor go on, so the bridge does not give up.
        (Some(tor), Step::Renew | Step::GiveUp) => {
            info!(reason, "Tor is started anew");
            let renewed = if is_gone { tor.start_again().await } else { tor.renew().await };
            if let Err(failure) = renewed {
                warn!("{failure}");
                tor.poke(moved);
                return tor.is_running();
            }
        }
    }
    true
}
