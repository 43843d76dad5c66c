//! Getting the device back to where it can be reached, whatever happened to it.

use std::sync::Arc;

use onionscrape::disturbance::Disturbances;
use onionscrape::healing::{Healing, Reach, Reason, Seen, Step, TICK, Traffic};
use onionscrape::tor::{Poked, Reopening, Tor};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, Interval, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::forward::Forward;
use crate::metrics::Metrics;
use crate::status::AgentStatus;

/// What decides, and what it acts on.
pub struct Healer {
    /// The Tor client.
    pub tor: Tor,
    /// Told to dial the own address at once.
    pub look: Arc<Notify>,
    /// Told what is in everybody's way.
    pub hindrance: watch::Sender<Option<&'static str>>,
    /// How the agent is.
    pub status: watch::Receiver<AgentStatus>,
    /// What is counted.
    pub metrics: Metrics,
    /// What passes streams to the device's own `sshd`, if that answers.
    pub forward: Option<Forward>,
    /// Told that only a new process may help.
    pub gave_up: CancellationToken,
}

impl Healer {
    /// Works until `shutdown`.
    pub async fn keep(self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.heal()).await;
    }

    async fn heal(self) {
        let mut disturbances = Disturbances::watch();
        let tor = self.tor.clone();
        let reopening = Reopening::watch(move || Some(tor.clone()));
        let mut ticks = interval(TICK);
        let mut healing = Healing::new(Instant::now(), self.tor.settings());
        let mut introduced = true;
        let mut logins = self.metrics.logins();
        loop {
            let decision = tokio::select! {
                disturbance = disturbances.next() => {
                    info!("{disturbance}");
                    self.look.notify_one();
                    let clock = self.tor.clock_after(disturbance);
                    healing.disturbed(disturbance, clock, self.tor.silence(), Instant::now())
                }
                () = reopening.next() => {
                    info!("relays accept connections again");
                    healing.reopened(self.tor.silence(), Instant::now())
                }
                () = due(&mut ticks, &mut logins) => {
                    let silence = self.tor.silence();
                    ticks.reset_after(healing.pause(silence));
                    let seen = self.look_around(healing.is_doubtful(silence));
                    let was_introduced = std::mem::replace(&mut introduced, seen.unintroduced.is_none());
                    if was_introduced && !introduced {
                        // Whoever asks how the device is shall not hear of the last dial, which got through.
                        self.look.notify_one();
                    }
                    healing.tick(seen, Instant::now())
                }
            };
            let can_write = self.tor.can_write();
            let traffic = Traffic { silence: self.tor.silence(), connected: self.tor.connected(), can_write };
            let hindrance = healing.hindrance(&traffic, &self.tor.bootstrap().borrow(), Instant::now());
            let changed =
                self.hindrance.send_if_modified(|known| std::mem::replace(known, hindrance) != hindrance);
            if changed {
                self.look.notify_one();
            }
            if let Some((step, reason)) = decision {
                let step = step.possible(can_write);
                let elsewhere = healing.is_elsewhere(reason, Instant::now());
                if self.act(step, reason, elsewhere).await {
                    healing.succeeded(step, Instant::now());
                } else {
                    healing.failed(Instant::now());
                }
            }
        }
    }

    fn look_around(&self, doubtful: bool) -> Seen {
        let bootstrap = self.tor.bootstrap().borrow().clone();
        let can_write = self.tor.can_write();
        self.metrics.tor.note_state(can_write);
        self.metrics.tor.note_clock(self.tor.clock_skew());
        if doubtful {
            self.look.notify_one();
        }
        // What is in everybody's way, or was until now, is no trouble of the onion service's.
        let clear = bootstrap.is_done() && !doubtful && self.hindrance.borrow().is_none();
        let reach = if clear { self.status.borrow().way_in() } else { Reach::Unknown };
        Seen {
            silence: self.tor.silence(),
            reach,
            unintroduced: self.tor.unintroduced().filter(|_| clear),
            in_use: self.metrics.sessions() > 0 || self.forward.as_ref().is_some_and(Forward::is_in_use),
            logins: *self.metrics.logins().borrow(),
            running: self.tor.is_running(),
            can_write,
            clock_wrong: bootstrap.is_blocked_by("clock_skewed"),
        }
    }

    /// Does it, at other introduction points if it is to be `elsewhere`. False if there is no client for it.
    async fn act(&self, step: Step, reason: Reason, elsewhere: bool) -> bool {
        self.metrics.healing.taken(step, reason);
        let moved = reason.may_have_moved();
        let is_gone = reason == Reason::NotStarted;
        // Arti may take the one for introduced that cannot be reached, and another be just coming about.
        let all = reason == Reason::Unreachable;
        let reason = reason.label();
        match step {
            Step::Relaunch => {
                let poked = if elsewhere { self.tor.introduce_elsewhere(all) } else { self.tor.poke(moved) };
                match poked {
                    Poked { closed, relaunched: true } => {
                        info!(reason, closed, elsewhere, "onion service launched again");
                    }
                    Poked { closed, .. } => info!(reason, closed, "dead connections to relays closed"),
                }
            }
            Step::Renew => {
                info!(reason, "Tor is started anew");
                let renewed = if elsewhere {
                    self.tor.renew_elsewhere().await
                } else if is_gone {
                    self.tor.start_again().await
                } else {
                    self.tor.renew().await
                };
                if let Err(failure) = renewed {
                    warn!("{failure}");
                    self.tor.poke(moved);
                    return self.tor.is_running();
                }
            }
            Step::GiveUp => {
                error!(reason, "nothing helped that the agent can do by itself; giving up");
                self.gave_up.cancel();
            }
        }
        self.look.notify_one();
        true
    }
}

/// Waits until it is time to look around: regularly, and at once when somebody came in: then nothing is in the way.
async fn due(ticks: &mut Interval, logins: &mut watch::Receiver<u64>) {
    tokio::select! {
        _ = ticks.tick() => {}
        Ok(()) = logins.changed() => {}
    }
}
