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
        let files: [PathBuf; 2] = Part::ALL.map(|part| part.file(&self.config.state_directory));
        let seen = files.map(|path| Stamp::take(&path));
        if self.seen.as_ref() != Some(&seen) {
            // Another process began a rotation, or set its date.
            let Some(_alone) = identity::alone_now(&self.config.state_directory)? else { return Ok(()) };
            next::sweep(&self.config)?;
            let identity = Identity::read(&self.config)?;
            identity.check_rotations(&self.config)?;
            self.tell(identity);
            self.seen = Some(seen);
        }
        for (index, part) in Part::ALL.into_iter().enumerate() {
            self.go_on(index, part)?;
        }
        Ok(())
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
        let new: Vec<_> = learnt
            .into_iter()
            .filter(|(key, what)| *what == next && !rotation.known.contains(key))
            .map(|(key, _)| key)
            .collect();
        if !new.is_empty() {
            let Some(_alone) = identity::alone_now(state)? else { return Ok(()) };
            rotation.known.extend(new);
            rotation.write(state, part)?;
            info!(bridges = rotation.known.len(), "another bridge has the {} to come", part.label());
        }
        let now = SystemTime::now();
        let all_have_it = rotation.is_known_to_all(&self.config.front, &self.access.now(), now);
        let since = all_have_it.then(|| self.settled[index].unwrap_or_else(Instant::now));
        self.settled[index] = since;
        if now >= rotation.until || since.is_some_and(|since| since.elapsed() >= SETTLED) {
            let Some(_alone) = identity::alone_now(state)? else { return Ok(()) };
            next::promote(&self.config, part)?;
            info!("a new {} has taken the old one's place", part.label());
            self.tell(Identity::read(&self.config)?);
        }
        Ok(())
    }
}
