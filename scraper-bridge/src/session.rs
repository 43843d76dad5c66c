//! An SSH session to one target: how it comes about, and channels in it.
//!
//! Names of russh's types appear in this module only.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use onionscrape::ssh::{
    BRIDGE_HOST_KEYS, ChannelStream, CutStream, HostKeyPin, KeyFile, MAX_PACKET, WINDOW, algorithms,
};
use russh::client::{self, DisconnectReason, Handle};
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{ChannelOpenFailure, Disconnect, SshId};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::debug;

/// Key exchange takes three round trips, which through Tor can be some seconds each.
const KEX_LIMIT: Duration = Duration::from_secs(30);
/// Authentication takes two.
const AUTH_LIMIT: Duration = Duration::from_secs(20);
/// A quiet session is asked so often whether it is still there…
const KEEPALIVE: Duration = Duration::from_secs(6);
/// …and given up when it leaves more than so many such questions unanswered: after 18 s.
const KEEPALIVE_MAX: usize = 2;
/// How long a live session may take to answer when it is asked because a scrape timed out.
const PING_LIMIT: Duration = Duration::from_secs(5);
/// Packets that may wait in a channel before the session does; they are taken at once.
const CHANNEL_BUFFER: usize = 16;

/// Why no session came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginFailure {
    /// Key exchange failed or took too long.
    KeyExchange,
    /// The host key is not the pinned one. Somebody else answers, or the device was set up anew.
    HostKey,
    /// The device does not take this bridge's key.
    Denied,
    /// Authentication broke off or took too long.
    Authentication,
}

/// How long the steps of a login took.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoginTimes {
    /// From the first byte to an encrypted session.
    pub key_exchange: Duration,
    /// From there to being let in.
    pub authentication: Duration,
}

/// Why a channel could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelFailure {
    /// The far end does not allow it.
    Refused,
    /// The far end could not reach what it should lead to.
    Unreachable,
    /// The session is gone.
    Lost,
}

/// A session that is up. Dropping it ends it.
pub struct Session {
    handle: Arc<Handle<HostKeyCheck>>,
    ended: CancellationToken,
    unanswered: Arc<AtomicBool>,
    /// Ends the stream below the session, which a peer cannot hold up as it can a request to end.
    cut: CancellationToken,
    proved: AtomicBool,
    since: Instant,
}

