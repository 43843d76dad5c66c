//! Reading the configuration again while the agent runs: exporters, who may come in, and what is worth
//! a line are taken up without a session noticing.

use std::sync::Arc;
use std::time::Duration;

use onionscrape::files::Stamp;
use onionscrape::lifecycle::{self, Failure};
use onionscrape::logs;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::access::Access;
use crate::admin::Pages;
use crate::config::{AgentConfig, FrontConfig, Origin};
use crate::exporters::Exporters;
use crate::metrics::Metrics;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long after a reading that failed the same file is read again: what was wrong may have been so for a moment.
const RETRY: Duration = Duration::from_secs(60);

/// What a change of the configuration reaches.
pub struct Reached {
    /// What can be scraped.
    pub exporters: Exporters,
    /// What bridges are told of that.
    pub pages: Pages,
    /// Who may come in.
    pub access: Access,
    /// What is counted.
    pub metrics: Metrics,
}

/// Reads the configuration again; clones do so one after the other.
#[derive(Clone)]
pub struct Reloader(Arc<Inner>);

struct Inner {
    origin: Origin,
    reached: Reached,
    known: Mutex<Known>,
}

/// What came of the last reading.
struct Known {
    /// What the file looked like then.
    stamp: Option<Stamp>,
    /// What the agent was started with, of which a part stays.
    started: AgentConfig,
    /// What was read without mistakes last.
    config: AgentConfig,
    /// When the last reading failed, and the mistakes that were told of.
    failed: Option<(Instant, String)>,
}

impl Reloader {
    /// Reloads what `config` was read from, which the agent was started with.
    pub fn new(config: AgentConfig, reached: Reached) -> Self {
        let origin = config.origin.clone();
        reached.metrics.config.succeeded();
        let (stamp, started) = (config.seen.clone(), config.clone());
        let known = Mutex::new(Known { stamp, started, config, failed: None });
        Self(Arc::new(Inner { origin, reached, known }))
    }

    /// Looks at the file every second until `shutdown`, and reloads when it has changed and nobody
    /// writes it any more: half a file may be without a mistake. Now and then it is tried again after that failed.
    pub async fn follow(self, shutdown: CancellationToken) {
        let mut last = self.0.origin.stamp();
        while shutdown.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
            let now = self.0.origin.stamp();
            let rests = now == last;
            last = now;
            if !rests {
                continue;
            }
            let known = self.0.known.lock().await;
            let again = known.failed.as_ref().is_some_and(|(at, _)| at.elapsed() >= RETRY);
            let due = again || known.stamp != last;
            drop(known);
            if due {
                // It is told of where it happens.
                let _ = self.reload().await;
            }
        }
    }

    /// Reads the configuration and takes up what has changed in it. A mistake in it leaves everything
    /// as it was.
    ///
    /// # Errors
    /// Every mistake, one line each.
    pub async fn reload(&self) -> Result<(), Failure> {
        let mut known = self.0.known.lock().await;
        let _telling = lifecycle::reloading();
        // Looked at before it is read, so that a change in between is seen the next time.
        known.stamp = self.0.origin.stamp();
        let (origin, running) = (self.0.origin.clone(), known.config.state_directory.clone());
        // The agent has one thread for everything, which must not wait for a disk.
        let read = spawn_blocking(move || origin.read_again(&running)).await.map_err(Failure::of)?;
        match read {
            Ok((config, moved)) => {
                self.take_up(&known, &config, moved);
                known.config = config;
                known.failed = None;
                self.0.reached.metrics.config.succeeded();
                info!("the configuration was read again");
                Ok(())
            }
            Err(mistakes) => {
                self.0.reached.metrics.config.failed();
                let mistakes = mistakes.to_string();
                if known.failed.as_ref().is_none_or(|(_, told)| *told != mistakes) {
                    for mistake in mistakes.lines() {
                        warn!("not reloaded: {mistake}");
                    }
                }
                known.failed = Some((Instant::now(), mistakes.clone()));
                Err(Failure(mistakes))
            }
        }
    }

    fn take_up(&self, Known { started, config: before, .. }: &Known, now: &AgentConfig, moved: bool) {
        for section in waiting(started, before, now).into_iter().chain(moved.then_some("state_dir")) {
            warn!("{section} has changed in the configuration; it counts after a restart");
        }
        let Reached { exporters, pages, access, .. } = &self.0.reached;
        exporters.become_these(&now.exporters);
        // Only now, so that whoever hears of an exporter finds it.
        pages.offer(&now.exporters);
        if is_forward(started) == is_forward(now) {
            access.follow(now.sources.clone());
        } else {
            // A configuration for the other front says nothing of who may come in at this one.
            info!("who may come in is left as it was until the restart");
        }
        logs::set_level(now.log.level);
    }
}

/// What has changed since the last reading and waits for a restart: what was taken back does not.
fn waiting(started: &AgentConfig, before: &AgentConfig, now: &AgentConfig) -> Vec<&'static str> {
    let news = fixed(before, now);
    fixed(started, now).into_iter().filter(|section| news.contains(section)).collect()
}

fn is_forward(config: &AgentConfig) -> bool {
    matches!(config.front, FrontConfig::Forward(_))
}

/// What is different and only a restart can change.
fn fixed(before: &AgentConfig, now: &AgentConfig) -> Vec<&'static str> {
    let front = |config: &AgentConfig| match &config.front {
        FrontConfig::Ssh(settings) => format!("{settings:?}"),
        FrontConfig::Forward(to) => format!("{to:?}"),
    };
    let changes = [
        ("[tor]", format!("{:?}", before.tor) != format!("{:?}", now.tor)),
        ("[onion]", before.onion != now.onion),
        ("[ssh] forward or login_grace", front(before) != front(now)),
        ("[compression]", before.compression != now.compression),
        ("[admin]", before.admin != now.admin),
        ("sandbox", before.sandbox != now.sandbox),
        ("[log] format", before.log.format != now.log.format),
    ];
    changes.into_iter().filter_map(|(section, changed)| changed.then_some(section)).collect()
}

#[cfg(test)]
mod tests;
