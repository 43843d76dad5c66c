//! Kept-alive HTTP/1.1 connections over a session's channels.
//!
//! With one at hand a scrape costs one round trip: request and answer. Opening a channel first
//! costs a second one.

mod idle;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use onionscrape::http::{MAX_FIELDS, MAX_HEAD};
use onionscrape::ssh::ChannelStream;
use onionscrape::tls::{TlsClient, TlsFault};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout};
use tracing::debug;

use crate::config::{ExporterConfig, Way};
use crate::session::{ChannelFailure, Session};
use crate::target::DialTimes;
use idle::Idle;

/// Channels open at once in a session. An agent allows twice as many, since it needs a moment to let go of one that was
/// closed here.
const MAX_CHANNELS: usize = 12;
/// Of these, channels on which somebody else speaks: they may be open for long, and say nothing.
const MAX_SPLICES: usize = 4;
/// A channel that whoever wanted it gave up before had not the time to open: the answer came in another session.
const OPENS_WITHIN: Duration = Duration::from_secs(2);
/// How long a channel may take to open, if whoever wants it has that much time: a round trip through Tor takes
/// seconds on a bad day.
const CHANNEL_LIMIT: Duration = Duration::from_secs(10);
/// Channels in a row that may fail to open in time before the session is given up.
const MAX_UNOPENED: u32 = 3;
/// How long a channel opened ahead of the first scrape may take.
const WARM_LIMIT: Duration = Duration::from_secs(20);
/// Port at which an agent answers for its exporters by name.
const BY_NAME_PORT: u16 = 80;

/// Held for as long as a channel of its owner's own is open.
pub type Places = (OwnedSemaphorePermit, OwnedSemaphorePermit);
/// A connection on which requests can be sent, one after the other.
pub type Connection = SendRequest<Empty<Bytes>>;

/// Why there is no connection to an exporter.
#[derive(Clone, Copy, Debug)]
pub enum ConnectionFailure {
    /// There is no channel.
    Channel(ChannelFailure),
    /// TLS cannot be spoken in it.
    Tls(TlsFault),
}

impl From<ChannelFailure> for ConnectionFailure {
    fn from(failure: ChannelFailure) -> Self {
        Self::Channel(failure)
    }
}

/// A session and the connections in it.
pub struct Pool {
    session: Session,
    room: Arc<Semaphore>,
    /// Places among those for channels that somebody else speaks on.
    splices: Arc<Semaphore>,
    idle: Mutex<Idle<Connection>>,
    unopened: Mutex<Unopened>,
    /// How long each step to the session took.
    times: DialTimes,
    /// What TLS is spoken with to each exporter, if it is.
    tls: Arc<[Option<TlsClient>]>,
}

/// A connection taken from the pool.
pub struct Taken {
    /// The connection.
    pub connection: Connection,
    /// True if it was idle before, so that the far end may have closed it in the meantime.
    pub reused: bool,
}

impl Pool {
    /// An empty pool in `session`; `tls` is what TLS is spoken with to each exporter, if it is.
    pub fn new(session: Session, times: DialTimes, tls: Arc<[Option<TlsClient>]>) -> Self {
        Self {
            session,
            unopened: Mutex::new(Unopened { times: 0, last: Instant::now() }),
            times,
            tls,
            room: Arc::new(Semaphore::new(MAX_CHANNELS)),
            splices: Arc::new(Semaphore::new(MAX_SPLICES)),
            idle: Mutex::default(),
        }
    }

    /// The session that the connections are in.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// How long each step to the session took.
    pub fn times(&self) -> DialTimes {
        self.times
    }

    /// A connection to the exporter, which is the target's number `index`. Waits for a place if
    /// all channels are in use; the caller sets the time it may take.
    ///
    /// # Errors
    /// When the channel is refused, the session is gone, or TLS fails.
    pub async fn take(&self, index: usize, exporter: &ExporterConfig) -> Result<Taken, ConnectionFailure> {
        let used = |connection| Ok(Taken { connection, reused: true });
        let place = match self.find(index) {
            Found::Connection(connection) => return used(connection),
            Found::Place(place) => place,
            Found::Nothing(mut given) => tokio::select! {
                biased;
                Ok(connection) = &mut given => return used(connection),
                place = self.room.clone().acquire_owned() => {
                    given.close();
                    if let Ok(connection) = given.try_recv() {
                        return used(connection);
                    }
                    place.map_err(|_| ChannelFailure::Lost)?
                }
            },
        };
        let connection = self.open(index, exporter, place).await?;
        Ok(Taken { connection, reused: false })
    }

    /// A channel to an address, on which whatever its owner wants is spoken. It counts as open until
    /// the permit is dropped; the caller sets the time it may take.
    ///
    /// # Errors
    /// When the channel is refused, or the session is gone.
    pub async fn channel(&self, address: SocketAddr) -> Result<(ChannelStream, Places), ChannelFailure> {
        let splice = self.splices.clone().acquire_owned().await.map_err(|_| ChannelFailure::Lost)?;
        let place = if let Ok(place) = self.room.clone().try_acquire_owned() {
            place
        } else {
            // No connection is ever given to this one: it has its turn for a place.
            let _turn = {
                let mut idle = self.idle();
                idle.evict();
                idle.wait(usize::MAX)
            };
            self.room.clone().acquire_owned().await.map_err(|_| ChannelFailure::Lost)?
        };
        self.open_channel(address.ip().to_string(), address.port(), (splice, place)).await
    }

