//! How the bridge speaks SSH, and what it does when the host shows its key or goes away.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use onionscrape::ssh::{BRIDGE_HOST_KEYS, ExpectedHostKey, HostKeyFault, MAX_PACKET, WINDOW, algorithms};
use russh::SshId;
use russh::client::{self, DisconnectReason};
use russh::keys::PublicKeyOrCertificate;
use tokio_util::sync::DropGuard;

use super::HostKeys;

/// A quiet session is asked so often whether it is still there…
const KEEPALIVE: Duration = Duration::from_secs(6);
/// …and given up when it leaves more than so many such questions unanswered: after 18 s.
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
}
