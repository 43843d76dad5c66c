//! The task that dials, holds and gives up a target's session.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use onionscrape::address::OnionAddress;
use onionscrape::ssh::LoginKey;
use onionscrape::tls::TlsClient;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::{DialTimes, Reach, State, Target, Trouble};
use crate::config::Way;
use crate::dial::Dial;
use crate::inventory::Follower;
use crate::inventory::kept::Kept;
use crate::pool::Pool;
use crate::session::{HostKeys, Session};

/// First pause after a failed dial; each further one may be twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause between dials of a target that may come back at any moment.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Pause between dials of a new address while there is a session at the old one.
const MOVE_PAUSE: Duration = Duration::from_secs(600);

/// Owns the session's state; there is one for each target.
pub(super) struct Keeper {
    target: Arc<Target>,
    host_keys: Arc<HostKeys>,
    key: LoginKey,
    dial: Arc<dyn Dial>,
    tls: Arc<[Option<TlsClient>]>,
    dials: Arc<Semaphore>,
    kept: Arc<Kept>,
    state: watch::Sender<State>,
    pauses: ExponentialBackoff,
    /// True for the first dial after good service.
    at_once: bool,
}

impl Keeper {
    pub(super) fn new(target: Arc<Target>, reach: Reach, state: watch::Sender<State>) -> Self {
        let Reach { key, host_keys, dial, tls, dials, inventory: kept } = reach;
        let pauses = fresh_pauses();
        Self { target, host_keys, key, dial, tls, dials, kept, state, pauses, at_once: false }
    }

    /// Keeps a session for as long as it is polled.
    pub(super) async fn keep(mut self) {
        let mut last = None;
        let mut ready = None;
        loop {
            let connected = match ready.take() {
                Some(connection) => Ok(connection),
                None => {
                    let blocked = |why| {
                        self.tell(State::Blocked(why));
                    };
                    self.dial.ready(&blocked).await;
                    self.tell(State::Dialling(last.take()));
                    self.connect(self.host_keys.addresses()).await
                }
            };
            self.at_once = false;
            let (trouble, pause) = match connected {
                Ok(connection) => {
                    let pool = connection.pool.clone();
                    let held = self.hold(connection).await;
                    if let Held::Moved(connection) = held {
                        // Scrapes under way finish in the old session, which ends with the last of them.
                        ready = Some(connection);
                        continue;
                    }
                    self.tell(State::Dialling(None));
                    pool.session().close().await;
                    if matches!(held, Held::Asked) || pool.session().has_proved_itself() {
                        // Lost after good service: the network most likely changed, so dial at once.
                        self.pauses = fresh_pauses();
                        self.at_once = true;
                        continue;
                    }
                    let lost = Trouble::of_nothing("session lost");
                    (lost, self.pause())
                }
                Err(trouble) if trouble.refused => (trouble, refused_pause()),
                Err(trouble) => (trouble, self.pause()),
            };
            last = Some(trouble.clone());
            self.tell(if trouble.refused { State::Refused(trouble) } else { State::Waiting(trouble) });
            self.target.metrics.backoff_seconds.set(pause.as_secs_f64());
            tokio::select! {
                () = sleep(pause) => {}
                () = self.target.redial.notified() => {}
            }
            self.target.metrics.backoff_seconds.set(0.0);
        }
    }

    /// A session at one of these addresses, the last that leads to the device.
    async fn connect(&self, mut addresses: Vec<OnionAddress>) -> Result<Connection, Trouble> {
        let likeliest = addresses.pop().unwrap_or_else(|| self.target.config.onion.clone());
        let mut connected = self.connect_to(likeliest).await;
        while connected.is_err()
            && let Some(address) = addresses.pop()
        {
            // The likeliest address has the word on what is wrong.
            connected = self.connect_to(address).await.or(connected);
        }
        connected
    }

