//! The owner of a target's session: the one place that decides when to dial, to wait, and to give
//! a session up.

mod keeper;
mod patience;
mod reach;
mod standby;
mod state;
mod trouble;
mod turns;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hyper::header::HeaderValue;
use onionscrape::pairing::Inventory;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{ExporterConfig, TargetConfig, Way};
use crate::failure::ScrapeFailure;
use crate::history::History;
use crate::metrics::{Metrics, TargetMetrics};
use crate::pool::Pool;
use keeper::Keeper;
use patience::Patience;
pub use reach::{DialTimes, Dialling, Reach};
use standby::Standby;
pub use state::State;
pub use trouble::Trouble;
pub use turns::Turns;

/// A target with its session, shared by everything that scrapes it.
pub struct Target {
    /// What the configuration says of it.
    pub config: TargetConfig,
    /// What is counted about it.
    pub metrics: TargetMetrics,
    state: watch::Receiver<State>,
    /// The revision of the device's inventory, as its last answer has it.
    revision: watch::Sender<Option<HeaderValue>>,
    /// Its last scrapes.
    pub history: History,
    /// The label of its state, and since when it has that.
    since: Mutex<(&'static str, SystemTime)>,
    /// What the device said last of what it has.
    inventory: Mutex<Option<Arc<Inventory>>>,
    /// A second session, if one is wanted and there.
    standby: Standby,
    /// What is usual for each exporter.
    patience: Box<[Patience]>,
    doubt: Notify,
    redial: Notify,
    /// Told when the way to the device may be another.
    ways: watch::Sender<()>,
}

impl Target {
    /// Starts keeping a session to the target until `shutdown`.
    pub fn start(
        config: TargetConfig,
        reach: Reach,
        metrics: &Metrics,
        tasks: &TaskTracker,
        shutdown: CancellationToken,
    ) -> Arc<Self> {
        let (state, seen) = watch::channel(State::Dialling(None));
        let inventory = match &reach {
            Reach::Dialled(dialling) => dialling.inventory.read().map(Arc::new),
            // It has no name to ask it by.
            Reach::Reverse(..) => None,
        };
        let target = Arc::new(Self::new(config, metrics, seen, inventory));
        let keeper = Keeper::new(target.clone(), state);
        tasks.spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = keeper.keep(reach) => {}
            }
        });
        target
    }

    /// A target that is looked at in a session of its own, which ends with it: nothing of that is
    /// counted, and the session that is kept knows nothing of it.
    pub fn beside(config: TargetConfig, pool: Arc<Pool>) -> Arc<Self> {
        let (_, seen) = watch::channel(State::Up(pool));
        Arc::new(Self::new(config, &Metrics::default(), seen, None))
    }

    fn new(
        config: TargetConfig,
        metrics: &Metrics,
        state: watch::Receiver<State>,
        inventory: Option<Arc<Inventory>>,
    ) -> Self {
        let metrics = metrics.target(&config.name);
        let patience = config.exporters.iter().map(|_| Patience::default()).collect();
        let (revision, _) = watch::channel(None);
        Self {
            config,
            metrics,
            state,
            revision,
            history: History::default(),
            since: Mutex::new(("", SystemTime::now())),
            inventory: Mutex::new(inventory),
            standby: Standby::default(),
            patience,
            doubt: Notify::new(),
            redial: Notify::new(),
            ways: watch::channel(()).0,
        }
    }

    /// The pool of a session that is up, waiting while one is being dialled or about to take the place of
    /// one that just ended. The caller sets the time it may take.
    ///
    /// # Errors
    /// When there is no session and none is being dialled at this moment.
    pub async fn pool(&self) -> Result<Arc<Pool>, ScrapeFailure> {
        let mut state = self.state.clone();
        loop {
            match &*state.borrow_and_update() {
                State::Up(pool) | State::Suspect(pool) if !pool.session().is_over() => {
                    return Ok(pool.clone());
                }
                State::Up(_) | State::Suspect(_) | State::Dialling(_) => {}
                State::Blocked(why) => return Err(ScrapeFailure::NotConnected(why.clone())),
                State::Waiting(trouble, _) | State::Refused(trouble, _) => return Err(trouble.failure()),
            }
            if state.changed().await.is_err() {
                // One that nobody keeps is what it was; whoever uses it sees that it is over.
                let last = state.borrow().pool().cloned();
                return last.ok_or_else(|| ScrapeFailure::NotConnected("the bridge is stopping".into()));
            }
        }
    }

    /// The pool of another session than this one, if there is one at this moment: what took this one's
    /// place, or the one that stands by.
    pub fn other_pool(&self, than: &Arc<Pool>) -> Option<Arc<Pool>> {
        let now = self.state.borrow().pool().cloned();
        let pools = now.into_iter().chain(self.standby.pool());
        pools.filter(|pool| !pool.session().is_over()).find(|pool| !Arc::ptr_eq(pool, than))
    }

    /// True if a second session stands by.
    pub fn has_standby(&self) -> bool {
        self.standby.pool().is_some()
    }

    /// How long to wait for the first byte of the exporter's answer until it is late for what is usual.
    pub fn patience(&self, exporter: usize) -> Duration {
        self.patience[exporter].ends()
    }

    /// Notes that a scrape of the exporter had its first byte, so long after there was a session.
    pub fn answered(&self, exporter: usize, after: Duration) {
        self.patience[exporter].answered(after);
    }

    /// Why there is no session yet, for a scrape that waited in vain while one was being dialled.
    pub fn last_failure(&self) -> ScrapeFailure {
        match &*self.state.borrow() {
            State::Dialling(Some(trouble)) => trouble.failure(),
            _ => ScrapeFailure::NotConnected("still connecting to the device".into()),
        }
    }

    /// What the session is doing, and every change of it.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Since when it is in the state that it is in.
    pub fn since(&self) -> SystemTime {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    /// Notes that it is in this state now. A session that is suspected is up for as long as it was.
    fn stays(&self, state: &State) {
        if matches!(state, State::Suspect(_)) {
            return;
        }
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        if since.0 != state.label() {
            *since = (state.label(), SystemTime::now());
        }
    }

    /// Has the session thrown away, or the pause between dials cut short, and the target dialled
    /// anew over fresh circuits; returns when the old session is out of use.
    pub async fn redial(&self) {
        self.redial.notify_one();
        let mut state = self.state.clone();
        let gone = state.wait_for(|state| state.pool().is_none());
        let _ = tokio::time::timeout(Duration::from_secs(1), gone).await;
    }

    /// Says what revision of its inventory the device's answer had.
    pub fn heard_of(&self, revision: HeaderValue) {
        self.revision.send_if_modified(|known| {
            let changed = known.as_ref() != Some(&revision);
            *known = Some(revision);
            changed
        });
    }

    /// The revision of the device's inventory, and every change of it.
    pub fn revision(&self) -> watch::Receiver<Option<HeaderValue>> {
        self.revision.subscribe()
    }

    /// Says what the device has.
    pub fn has(&self, inventory: Inventory) {
        *self.inventory.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(inventory));
    }

    /// What the device said last of what it has, maybe before the bridge was started.
    pub fn inventory(&self) -> Option<Arc<Inventory>> {
        self.inventory.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The port that an exporter has on the device, as far as that is known.
    pub fn port(&self, exporter: &ExporterConfig) -> Option<u16> {
        match exporter.way {
            Way::Address(address) => Some(address.port()),
            Way::Forwarded(port) => Some(port),
            Way::Name => self.inventory()?.exporters.iter().find(|item| item.name == exporter.name)?.port,
        }
    }

    /// Says that the way to the device may be another by now: a session is asked whether it is still
    /// there, and what failed before is no reason to wait any more.
    pub fn look(&self) {
        self.ways.send_replace(());
        if self.state.borrow().pool().is_some() {
            self.doubt.notify_one();
        }
    }

    /// Says that a scrape timed out, so that the session is asked whether it is still there.
    pub fn doubt(&self) {
        self.doubt.notify_one();
    }
}
