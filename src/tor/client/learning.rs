//! How a client learns the network: as soon as the clock may be right, again and again, and telling how far it is.

use std::mem::{Discriminant, discriminant};
use std::sync::Arc;
use std::time::Duration;

use arti_client::status::BootstrapStatus;
use arti_client::{ErrorKind, HasKind as _};
use backon::{BackoffBuilder as _, ExponentialBuilder};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::watch;
use tokio::time::{interval, sleep};
use tracing::{info, warn};

use super::TorClient;
use crate::tor::clock::Clock;
use crate::tor::damage::is_damage;
use crate::tor::skew::{Skew, ask_first_relay};
use crate::tor::{Bootstrap, Tor, one_line};

/// How often the clock is looked at.
const TICK: Duration = Duration::from_secs(5);

/// One attempt of arti's to learn the network.
pub(super) type Attempt = BoxFuture<'static, arti_client::Result<()>>;

/// That a client cannot go on with what it once wrote, and what arti says of that.
pub(super) struct Damaged(pub(super) ErrorKind);

/// Where it is told how a client is.
pub(super) struct Telling {
    /// How far it has come.
    pub(super) progress: watch::Sender<Bootstrap>,
    /// What its first relay says of the clock.
    pub(super) skew: Skew,
}

/// Has arti learn the network, as soon as the clock may be right, and tells how far it has come.
pub(super) async fn work(
    client: Arc<TorClient>,
    mut clock: Clock,
    Telling { progress, skew }: Telling,
    may_mend: impl Fn() -> bool,
    first: Option<Attempt>,
) -> Damaged {
    let mut teller = Teller { progress, said: None };
    let status = client.bootstrap_status();
    while let Some(advice) = clock.fault() {
        // With such a clock arti would find nothing but mistakes in others.
        teller.tell(&status, Some(advice));
        sleep(TICK).await;
    }
    teller.tell(&status, None);
    let bootstrapping = async {
        let first = first.unwrap_or_else(|| bootstrap(client.clone()));
        match bootstrap_until_done(&client, first, may_mend).await {
            Ok(()) => std::future::pending().await,
            Err(damaged) => damaged,
        }
    };
    tokio::select! {
        damaged = bootstrapping => damaged,
        damaged = follow(&client, &mut clock, &mut teller) => damaged,
        damaged = ask_the_time(&client, &skew) => damaged,
    }
}

/// `bootstrap` gives up after many attempts. It is cancelled only with the client: arti would take the
/// next call for a second one and ignore it.
async fn bootstrap_until_done(
    client: &Arc<TorClient>,
    mut attempt: Attempt,
    may_mend: impl Fn() -> bool,
) -> Result<(), Damaged> {
    let mut pauses = ExponentialBuilder::new().with_jitter().without_max_times().build();
    while let Err(error) = attempt.await {
        if is_damage(error.kind()) && may_mend() {
            warn!(error = one_line(&error), "Tor did not bootstrap");
            return Err(Damaged(error.kind()));
        }
        let pause = pauses.next().unwrap_or(Duration::from_secs(60));
        warn!(error = one_line(&error), retry_in = ?pause, "Tor did not bootstrap");
        sleep(pause).await;
        attempt = bootstrap(client.clone());
    }
    Ok(())
}

/// Begins one.
pub(super) fn bootstrap(client: Arc<TorClient>) -> Attempt {
    async move { client.bootstrap().await }.boxed()
}

/// Never completes.
async fn follow(client: &TorClient, clock: &mut Clock, teller: &mut Teller) -> Damaged {
    let mut events = client.bootstrap_events();
    let mut status = client.bootstrap_status();
    let mut ticks = interval(TICK);
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(event) => status = event,
                // With the client.
                None => return std::future::pending().await,
            },
            _ = ticks.tick() => {}
        }
        if let Some(time) = Tor::directory_from(client) {
            clock.saw(time);
        }
        teller.tell(&status, clock.fault());
    }
}

/// Never completes.
async fn ask_the_time(client: &TorClient, skew: &Skew) -> Damaged {
    while !(client.bootstrap_status().ready_for_traffic() && ask_first_relay(client, skew).await) {
        sleep(TICK).await;
    }
    std::future::pending().await
}

/// Tells of changes, in the log and to whoever watches.
struct Teller {
    progress: watch::Sender<Bootstrap>,
    said: Option<Discriminant<Bootstrap>>,
}

impl Teller {
    /// That arti is so far, or that the clock has a fault.
    fn tell(&mut self, status: &BootstrapStatus, fault: Option<&'static str>) {
        let now = match fault {
            Some(advice) => Bootstrap::of_clock(status, advice),
            None => Bootstrap::of(status),
        };
        let kind = discriminant(&now);
        if self.said.replace(kind) != Some(kind) {
            match &now {
                Bootstrap::Blocked { .. } => warn!("{now}"),
                _ => info!("{now}"),
            }
        }
        self.progress.send_if_modified(|known| {
            let changed = *known != now;
            *known = now;
            changed
        });
    }
}
