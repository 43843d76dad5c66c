//! What one session asks for, and what it gets. Nothing here waits for the outside world, since
//! that would hold up all channels of the session.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use russh::keys::{Certificate, PublicKey};
use russh::server::{Auth, ChannelOpenHandle, Msg, PublicKeyOffer, Response, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, Disconnect, Error, Pty, Sig};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::server::Shared;
use crate::metrics::Denied;

/// Channels that one session may have open at once.
const MAX_CHANNELS: usize = 16;

/// A successful login.
pub(super) struct Login {
    /// The name of the key, as the operator wrote it.
    pub(super) key: String,
    /// Channels asked for since then.
    pub(super) channels: Arc<AtomicU64>,
    /// Held for as long as the session lives.
    _place: OwnedSemaphorePermit,
}

/// The server's side of one session.
pub(super) struct Handler {
    server: Arc<Shared>,
    login: Option<oneshot::Sender<Login>>,
    key: String,
    room: Arc<Semaphore>,
    channels: Arc<AtomicU64>,
    /// Cancelled when the session is over.
    over: CancellationToken,
}

impl Handler {
    pub(super) fn new(server: Arc<Shared>, login: oneshot::Sender<Login>, over: CancellationToken) -> Self {
        Self {
            server,
            login: Some(login),
            key: String::new(),
            room: Arc::new(Semaphore::new(MAX_CHANNELS)),
            channels: Arc::default(),
            over,
        }
    }

    fn denied(&self, what: Denied) {
        debug!(?what, "an SSH request was refused");
        self.server.metrics.denied(what);
    }

    fn reject(&self) -> Auth {
        self.server.metrics.ssh_auth_failures.inc();
        Auth::reject()
    }

    fn known(&mut self, key: &PublicKey) -> Auth {
        match self.server.keys.name_of(key) {
            Some(name) => {
                self.key = name;
                Auth::Accept
            }
            None => self.reject(),
        }
    }

    fn refuse_request(&self, channel: ChannelId, session: &mut Session) -> Result<(), Error> {
        self.denied(Denied::ChannelRequest);
        session.channel_failure(channel)
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
        Ok(self.known(offer.public_key))
    }

    async fn auth_publickey(&mut self, _: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Error> {
        Ok(self.known(key.public_key))
    }

    async fn auth_openssh_certificate(&mut self, _: &str, _: &Certificate) -> Result<Auth, Error> {
        Ok(self.reject())
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), Error> {
        match self.server.sessions.clone().try_acquire_owned() {
            Ok(place) => {
                let login = Login { key: self.key.clone(), channels: self.channels.clone(), _place: place };
                // Nobody receives it only if the session is being ended already.
                let _ = self.login.take().map(|sender| sender.send(login));
                Ok(())
            }
            Err(_) => {
                self.denied(Denied::SessionsCap);
                session.disconnect(Disconnect::TooManyConnections, "too many sessions", "en")
            }
        }
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        let Some(destination) = self.server.services.find(host, port) else {
            self.denied(Denied::DirectTcpip);
            reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            return Ok(());
        };
        let Ok(place) = self.room.clone().try_acquire_owned() else {
            self.denied(Denied::ChannelsCap);
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        };
        let metrics = &self.server.metrics;
        metrics.ssh_channel_opens.inc();
        self.channels.fetch_add(1, Ordering::Relaxed);
        debug!(key = %self.key, to = %destination, "a channel was asked for");
        let (counted, over, shutdown) = (metrics.channel(), self.over.clone(), self.server.shutdown.clone());
        tokio::spawn(async move {
            let _held = (counted, place);
            over.run_until_cancelled(destination.serve(channel, reply, shutdown)).await;
        });
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        self.denied(Denied::Session);
        reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
        Ok(())
    }

    async fn channel_open_x11(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        self.denied(Denied::X11);
        reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
        Ok(())
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
        self.denied(Denied::ForwardedTcpip);
        reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        self.denied(Denied::Streamlocal);
        reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
        Ok(())
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
