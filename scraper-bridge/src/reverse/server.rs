//! The listener, and sessions from a byte stream to their end, each with its bounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use onionscrape::ssh::{CutStream, Keepalive, KeyFile, Pulse, goodbye, server_config};
use russh::server::{Config, RunningSession, run_stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::expected::{Arrived, Expected};
use super::handler::{Came, Handler};
use crate::metrics::{Metrics, ReverseRefusal};
use crate::session::{Forwards, ReverseLink, Session};

/// How long a peer may take to log in and to say what it forwards.
const LOGIN_GRACE: Duration = Duration::from_secs(60);
/// Sessions that have not come as far at once.
const MAX_STRANGERS: usize = 16;
/// As for sessions that the bridge dials: given up after 18 s of silence.
const KEEPALIVE: Keepalive = Keepalive { interval: Duration::from_secs(6), unanswered: 2 };
/// Pause after a failed accept, which most often means that file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long sessions may take to end after a shutdown began.
const GRACE: Duration = Duration::from_secs(3);

/// The SSH server; clones share its limits.
#[derive(Clone)]
pub struct Server(Arc<Shared>);

/// What all sessions of a server share.
struct Shared {
    config: Arc<Config>,
    expected: Expected,
    metrics: Metrics,
    strangers: Semaphore,
    shutdown: CancellationToken,
}

impl Server {
    /// A server that shows `host_key`, lets in whom `expected` names, and says goodbye on `shutdown`.
    pub fn new(
        host_key: &KeyFile,
        expected: Expected,
        metrics: Metrics,
        shutdown: CancellationToken,
    ) -> Self {
        let (config, strangers) = (server_config(host_key, KEEPALIVE), Semaphore::new(MAX_STRANGERS));
        Self(Arc::new(Shared { config, expected, metrics, strangers, shutdown }))
    }

    /// Serves whoever connects until shutdown.
    pub async fn listen(self, listener: TcpListener) {
        let sessions = TaskTracker::new();
        while let Some(accepted) = self.0.shutdown.run_until_cancelled(listener.accept()).await {
            match accepted {
                Ok((stream, _)) => {
                    let _ = stream.set_nodelay(true);
                    let server = self.clone();
                    sessions.spawn(async move { server.serve(stream, || ()).await });
                }
                Err(error) => {
                    warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        sessions.close();
        let _ = tokio::time::timeout(GRACE, sessions.wait()).await;
    }

    /// Speaks SSH on one byte stream until the session ends; calls `let_in` when a device has come.
    pub async fn serve<S>(&self, stream: S, let_in: impl FnOnce())
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let shared = &self.0;
        let Ok(stranger) = shared.strangers.try_acquire() else {
            return shared.metrics.reverse_refused(ReverseRefusal::SessionsCap);
        };
        let started = Instant::now();
        let cut = CancellationToken::new();
        // However this function ends, the session ends with it.
        let _end = cut.clone().drop_guard();
        let (sender, came) = oneshot::channel();
        let handler = Handler::new(shared.expected.clone(), shared.metrics.clone(), sender);
        let stream = CutStream::new(stream, cut.clone());
        let pulse = stream.pulse();
        let deadline = started + LOGIN_GRACE;
        let greeted = tokio::select! {
            () = shared.shutdown.cancelled() => return,
            greeted = timeout_at(deadline, run_stream(shared.config.clone(), stream, handler)) => greeted,
        };
        let mut session = match greeted {
            Ok(Ok(session)) => session,
            Ok(Err(error)) => return debug!(%error, "a stranger does not speak SSH"),
            Err(_) => return debug!("a stranger said nothing within the login grace"),
        };
        let came = tokio::select! {
            biased;
            Ok(came) = came => came,
            ended = &mut session => return debug!(?ended, "a session ended before it forwarded a port"),
            () = sleep_until(deadline) => return goodbye(session, "no login, or no port forwarded").await,
            () = shared.shutdown.cancelled() => return goodbye(session, "the bridge stops").await,
        };
        drop(stranger);
        let_in();
        self.arrived(session, came, started.elapsed(), (cut, pulse)).await;
    }

    /// Gives the session to its target, and stays with it to its end.
    async fn arrived(
        &self,
        mut session: RunningSession<Handler>,
        came: Came,
        took: Duration,
        stream: (CancellationToken, Pulse),
    ) {
        let (ended, unanswered) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)));
        let closed = CancellationToken::new();
        let link = ReverseLink {
            handle: session.handle(),
            forwards: Forwards::new(came.ports),
            closed: closed.clone(),
        };
        // Both are cancelled with this function, however it ends.
        let _over = (ended.clone().drop_guard(), closed.drop_guard());
        let given = Session::arrived(link, ended, unanswered.clone(), stream);
        if !self.0.expected.arrived(&came.key, Arrived { session: given, took }).await {
            return goodbye(session, "not expected any more").await;
        }
        tokio::select! {
            over = &mut session => {
                if let Err(error) = over {
                    debug!(%error, "a device's session ended early");
                    let silent = matches!(error, russh::Error::KeepaliveTimeout | russh::Error::InactivityTimeout);
                    unanswered.store(silent, Ordering::Relaxed);
                }
            }
            () = self.0.shutdown.cancelled() => goodbye(session, "the bridge stops").await,
        }
    }
}