    /// Dials an address and logs in.
    async fn connect_to(&self, address: OnionAddress) -> Result<Connection, Trouble> {
        let target = &self.target;
        let name = target.config.name.as_str();
        // A target that was well until now does not stand in line behind devices that are off.
        let turn = if self.at_once { None } else { self.dials.acquire().await.ok() };
        target.metrics.connects.inc();
        let started = Instant::now();
        let stream = self.dial.dial(&address).await.map_err(|failure| {
            target.metrics.connect_failure(failure.stage);
            warn!(target = name, stage = failure.stage.label(), "not connected: {failure}");
            Trouble::of_dial(failure)
        })?;
        let onion = started.elapsed();
        drop(turn);
        let user = &target.config.user;
        let login = Session::login(stream, &self.host_keys, user, &self.key).await;
        target.metrics.host_key_shown(login.as_ref().err().copied());
        let (session, login) = login.map_err(|failure| {
            let (stage, trouble) = Trouble::of_login(failure);
            target.metrics.connect_failure(stage);
            warn!(target = name, stage = stage.label(), "not connected: {}", trouble.what);
            trouble
        })?;
        self.host_keys.reached(&address);
        target.metrics.connect_duration.observe(started.elapsed().as_secs_f64());
        let times = DialTimes { onion, login };
        target.metrics.dialled(times);
        info!(target = name, seconds = started.elapsed().as_secs_f64(), "connected");
        Ok(Connection { pool: Arc::new(Pool::new(session, times, self.tls.clone())), address })
    }

    /// Hears what the device tells of itself, in a session in which it has proved itself.
    async fn follow(&self, pool: &Pool) {
        // A device's own `sshd` has nothing under that name, and would look it up.
        if self.target.config.exporters.iter().any(|exporter| exporter.way == Way::Name) {
            let (target, host_keys, kept) = (self.target.clone(), self.host_keys.clone(), self.kept.clone());
            Follower { target, host_keys, kept }.follow(pool.session()).await;
        }
        std::future::pending().await
    }

    /// A session at the latest address of the device, if that is another than `now`; tried as soon as
    /// it is announced, and then from time to time, beside the session that is up.
    async fn moved(&self, now: &OnionAddress) -> Connection {
        loop {
            let announced = self.host_keys.address_changed();
            let Some(latest) = self.host_keys.addresses().pop().filter(|latest| latest != now) else {
                announced.await;
                continue;
            };
            match self.connect(vec![latest]).await {
                Ok(connection) => return connection,
                // However often the device announces another.
                Err(_) => sleep(MOVE_PAUSE).await,
            }
        }
    }

    /// Offers the session to scrapes until it ends, does not answer any more, or another is there in
    /// its place.
    async fn hold(&self, connection: Connection) -> Held {
        let Connection { pool, address } = connection;
        let target = &self.target;
        let name = target.config.name.as_str();
        // Gone with this function, however it ends.
        let _connected = target.metrics.connected();
        let warm = pool.clone();
        let config = target.config.clone();
        tokio::spawn(async move {
            for (index, exporter) in config.exporters.iter().enumerate() {
                warm.warm(index, exporter).await;
            }
        });
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        target.metrics.last_connected.set(now.as_secs_f64());
        self.tell(State::Up(pool.clone()));
        // Both end with this function, so that nothing holds on to a session that is over.
        let (mut following, mut moved) = (Box::pin(self.follow(&pool)), Box::pin(self.moved(&address)));
        loop {
            tokio::select! {
                () = pool.session().ended() => {
                    if pool.session().went_unanswered() {
                        target.metrics.keepalive_failures.inc();
                    }
                    warn!(target = name, "session lost");
                    return Held::Lost;
                }
                () = target.redial.notified() => return Held::Asked,
                () = target.doubt.notified() => {
                    if !pool.session().answers().await {
                        target.metrics.keepalive_failures.inc();
                        warn!(target = name, "session does not answer; dialling anew");
                        return Held::Lost;
                    }
                }
                () = &mut following => {}
                connection = &mut moved => return Held::Moved(connection),
            }
        }
    }

    fn tell(&self, state: State) {
        self.target.stays(&state);
        self.state.send_replace(state);
    }

    fn pause(&mut self) -> Duration {
        self.pauses.next().unwrap_or(LONGEST_PAUSE)
    }
}

/// A session, and where the device was reached.
struct Connection {
    pool: Arc<Pool>,
    address: OnionAddress,
}

/// Why a session is not offered to scrapes any more.
enum Held {
    /// It ended, or does not answer.
    Lost,
    /// Somebody asked for a new one.
    Asked,
    /// There is one at the device's new address.
    Moved(Connection),
}

fn fresh_pauses() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(FIRST_PAUSE)
        // Jitter adds up to as much again.
        .with_max_delay(LONGEST_PAUSE / 2)
        .with_jitter()
        .without_max_times()
        .build()
}

/// The pause after a refusal that only a person can mend: near the longest one from the start.
fn refused_pause() -> Duration {
    let pauses = ExponentialBuilder::new().with_min_delay(LONGEST_PAUSE / 2).with_jitter();
    pauses.build().next().unwrap_or(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests;
