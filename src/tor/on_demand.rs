//! A Tor client for a program that may not need one.

use std::sync::Arc;

use tokio::sync::{OnceCell, watch};
use tokio_util::sync::CancellationToken;

use super::{Tor, TorError, TorSettings};

/// Starts a client when somebody asks for it first; clones share it.
#[derive(Clone)]
pub struct TorOnDemand(Arc<Inner>);

struct Inner {
    settings: TorSettings,
    shutdown: CancellationToken,
    tor: OnceCell<Tor>,
    started: watch::Sender<bool>,
}

impl TorOnDemand {
    /// A client with these settings, which works until `shutdown`; nothing is started yet.
    pub fn new(settings: TorSettings, shutdown: CancellationToken) -> Self {
        let (started, _) = watch::channel(false);
        Self(Arc::new(Inner { settings, shutdown, tor: OnceCell::new(), started }))
    }

    /// What it is, or will be, started with.
    pub fn settings(&self) -> &TorSettings {
        &self.0.settings
    }

    /// The client, which is started now if it was not before.
    ///
    /// # Errors
    /// As [`Tor::start`]; the next who asks tries again.
    pub async fn get(&self) -> Result<Tor, TorError> {
        let inner = &self.0;
        let start = || Tor::start(&inner.settings, inner.shutdown.clone());
        let tor = inner.tor.get_or_try_init(start).await?.clone();
        inner.started.send_if_modified(|started| !std::mem::replace(started, true));
        Ok(tor)
    }

    /// The client, if somebody has asked for it.
    pub fn started(&self) -> Option<&Tor> {
        self.0.tor.get()
    }

    /// The client, as soon as somebody else has asked for it.
    pub async fn wait(&self) -> Tor {
        let mut started = self.0.started.subscribe();
        loop {
            if let Some(tor) = self.started() {
                return tor.clone();
            }
            if started.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
