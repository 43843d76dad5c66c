//! What one session asks for, and what it gets. Nothing here waits for the outside world, since
//! that would hold up all channels of the session.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use onionscrape::ssh::UserKey;
use russh::keys::Certificate;
use russh::server::{Auth, ChannelOpenHandle, Msg, PublicKeyOffer, Response, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, Disconnect, Error, Pty, Sig};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::audit::Record;
use super::identity::Shown;
use super::server::Shared;
use super::visitor::Visitor;
use crate::access::Permits;
use crate::metrics::Denied;

/// Channels that one session may have open at once: twice as many as a bridge has, which may close all of them and open
/// as many before those that it closed have ended here.
const MAX_CHANNELS: usize = 24;
/// Channels that one session may open in its life. Russh keeps about 4 KiB of each that was closed by
/// this end first, until the session ends; a bridge opens a new session without being asked.
const MAX_CHANNELS_EVER: u64 = 4096;

/// A successful login.
pub(super) struct Login {
    /// What was shown.
    pub(super) shown: Shown,
    /// What people call it.
    pub(super) name: String,
    /// What it may open; `None` for a ticket, which is good for enrolling only.
    pub(super) permits: Option<Permits>,
    /// Channels asked for since then.
    pub(super) channels: Arc<AtomicU64>,
    /// Held for as long as the session lives.
    _place: OwnedSemaphorePermit,
}

/// The server's side of one session.
pub(super) struct Handler {
    server: Arc<Shared>,
    visitor: Visitor,
    login: Option<oneshot::Sender<Login>>,
    room: Arc<Semaphore>,
    channels: Arc<AtomicU64>,
    /// Cancelled when the session is over.
    over: CancellationToken,
}

impl Handler {
    pub(super) fn new(server: Arc<Shared>, login: oneshot::Sender<Login>, over: CancellationToken) -> Self {
        Self {
            visitor: Visitor::new(server.clone()),
            server,
            login: Some(login),
            room: Arc::new(Semaphore::new(MAX_CHANNELS)),
            channels: Arc::default(),
            over,
        }
    }

    fn denied(&self, what: Denied) {
        debug!(?what, "an SSH request was refused");
        self.server.metrics.denied(what);
    }

    fn reject(&mut self) -> Auth {
        self.visitor.shows_nothing();
        self.server.metrics.ssh_auth_failures.inc();
        Auth::reject()
    }

    fn judge(&mut self, shown: Shown) -> Auth {
        if self.visitor.shows(shown) { Auth::Accept } else { self.reject() }
    }

    fn refuse_request(&self, channel: ChannelId, session: &mut Session) -> Result<(), Error> {
        self.denied(Denied::ChannelRequest);
        session.channel_failure(channel)
    }

    async fn refuse_channel(&self, what: Denied, reply: ChannelOpenHandle) -> Result<(), Error> {
        self.denied(what);
        reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
        Ok(())
    }
}

impl russh::server::Handler for Handler {
    type Error = Error;

    async fn auth_password(&mut self, _: &str, _: &str) -> Result<Auth, Error> {
        Ok(self.reject())
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _: &str,
        _: &str,
        _: Option<Response<'a>>,
    ) -> Result<Auth, Error> {
        Ok(self.reject())
    }

