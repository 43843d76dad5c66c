//! An SSH session to one target: how it comes about, and channels in it.
//!
//! Names of russh's types appear in this module and in [`reverse`](crate::reverse) only.

mod handler;
mod host_key;
mod link;
mod login;
mod ssh_agent;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use onionscrape::ssh::{ChannelStream, CutStream, HostKeyFault, LoginKey, Pulse};
use russh::client;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::debug;

use handler::{Events, client_config};
pub use host_key::{Announced, HostKeys};
use link::Link;
pub use link::{Forwards, ReverseLink};

/// Versions and key exchange take two round trips, which through Tor can be some seconds each.
const KEX_LIMIT: Duration = Duration::from_secs(30);
/// How long a live session may take to answer when it is asked because a scrape is late.
const PING_LIMIT: Duration = Duration::from_secs(5);
/// How long nothing may come from a far end that is asked every few seconds. Russh itself gives up before,
/// except where a channel that nobody reads keeps it from looking.
const QUIET_LIMIT: Duration = Duration::from_secs(18);
/// Channels that one session opens in its life. Russh keeps about 4 KiB of each that was closed by
/// this end first, until the session ends.
const MAX_CHANNELS_EVER: u32 = 4096;

/// Why no session came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginFailure {
    /// Key exchange failed or took too long.
    KeyExchange,
    /// The host key is not one that the target may show.
    HostKey(HostKeyFault),
    /// The device does not take this bridge's key.
    Denied,
    /// Authentication broke off or took too long.
    Authentication,
    /// The ssh-agent on this side has no key to log in with; the log says why.
    SshAgent,
    /// The certificate on this side cannot be used; the log says why.
    Certificate,
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
    /// The device came by itself, and does not forward this port.
    NotForwarded,
    /// It took too long.
    Late,
    /// The session is gone.
    Lost,
}

/// A session that is up. Dropping it ends it.
pub struct Session {
    link: Arc<Link>,
    ended: CancellationToken,
    unanswered: Arc<AtomicBool>,
    /// Ends the stream below the session, which a peer cannot hold up as it can a request to end.
    cut: CancellationToken,
    pulse: Pulse,
    proved: AtomicBool,
    /// Channels that were asked for.
    channels: AtomicU32,
    since: Instant,
}

/// A session in which nobody has logged in yet. Dropping it ends it.
pub struct Exchanged {
    handle: client::Handle<Events>,
    ended: CancellationToken,
    unanswered: Arc<AtomicBool>,
    cut: CancellationToken,
    pulse: Pulse,
    guard: DropGuard,
}

impl Exchanged {
    /// The second half of a login.
    ///
    /// # Errors
    /// Says whether the host refused, or something is missing on this side.
    pub async fn log_in(self, user: &str, key: &LoginKey) -> Result<Session, LoginFailure> {
        let Self { mut handle, ended, unanswered, cut, pulse, guard } = self;
        login::authenticate(&mut handle, user, key).await?;
        guard.disarm();
        Ok(Session::new(Link::Dialled(handle), ended, unanswered, (cut, pulse)))
    }
}

