//! How the bridge speaks SSH, and what it does when the host shows its key or goes away.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use onionscrape::ssh::{BRIDGE_HOST_KEYS, ExpectedHostKey, HostKeyFault, MAX_PACKET, WINDOW, algorithms};
use russh::client::{self, ChannelOpenHandle, DisconnectReason, Msg, Session};
use russh::keys::PublicKeyOrCertificate;
use russh::{Channel, ChannelId, ChannelOpenFailure, SshId};
use tokio_util::sync::DropGuard;
use tracing::debug;

use super::HostKeys;

/// A quiet session is asked so often whether it is still there…
const KEEPALIVE: Duration = Duration::from_secs(5);
/// …and given up when it leaves more than so many such questions unanswered: after 15 s.
const KEEPALIVE_MAX: usize = 2;
/// Packets that may wait in a channel before the session does; they are taken at once.
const CHANNEL_BUFFER: usize = 16;

/// How the bridge speaks SSH with a host that is expected to show this.
pub(super) fn client_config(expected: &ExpectedHostKey) -> Arc<client::Config> {
    let mut preferred = algorithms(BRIDGE_HOST_KEYS);
    preferred.key = Cow::Owned(expected.kinds());
    if expected.wants_certificate() {
        preferred.host_key_certificates = preferred.key.clone();
    }
    Arc::new(client::Config {
        client_id: SshId::Standard(concat!("SSH-2.0-onionscrape_", env!("CARGO_PKG_VERSION")).into()),
        window_size: WINDOW,
        maximum_packet_size: MAX_PACKET,
        channel_buffer_size: CHANNEL_BUFFER,
        preferred,
        inactivity_timeout: Some(Duration::from_secs(120)),
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: KEEPALIVE_MAX,
        ..client::Config::default()
    })
}

/// What happens in a session: the host shows its key, and the session ends, as this does with it.
pub(super) struct Events {
    pub(super) host_keys: Arc<HostKeys>,
    pub(super) expected: ExpectedHostKey,
    /// Why the host's key was refused, if it was.
    pub(super) fault: Arc<OnceLock<HostKeyFault>>,
    /// Whether the session ended because the host did not answer any more.
    pub(super) unanswered: Arc<AtomicBool>,
    pub(super) _ended: DropGuard,
}

impl client::Handler for Events {
    type Error = russh::Error;

    async fn disconnected(&mut self, reason: DisconnectReason<Self::Error>) -> Result<(), Self::Error> {
        match reason {
            DisconnectReason::ReceivedDisconnect(_) => Ok(()),
            DisconnectReason::Error(error) => {
                if matches!(error, russh::Error::KeepaliveTimeout | russh::Error::InactivityTimeout) {
                    self.unanswered.store(true, Ordering::Relaxed);
                }
                Err(error)
            }
        }
    }

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let checked = self.host_keys.check(&self.expected, shown);
        if let Err(fault) = checked {
            let _ = self.fault.set(fault);
        }
        Ok(checked.is_ok())
    }

    // Channels that the host asks for. Russh opens them if nobody says otherwise, and keeps them for
    // as long as the session lives; a device has nothing to ask of a bridge.

    async fn server_channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        refuse(reply).await
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        refuse(reply).await
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        refuse(reply).await
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        refuse(reply).await
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        refuse(reply).await
    }

    async fn server_channel_open_x11(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        refuse(reply).await
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        refuse(reply).await
    }

    /// Left to ourselves, since russh refuses what it does not know twice over.
    async fn should_accept_unknown_server_channel(&mut self, _: ChannelId, _: &str) -> bool {
        true
    }

    async fn server_channel_open_unknown(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        refuse(reply).await
    }
}

async fn refuse(reply: ChannelOpenHandle) -> Result<(), russh::Error> {
    debug!("the host asked for a channel, which is refused");
    reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
    Ok(())
}