    /// Gives back a connection whose last answer was read to its end.
    pub fn give_back(&self, index: usize, connection: Connection) {
        self.unopened().none();
        if !connection.is_closed() {
            self.idle().give_back(index, connection);
        }
    }

    /// Opens a connection to an exporter ahead of its first scrape.
    pub async fn warm(&self, index: usize, exporter: &ExporterConfig) {
        match timeout(WARM_LIMIT, self.take(index, exporter)).await {
            Ok(Ok(taken)) => self.give_back(index, taken.connection),
            // The first scrape will find out why, and say so.
            failed => {
                debug!(exporter = %exporter.name, failure = ?failed.map(|_| ()), "no channel ahead of time")
            }
        }
    }

    /// What there is for a scrape of an exporter.
    fn find(&self, index: usize) -> Found {
        let mut idle = self.idle();
        if let Some(connection) = idle.take(index, |connection| !connection.is_closed()) {
            return Found::Connection(connection);
        }
        if let Ok(place) = self.room.clone().try_acquire_owned() {
            return Found::Place(place);
        }
        // An idle connection to another exporter makes room for this one.
        idle.evict();
        Found::Nothing(idle.wait(index))
    }

    async fn open(
        &self,
        index: usize,
        exporter: &ExporterConfig,
        place: OwnedSemaphorePermit,
    ) -> Result<Connection, ConnectionFailure> {
        let (host, port) = match exporter.way {
            Way::Name => (exporter.name.to_string(), BY_NAME_PORT),
            Way::Address(address) => (address.ip().to_string(), address.port()),
            Way::Forwarded(port) => ("localhost".to_owned(), port),
        };
        let (channel, place) = self.open_channel(host, port, place).await?;
        match self.tls.get(index) {
            Some(Some(tls)) => {
                let stream = tls.connect(channel).await.map_err(ConnectionFailure::Tls)?;
                speak_http(stream, place).await
            }
            _ => speak_http(channel, place).await,
        }
    }

    /// A channel; `held` is let go of when it is closed. If it is given up before it opens, the far end
    /// was too slow. One that answers questions but opens no channels is of no use, so after three, one after
    /// the other and with no good answer between, the session is given up.
    async fn open_channel<H: Send + 'static>(
        &self,
        host: String,
        port: u16,
        held: H,
    ) -> Result<(ChannelStream, H), ChannelFailure> {
        struct Opening<'a>(&'a Pool, Instant);
        impl Drop for Opening<'_> {
            fn drop(&mut self) {
                if self.1.elapsed() < OPENS_WITHIN {
                    return;
                }
                if self.0.unopened().one_more(self.1) >= MAX_UNOPENED {
                    self.0.session.give_up();
                }
            }
        }
        let opening = Opening(self, Instant::now());
        let opened = timeout(CHANNEL_LIMIT, self.session.channel(host, port, held)).await;
        let opened = opened.map_err(|_| ChannelFailure::Late)?;
        std::mem::forget(opening);
        self.unopened().none();
        opened
    }

    fn unopened(&self) -> MutexGuard<'_, Unopened> {
        self.unopened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> MutexGuard<'_, Idle<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Channels that did not open within a scrape's time, one after the other.
struct Unopened {
    times: u32,
    /// When the last one was given up, or the session was last of use.
    last: Instant,
}

impl Unopened {
    /// The session is of use.
    fn none(&mut self) {
        *self = Self { times: 0, last: Instant::now() };
    }

    /// Another one, which was begun at `began`; how many there were. Those of one time count once: exporters
    /// that are dead together say no more than one.
    fn one_more(&mut self, began: Instant) -> u32 {
        if began >= self.last {
            *self = Self { times: self.times + 1, last: Instant::now() };
        }
        self.times
    }
}

/// What there is for a scrape.
enum Found {
    /// A connection.
    Connection(Connection),
    /// A place for another one.
    Place(OwnedSemaphorePermit),
    /// Nothing yet; a connection that is given back comes here.
    Nothing(oneshot::Receiver<Connection>),
}

/// A connection on this stream, which holds `place` for as long as it is open.
async fn speak_http<S>(stream: S, place: OwnedSemaphorePermit) -> Result<Connection, ConnectionFailure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (connection, driver) = http1::Builder::new()
        .max_headers(MAX_FIELDS)
        .max_buf_size(MAX_HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_| ChannelFailure::Lost)?;
    tokio::spawn(async move {
        if let Err(error) = driver.await {
            debug!(%error, "a connection to an exporter ended early");
        }
        drop(place);
    });
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exporters_that_are_dead_together_say_no_more_than_one() {
        let began = Instant::now();
        let mut unopened = Unopened { times: 0, last: began };
        assert_eq!([0; 3].map(|_| unopened.one_more(began)), [1, 1, 1]);
        assert_eq!(unopened.one_more(Instant::now()), 2, "one after the other");
        let before = Instant::now();
        unopened.none();
        assert_eq!(unopened.one_more(before), 0, "another opened meanwhile");
        assert_eq!(unopened.one_more(Instant::now()), 1);
    }
}
