//! Bringing rotations to their end while the agent runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use onionscrape::files::Stamp;
use onionscrape::lifecycle::Failure;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::{Part, Rotation, next};
use crate::access::Access;
use crate::admin::Learnt;
use crate::config::AgentConfig;
use crate::identity::{self, Identity};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often they are when something cannot be done.
const AGAIN: Duration = Duration::from_secs(30);
/// How long all must have what is to come before it counts: the file of somebody who has not may be
/// just being replaced.
const SETTLED: Duration = Duration::from_secs(10);

/// Looks after rotations; the only one that ends them while an agent runs.
pub struct Keeper {
    config: AgentConfig,
    access: Access,
    identity: watch::Sender<Arc<Identity>>,
    /// Who said that they have what is to come.
    learnt: watch::Receiver<Learnt>,
    /// What the files looked like when they were read.
    seen: Option<[Stamp; 2]>,
    /// Since when everybody has what is to come, for each part.
    settled: [Option<Instant>; 2],
    /// What could not be done, so that it is said once.
    complaint: Option<String>,
}

impl Keeper {
    /// Looks after the rotations of a device whose identity everybody has from `identity`.
    pub fn new(
        config: AgentConfig,
        access: Access,
        identity: watch::Sender<Arc<Identity>>,
        learnt: watch::Receiver<Learnt>,
    ) -> Self {
        Self { config, access, identity, learnt, seen: None, settled: [None; 2], complaint: None }
    }

    /// Looks every second until `shutdown`; disks are waited for off the agent's one thread.
    pub async fn keep(mut self, shutdown: CancellationToken) {
        loop {
            let looking = spawn_blocking(move || {
                let outcome = self.look();
                (self, outcome)
            });
            let Ok((keeper, outcome)) = looking.await else { return };
            self = keeper;
            let pause = if outcome.is_ok() { LOOK } else { AGAIN };
            let complaint = outcome.err().map(|Failure(why)| why);
            if complaint != self.complaint
                && let Some(why) = &complaint
            {
                error!("a rotation cannot go on: {why}");
            }
            self.complaint = complaint;
            if shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    /// Reads the keys only when a rotation's file has changed: it happens every second, and reading
    /// them also syncs them to the disk.
    fn look(&mut self) -> Result<(), Failure> {
        let files: [PathBuf; 2] = Part::ALL.map(|part| part.file(&self.config.state_directory));
        let seen = files.map(|path| Stamp::take(&path));
        let changed = self.seen.as_ref() != Some(&seen);
        let under_way = Part::ALL.iter().any(|part| self.identity.borrow().next(*part).is_some());
        if !changed && !under_way {
            return Ok(());
        }
        let Some(_alone) = identity::alone_now(&self.config.state_directory)? else { return Ok(()) };
        let mut outcome = Ok(());
        if changed {
            // Another process began a rotation, or set its date.
            outcome = self.read();
            // What failed is tried again, whether or not a file changes.
            self.seen = outcome.is_ok().then_some(seen);
        }
        // Each by itself: what keeps one from going on is nothing to the other.
        for (index, part) in Part::ALL.into_iter().enumerate() {
            outcome = outcome.and(self.go_on(index, part));
        }
        outcome
    }

    /// Reads everything anew, and says what keeps a rotation from going on.
    fn read(&self) -> Result<(), Failure> {
        let swept = Part::ALL.map(|part| next::sweep(&self.config, part));
        let identity = Identity::read(&self.config)?;
        let checked = Part::ALL.map(|part| identity.check_rotation(&self.config, part));
        self.tell(identity);
        swept.into_iter().chain(checked).collect()
    }

    fn tell(&self, identity: Identity) {
        self.identity.send_if_modified(|known| {
            let changed = **known != identity;
            *known = Arc::new(identity);
            changed
        });
    }

    fn go_on(&mut self, index: usize, part: Part) -> Result<(), Failure> {
        let state = &self.config.state_directory;
        let Some(next) = self.identity.borrow().next(part) else {
            self.settled[index] = None;
            return Ok(());
        };
        let Some(mut rotation) = Rotation::read(state, part)? else { return Ok(()) };
        let learnt = self.learnt.borrow().clone();
        let before = rotation.known.len();
        rotation.known.extend(learnt.into_iter().filter(|(_, what)| *what == next).map(|(key, _)| key));
        if rotation.known.len() > before {
            rotation.write(state, part)?;
            info!(bridges = rotation.known.len(), "another bridge has the {} to come", part.label());
        }
        let now = SystemTime::now();
        let all_have_it = rotation.is_known_to_all(&self.config.front, &self.access.now(), now);
        let since = all_have_it.then(|| self.settled[index].unwrap_or_else(Instant::now));
        self.settled[index] = since;
        if now >= rotation.until || since.is_some_and(|since| since.elapsed() >= SETTLED) {
            let promoted = next::promote(&self.config, part);
            // Whatever became of sweeping, this is who the device is now.
            let now = Identity::read(&self.config)?;
            if now.current(part) == next {
                info!("a new {} has taken the old one's place", part.label());
            }
            self.tell(now);
            promoted?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use onionscrape::files;

    use super::*;

    #[test]
    fn nothing_is_read_while_nothing_changes() {
        let folder = tempfile::tempdir().expect("folder");
        let state = folder.path().join("state");
        files::private_directory(&state).expect("state directory");
        let config = AgentConfig::read(None, Some(state.clone())).expect("defaults");
        let identity = Identity::open_or_make(&config).expect("made");
        let (identities, _) = watch::channel(Arc::new(identity));
        let (_learnt, learnt) = watch::channel(Learnt::new());
        let access = Access::new(config.sources.clone());
        let mut keeper = Keeper::new(config, access, identities, learnt);
        keeper.look().expect("read once");
        let key = identity::host_key_path(&state);
        std::fs::rename(&key, state.join("elsewhere")).expect("moved");
        keeper.look().expect("not read again");
        assert!(!key.exists(), "nor made");
    }
}