impl Session {
    /// Logs in over `stream`.
    ///
    /// # Errors
    /// Says which step failed. A wrong host key is found before anything of ours is shown.
    pub async fn login<S>(
        stream: S,
        pin: &HostKeyPin,
        user: &str,
        key: &KeyFile,
    ) -> Result<(Self, LoginTimes), LoginFailure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let started = Instant::now();
        let ended = CancellationToken::new();
        let mismatch = Arc::new(OnceLock::new());
        let unanswered = Arc::new(AtomicBool::new(false));
        let check = HostKeyCheck {
            pin: pin.clone(),
            mismatch: mismatch.clone(),
            unanswered: unanswered.clone(),
            _ended: ended.clone().drop_guard(),
        };
        let cut = CancellationToken::new();
        let stream = CutStream::new(stream, cut.clone());
        // If the login fails or is given up, the half-made session ends at once.
        let guard = cut.clone().drop_guard();
        let connected = timeout(KEX_LIMIT, client::connect_stream(client_config(), stream, check)).await;
        let mut handle = match connected {
            Ok(Ok(handle)) => handle,
            _ if mismatch.get().is_some() => return Err(LoginFailure::HostKey),
            Ok(Err(error)) => {
                debug!(%error, "key exchange failed");
                return Err(LoginFailure::KeyExchange);
            }
            Err(_) => return Err(LoginFailure::KeyExchange),
        };
        let key_exchange = started.elapsed();
        let key = PrivateKeyWithHashAlg::new(key.private().clone(), None);
        match timeout(AUTH_LIMIT, handle.authenticate_publickey(user, key)).await {
            Ok(Ok(result)) if result.success() => {}
            Ok(Ok(_)) => return Err(LoginFailure::Denied),
            Ok(Err(error)) => {
                debug!(%error, "authentication failed");
                return Err(LoginFailure::Authentication);
            }
            Err(_) => return Err(LoginFailure::Authentication),
        }
        let times = LoginTimes { key_exchange, authentication: started.elapsed() - key_exchange };
        guard.disarm();
        let (handle, proved) = (Arc::new(handle), AtomicBool::new(false));
        Ok((Self { handle, ended, unanswered, cut, proved, since: Instant::now() }, times))
    }

    /// Opens a channel to what the far end knows as `host` and `port` (RFC 4254, section 7.2).
    ///
    /// When the caller gives up waiting, a channel that opens later is closed at once; `held` is
    /// let go of only then, so that what is still being opened counts as open.
    ///
    /// # Errors
    /// When it is refused, or the session is gone.
    pub async fn channel<H>(
        &self,
        host: String,
        port: u16,
        held: H,
    ) -> Result<(ChannelStream, H), ChannelFailure>
    where
        H: Send + 'static,
    {
        let handle = self.handle.clone();
        let opening = tokio::spawn(async move {
            let channel = handle.channel_open_direct_tcpip(host, port.into(), "127.0.0.1", 0).await?;
            Ok((ChannelStream::new(channel), held))
        });
        match opening.await {
            Ok(Ok(opened)) => Ok(opened),
            Ok(Err(russh::Error::ChannelOpenFailure(ChannelOpenFailure::ConnectFailed))) => {
                Err(ChannelFailure::Unreachable)
            }
            Ok(Err(russh::Error::ChannelOpenFailure(reason))) => {
                debug!(?reason, "a channel was refused");
                Err(ChannelFailure::Refused)
            }
            Ok(Err(_)) | Err(_) => Err(ChannelFailure::Lost),
        }
    }

    /// Completes when the session has ended, for whatever reason.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Asks the far end for a sign of life.
    pub async fn answers(&self) -> bool {
        timeout(PING_LIMIT, self.handle.send_ping()).await.is_ok_and(|sent| sent.is_ok())
            && !self.handle.is_closed()
    }

    /// True if the session ended because the far end did not answer any more.
    pub fn went_unanswered(&self) -> bool {
        self.unanswered.load(Ordering::Relaxed)
    }

    /// Has the owner of the session end it: something in it does not work.
    pub fn give_up(&self) {
        self.ended.cancel();
    }

    /// Ends the session with a word to the far end, whether or not that listens.
    pub async fn close(&self) {
        let said = async {
            let _ = self.handle.disconnect(Disconnect::ByApplication, "", "").await;
            while !self.handle.is_closed() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let _ = timeout(Duration::from_secs(1), said).await;
        self.cut.cancel();
    }

    /// Notes that a scrape was completed in this session.
    pub fn proves_itself(&self) {
        self.proved.store(true, Ordering::Relaxed);
    }

    /// True if a scrape was completed, or the session lived for 30 s: only then does losing it not
    /// count as one more failed attempt.
    pub fn has_proved_itself(&self) -> bool {
        self.proved.load(Ordering::Relaxed) || self.since.elapsed() >= Duration::from_secs(30)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.cut.cancel();
    }
}

fn client_config() -> Arc<client::Config> {
    static CONFIG: OnceLock<Arc<client::Config>> = OnceLock::new();
    let make = || {
        Arc::new(client::Config {
            client_id: SshId::Standard(concat!("SSH-2.0-onionscrape_", env!("CARGO_PKG_VERSION")).into()),
            window_size: WINDOW,
            maximum_packet_size: MAX_PACKET,
            channel_buffer_size: CHANNEL_BUFFER,
            preferred: algorithms(BRIDGE_HOST_KEYS),
            inactivity_timeout: Some(Duration::from_secs(120)),
            keepalive_interval: Some(KEEPALIVE),
            keepalive_max: KEEPALIVE_MAX,
            ..client::Config::default()
        })
    };
    CONFIG.get_or_init(make).clone()
}

/// Lets in the pinned host key and no other; its end is the session's end.
struct HostKeyCheck {
    pin: HostKeyPin,
    mismatch: Arc<OnceLock<()>>,
    unanswered: Arc<AtomicBool>,
    _ended: DropGuard,
}

impl client::Handler for HostKeyCheck {
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
        let PublicKeyOrCertificate::PublicKey { key, .. } = shown else { return Ok(false) };
        let right = self.pin.is(key);
        if !right {
            let _ = self.mismatch.set(());
        }
        Ok(right)
    }
}
