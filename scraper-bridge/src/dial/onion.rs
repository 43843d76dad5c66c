//! Through Tor to an onion service.

use std::pin::{Pin, pin};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::select_all;
use onionscrape::address::OnionAddress;
use onionscrape::tor::{Bootstrap, ClientAuthKey, Connector, DialStage, Tor, TorStream};
use tokio::time::{Instant, interval_at, sleep};

use super::{Dial, DialFailure, Dialled, Stream};
use crate::metrics::Stage;

/// A descriptor and a rendezvous take some seconds on a good day, and a minute on a bad one.
const LIMIT: Duration = Duration::from_secs(60);
/// After so long another attempt is made beside the one that is under way: some circuits never come about,
/// and who asked for a device that was not there is not answered when it comes.
const BESIDE: Duration = Duration::from_secs(10);
/// Sooner, once, if the last dial took less than this part of the time. A device that lost its sessions
/// is dialled while the relays that introduce to it may not know yet that it has gone from them.
const SOONER: u32 = 4;
/// But not before this.
const SOONEST: Duration = Duration::from_secs(2);
/// Attempts under way at once. The first one has all the time there is, for slow networks; of the others
/// the latest count.
const AT_ONCE: usize = 3;

/// Dials one onion service.
pub struct OnionDial {
    tor: Tor,
    address: OnionAddress,
    port: u16,
    key: Option<ClientAuthKey>,
    /// How long the attempt took that succeeded last.
    last: Mutex<Option<Duration>>,
}

impl OnionDial {
    /// A way to `port` of the onion service at `address`, or of what it announces in its place; `key`
    /// reads descriptors that are closed to strangers.
    pub fn new(tor: Tor, address: OnionAddress, port: u16, key: Option<ClientAuthKey>) -> Self {
        Self { tor, address, port, key, last: Mutex::default() }
    }

    /// Dials over circuits that nothing else uses.
    async fn attempt(&self, onion: &OnionAddress) -> Result<TorStream, DialFailure> {
        let connector = Connector::new(&self.tor, onion, self.key.as_ref())
            .map_err(|error| DialFailure::at(Stage::Bootstrap, error))?;
        let began = Instant::now();
        let stream = connector.dial(self.port).await.map_err(|error| {
            let stage = match error.stage {
                DialStage::Bootstrap => Stage::Bootstrap,
                DialStage::Descriptor => Stage::Descriptor,
                DialStage::Rendezvous => Stage::Rendezvous,
                DialStage::Stream => Stage::Stream,
            };
            DialFailure { closed: error.closed, ..DialFailure::at(stage, error) }
        })?;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(began.elapsed());
        Ok(stream)
    }

    /// How long to wait for the first attempt before another is made.
    fn patience(&self) -> Duration {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.map_or(BESIDE, |last| (last * SOONER).clamp(SOONEST, BESIDE))
    }
}

impl Dial for OnionDial {
    fn stages(&self) -> &'static [Stage] {
        &[Stage::Bootstrap, Stage::Descriptor, Stage::Rendezvous, Stage::Stream]
    }

    fn ready<'a>(
        &'a self,
        waiting: &'a (dyn Fn(String) + Send + Sync),
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            let mut bootstrap = self.tor.bootstrap();
            loop {
                let now = bootstrap.borrow_and_update().clone();
                if now == Bootstrap::Done {
                    return;
                }
                waiting(now.to_string());
                if bootstrap.changed().await.is_err() {
                    // Tor was shut down, and with it goes whoever waits here.
                    std::future::pending::<()>().await;
                }
            }
        })
    }

    fn dial<'a>(&'a self, onion: Option<&'a OnionAddress>) -> Dialled<'a> {
        Box::pin(async move {
            let onion = onion.unwrap_or(&self.address);
            let late = || DialFailure::at(Stage::Rendezvous, "onion unreachable: timed out in Tor");
            let stream = race(|| self.attempt(onion), self.patience())
                .await
                .map_err(|last| last.unwrap_or_else(late))?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }
}

/// The first attempt that succeeds, or else the failure of the last one; none if all of them took too long.
/// The second one is begun after this `patience`.
async fn race<T, E, F>(attempt: impl Fn() -> F, patience: Duration) -> Result<T, Option<E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut under_way = vec![Box::pin(attempt())];
    let mut beside = interval_at(Instant::now() + patience, BESIDE);
    let mut late = pin!(sleep(LIMIT));
    let mut last = None;
    loop {
        let next = async {
            let (ended, place, _) = select_all(&mut under_way).await;
            (ended, place)
        };
        tokio::select! {
            biased;
            (ended, place) = next => match ended {
                Ok(reached) => return Ok(reached),
                Err(failure) if under_way.len() == 1 => return Err(Some(failure)),
                Err(failure) => {
                    last = Some(failure);
                    drop(under_way.remove(place));
                }
            },
            () = &mut late => return Err(last),
            _ = beside.tick() => {
                if under_way.len() == AT_ONCE {
                    drop(under_way.remove(1));
                }
                under_way.push(Box::pin(attempt()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Attempts of which each takes so many seconds and succeeds or not; the last goes on for ever.
    async fn raced(attempts: &[(u64, bool)]) -> (Result<usize, Option<usize>>, u64, usize) {
        raced_after(BESIDE, attempts).await
    }

    async fn raced_after(
        patience: Duration,
        attempts: &[(u64, bool)],
    ) -> (Result<usize, Option<usize>>, u64, usize) {
        let (begun, started) = (Cell::new(0), Instant::now());
        let attempt = || {
            let number = begun.replace(begun.get() + 1);
            let attempt = attempts.get(number).copied();
            async move {
                let Some((seconds, succeeds)) = attempt else { return std::future::pending().await };
                sleep(Duration::from_secs(seconds)).await;
                if succeeds { Ok(number) } else { Err(number) }
            }
        };
        (race(attempt, patience).await, started.elapsed().as_secs(), begun.get())
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_waited_for_who_may_never_answer() {
        assert_eq!(raced(&[(9, true)]).await, (Ok(0), 9, 1), "no other is begun for one that is in time");
        assert_eq!(raced(&[(4, false)]).await, (Err(Some(0)), 4, 1), "what fails at once is told at once");
        assert_eq!(raced(&[(100, true), (2, true)]).await, (Ok(1), 12, 2));
        // The device is there from the 33rd second on, and whoever asked before hears nothing.
        let silent = (100, true);
        assert_eq!(raced(&[silent, silent, silent, silent, (1, true)]).await, (Ok(4), 41, 5));
        assert_eq!(raced(&[(55, true), silent, silent]).await, (Ok(0), 55, 6), "a slow network has time");
        assert_eq!(raced(&[(30, false), (3, false), (30, false)]).await, (Err(Some(2)), 60, 6));
        assert_eq!(raced(&[]).await, (Err(None), 60, 6));
        // Where dials take half a second, three are long; but only the second attempt comes sooner.
        assert_eq!(raced_after(SOONEST, &[silent, (1, true)]).await, (Ok(1), 3, 2));
        assert_eq!(raced_after(SOONEST, &[silent, silent, (1, true)]).await, (Ok(2), 13, 3));
    }
}
