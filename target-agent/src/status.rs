//! Whether the device can be reached, decided by dialling its own onion address from outside.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use onionscrape::tor::Bootstrap;
use onionscrape::{healing, lifecycle};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::metrics::Metrics;
use crate::outside::Met;

/// Pause between dials until the first one that gets through.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// How long the first dial may fail before something must be wrong: publishing takes seconds on a
/// good day and a minute or two on a bad one.
const FIRST_LIMIT: Duration = Duration::from_secs(180);
/// Pause between dials while all is well.
const WELL_PAUSE: Duration = Duration::from_secs(60);
/// The same where power is worth more than minutes.
const LOW_POWER_PAUSE: Duration = Duration::from_secs(1800);
/// Pause between dials after one that failed.
const AGAIN_PAUSE: Duration = Duration::from_secs(3);
/// Dials that fail after a first failure before the device counts as unreachable.
const AGAIN: u32 = 2;
/// Pause between dials while the device counts as unreachable.
const LOST_PAUSE: Duration = Duration::from_secs(10);

/// Whoever gets through although something was in the way shows that it is not: it takes so long at most until that
/// is seen.
const SEEN_SOON: Duration = Duration::from_secs(10);

const NO_WAY_IN: &str = "the onion service cannot be reached from outside";
const NO_SSH: &str = "no SSH server answers behind the onion service";

/// How the agent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentStatus {
    /// Tor is learning the network.
    Bootstrapping,
    /// The onion service is being published; nobody has got through yet.
    Publishing,
    /// A dial from outside got through.
    Reachable,
    /// Something must change, by itself or by somebody's hand.
    InTrouble {
        /// What, in a few words.
        because: &'static str,
    },
}

impl AgentStatus {
    /// Every value of [`label`](Self::label).
    pub const LABELS: [&'static str; 4] = ["bootstrapping", "publishing", "reachable", "in_trouble"];

    /// The state's name in metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Bootstrapping => "bootstrapping",
            Self::Publishing => "publishing",
            Self::Reachable => "reachable",
            Self::InTrouble { .. } => "in_trouble",
        }
    }

    /// Whether somebody who dials gets as far as the onion service, unless something is in everybody's way.
    pub fn way_in(&self) -> healing::Reach {
        match self {
            Self::Reachable | Self::InTrouble { because: NO_SSH } => healing::Reach::Proved,
            Self::InTrouble { because: NO_WAY_IN } => healing::Reach::Lost,
            _ => healing::Reach::Unknown,
        }
    }

    fn of(bootstrap: &Bootstrap, reach: Reach, hindrance: Option<&'static str>) -> Self {
        if let Some(because) = hindrance {
            return Self::InTrouble { because };
        }
        match (reach, bootstrap) {
            // Who got through proves that Tor works, whatever arti believes.
            (Reach::Proved, _) => Self::Reachable,
            (Reach::Silent, _) => Self::InTrouble { because: NO_SSH },
            (_, Bootstrap::Blocked { advice, .. }) => Self::InTrouble { because: advice },
            (Reach::Lost, _) => Self::InTrouble { because: NO_WAY_IN },
            (Reach::Unknown { .. }, Bootstrap::Going { .. }) => Self::Bootstrapping,
            (Reach::Unknown { .. }, Bootstrap::Done) => Self::Publishing,
        }
    }
}

impl fmt::Display for AgentStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InTrouble { because } => write!(f, "in trouble, because {because}"),
            other => f.write_str(other.label()),
        }
    }
}

/// What the dials from outside have shown so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Nobody got through since then, or nothing is known of it any more.
    Unknown {
        since: Instant,
    },
    Proved,
    /// The onion service is reached, and no SSH server greets.
    Silent,
    Lost,
}

impl Reach {
    /// What a dial makes of it that met this: the last of so many `in_vain` in a row, and of so many with the `same`
    /// outcome.
    fn after(self, met: Met, in_vain: u32, same: u32) -> Self {
        let news = match met {
            Met::Ssh => return Self::Proved,
            Met::Silence => Self::Silent,
            Met::Nobody => Self::Lost,
        };
        let is_sure = match self {
            Self::Unknown { since } => since.elapsed() > FIRST_LIMIT,
            Self::Proved => in_vain > AGAIN,
            Self::Silent => same > AGAIN,
            Self::Lost => true,
        };
        if is_sure { news } else { self }
    }
}

/// What there is to see besides the dials.
pub struct Signs {
    /// How far Tor has come.
    pub bootstrap: watch::Receiver<Bootstrap>,
    /// What is in everybody's way, if something is: then nobody gets through, whoever did before.
    pub hindrance: watch::Receiver<Option<&'static str>>,
    /// Asks for a dial at once.
    pub look: Arc<Notify>,
    /// True if dials are to be few.
    pub low_power: bool,
}

