//! Bringing rotations to their end while the agent runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use onionscrape::files::Stamp;
use onionscrape::lifecycle::Failure;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::{Part, Rotation, finish};
use crate::access::Access;
use crate::admin::Learnt;
use crate::config::AgentConfig;
use crate::identity::{self, Identity};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Looks after rotations; the only one that ends them while an agent runs.
pub struct Keeper {
    config: AgentConfig,
    access: Access,
    identity: watch::Sender<Arc<Identity>>,
    /// Who said that they have what is to come.
    learnt: watch::Receiver<Learnt>,
    /// What the files looked like when they were read.
    seen: Vec<Stamp>,
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
        Self { config, access, identity, learnt, seen: Vec::new(), complaint: None }
    }

    /// Looks every second until `shutdown`.
    pub async fn keep(mut self, shutdown: CancellationToken) {
        loop {
            let complaint = self.look().err().map(|Failure(why)| why);
            if complaint != self.complaint
                && let Some(why) = &complaint
            {
                error!("a rotation cannot go on: {why}");
            }
            self.complaint = complaint;
            if shutdown.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_none() {
                return;
            }
        }
    }

    fn look(&mut self) -> Result<(), Failure> {
        let seen: Vec<_> = self.files().iter().map(|path| Stamp::take(path)).collect();
        if seen != self.seen {
            // Another process began a rotation, or set its date.
            let identity = Identity::open_or_make(&self.config)?;
            self.tell(identity);
            self.seen = seen;
        }
        for part in Part::ALL {
            self.go_on(part)?;
        }
        Ok(())
    }

    fn files(&self) -> [PathBuf; 2] {
        Part::ALL.map(|part| part.file(&self.config.state_directory))
    }

    fn tell(&self, identity: Identity) {
        self.identity.send_if_modified(|known| {
            let changed = **known != identity;
            *known = Arc::new(identity);
            changed
        });
    }

    fn go_on(&self, part: Part) -> Result<(), Failure> {
        let state = &self.config.state_directory;
        let Some(next) = self.identity.borrow().next(part) else { return Ok(()) };
        let _alone = identity::alone(state)?;
        let Some(mut rotation) = Rotation::read(state, part)? else { return Ok(()) };
        let before = rotation.known.len();
        let learnt = self.learnt.borrow().clone();
        rotation.known.extend(learnt.into_iter().filter(|(_, what)| *what == next).map(|(bridge, _)| bridge));
        if rotation.known.len() > before {
            rotation.write(state, part)?;
            info!(known = rotation.known.len(), "another bridge has the {} to come", part.label());
        }
        if rotation.is_due(&self.config.front, &self.access.now(), SystemTime::now()) {
            finish(&self.config, part)?;
            info!("a new {} has taken the old one's place", part.label());
            self.tell(Identity::read(&self.config)?);
        }
        Ok(())
    }
}
