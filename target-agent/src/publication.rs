//! The onion services kept up: one for each address that the device has at this moment, published
//! for whoever may find them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use onionscrape::address::OnionAddress;
use onionscrape::lifecycle::Failure;
use onionscrape::tor::{ClientAuthPublicKey, Discovery, Known, Limits, OnionService, Tor, TorStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info, warn};

use crate::access::Guests;
use crate::config::{OnionSettings, Restricted};
use crate::forward::Forward;
use crate::identity::Identity;
use crate::metrics::Metrics;
use crate::onion::ServiceName;
use crate::ssh::Server;

/// Circuits to clients at once: a few bridges, each with a second session and some it has not noticed to
/// be dead.
const MAX_CIRCUITS: usize = 32;
/// Streams at once on one circuit: a bridge has one.
const MAX_STREAMS: u32 = 8;
/// Pause before an onion service that arti ended is started again.
const RELAUNCH_PAUSE: Duration = Duration::from_secs(30);
/// First pause before one that could not be launched is tried again; doubled each time, up to that. The one before
/// may not have let go of its files yet.
const REFUSED_PAUSE: Duration = Duration::from_millis(500);
/// Least time between two launches: each descriptor needs a higher revision, which arti makes of
/// the time in seconds, and directories drop the others.
const RELAUNCH_GAP: Duration = Duration::from_secs(2);

/// What answers on port 22.
#[derive(Clone)]
pub enum Front {
    /// The agent's own SSH server.
    Ssh(Server),
    /// The device's own `sshd`.
    Forward(Forward),
}

impl Front {
    async fn answer(self, stream: TorStream, address: &OnionAddress, known: Known) {
        match self {
            Self::Ssh(server) => server.serve_at(stream, address, || known.say()).await,
            Self::Forward(forward) => {
                // Whom it lets in is for the `sshd` alone.
                known.say();
                forward.serve(stream).await;
            }
        }
    }
}

/// Who can find the device, by the configuration and by who may come in.
#[derive(Clone)]
pub struct Door {
    /// What the configuration says.
    pub settings: OnionSettings,
    /// What the agent itself reads the descriptor with.
    pub own_key: ClientAuthPublicKey,
    /// Who may come in.
    pub guests: watch::Receiver<Arc<Guests>>,
}

impl Door {
    fn discovery(&self) -> Discovery {
        let guests = self.guests.borrow();
        let closed = match self.settings.restricted_discovery {
            Restricted::On => true,
            Restricted::Off => false,
            Restricted::Auto => guests.closed || guests.has_clients(),
        };
        if !closed {
            return Discovery::Open;
        }
        let readers = guests.readers(SystemTime::now());
        Discovery::Closed(readers.into_iter().chain([self.own_key.clone()]).collect())
    }

    /// Warns of keys that may log in and cannot find the device: those of people who paired by hand.
    fn warn_of_those_outside(&self) {
        let guests = self.guests.borrow();
        let by_hand = |name: &str| !guests.files.iter().any(|file| file.name.as_str() == name);
        let outside = guests.entries.iter().filter(|entry| by_hand(&entry.name)).count();
        if outside > guests.clients.len() {
            warn!(
                keys = outside,
                "keys in authorized_keys and the configuration need a file in authorized_clients to find this device"
            );
        }
    }