impl Session {
    /// Logs in over `stream`.
    ///
    /// # Errors
    /// Says which step failed. A wrong host key is found before anything of ours is shown.
    pub async fn login<S>(
        stream: S,
        host_keys: &Arc<HostKeys>,
        user: &str,
        key: &LoginKey,
    ) -> Result<(Self, LoginTimes), LoginFailure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let started = Instant::now();
        let exchanged = Self::exchange_keys(stream, host_keys).await?;
        let key_exchange = started.elapsed();
        let session = exchanged.log_in(user, key).await?;
        Ok((session, LoginTimes { key_exchange, authentication: started.elapsed() - key_exchange }))
    }

    /// The first half of a login: an encrypted session with a host that showed the right key.
    ///
    /// # Errors
    /// Says whether it was the host key.
    pub async fn exchange_keys<S>(stream: S, host_keys: &Arc<HostKeys>) -> Result<Exchanged, LoginFailure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let ended = CancellationToken::new();
        let fault = Arc::new(OnceLock::new());
        let unanswered = Arc::new(AtomicBool::new(false));
        let expected = host_keys.expected().map_err(LoginFailure::HostKey)?;
        let config = client_config(&expected);
        let events = Events {
            host_keys: host_keys.clone(),
            expected,
            fault: fault.clone(),
            unanswered: unanswered.clone(),
            _ended: ended.clone().drop_guard(),
        };
        let cut = CancellationToken::new();
        let stream = CutStream::new(stream, cut.clone());
        let pulse = stream.pulse();
        // If the login fails or is given up, the half-made session ends at once.
        let guard = cut.clone().drop_guard();
        let connected = timeout(KEX_LIMIT, client::connect_stream(config, stream, events)).await;
        let handle = match (connected, fault.get()) {
            (Ok(Ok(handle)), _) => handle,
            (_, Some(fault)) => return Err(LoginFailure::HostKey(*fault)),
            (Ok(Err(error)), None) => {
                debug!(%error, "key exchange failed");
                return Err(LoginFailure::KeyExchange);
            }
            (Err(_), None) => return Err(LoginFailure::KeyExchange),
        };
        Ok(Exchanged { handle, ended, unanswered, cut, pulse, guard })
    }

    /// A session in which a device came by itself. `ended` is cancelled when it is over, with
    /// `unanswered` true if the device did not answer any more; cancelling the first of `stream` ends
    /// the stream below it, and the second is the device's pulse on that.
    pub fn arrived(
        link: ReverseLink,
        ended: CancellationToken,
        unanswered: Arc<AtomicBool>,
        stream: (CancellationToken, Pulse),
    ) -> Self {
        Self::new(Link::Reverse(link), ended, unanswered, stream)
    }

    fn new(
        link: Link,
        ended: CancellationToken,
        unanswered: Arc<AtomicBool>,
        (cut, pulse): (CancellationToken, Pulse),
    ) -> Self {
        let (proved, channels) = (AtomicBool::new(false), AtomicU32::new(0));
        Self { link: Arc::new(link), ended, unanswered, cut, pulse, proved, channels, since: Instant::now() }
    }

    /// Opens a channel to what the far end knows as `host` and `port` (RFC 4254, section 7.2). One that
    /// came by itself knows the ports that it forwards, whatever the host.
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
        if self.channels.fetch_add(1, Ordering::Relaxed) >= MAX_CHANNELS_EVER {
            debug!("the session has had its channels; a new one takes its place");
            self.give_up();
            return Err(ChannelFailure::Lost);
        }
        let link = self.link.clone();
        let opening = tokio::spawn(async move { Ok((link.open(host, port).await?, held)) });
        opening.await.unwrap_or(Err(ChannelFailure::Lost))
    }

    /// Completes when the session has ended, for whatever reason.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// True if it has ended.
    pub fn is_over(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Completes when nothing has come from the far end for 18 s, though it was asked several times: it
    /// is gone, or the session is stuck.
    pub async fn silence(&self) {
        while let Some(left) = QUIET_LIMIT.checked_sub(self.pulse.quiet_for()).filter(|left| !left.is_zero())
        {
            sleep(left).await;
        }
    }

    /// Asks the far end for a sign of life. The answer may queue behind a long body; what comes of that is a
    /// sign, too.
    pub async fn answers(&self) -> bool {
        match timeout(PING_LIMIT, self.link.ping()).await {
            Ok(answered) => answered,
            Err(_) => !self.is_quiet(),
        }
    }

    /// True if nothing has come from the far end for as long as it may take to answer when it is asked.
    pub fn is_quiet(&self) -> bool {
        self.pulse.quiet_for() >= PING_LIMIT
    }

    /// True if the session ended because the far end did not answer any more.
    pub fn went_unanswered(&self) -> bool {
        self.unanswered.load(Ordering::Relaxed)
    }

    /// Has the owner of the session end it: something in it does not work, or it was used enough.
    pub fn give_up(&self) {
        self.ended.cancel();
    }

    /// Ends the session with a word to the far end, whether or not that listens.
    pub async fn close(&self) {
        let _ = timeout(Duration::from_secs(1), self.link.disconnect()).await;
        self.cut();
    }

    /// Ends the session at once, and without a word.
    pub fn cut(&self) {
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

#[cfg(test)]
mod tests;
