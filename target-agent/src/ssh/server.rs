//! SSH sessions, from a byte stream to its end, each with its bounds.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use onionscrape::ssh::{AGENT_HOST_KEYS, CutStream, KeyFile, MAX_PACKET, WINDOW, algorithms};
use russh::server::{Config, RunningSession, run_stream};
use russh::{Disconnect, MethodKind, MethodSet, SshId};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::auth::AuthorizedKeys;
use super::channel::Services;
use super::handler::{Handler, Login};
use crate::config::SshSettings;
use crate::metrics::{Denied, Metrics};

/// What peers are greeted with; no version, since strangers can read it.
const GREETING: &str = "SSH-2.0-onionscrape";
/// Sessions that are logged in at once.
const MAX_SESSIONS: usize = 8;
/// Sessions that are not logged in yet at once.
const MAX_STRANGERS: usize = 16;
/// Refused logins before a session is ended.
const MAX_AUTH_ATTEMPTS: usize = 6;
/// A peer that says nothing for so long is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// It may leave so many such questions unanswered.
const KEEPALIVE_MAX: usize = 3;
/// A session without a packet from the peer for so long is over; this also bounds blocked writes.
const INACTIVITY: Duration = Duration::from_secs(120);
/// How long a peer may take to notice that the agent stops.
const GOODBYE: Duration = Duration::from_secs(2);

/// The SSH server; clones share its limits.
#[derive(Clone)]
pub struct Server(Arc<Shared>);

/// What all sessions of a server share.
pub(super) struct Shared {
    config: Arc<Config>,
    login_grace: Duration,
    pub(super) keys: AuthorizedKeys,
    pub(super) services: Services,
    pub(super) metrics: Metrics,
    strangers: Semaphore,
    pub(super) sessions: Arc<Semaphore>,
    pub(super) shutdown: CancellationToken,
}

impl Server {
    /// A server that shows `host_key`, leads to `services` and says goodbye on `shutdown`.
    pub fn new(
        settings: SshSettings,
        host_key: &KeyFile,
        services: Services,
        metrics: Metrics,
        shutdown: CancellationToken,
    ) -> Self {
        let config = Config {
            server_id: SshId::Standard(GREETING.into()),
            methods: MethodSet::from(&[MethodKind::PublicKey][..]),
            // OpenSSH begins with a login that asks which methods there are; that is no guess.
            auth_rejection_time_initial: Some(Duration::ZERO),
            keys: vec![host_key.private().as_ref().clone()],
            window_size: WINDOW,
            maximum_packet_size: MAX_PACKET,
            preferred: algorithms(AGENT_HOST_KEYS),
            max_auth_attempts: MAX_AUTH_ATTEMPTS,
            inactivity_timeout: Some(INACTIVITY),
            keepalive_interval: Some(KEEPALIVE),
            keepalive_max: KEEPALIVE_MAX,
            ..Config::default()
        };
        let keys = AuthorizedKeys::new(settings.keys, settings.authorized_keys);
        keys.warn_if_none();
        Self(Arc::new(Shared {
            config: Arc::new(config),
            login_grace: settings.login_grace,
            keys,
            services,
            metrics,
            strangers: Semaphore::new(MAX_STRANGERS),
            sessions: Arc::new(Semaphore::new(MAX_SESSIONS)),
            shutdown,
        }))
    }

    /// Speaks SSH on one byte stream until the session ends.
    pub async fn serve<S>(&self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let shared = &self.0;
        let Ok(stranger) = shared.strangers.try_acquire() else {
            shared.metrics.denied(Denied::SessionsCap);
            return;
        };
        let cut = CancellationToken::new();
        // However this function ends, the session and its channels end with it.
        let _end = cut.clone().drop_guard();
        let (login, logged_in) = oneshot::channel();
        let handler = Handler::new(shared.clone(), login, cut.clone());
        let stream = CutStream::new(stream, cut);
        let deadline = Instant::now() + shared.login_grace;
        let greeted = tokio::select! {
            () = shared.shutdown.cancelled() => return,
            greeted = timeout_at(deadline, run_stream(shared.config.clone(), stream, handler)) => greeted,
        };
        let mut session = match greeted {
            Ok(Ok(session)) => session,
            Ok(Err(error)) => return debug!(%error, "a stranger does not speak SSH"),
            Err(_) => return debug!("a stranger said nothing within the login grace"),
        };
        let login = tokio::select! {
            biased;
            Ok(login) = logged_in => login,
            ended = &mut session => return debug!(?ended, "a session ended before a login"),
            () = sleep_until(deadline) => return debug!("a stranger did not log in within the login grace"),
            () = shared.shutdown.cancelled() => return goodbye(session).await,
        };
        drop(stranger);
        self.logged_in(session, login).await;
    }

    async fn logged_in(&self, mut session: RunningSession<Handler>, login: Login) {
        let _counted = self.0.metrics.session();
        let since = Instant::now();
        tokio::select! {
            ended = &mut session => if let Err(error) = ended {
                debug!(%error, "a session ended early");
            },
            () = self.0.shutdown.cancelled() => goodbye(session).await,
        }
        info!(
            key = %login.key,
            seconds = since.elapsed().as_secs(),
            channels = login.channels.load(Ordering::Relaxed),
            "a session ended"
        );
    }
}

/// Lets the peer know that the agent stops, and gives it a moment to close.
async fn goodbye(session: RunningSession<Handler>) {
    let handle = session.handle();
    let said = async {
        let _ = handle.disconnect(Disconnect::ByApplication, "the agent stops".into(), "en".into()).await;
        let _ = session.await;
    };
    let _ = timeout(GOODBYE, said).await;
}