    /// Waits until it must be another than `now`.
    async fn changed_from(&mut self, now: &Discovery) {
        loop {
            self.guests.mark_unchanged();
            if self.discovery() != *now {
                return;
            }
            if self.guests.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// One onion service of the device, and what it needs to be launched again.
#[derive(Clone)]
pub struct Publication {
    /// The Tor client.
    pub tor: Tor,
    /// Who can find it.
    pub door: Door,
    /// What answers.
    pub front: Front,
    /// What is counted.
    pub metrics: Metrics,
    /// Ends everything.
    pub shutdown: CancellationToken,
}

impl Publication {
    /// Launches the service of this name, when that is not too soon after it was published by a process
    /// before this one.
    ///
    /// # Errors
    /// When arti refuses.
    pub async fn begin(&self, name: ServiceName) -> Result<(OnionService, Discovery), Failure> {
        let ago = OnionService::published_ago(&self.tor, &name.text());
        sleep(ago.map_or(Duration::ZERO, |ago| RELAUNCH_GAP.saturating_sub(ago))).await;
        self.launch(name).await
    }

    /// Launches the service of this name.
    ///
    /// # Errors
    /// When arti refuses.
    pub async fn launch(&self, name: ServiceName) -> Result<(OnionService, Discovery), Failure> {
        let discovery = self.door.discovery();
        let introductions = self.door.settings.introductions;
        let limits = Limits { introductions, circuits: MAX_CIRCUITS, streams: MAX_STREAMS };
        Ok((OnionService::launch(&self.tor, &name.text(), limits, &discovery).await?, discovery))
    }

    /// Keeps a service up for each address that the device has, until the shutdown; the one of the name
    /// `first` was launched already.
    pub async fn keep(
        self,
        (first, launched): (ServiceName, (OnionService, Discovery)),
        mut identity: watch::Receiver<Arc<Identity>>,
    ) {
        let services = TaskTracker::new();
        let mut kept: HashMap<ServiceName, CancellationToken> = HashMap::new();
        let mut launched = Some(launched);
        loop {
            let now = identity.borrow_and_update().clone();
            let next = now.next_onion.as_ref().map(|onion| (now.service.next(), onion));
            let wanted: Vec<_> = [(now.service, &now.onion)].into_iter().chain(next).collect();
            kept.retain(|name, retired| {
                let keep = wanted.iter().any(|(wanted, _)| wanted == name);
                if !keep {
                    retired.cancel();
                }
                keep
            });
            for (name, onion) in wanted {
                kept.entry(name).or_insert_with(|| {
                    let retired = CancellationToken::new();
                    let launched = launched.take_if(|_| name == first);
                    let one = self.clone().keep_one(name, onion.clone(), launched, retired.clone());
                    services.spawn(one);
                    retired
                });
            }
            // It ends here if the device has no such address any more.
            launched = None;
            tokio::select! {
                () = self.shutdown.cancelled() => break,
                Ok(()) = identity.changed() => {}
            }
        }
        services.close();
        services.wait().await;
    }

    /// Keeps the service up, and published for whoever may find it, until the shutdown or until it
    /// is `retired`; then its sessions end.
    async fn keep_one(
        mut self,
        name: ServiceName,
        onion: OnionAddress,
        launched: Option<(OnionService, Discovery)>,
        retired: CancellationToken,
    ) {
        let mut launched = match launched {
            Some(launched) => Some(launched),
            None => self.launch_again(name, &retired).await,
        };
        while let Some((service, discovery)) = launched {
            match &discovery {
                Discovery::Open => info!("whoever knows the onion address can find this device"),
                Discovery::Closed(readers) => {
                    info!(bridges = readers.len() - 1, "only invited bridges can find this device");
                    self.door.warn_of_those_outside();
                }
            }
            let began = Instant::now();
            let answer = {
                let (front, onion, retired) = (self.front.clone(), onion.clone(), retired.clone());
                move |stream, known| -> futures::future::BoxFuture<'static, ()> {
                    let (front, onion, retired) = (front.clone(), onion.clone(), retired.clone());
                    Box::pin(async move {
                        retired.run_until_cancelled(front.answer(stream, &onion, known)).await;
                    })
                }
            };
            let changed = async {
                self.door.changed_from(&discovery).await;
                // Nothing can be launched before, and whoever is let in no longer does not come in anyway.
                self.tor.writable().await;
            };
            let over = async {
                tokio::select! {
                    () = changed => {}
                    () = retired.cancelled() => {}
                }
            };
            let pause = if service.serve(answer, &self.metrics.rend_requests, over, &self.shutdown).await {
                // Relaunched rather than reconfigured: arti publishes a change of configuration only
                // after a minute. Directories want a later second for each descriptor.
                RELAUNCH_GAP.saturating_sub(began.elapsed())
            } else {
                RELAUNCH_PAUSE
            };
            if !self.pause(pause, &retired).await {
                return;
            }
            launched = self.launch_again(name, &retired).await;
        }
    }

    /// The service, as soon as arti does not refuse any more.
    async fn launch_again(
        &self,
        name: ServiceName,
        retired: &CancellationToken,
    ) -> Option<(OnionService, Discovery)> {
        let mut pause = REFUSED_PAUSE;
        loop {
            tokio::select! {
                () = self.tor.started() => {}
                () = self.shutdown.cancelled() => return None,
                () = retired.cancelled() => return None,
            }
            match self.launch(name).await {
                Ok(launched) => return Some(launched),
                Err(failure) if pause == REFUSED_PAUSE => debug!("{failure}"),
                Err(failure) => error!("{failure}"),
            }
            if !self.pause(pause, retired).await {
                return None;
            }
            pause = (pause * 2).min(RELAUNCH_PAUSE);
        }
    }

    /// False if there is nothing to be done after it.
    async fn pause(&self, pause: Duration, retired: &CancellationToken) -> bool {
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => false,
            () = retired.cancelled() => false,
            () = sleep(pause) => true,
        }
    }
}
