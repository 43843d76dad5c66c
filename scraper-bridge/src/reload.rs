//! Reading the configuration again while the bridge runs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex as PlainMutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use onionscrape::address::without_onions;
use onionscrape::files::Stamp;
use onionscrape::lifecycle::{self, Failure};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::{BridgeConfig, Entrance, Source, Transport, target_files};
use crate::descriptors;
use crate::fleet::Fleet;
use crate::metrics::Metrics;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long after a reading that failed the files are read again, changed or not.
const RETRY: Duration = Duration::from_secs(60);

/// Reads the configuration again; clones do so one after the other.
#[derive(Clone)]
pub struct Reloader(Arc<Inner>);

struct Inner {
    source: Source,
    targets_dir: PathBuf,
    fleet: Arc<Fleet>,
    metrics: Metrics,
    /// Where devices come to that come by themselves, until a restart.
    entrance: Option<Entrance>,
    known: Mutex<Known>,
    /// What is wrong with the files, since when.
    refused: PlainMutex<Option<Refused>>,
}

/// A configuration that was read again and is not used.
#[derive(Clone, Debug)]
pub struct Refused {
    /// When it was read last.
    pub at: SystemTime,
    /// Every mistake, one line each.
    pub mistakes: String,
}

/// What came of the last reading.
struct Known {
    /// What the files looked like then.
    stamps: Vec<Stamp>,
    /// What only a restart can change, in a form that can be compared: as the bridge was started with
    /// it, and as it was read last.
    started: String,
    fixed: String,
    /// When it failed, if it did.
    failed: Option<Instant>,
}

impl Reloader {
    /// Reloads what `config` was read from into `fleet`.
    pub fn new(config: &BridgeConfig, fleet: Arc<Fleet>, metrics: Metrics) -> Self {
        let (stamps, started) = (config.seen.clone(), fixed(config));
        let known = Mutex::new(Known { stamps, fixed: started.clone(), started, failed: None });
        let (source, targets_dir) = (config.source.clone(), config.targets_dir.clone());
        let refused = PlainMutex::default();
        let entrance = config.reverse;
        Self(Arc::new(Inner { source, targets_dir, fleet, metrics, entrance, known, refused }))
    }

    /// Looks at the files every second until `shutdown`, and reloads when one has changed and nobody
    /// writes it any more: half a file may be without a mistake. As often it is tried to listen where the start
    /// could not.
    pub async fn follow(self, shutdown: CancellationToken) {
        let look = || stamps(&self.0.source, &self.0.targets_dir);
        let mut last = look();
        while shutdown.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
            self.0.fleet.take_up_late_ports().await;
            let now = look();
            let rests = now == last;
            last = now;
            if !rests {
                continue;
            }
            let known = self.0.known.lock().await;
            let changed = known.stamps != last;
            let again = match known.failed {
                Some(failed) => failed.elapsed() > RETRY,
                None => self.0.fleet.has_replaced_keys(),
            };
            drop(known);
            if changed || again {
                // It is told of where it happens.
                let _ = self.reload().await;
            }
        }
    }

    /// Reads the configuration and keeps the targets that it has now. A mistake in it leaves
    /// everything as it was.
    ///
    /// # Errors
    /// Every mistake, one line each.
    pub async fn reload(&self) -> Result<(), Failure> {
        let mut known = self.0.known.lock().await;
        let _telling = lifecycle::reloading();
        // A file is quoted where it is wrong, and what is said of it is logged and shown on the page.
        let outcome = self.try_reload(&mut known).await;
        let outcome = outcome.map_err(|Failure(mistakes)| Failure(without_onions(&mistakes)));
        let refused = outcome
            .as_ref()
            .err()
            .map(|Failure(mistakes)| Refused { at: SystemTime::now(), mistakes: mistakes.clone() });
        *self.0.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
        // What failed may have done so for a moment: a port that was taken, a key that was not there yet.
        known.failed = outcome.is_err().then(Instant::now);
        match &outcome {
            Ok(()) => {
                self.0.metrics.config.succeeded();
                info!("the configuration was read again");
            }
            Err(Failure(mistakes)) => {
                self.0.metrics.config.failed();
                for mistake in mistakes.lines() {
                    warn!("not reloaded: {mistake}");
                }
            }
        }
        outcome
    }

    /// What is wrong with the files, if they are not what counts.
    pub fn refused(&self) -> Option<Refused> {
        self.0.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn try_reload(&self, known: &mut Known) -> Result<(), Failure> {
        // Looked at before they are read, so that a change in between is seen the next time.
        known.stamps = stamps(&self.0.source, &self.0.targets_dir);
        let mut config = self.0.source.read()?;
        let now = fixed(&config);
        // What was taken back does not wait for a restart.
        if now != known.fixed && now != known.started {
            warn!(
                "something besides the targets has changed in the configuration; it counts after a restart"
            );
        }
        known.fixed = now;
        for target in &mut config.targets {
            if let (Transport::Reverse(reverse), Some(entrance)) = (&mut target.transport, self.0.entrance) {
                // It is the same target, and comes to where it came before.
                reverse.entrance = entrance;
            }
        }
        descriptors::reckon_with(&config);
        self.0.fleet.keep(&config.targets).await
    }
}

