//! How one client begins, ends, and takes another's place with the same state.

use std::sync::{Arc, PoisonError};
use std::task::Poll;
use std::time::Duration;

use arti_client::{BootstrapBehavior, ErrorKind, HasKind as _, TorClientConfig};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tor_rtcompat::PreferredRuntime;
use tracing::warn;

use super::learning::{Damaged, Telling, bootstrap, work};
use super::{Client, Parts, Running, Shared, Tor};
use crate::tor::clock::Clock;
use crate::tor::damage::{
    forget_introductions_of_all, is_damage, is_no_database, is_other_directory, put_aside,
};
use crate::tor::skew::Skew;
use crate::tor::tcp::TcpProvider;
use crate::tor::{Bootstrap, TorError, TorSettings, one_line};

/// How long a client's parts may take to end when it is replaced.
const END_LIMIT: Duration = Duration::from_secs(10);

/// How often something damaged may be put aside at a start.
const MENDS: usize = 4;
/// Least time between two clients that are begun for damage.
const MEND_GAP: Duration = Duration::from_secs(60);

impl Tor {
    /// Starts a client if there is none.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    pub async fn start_again(&self) -> Result<(), TorError> {
        // Whoever mends damage may have done it.
        drop(self.0.renewing.lock().await);
        if self.is_running() { Ok(()) } else { self.renew().await }
    }

    /// Ends the client and starts another with the same state, whose waiting times begin anew.
    ///
    /// # Errors
    /// When the state cannot be written, and the client goes on; when parts of it do not end within 10 s, or the
    /// new one cannot start, and there is none. It can be tried again.
    pub async fn renew(&self) -> Result<(), TorError> {
        self.renew_without(|_| ()).await
    }

    /// The same, and onion services choose other introduction points.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    pub async fn renew_elsewhere(&self) -> Result<(), TorError> {
        self.renew_without(forget_introductions_of_all).await
    }

    /// The same, with something done to the state while nobody uses it.
    async fn renew_without(&self, clean: impl FnOnce(&TorSettings) + Send) -> Result<(), TorError> {
        let mut ending = self.0.renewing.lock().await;
        if !self.can_write() {
            let state = self.0.settings.state.display();
            return Err(TorError(format!(
                "Tor is not started anew, since nothing can be written to {state}"
            )));
        }
        self.end(&mut ending).await?;
        if self.0.shutdown.is_cancelled() {
            return Err(TorError("the program stops".into()));
        }
        clean(&self.0.settings);
        self.begin().await
    }

    /// Ends the client for good. Only then may another have its state.
    ///
    /// # Errors
    /// When parts of it do not end within 10 s.
    pub async fn stop(&self) -> Result<(), TorError> {
        self.end(&mut *self.0.renewing.lock().await).await
    }

    async fn end(&self, ending: &mut Option<BoxFuture<'static, ()>>) -> Result<(), TorError> {
        if let Some(old) = self.0.now.send_replace(None) {
            *ending = Some(Box::pin(old.client.arti.wait_for_stop()));
            // With it its tasks end, and whoever holds on to it hears of it.
            drop(old);
        }
        self.0.bootstrap.send_replace(Bootstrap::Going { ratio: 0.0 });
        self.0.links.close_all();
        if let Some(ended) = ending {
            // Two would write the same state.
            if timeout(END_LIMIT, ended).await.is_err() {
                return Err(TorError("the old Tor client does not end".into()));
            }
            *ending = None;
        }
        Ok(())
    }

    /// Starts anew without what is damaged. If that fails there is no client, and it can be tried again.
    fn mend(self, kind: ErrorKind) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            *self.mended() = Some(Instant::now());
            if let Err(error) = self.renew_without(|settings| put_aside(settings, kind)).await {
                warn!("{error}");
            }
        })
    }

    /// False if that was tried just now: what cannot be written cannot be mended.
    fn may_mend(&self) -> bool {
        self.can_write() && self.mended().is_none_or(|at| at.elapsed() >= MEND_GAP)
    }

    fn mended(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.0.mended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn begin(&self) -> Result<(), TorError> {
        let Shared { settings, .. } = &*self.0;
        let config = settings.arti()?;
        let failed = |error: arti_client::Error| {
            let state = settings.state.display();
            TorError(format!("Tor cannot start with its state in {state}: {}", one_line(&error)))
        };
        let cache = settings.cache.clone();
        if tokio::task::spawn_blocking(move || is_other_directory(&cache)).await.unwrap_or(false) {
            put_aside(settings, ErrorKind::CacheCorrupted);
        }
        let mut begun = self.begin_with(&config).await?;
        // Each time something else may be found damaged.
        for _ in 0..MENDS {
            match &begun {
                Err(error) if is_damage(error.kind()) || is_no_database(settings, error.kind()) => {
                    put_aside(settings, error.kind());
                    begun = self.begin_with(&config).await?;
                }
                _ => break,
            }
        }
        begun.map_err(failed)
    }

    async fn begin_with(&self, config: &TorClientConfig) -> Result<arti_client::Result<()>, TorError> {
        let Shared { settings, links, .. } = &*self.0;
        let plain =
            PreferredRuntime::current().map_err(|error| TorError(format!("Tor cannot start: {error}")))?;
        let tcp = TcpProvider::new(settings.outbound_bind_address, links.clone());
        let over = CancellationToken::new();
        let _over = over.clone().drop_guard();
        let parts = Parts { plain, tcp };
        let arti = arti_client::TorClient::with_runtime(parts.runtime(over.clone()))
            .config(config.clone())
            .bootstrap_behavior(BootstrapBehavior::OnDemand)
            .create_unbootstrapped_async()
            .await;
        let arti = match arti {
            Ok(arti) => arti,
            Err(error) => return Ok(Err(error)),
        };
        self.0.bootstrap.send_replace(Bootstrap::of(&arti.bootstrap_status()));
        let clock = Clock::open(&settings.state);
        let mut first = None;
        if clock.fault().is_none() {
            let mut attempt = bootstrap(arti.clone());
            // Arti reads its state before it waits for anything. A client that cannot is of no use.
            match futures::poll!(&mut attempt) {
                Poll::Ready(Err(error)) if is_damage(error.kind()) => {
                    let ended = arti.wait_for_stop();
                    drop((attempt, arti, _over));
                    let _ = timeout(END_LIMIT, ended).await;
                    return Ok(Err(error));
                }
                Poll::Ready(done) => first = Some(std::future::ready(done).boxed()),
                Poll::Pending => first = Some(attempt),
            }
        }
        let skew = Skew::default();
        let telling = Telling { progress: self.0.bootstrap.clone(), skew: skew.clone() };
        let (ended, shutdown, shared) = (over.clone(), self.0.shutdown.clone(), Arc::downgrade(&self.0));
        let of = shared.clone();
        let may_mend = move || of.upgrade().is_some_and(|shared| Self(shared).may_mend());
        let working = work(arti.clone(), clock, telling, may_mend, first);
        tokio::spawn(async move {
            let working = ended.run_until_cancelled(shutdown.run_until_cancelled(working));
            if let (Some(Some(Damaged(kind))), Some(shared)) = (working.await, shared.upgrade()) {
                Self(shared).mend(kind).await;
            }
        });
        let poked = self.0.poked.subscribe();
        let introduced = self.0.introduced.clone();
        let client = Client { arti, config: Arc::new(config.clone()), parts, over, poked, introduced, skew };
        self.0.now.send_replace(Some(Running { client, _over }));
        Ok(Ok(()))
    }
}
