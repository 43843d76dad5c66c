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

    fn look(&mut self) -> Result<(), Failure> {
        let Some(_alone) = identity::alone_now(&self.config.state_directory)? else { return Ok(()) };
        let files: [PathBuf; 2] = Part::ALL.map(|part| part.file(&self.config.state_directory));
        let seen = files.map(|path| Stamp::take(&path));
        let mut failed = None;
        if self.seen.as_ref() != Some(&seen) {
            // Another process began a rotation, or set its date.
            self.tell(Identity::read(&self.config)?);
            self.seen = Some(seen);
        }
        // Each by itself: what keeps one from going on is nothing to the other.
        for (index, part) in Part::ALL.into_iter().enumerate() {
            if let Err(failure) = self.go_on(index, part) {
                failed = Some(failure);
            }
        }
        failed.map_or(Ok(()), Err)
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
        let identity = self.identity.borrow().clone();
        identity.check_rotation(&self.config, part)?;
        let Some(next) = identity.next(part) else {
            self.settled[index] = None;
            return next::sweep(&self.config, part);
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