/// What only a restart can change, in a form that can be compared.
fn fixed(config: &BridgeConfig) -> String {
    let BridgeConfig {
        state_directory,
        tor,
        admin,
        lifecycle,
        listen,
        proxy,
        reverse,
        sd_file,
        host_names,
        web_config_file,
        scrape,
        compression,
        sandbox,
        log,
        targets_dir,
        ..
    } = config;
    format!(
        "{state_directory:?} {tor:?} {admin:?} {lifecycle:?} {listen:?} {proxy:?} {reverse:?} {sd_file:?} {host_names:?} {scrape:?} {compression:?} {sandbox:?} {log:?} {targets_dir:?} {web_config_file:?}"
    )
}

/// What all files of a configuration look like at this moment.
fn stamps(source: &Source, targets_dir: &Path) -> Vec<Stamp> {
    // A folder that cannot be read stands for itself, so that this is seen as a change, and the end of it, too.
    let targets = target_files(targets_dir).unwrap_or_else(|_| vec![targets_dir.to_owned()]);
    source.file.iter().cloned().chain(targets).map(|path| Stamp::take(&path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::Bridge;

    #[test]
    fn a_folder_that_cannot_be_read_is_not_an_empty_one() {
        let folder = tempfile::tempdir().expect("folder");
        let (file, targets) = (folder.path().join("bridge.toml"), folder.path().join("targets"));
        let text = format!("state_dir = {:?}\ntargets_dir = {targets:?}\n", folder.path().join("bridge"));
        std::fs::write(&file, text).expect("written");
        let config = BridgeConfig::read(Some(&file), None).expect("there need be none");
        let before = stamps(&config.source, &targets);
        // Nobody can list this, not even root.
        std::fs::write(&targets, "").expect("written");
        let mistakes = config.source.read().expect_err("no folder").to_string();
        assert!(mistakes.contains("targets: cannot be read: "), "{mistakes}");
        assert_ne!(stamps(&config.source, &targets), before, "seen as a change");
    }

    #[tokio::test]
    async fn a_mistake_does_not_tell_an_onion_address() {
        let letters = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd";
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("bridge.toml");
        let good =
            format!("state_dir = {:?}\n[admin]\nlisten = \"127.0.0.1:0\"\n", folder.path().join("bridge"));
        std::fs::write(&file, &good).expect("written");
        let config = BridgeConfig::read(Some(&file), None).expect("right");
        let bridge = Bridge::start(config, CancellationToken::new()).await.expect("started");
        std::fs::write(&file, good + &format!("[scrape]\ntimeout = \"{letters}.onion\"\n")).expect("written");
        let Failure(told) = bridge.reloader().reload().await.expect_err("wrong");
        let kept = bridge.reloader().refused().expect("kept").mistakes;
        for said in [&told, &kept] {
            assert!(said.contains("….onion") && !said.contains(letters), "{said}");
        }
    }
}
