//! What happens to a machine under a running program, and what connections do not survive: another
//! network, a sleep, a clock that is set.

mod clocks;
mod netlink;
mod outlook;

use std::fmt;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use clocks::Clocks;
use netlink::Netlink;
pub use outlook::Outlook;
pub(crate) use outlook::{is_no_way, source_for};

/// How often the clocks are looked at. A program that did not get to it for much longer was asleep.
const TICK: Duration = Duration::from_secs(5);
/// A network comes in several steps (link, address, routes); the last is waited for so long.
const SETTLING: Duration = Duration::from_millis(500);
/// Disturbances that may wait while one is acted on.
const WAITING: usize = 64;

/// One thing that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    /// Packets leave the machine from other addresses than before, or in vain, or no longer in vain.
    Network(Outlook),
    /// The machine or the program was stopped for so long.
    Slept(Duration),
    /// The clock was set, forwards or backwards, by so many seconds.
    ClockSet(i64),
}

impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(outlook) if outlook.is_cut_off() => write!(f, "there is no network"),
            Self::Network(_) => write!(f, "the network changed"),
            Self::Slept(time) => write!(f, "was asleep for {} s", time.as_secs()),
            Self::ClockSet(seconds) => write!(f, "the clock was set by {seconds} s"),
        }
    }
}

/// Those that happen from a moment on.
pub struct Disturbances {
    noticed: mpsc::Receiver<Disturbance>,
    _watcher: AbortOnDropHandle<()>,
}

impl Disturbances {
    /// Notices what happens from now on, whatever whoever hears of it is doing; needs a tokio runtime.
    pub fn watch() -> Self {
        let (tell, noticed) = mpsc::channel(WAITING);
        let watcher = Watcher::new();
        Self { noticed, _watcher: AbortOnDropHandle::new(tokio::spawn(watcher.work(tell))) }
    }

    /// The next one.
    pub async fn next(&mut self) -> Disturbance {
        match self.noticed.recv().await {
            Some(disturbance) => disturbance,
            // With the runtime.
            None => std::future::pending().await,
        }
    }
}

/// Looks, as far as the system tells when.
struct Watcher {
    /// `None` where the system does not let us hear of changes; then they are seen at the next tick.
    netlink: Option<Netlink>,
    outlook: Outlook,
    clocks: Clocks,
    ticks: Interval,
}

impl Watcher {
    fn new() -> Self {
        let netlink = Netlink::open().inspect_err(|error| {
            warn!("the system does not tell of network changes ({error}), so they are looked for every 5 s");
        });
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { netlink: netlink.ok(), outlook: Outlook::now(), clocks: Clocks::now(), ticks }
    }

    async fn work(mut self, tell: mpsc::Sender<Disturbance>) {
        loop {
            let told = async {
                match &mut self.netlink {
                    Some(netlink) => netlink.changed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = told => {
                    sleep(SETTLING).await;
                    self.netlink.iter_mut().for_each(Netlink::skip);
                }
                _ = self.ticks.tick() => {}
            }
            let now = Outlook::now();
            let moved = std::mem::replace(&mut self.outlook, now) != now;
            let network = moved.then_some(Disturbance::Network(now));
            let [set, slept] = self.clocks.look(TICK + SETTLING);
            for disturbance in [set, slept, network].into_iter().flatten() {
                // Where so many wait, nobody acts on one more.
                let _ = tell.try_send(disturbance);
            }
        }
    }
}