/// Follows these, the dials and the logins, and tells everybody of each change, until `shutdown`.
///
/// `published`, or somebody who comes in, is waited for before the first dial; `probe` dials once, in bounded time, and says
/// who was met.
pub async fn follow<P, F>(
    Signs { mut bootstrap, mut hindrance, look, low_power }: Signs,
    published: impl Future<Output = ()>,
    probe: P,
    status: watch::Sender<AgentStatus>,
    metrics: Metrics,
    shutdown: CancellationToken,
) where
    P: Fn() -> F,
    F: Future<Output = Met>,
{
    let mut ready = bootstrap.clone();
    let mut came_in = metrics.logins();
    let sessions = Sessions { logins: metrics.logins(), losses: metrics.losses() };
    let mut teller = Teller { status, metrics, started: Instant::now(), said: None };
    let (reached, mut reach) = watch::channel(Reach::Unknown { since: Instant::now() });
    let dials = async {
        let _ = ready.wait_for(Bootstrap::is_done).await;
        // Whoever comes in has found what was published.
        tokio::select! {
            () = published => {}
            Ok(()) = came_in.changed() => {}
        }
        let well = if low_power { LOW_POWER_PAUSE } else { WELL_PAUSE };
        dial(probe, &look, sessions, well, &reached).await;
    };
    let telling = async {
        let (mut hindered, mut proved) = (false, None::<Instant>);
        loop {
            let known = bootstrap.borrow_and_update().clone();
            let in_the_way = *hindrance.borrow_and_update();
            let was_hindered = std::mem::replace(&mut hindered, in_the_way.is_some());
            let is_proved = *reach.borrow() == Reach::Proved;
            proved = is_proved.then(|| proved.unwrap_or_else(Instant::now));
            // Whoever gets through while something is in the way proves that it is not any more.
            let is_fresh = was_hindered && proved.is_some_and(|at| at.elapsed() < SEEN_SOON);
            if hindered != was_hindered && !is_fresh {
                reached.send_replace(Reach::Unknown { since: Instant::now() });
                proved = None;
            }
            let seen = *reach.borrow_and_update();
            teller.metrics.tor.note(&known);
            teller.tell(AgentStatus::of(&known, seen, in_the_way));
            tokio::select! {
                Ok(()) = bootstrap.changed() => {}
                Ok(()) = reach.changed() => {}
                Ok(()) = hindrance.changed() => {}
                else => return,
            }
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = dials => {}
        () = telling => {}
    }
}

/// What sessions tell of the way in.
struct Sessions {
    /// Who logs in has got through, so that no dial is needed.
    logins: watch::Receiver<u64>,
    /// Where one breaks off the way may be lost with it.
    losses: watch::Receiver<u64>,
}

/// Dials for ever, and at once when `look` or a lost session asks for it.
async fn dial<P, F>(
    probe: P,
    look: &Notify,
    Sessions { mut logins, mut losses }: Sessions,
    well: Duration,
    reached: &watch::Sender<Reach>,
) where
    P: Fn() -> F,
    F: Future<Output = Met>,
{
    // What is published only now is given the time of a start.
    reached.send_replace(Reach::Unknown { since: Instant::now() });
    let (mut last, mut in_vain, mut same) = (Met::Ssh, 0, 0);
    let mut came_in = false;
    loop {
        let before = *reached.borrow();
        let met = if came_in {
            Met::Ssh
        } else {
            tokio::select! {
                met = probe() => met,
                Ok(()) = logins.changed() => Met::Ssh,
            }
        };
        let through = met == Met::Ssh;
        in_vain = if through { 0 } else { in_vain + 1 };
        same = if std::mem::replace(&mut last, met) == met { same + 1 } else { 1 };
        let now = before.after(met, in_vain, same);
        // While it was dialled something may have come into everybody's way.
        let mut known = before;
        reached.send_if_modified(|at_last| {
            let is_news = *at_last == before && before != now;
            if is_news {
                *at_last = now;
            }
            known = *at_last;
            is_news
        });
        let now = known;
        let pause = match now {
            Reach::Unknown { .. } => FIRST_PAUSE,
            Reach::Proved if through => well,
            // It is for somebody to start, which may take weeks.
            Reach::Silent if met == Met::Silence => well,
            Reach::Proved | Reach::Silent => AGAIN_PAUSE,
            Reach::Lost => LOST_PAUSE,
        };
        if !through {
            debug!(?met, ?pause, "the onion service was dialled in vain");
        }
        came_in = tokio::select! {
            () = sleep(pause) => false,
            () = look.notified() => false,
            Ok(()) = losses.changed(), if through => false,
            Ok(()) = logins.changed() => true,
        };
    }
}

/// Tells of changes: in the log, to systemd, in metrics and to whoever watches.
struct Teller {
    status: watch::Sender<AgentStatus>,
    metrics: Metrics,
    started: Instant,
    said: Option<AgentStatus>,
}

impl Teller {
    fn tell(&mut self, now: AgentStatus) {
        self.status.send_replace(now.clone());
        self.metrics.status(&now);
        if self.said.replace(now.clone()).as_ref() == Some(&now) {
            return;
        }
        lifecycle::notify_status(&now.to_string());
        match &now {
            AgentStatus::InTrouble { .. } => warn!("{now}"),
            AgentStatus::Reachable => {
                info!(seconds_since_start = self.started.elapsed().as_secs(), "{now}");
            }
            _ => info!("{now}"),
        }
    }
}

#[cfg(test)]
mod tests;
