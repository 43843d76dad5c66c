//! The task that dials, holds and gives up a target's session.

mod arrival;
mod connect;
mod pauses;
mod standby;

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::{Fuse, FusedFuture as _, FutureExt as _, join_all};
use onionscrape::address::OnionAddress;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::warn;

use super::standby::Connection;
use super::{Dialling, Reach, State, Target, Trouble};
use crate::config::Way;
use crate::inventory::Follower;
use crate::pool::Pool;
use crate::session::Session;
use pauses::Pauses;

/// What is said of a session that broke off.
const BROKEN_OFF: &str = "session lost";
/// The same if its keepalive had no answer in time.
const UNANSWERED: &str = "session lost: ssh keepalive unanswered";
/// Pause between dials of a new address while there is a session at the old one.
const MOVE_PAUSE: Duration = Duration::from_secs(600);

/// Owns the session's state; there is one for each target.
pub(super) struct Keeper {
    target: Arc<Target>,
    state: watch::Sender<State>,
    pauses: Pauses,
    /// True for the first dial after good service.
    at_once: bool,
}

impl Keeper {
    pub(super) fn new(target: Arc<Target>, state: watch::Sender<State>) -> Self {
        Self { target, state, pauses: Pauses::begin(), at_once: false }
    }

    /// Keeps a session for as long as it is polled.
    pub(super) async fn keep(self, reach: Reach) {
        match reach {
            Reach::Dialled(dialling) => self.dial(&dialling).await,
            Reach::Reverse(arrivals, tls) => self.receive(arrivals, tls).await,
        }
    }

    /// Dials whenever there is no session.
    async fn dial(mut self, dialling: &Dialling) {
        let mut last = None;
        let mut ready = None;
        let mut ways = self.target.ways.subscribe();
        loop {
            ways.mark_unchanged();
            let connected = match ready.take() {
                Some(connection) => Ok(connection),
                None => {
                    let blocked = |why| {
                        self.tell(State::Blocked(why));
                    };
                    dialling.dial.ready(&blocked).await;
                    self.tell(State::Dialling(last.take()));
                    self.connect(dialling, dialling.host_keys.addresses()).await
                }
            };
            self.at_once = false;
            let (trouble, pause) = match connected {
                Ok(connection) => {
                    let Connection { pool, address } = connection;
                    let moved = self.moved(dialling, address.as_ref());
                    let held = self.hold(&pool, Some(dialling), moved).await;
                    let (stands_in, why) = match held {
                        Held::Replaced(connection) => {
                            // Scrapes under way finish in the old session, which ends with the last of them.
                            ready = Some(connection);
                            continue;
                        }
                        Held::Lost(why) => (self.stands_in(false), Some(why)),
                        Held::Unanswered => (self.stands_in(true), Some(UNANSWERED)),
                        Held::Asked => (None, None),
                    };
                    let lost = why.map(Trouble::of_nothing);
                    if stands_in.is_none() {
                        self.tell(State::Dialling(lost.clone()));
                    }
                    let was_of_use = pool.session().has_proved_itself();
                    // A session that is stuck takes its time to end, and the next one does not wait for it.
                    tokio::spawn(async move { pool.session().close().await });
                    if let Some(connection) = stands_in {
                        if was_of_use {
                            // So that the next one is dialled at once if this one is lost as well.
                            connection.pool.session().proves_itself();
                        }
                        ready = Some(connection);
                        continue;
                    }
                    match lost {
                        Some(lost) if !was_of_use => (lost, self.pauses.next()),
                        lost => {
                            // Lost after good service: the network most likely changed, so dial at once.
                            self.pauses = Pauses::begin();
                            self.at_once = true;
                            last = lost;
                            continue;
                        }
                    }
                }
                Err(trouble) if trouble.refused => (trouble, pauses::after_refusal()),
                Err(trouble) if ways.has_changed().unwrap_or(false) => {
                    // It went another way than there is now, and says nothing of this one.
                    self.pauses = Pauses::begin();
                    last = Some(trouble);
                    continue;
                }
                Err(trouble) => (trouble, self.pauses.next()),
            };
            last = Some(trouble.clone());
            let (refused, until) = (trouble.refused, SystemTime::now() + pause);
            self.tell(match refused {
                true => State::Refused(trouble, until),
                false => State::Waiting(trouble, Some(until)),
            });
            self.target.metrics.backoff_seconds.set(pause.as_secs_f64());
            tokio::select! {
                () = sleep(pause) => {}
                () = self.target.redial.notified() => {}
                // What only a person can mend is not mended by another way.
                Ok(()) = ways.changed(), if !refused => self.pauses = Pauses::begin(),
            }
            self.target.metrics.backoff_seconds.set(0.0);
        }
    }

