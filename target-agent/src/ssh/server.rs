//! SSH sessions, from a byte stream to its end, each with its bounds.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use onionscrape::address::OnionAddress;
use onionscrape::ssh::{CutStream, Keepalive, KeyFile, goodbye, server_config};
use russh::server::{Config, RunningSession, run_stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, interval, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::audit::Record;
use super::channel::Services;
use super::handler::{Handler, Login};
use crate::access::{Access, Admitted, Guests};
use crate::config::SshSettings;
use crate::metrics::{Denied, Metrics};

/// Why a session ended that broke off without a word.
const LOST: &str = "lost";
/// Sessions that are logged in at once.
const MAX_SESSIONS: usize = 8;
/// Sessions that are not logged in yet at once.
const MAX_STRANGERS: usize = 16;
/// How quiet peers are asked whether they are still there.
const KEEPALIVE: Keepalive = Keepalive { interval: Duration::from_secs(15), unanswered: 3 };
/// How long a session with a ticket may go on after the ticket was taken.
const ENROLLED: Duration = Duration::from_secs(2);
/// How long a session with a ticket may last in any case.
const ENROLMENT: Duration = Duration::from_secs(120);
/// Sessions with a ticket at once; whoever saw one must not take the places of bridges.
const MAX_ENROLMENTS: usize = 2;
/// How often it is written down that a bridge is here; flash memory wears out.
const SEEN: Duration = Duration::from_secs(3600);
/// How often a certificate's end is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The SSH server; clones share its limits.
#[derive(Clone)]
pub struct Server(Arc<Shared>);

/// What all sessions of a server share.
pub(super) struct Shared {
    /// What new sessions are shown and told.
    config: Mutex<Arc<Config>>,
    login_grace: Duration,
    pub(super) access: Access,
    pub(super) services: Services,
    pub(super) metrics: Metrics,
    strangers: Semaphore,
    pub(super) sessions: Arc<Semaphore>,
    pub(super) enrolments: Arc<Semaphore>,
    pub(super) shutdown: CancellationToken,
}

impl Server {
    /// A server that shows `host_key`, lets in whom `access` lets in, leads to `services` and says
    /// goodbye on `shutdown`.
    pub fn new(
        settings: SshSettings,
        host_key: &KeyFile,
        access: Access,
        services: Services,
        metrics: Metrics,
        shutdown: CancellationToken,
    ) -> Self {
        Self(Arc::new(Shared {
            config: Mutex::new(server_config(host_key, KEEPALIVE)),
            login_grace: settings.login_grace,
            access,
            services,
            metrics,
            strangers: Semaphore::new(MAX_STRANGERS),
            sessions: Arc::new(Semaphore::new(MAX_SESSIONS)),
            enrolments: Arc::new(Semaphore::new(MAX_ENROLMENTS)),
            shutdown,
        }))
    }

    /// Shows this host key to new sessions from now on.
    pub fn show(&self, host_key: &KeyFile) {
        *self.config() = server_config(host_key, KEEPALIVE);
    }

    fn config(&self) -> MutexGuard<'_, Arc<Config>> {
        self.0.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Speaks SSH on one byte stream until the session ends.
    pub async fn serve<S>(&self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.serve_from(stream, None, || ()).await;
    }

    /// As [`serve`](Self::serve), for a peer that came to this address; calls `let_in` when it has logged
    /// in.
    pub async fn serve_at<S>(&self, stream: S, address: &OnionAddress, let_in: impl FnOnce())
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.serve_from(stream, Some(address), let_in).await;
    }

    async fn serve_from<S>(&self, stream: S, address: Option<&OnionAddress>, let_in: impl FnOnce())
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
        let config = self.config().clone();
        let greeted = tokio::select! {
            () = shared.shutdown.cancelled() => return,
            greeted = timeout_at(deadline, run_stream(config, stream, handler)) => greeted,
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
            () = shared.shutdown.cancelled() => return goodbye(session, "the agent stops").await,
        };
        drop(stranger);
        let_in();
        if let (Some(address), Some(_)) = (address, &login.permits) {
            shared.services.pages.note_learnt(&login.shown.fingerprint(), address.unredacted());
        }
        self.logged_in(session, login).await;
    }

    async fn logged_in(&self, mut session: RunningSession<Handler>, login: Login) {
        let shared = &self.0;
        let _counted = shared.metrics.session();
        let record = Record::session(login.name.clone());
        let mut seen = interval(SEEN);
        let mut guests = shared.access.guests();
        let enrolment_ends = Instant::now() + ENROLMENT;
        let why = loop {
            let ended = withdrawn(&login, &guests.borrow_and_update());
            if let Some((why, grace)) = ended {
                // What is on its way to the peer, an answer to an enrolment above all, gets there.
                if timeout(grace, &mut session).await.is_err() {
                    goodbye(session, "access ended").await;
                }
                break why;
            }
            tokio::select! {
                ended = &mut session => match ended {
                    Ok(()) => break "closed",
                    Err(error) => {
                        debug!(%error, "a session ended early");
                        break LOST;
                    }
                },
                () = shared.shutdown.cancelled() => {
                    goodbye(session, "the agent stops").await;
                    break "the agent stops";
                }
                Ok(()) = guests.changed() => {}
                _ = seen.tick() => self.note_seen(&login.name),
                // The end of a certificate is nobody else's news, and the clock may be set meanwhile.
                () = sleep(LOOK), if login.shown.has_an_end() => {}
                () = sleep_until(enrolment_ends), if login.permits.is_none() => {
                    goodbye(session, "no enrolment").await;
                    break "no enrolment came";
                }
            }
        };
        self.note_seen(&login.name);
        if why == LOST {
            self.0.metrics.lost_session();
        }
        record.end(why, Some(login.channels.load(Ordering::Relaxed)));
    }

    /// Notes that `name` is here, off the agent's one thread.
    fn note_seen(&self, name: &str) {
        let (access, name) = (self.0.access.clone(), name.to_owned());
        tokio::task::spawn_blocking(move || access.seen(&name));
    }
}

/// Why what was shown is not good for a session any more, if so, and how long that may go on.
fn withdrawn(login: &Login, guests: &Guests) -> Option<(&'static str, Duration)> {
    match login.shown.admitted(guests, SystemTime::now()) {
        Admitted::As(_, permits) if login.permits.as_ref() != Some(&permits) => {
            // Channels that are open would go on with what was permitted before.
            Some(("its permissions changed", Duration::ZERO))
        }
        Admitted::As(..) | Admitted::Invited(_) => None,
        Admitted::TicketUsed(_) => Some(("enrolled", ENROLLED)),
        Admitted::TicketExpired(_) => Some(("the ticket expired", Duration::ZERO)),
        Admitted::No => Some(("its key was withdrawn", Duration::ZERO)),
    }
}
