//! What a device that comes by itself asks for: to forward its ports, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use onionscrape::ssh::UserKey;
use russh::server::{Auth, ChannelOpenHandle, Msg, PublicKeyOffer, Response, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, Error, Pty, Sig};
use tokio::sync::{oneshot, watch};
use tracing::debug;

use super::expected::Expected;
use crate::metrics::{Metrics, ReverseRefusal};

/// Longest address that may be named with a port.
const MAX_ADDRESS: usize = 255;

/// A device that is logged in and forwards its first port.
pub(super) struct Came {
    /// Its key.
    pub(super) key: UserKey,
    /// Its ports, each with the address that it named with it.
    pub(super) ports: watch::Receiver<BTreeMap<u16, String>>,
}

/// The server's side of one session.
pub(super) struct Handler {
    expected: Expected,
    metrics: Metrics,
    /// The key that was shown last, and accepted. Russh ends a login only after a signature, so when
    /// there is a login this was signed with.
    key: Option<UserKey>,
    came: Option<oneshot::Sender<Came>>,
    ports: watch::Sender<BTreeMap<u16, String>>,
}

impl Handler {
    pub(super) fn new(expected: Expected, metrics: Metrics, came: oneshot::Sender<Came>) -> Self {
        Self { expected, metrics, key: None, came: Some(came), ports: watch::Sender::default() }
    }

    fn refused(&self, what: ReverseRefusal) {
        debug!(?what, "an SSH request was refused");
        self.metrics.reverse_refused(what);
    }

    fn judge(&mut self, key: UserKey) -> Auth {
        if self.expected.ports(&key).is_none() {
            return self.reject();
        }
        self.key = Some(key);
        Auth::Accept
    }

    fn reject(&mut self) -> Auth {
        self.key = None;
        self.refused(ReverseRefusal::Login);
        Auth::reject()
    }

    /// The ports that the device may forward at this moment.
    fn allowed(&self) -> Arc<BTreeSet<u16>> {
        self.key.as_ref().and_then(|key| self.expected.ports(key)).unwrap_or_default()
    }

    fn refuse_request(&self, channel: ChannelId, session: &mut Session) -> Result<(), Error> {
        self.refused(ReverseRefusal::ChannelRequest);
        session.channel_failure(channel)
    }

    async fn refuse_channel(&self, what: ReverseRefusal, reply: ChannelOpenHandle) -> Result<(), Error> {
        self.refused(what);
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
        Ok(self.judge(UserKey::of(offer.public_key)))
    }

    async fn auth_publickey(&mut self, _: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Error> {
        Ok(self.judge(UserKey::of(key.public_key)))
    }

    /// The port is not opened: this says that channels may be opened by it (RFC 4254, section 7.1).
    async fn tcpip_forward(&mut self, address: &str, port: &mut u32, _: &mut Session) -> Result<bool, Error> {
        let wanted = u16::try_from(*port).ok().filter(|port| self.allowed().contains(port));
        // A port that is forwarded already is taken, as it would be if it were opened.
        let wanted = wanted.filter(|port| !self.ports.borrow().contains_key(port));
        let (Some(wanted), true, Some(key)) = (wanted, address.len() <= MAX_ADDRESS, &self.key) else {
            self.refused(ReverseRefusal::TcpipForward);
            return Ok(false);
        };
        self.ports.send_modify(|ports| drop(ports.insert(wanted, address.to_owned())));
        if let Some(came) = self.came.take() {
            // Nobody receives it only if the session is being ended already.
            let _ = came.send(Came { key: key.clone(), ports: self.ports.subscribe() });
        }
        Ok(true)
    }

    async fn cancel_tcpip_forward(
        &mut self,
        address: &str,
        port: u32,
        _: &mut Session,
    ) -> Result<bool, Error> {
        let port = u16::try_from(port).unwrap_or_default();
        let was_there = self.ports.send_if_modified(|ports| {
            let is_it = ports.get(&port).is_some_and(|named| named == address);
            is_it && ports.remove(&port).is_some()
        });
        if !was_there {
            self.refused(ReverseRefusal::TcpipForward);
        }
        Ok(was_there)
    }

    async fn streamlocal_forward(&mut self, _: &str, _: &mut Session) -> Result<bool, Error> {
        self.refused(ReverseRefusal::Streamlocal);
        Ok(false)
    }

    async fn cancel_streamlocal_forward(&mut self, _: &str, _: &mut Session) -> Result<bool, Error> {
        self.refused(ReverseRefusal::Streamlocal);
        Ok(false)
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        self.refuse_channel(ReverseRefusal::Session, reply).await
    }

    async fn channel_open_x11(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        self.refuse_channel(ReverseRefusal::X11, reply).await
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        self.refuse_channel(ReverseRefusal::DirectTcpip, reply).await
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
        self.refuse_channel(ReverseRefusal::ForwardedTcpip, reply).await
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        self.refuse_channel(ReverseRefusal::Streamlocal, reply).await
    }

    // Requests on channels, which can only be those that the bridge opened. Russh answers none of these
    // by itself, and a peer that wants an answer would wait for it for ever.

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
        self.refused(ReverseRefusal::ChannelRequest);
        Ok(false)
    }

    async fn signal(&mut self, channel: ChannelId, _: Sig, session: &mut Session) -> Result<(), Error> {
        self.refuse_request(channel, session)
    }
}
