//! The targets that are kept at this moment, each with its listeners; what the configuration says
//! now is compared with them target by target.

mod late;
mod prepared;
mod reach;
mod served;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use onionscrape::address::Name;
use onionscrape::compression::Dictionaries;
use onionscrape::files::Stamp;
use onionscrape::http::{SocketAccess, Web};
use onionscrape::lifecycle::Failure;
use onionscrape::tor::TorOnDemand;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::auto_port::AutoPorts;
use crate::config::{ScrapeLimits, TargetConfig};
use crate::doctor::Patient;
use crate::inventory::kept;
use crate::metrics::Metrics;
use crate::offer::Listening;
use crate::reverse::Expected;
use crate::scrape::Scraper;
use crate::target::{Reach, Target, Turns};
use prepared::bind;
pub use prepared::{Prepared, Room};
pub use reach::{Secrets, reach};

/// Targets dialled at the same time; each dial builds several circuits.
const MAX_DIALS: usize = 16;
/// How long a target's scrapes may take to finish when it is taken out of the configuration.
const GRACE: Duration = Duration::from_secs(6);

/// A target and where Prometheus finds its exporters.
pub struct Offered {
    /// The target.
    pub target: Arc<Target>,
    /// Where each exporter is offered, in their order; with the port that the kernel chose, if it was to
    /// choose.
    pub listening: Vec<Listening>,
}

/// What all targets of a bridge share.
pub struct Surroundings {
    /// The Tor client, for targets behind onion services; started when there is one.
    pub tor: TorOnDemand,
    /// The devices that may come by themselves.
    pub expected: Expected,
    /// What is counted.
    pub metrics: Metrics,
    /// Bounds on every scrape.
    pub limits: ScrapeLimits,
    /// Where the last bodies of all exporters are kept, if agents are asked for small answers.
    pub dictionaries: Option<Dictionaries>,
    /// Names, besides the usual local ones, that requests may use as Host.
    pub host_names: Vec<String>,
    /// What the listeners ask of those who connect.
    pub web: Web,
    /// Who may connect to socket files.
    pub sockets: SocketAccess,
    /// Where keys are.
    pub state_directory: PathBuf,
    /// Ends everything.
    pub shutdown: CancellationToken,
}

/// All targets that are kept.
pub struct Fleet {
    around: Surroundings,
    turns: Arc<Turns>,
    kept: Mutex<Vec<Kept>>,
    /// Held while targets come and go.
    changing: tokio::sync::Mutex<AutoPorts>,
}

/// One target with its listeners.
struct Kept {
    target: Arc<Target>,
    reach: Reach,
    scrapers: Vec<Scraper>,
    listening: Vec<Listening>,
    /// Exporters, by their number, whose port another program had at the start and may have yet; meanwhile they are
    /// listed as listening nowhere, so that nobody is led to that program.
    late: Vec<(usize, Listening)>,
    /// What the files of its keys looked like when they were read.
    keys: Vec<Stamp>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Kept {
    /// True if starting it anew from this configuration would change nothing.
    fn is(&self, config: &TargetConfig) -> bool {
        self.target.config == *config && self.keys.iter().all(Stamp::still_holds)
    }
}

impl Fleet {
    /// No targets yet; `ports` are what exporters were given.
    pub fn new(around: Surroundings, ports: AutoPorts) -> Self {
        let turns = Arc::new(Turns::new(MAX_DIALS));
        Self { around, turns, kept: Mutex::default(), changing: tokio::sync::Mutex::new(ports) }
    }

    /// Keeps these targets and no others. One whose configuration and keys are what they were keeps its
    /// session and its listeners; one that is gone may finish its scrapes.
    ///
    /// # Errors
    /// When a key cannot be used, an address is taken or no port is left; everything is as it was then.
    /// Only an address that an old target had is bound after that target has gone.
    pub async fn keep(&self, targets: &[TargetConfig]) -> Result<(), Failure> {
        let mut ports = self.changing.lock().await;
        let (gone, fresh) = self.compare(targets);
        let held: HashSet<Listening> = self
            .locked()
            .iter()
            .filter(|kept| gone.contains(&kept.target.config.name))
            .flat_map(|kept| kept.listening.iter().cloned())
            .collect();
        let plan = ports.plan(targets, &held.iter().filter_map(Listening::port).collect())?;
        let room = Room { ports: &plan, sockets: self.around.sockets, held: &held, ports_may_be_late: false };
        let mut prepared = Vec::new();
        for config in fresh {
            prepared.push(Prepared::new(config, &self.around.state_directory, room).await?);
        }
        if prepared.iter().any(|one| one.config.transport.onion().is_some()) {
            self.around.tor.get().await?;
        }
        ports.commit(plan)?;
        self.stop(&gone).await;
        let started = self.begin(prepared).await;
        let order = |kept: &Kept| targets.iter().position(|config| config.name == kept.target.config.name);
        self.locked().sort_by_key(order);
        self.forget_others(targets).await;
        started
    }

    /// Forgets what was kept of targets that are not configured any more. `targets` are all that are, also
    /// one that could not be started: it has its labels as soon as it can.
    pub async fn forget_others(&self, targets: &[TargetConfig]) {
        let names: Vec<Name> = targets.iter().map(|config| config.name.clone()).collect();
        let folder = self.around.state_directory.clone();
        // A panic there was told of, and nothing depends on it.
        let _ = tokio::task::spawn_blocking(move || kept::sweep(&folder, &names)).await;
    }