    async fn auth_publickey_offered(&mut self, _: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Error> {
        // Russh does not say whether it is the key of a certificate that is offered. Where there are
        // certificate authorities, the decision waits for the signature.
        let guests = self.server.access.now();
        if guests.authorities(SystemTime::now()).next().is_some() {
            return Ok(Auth::Accept);
        }
        Ok(self.judge(Shown::Key(UserKey::of(offer.public_key))))
    }

    async fn auth_publickey(&mut self, _: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Error> {
        Ok(self.judge(Shown::Key(UserKey::of(key.public_key))))
    }

    async fn auth_openssh_certificate(
        &mut self,
        user: &str,
        certificate: &Certificate,
    ) -> Result<Auth, Error> {
        let certificate = Box::new(certificate.clone());
        Ok(self.judge(Shown::Certificate { user: user.to_owned(), certificate }))
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), Error> {
        // It may have been withdrawn in this moment.
        let (shown, name, permits) = self.visitor.admission().ok_or(Error::NotAuthenticated)?;
        let places = if permits.is_some() { &self.server.sessions } else { &self.server.enrolments };
        let Ok(place) = places.clone().try_acquire_owned() else {
            self.denied(Denied::SessionsCap);
            return session.disconnect(Disconnect::TooManyConnections, "too many sessions", "en");
        };
        let login = Login { shown, name, permits, channels: self.channels.clone(), _place: place };
        // Nobody receives it only if the session is being ended already.
        if let Some(sender) = self.login.take() {
            let _ = sender.send(login);
        }
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Error> {
        let (key, destination) = match self.visitor.destination(host, port) {
            Ok(found) => found,
            Err(why) => return self.refuse_channel(why, reply).await,
        };
        let Ok(place) = self.room.clone().try_acquire_owned() else {
            self.denied(Denied::ChannelsCap);
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        };
        if self.channels.load(Ordering::Relaxed) >= MAX_CHANNELS_EVER {
            self.denied(Denied::ChannelsCap);
            return session.disconnect(Disconnect::ByApplication, "enough channels for one session", "en");
        }
        let metrics = &self.server.metrics;
        metrics.ssh_channel_opens.inc();
        self.channels.fetch_add(1, Ordering::Relaxed);
        let record = Record::channel(key, destination.to_string());
        let (counted, over, shutdown) = (metrics.channel(), self.over.clone(), self.server.shutdown.clone());
        tokio::spawn(async move {
            let _held = (counted, place);
            let serving = destination.serve(channel, reply, record.traffic(), shutdown);
            let why = over.run_until_cancelled(serving).await.unwrap_or("its session ended");
            record.end(why, None);
        });
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        self.refuse_channel(Denied::Session, reply).await
    }

    async fn channel_open_x11(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        self.refuse_channel(Denied::X11, reply).await
    }

    async fn channel_open_forwarded_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        self.refuse_channel(Denied::ForwardedTcpip, reply).await
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        self.refuse_channel(Denied::Streamlocal, reply).await
    }

    async fn tcpip_forward(&mut self, _: &str, _: &mut u32, _: &mut Session) -> Result<bool, Error> {
        self.denied(Denied::TcpipForward);
        Ok(false)
    }

    async fn cancel_tcpip_forward(&mut self, _: &str, _: u32, _: &mut Session) -> Result<bool, Error> {
        self.denied(Denied::TcpipForward);
        Ok(false)
    }

    async fn streamlocal_forward(&mut self, _: &str, _: &mut Session) -> Result<bool, Error> {
        self.denied(Denied::Streamlocal);
        Ok(false)
    }

    async fn cancel_streamlocal_forward(&mut self, _: &str, _: &mut Session) -> Result<bool, Error> {
        self.denied(Denied::Streamlocal);
        Ok(false)
    }

    // Requests on channels. Russh answers none of those below by itself, and a peer that wants an
    // answer would wait for it for ever.

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _: &str,
        _: u32,
        _: u32,
        _: u32,
        _: u32,
        _: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Error> {
        self.refuse_request(channel, session)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _: bool,
        _: &str,
        _: &str,
        _: u32,
        session: &mut Session,
    ) -> Result<(), Error> {
        self.refuse_request(channel, session)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        _: &str,
        _: &str,
        session: &mut Session,
    ) -> Result<(), Error> {
        self.refuse_request(channel, session)
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Error> {
        self.refuse_request(channel, session)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _: &[u8],
        session: &mut Session,
    ) -> Result<(), Error> {
        self.refuse_request(channel, session)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        _: &str,
        session: &mut Session,
    ) -> Result<(), Error> {
        self.refuse_request(channel, session)
    }

    async fn window_change_request(
        &mut self,
        channel: ChannelId,
        _: u32,
        _: u32,
        _: u32,
        _: u32,
        session: &mut Session,
    ) -> Result<(), Error> {
        self.refuse_request(channel, session)
    }

    async fn agent_request(&mut self, _: ChannelId, _: &mut Session) -> Result<bool, Error> {
        self.denied(Denied::ChannelRequest);
        Ok(false)
    }

    async fn signal(&mut self, channel: ChannelId, _: Sig, session: &mut Session) -> Result<(), Error> {
        self.refuse_request(channel, session)
    }
}
