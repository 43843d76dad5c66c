//! Reading the configuration again while the agent runs: exporters, who may come in, and what is worth
//! a line are taken up without a session noticing.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use onionscrape::files::Stamp;
use onionscrape::lifecycle::{self, Failure};
use onionscrape::logs;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::access::Access;
use crate::admin::Pages;
use crate::config::{AgentConfig, FrontConfig, Origin};
use crate::exporters::Exporters;
use crate::metrics::Metrics;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);

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
    /// What the agent runs with, or would after a restart.
    config: AgentConfig,
    /// The mistakes that were told of.
    mistakes: Option<String>,
}

impl Reloader {
    /// Reloads what `config` was read from, which the agent runs with now.
    pub fn new(config: AgentConfig, reached: Reached) -> Self {
        let origin = config.origin.clone();
        reached.metrics.config_loaded(now());
        let known = Mutex::new(Known { stamp: stamp(&origin), config, mistakes: None });
        Self(Arc::new(Inner { origin, reached, known }))
    }

    /// Looks at the file every second until `shutdown`, and reloads when it has changed.
    pub async fn follow(self, shutdown: CancellationToken) {
        while shutdown.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
            let changed = self.0.known.lock().await.stamp != stamp(&self.0.origin);
            if changed {
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
        known.stamp = stamp(&self.0.origin);
        let (origin, running) = (self.0.origin.clone(), known.config.state_directory.clone());
        // The agent has one thread for everything, which must not wait for a disk.
        let read = spawn_blocking(move || origin.read_again(&running)).await.map_err(Failure::of)?;
        match read {
            Ok((config, moved)) => {
                self.take_up(&known.config, &config, moved);
                known.config = config;
                known.mistakes = None;
                self.0.reached.metrics.config_loaded(now());
                info!("the configuration was read again");
                Ok(())
            }
            Err(mistakes) => {
                self.0.reached.metrics.config_refused();
                let mistakes = mistakes.to_string();
                if known.mistakes.as_ref() != Some(&mistakes) {
                    for mistake in mistakes.lines() {
                        warn!("not reloaded: {mistake}");
                    }
                    known.mistakes = Some(mistakes.clone());
                }
                Err(Failure(mistakes))
            }
        }
    }

    fn take_up(&self, before: &AgentConfig, now: &AgentConfig, moved: bool) {
        for section in fixed(before, now).into_iter().chain(moved.then_some("state_dir")) {
            warn!("{section} has changed in the configuration; it counts after a restart");
        }
        let Reached { exporters, pages, access, .. } = &self.0.reached;
        exporters.become_these(&now.exporters);
        // Only now, so that whoever hears of an exporter finds it.
        pages.offer(&now.exporters);
        access.follow(now.sources.clone());
        logs::set_level(now.log.level);
    }
}

/// What has changed and only a restart can change.
fn fixed(before: &AgentConfig, now: &AgentConfig) -> Vec<&'static str> {
    let front = |config: &AgentConfig| match &config.front {
        FrontConfig::Ssh(settings) => format!("{settings:?}"),
        FrontConfig::Forward(to) => format!("{to:?}"),
    };
    let changes = [
        ("[tor]", format!("{:?}", before.tor) != format!("{:?}", now.tor)),
        ("[onion]", before.onion != now.onion),
        ("[ssh] forward or login_grace", front(before) != front(now)),
        ("[admin]", before.admin != now.admin),
        ("[log] format", before.log.format != now.log.format),
    ];
    changes.into_iter().filter_map(|(section, changed)| changed.then_some(section)).collect()
}

fn stamp(origin: &Origin) -> Option<Stamp> {
    origin.file.as_deref().map(Stamp::take)
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests;