    /// Bounds on every scrape.
    pub fn limits(&self) -> ScrapeLimits {
        self.around.limits
    }

    /// Keeps these targets besides those that are kept.
    ///
    /// # Errors
    /// Which of them cannot be; the others are.
    pub async fn begin(&self, prepared: Vec<Prepared>) -> Result<(), Failure> {
        let mut failed = Vec::new();
        for one in prepared {
            if let Err(Failure(why)) = self.start(one).await {
                failed.push(why);
            }
        }
        if failed.is_empty() { Ok(()) } else { Err(Failure(failed.join("\n"))) }
    }

    /// True if the file of some target's key is not what it was when it was read.
    pub fn has_replaced_keys(&self) -> bool {
        !self.locked().iter().flat_map(|kept| &kept.keys).all(Stamp::still_holds)
    }

    /// Waits until no targets come and go, and keeps them from it while the guard is held: in between
    /// some that are configured are not there.
    pub async fn settled(&self) -> tokio::sync::MutexGuard<'_, AutoPorts> {
        self.changing.lock().await
    }

    /// The targets, in the order of the configuration.
    pub fn offered(&self) -> Vec<Offered> {
        let offered =
            |kept: &Kept| Offered { target: kept.target.clone(), listening: kept.listening.clone() };
        self.locked().iter().map(offered).collect()
    }

    /// The targets for a doctor to look at: the one of this name, or all.
    pub fn patients(&self, name: Option<&str>) -> Vec<Patient> {
        let kept = self.locked();
        let wanted =
            kept.iter().filter(|kept| name.is_none_or(|name| kept.target.config.name.as_str() == name));
        wanted
            .map(|kept| Patient {
                config: kept.target.config.clone(),
                reach: Ok(kept.reach.clone()),
                kept: Some(kept.target.clone()),
            })
            .collect()
    }

    /// The target of this name.
    pub fn target(&self, name: &str) -> Option<Arc<Target>> {
        let kept = self.locked();
        kept.iter().map(|kept| &kept.target).find(|target| target.config.name.as_str() == name).cloned()
    }

    /// An exporter of a target.
    pub fn scraper(&self, target: &str, exporter: &str) -> Option<Scraper> {
        let kept = self.locked();
        let of = kept.iter().find(|kept| kept.target.config.name.as_str() == target)?;
        of.scrapers.iter().find(|scraper| scraper.exporter().name.as_str() == exporter).cloned()
    }

    /// Waits until everything has ended; the shutdown began before.
    pub async fn ended(&self) {
        let tasks: Vec<_> = self.locked().iter().map(|kept| kept.tasks.clone()).collect();
        for tasks in tasks {
            tasks.wait().await;
        }
    }

    /// The names of targets that are not wanted as they are, and the configurations to start.
    fn compare(&self, targets: &[TargetConfig]) -> (Vec<Name>, Vec<TargetConfig>) {
        let kept = self.locked();
        let (stays, goes): (Vec<&Kept>, Vec<&Kept>) =
            kept.iter().partition(|kept| targets.iter().any(|config| kept.is(config)));
        let gone = goes.iter().map(|kept| kept.target.config.name.clone()).collect();
        let is_fresh = |config: &&TargetConfig| !stays.iter().any(|kept| kept.target.config == **config);
        (gone, targets.iter().filter(is_fresh).cloned().collect())
    }

    async fn stop(&self, names: &[Name]) {
        let gone: Vec<Kept> =
            self.locked().extract_if(.., |kept| names.contains(&kept.target.config.name)).collect();
        for kept in &gone {
            kept.stop.cancel();
        }
        for kept in gone {
            let name = &kept.target.config.name;
            if timeout(GRACE, kept.tasks.wait()).await.is_err() {
                warn!(target = %name, "some scrapes of a target that is gone did not end in time");
            }
            self.around.metrics.forget(name);
            info!(target = %name, "not kept any more");
        }
    }

    async fn start(&self, prepared: Prepared) -> Result<(), Failure> {
        let Prepared { config, secrets, keys: stamps, offers, ports_may_be_late } = prepared;
        let mut bound = Vec::new();
        for ((planned, listener), exporter) in offers.into_iter().zip(&config.exporters) {
            let listener = match listener {
                None if !ports_may_be_late => {
                    bind(&config, &planned, &exporter.name, self.around.sockets).await?
                }
                listener => listener,
            };
            bound.push((planned, listener));
        }
        let around = &self.around;
        let (tasks, stop) = (TaskTracker::new(), around.shutdown.child_token());
        let reach =
            reach(&config, secrets, &around.tor, &around.expected, &around.state_directory, &self.turns)
                .await?;
        let target = Target::start(config, reach.clone(), &around.metrics, &tasks, stop.clone());
        let mut kept = Kept {
            target,
            reach,
            scrapers: Vec::new(),
            listening: Vec::new(),
            late: Vec::new(),
            keys: stamps,
            tasks,
            stop,
        };
        for (index, (planned, listener)) in bound.into_iter().enumerate() {
            let mut scraper = Scraper::new(kept.target.clone(), index, around.limits);
            if let Some(dictionaries) = &around.dictionaries {
                scraper = scraper.compressing(dictionaries.shelf());
            }
            kept.scrapers.push(scraper);
            kept.listening.push(Listening::Nowhere);
            match listener {
                Some(listener) => kept.serve(index, planned, listener, around),
                None if planned != Listening::Nowhere => kept.late.push((index, planned)),
                None => {}
            }
        }
        kept.tasks.close();
        self.locked().push(kept);
        Ok(())
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