    /// Hears what the device tells of itself, in a session in which it has proved itself.
    async fn follow(&self, pool: &Pool, dialling: Option<&Dialling>) {
        // A device's own `sshd` has nothing under that name, and would look it up.
        if let Some(dialling) = dialling
            && self.target.config.exporters.iter().any(|exporter| exporter.way == Way::Name)
        {
            let (host_keys, kept) = (dialling.host_keys.clone(), dialling.inventory.clone());
            Follower { target: self.target.clone(), host_keys, kept }.follow(pool.session()).await;
        }
        std::future::pending().await
    }

    /// A session at the latest address of the device, if that is another than `now`; tried as soon as
    /// it is announced, and then from time to time, beside the session that is up.
    async fn moved(&self, dialling: &Dialling, now: Option<&OnionAddress>) -> Connection {
        loop {
            let announced = dialling.host_keys.address_changed();
            let latest = dialling.host_keys.addresses().pop();
            let Some(latest) = latest.filter(|latest| Some(latest) != now) else {
                announced.await;
                continue;
            };
            match self.connect(dialling, vec![latest]).await {
                Ok(connection) => return connection,
                // However often the device announces another.
                Err(_) => sleep(MOVE_PAUSE).await,
            }
        }
    }

    /// Offers the session to scrapes until it ends, does not answer any more, or another is there in
    /// its place.
    async fn hold<T>(
        &self,
        pool: &Arc<Pool>,
        dialling: Option<&Dialling>,
        replacement: impl Future<Output = T>,
    ) -> Held<T> {
        let target = &self.target;
        let name = target.config.name.as_str();
        // Gone with this function, however it ends.
        let _connected = target.metrics.connected();
        self.warm(pool);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        target.metrics.last_connected.set(now.as_secs_f64());
        self.tell(State::Up(pool.clone()));
        // Whoever asked for a new one before it was there has it.
        let _ = target.redial.notified().now_or_never();
        // Both end with this function, so that nothing holds on to a session that is over.
        let (mut following, mut replacement) = (Box::pin(self.follow(pool, dialling)), Box::pin(replacement));
        let mut standing_by = Box::pin(self.stand_by(dialling));
        // Whoever asks for a new session, or has another, does not wait for what comes of asking this one.
        let mut asked = pin!(Fuse::terminated());
        loop {
            tokio::select! {
                () = pool.session().ended() => {
                    let why = why_lost(pool.session());
                    if why == UNANSWERED {
                        target.metrics.keepalive_failures.inc();
                    }
                    warn!(target = name, "{why}");
                    return Held::Lost(why);
                }
                () = pool.session().silence() => {
                    target.metrics.keepalive_failures.inc();
                    warn!(target = name, "nothing comes from the device; dialling anew");
                    return Held::Lost(UNANSWERED);
                }
                () = target.redial.notified() => return Held::Asked,
                () = target.doubt.notified(), if asked.is_terminated() => {
                    self.tell(State::Suspect(pool.clone()));
                    asked.set(pool.session().answers().fuse());
                    self.ask_the_other();
                }
                answers = &mut asked => {
                    if !answers {
                        target.metrics.keepalive_failures.inc();
                        warn!(target = name, "session does not answer; dialling anew");
                        // One that ended did not take its time, so the second one cannot have answered yet.
                        let ended = pool.session().is_over() || !pool.session().is_quiet();
                        return if ended { Held::Lost(why_lost(pool.session())) } else { Held::Unanswered };
                    }
                    self.tell(State::Up(pool.clone()));
                }
                () = &mut following => {}
                () = &mut standing_by => {}
                replacement = &mut replacement => return Held::Replaced(replacement),
            }
        }
    }

    /// Opens channels ahead of the first scrapes.
    fn warm(&self, pool: &Arc<Pool>) {
        let (pool, config) = (pool.clone(), self.target.config.clone());
        tokio::spawn(async move {
            // One after the other they would take a round trip each.
            join_all(config.exporters.iter().enumerate().map(|(index, exporter)| pool.warm(index, exporter)))
                .await
        });
    }

    fn tell(&self, state: State) {
        self.target.stays(&state);
        self.state.send_replace(state);
    }
}

/// What is said of a session that ended, or else does not answer.
fn why_lost(session: &Session) -> &'static str {
    if session.is_over() && !session.went_unanswered() { BROKEN_OFF } else { UNANSWERED }
}

/// Why a session is not offered to scrapes any more.
enum Held<T> {
    /// It ended, or nothing comes from it, in these words.
    Lost(&'static str),
    /// It was asked, as any second session was, and did not answer.
    Unanswered,
    /// Somebody asked for a new one.
    Asked,
    /// There is another: at the device's new address, or since the device came again.
    Replaced(T),
}

#[cfg(test)]
mod tests;
