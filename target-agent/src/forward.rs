//! Passing the onion service's byte streams to the device's own `sshd`.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use onionscrape::address::ExporterAddress;
use onionscrape::metrics::Raised;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, copy, split};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{debug, warn};

/// Connections passed on at once.
const MAX_CONNECTIONS: usize = 24;
/// How long the local `sshd` may take to accept.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Whoever is still there after so long has logged in, as far as it can be told: `sshd` gives strangers two minutes
/// (sshd_config(5), `LoginGraceTime`). Where it gives them more, or all the time there is, strangers count as well.
const LOGGED_IN: Duration = Duration::from_secs(150);
/// How long the last bytes may take to leave.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// Passes bytes to one local address; clones share its limits.
#[derive(Clone, Debug)]
pub struct Forward {
    to: ExporterAddress,
    room: Arc<Semaphore>,
    /// How many of those that are passed on have logged in.
    logged_in: Gauge,
}

impl Forward {
    /// Passes bytes to `to`.
    pub fn new(to: ExporterAddress) -> Self {
        Self { to, room: Arc::new(Semaphore::new(MAX_CONNECTIONS)), logged_in: Gauge::default() }
    }

    /// True while somebody is passed on who has logged in.
    pub fn is_in_use(&self) -> bool {
        self.logged_in.get() > 0
    }

    /// Passes bytes both ways until either side ends.
    pub async fn serve<S>(&self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Ok(_place) = self.room.try_acquire() else {
            debug!("a connection was closed, since {MAX_CONNECTIONS} others are passed on");
            return;
        };
        let mut passing = pin!(self.pass_on(stream));
        let ended = match timeout(LOGGED_IN, &mut passing).await {
            Ok(ended) => ended,
            Err(_) => {
                let _counted = Raised::new(&self.logged_in);
                passing.await
            }
        };
        if let Err(error) = ended {
            debug!(%error, "a forwarded connection ended early");
        }
    }

    async fn pass_on<S>(&self, stream: S) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match &self.to {
            ExporterAddress::Tcp(address) => {
                pass(stream, connected(TcpStream::connect(address)).await?).await
            }
            ExporterAddress::Unix(path) => pass(stream, connected(UnixStream::connect(path)).await?).await,
        }
    }
}

async fn connected<S>(connect: impl Future<Output = io::Result<S>>) -> io::Result<S> {
    let connected = timeout(CONNECT_LIMIT, connect).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()));
    connected.inspect_err(|error| {
        warn!(%error, "the device's own sshd, which [ssh] forward names, cannot be reached");
    })
}

/// Copies bytes between `tor` and `local`. Tor has no half-open streams, so the end of one
/// direction is the end of both; what was read until then is still delivered.
async fn pass<A, B>(tor: A, local: B) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (mut from_tor, mut to_tor) = split(tor);
    let (mut from_local, mut to_local) = split(local);
    let ended = tokio::select! {
        ended = copy(&mut from_tor, &mut to_local) => ended,
        ended = copy(&mut from_local, &mut to_tor) => ended,
    };
    let close = async {
        let _ = to_local.shutdown().await;
        let _ = to_tor.flush().await;
        let _ = to_tor.shutdown().await;
    };
    let _ = timeout(CLOSE_LIMIT, close).await;
    ended.map(|_| ())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, duplex};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn the_end_of_either_side_ends_both_after_the_last_byte() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let to = ExporterAddress::Tcp(listener.local_addr().expect("address"));
        let forward = Forward::new(to);
        for local_first in [true, false] {
            let (mut peer, stream) = duplex(64);
            let serving = tokio::spawn({
                let forward = forward.clone();
                async move { forward.serve(stream).await }
            });
            let (mut sshd, _) = listener.accept().await.expect("accept");
            let mut said = String::new();
            if local_first {
                sshd.write_all(b"SSH-2.0-sshd\r\n").await.expect("write");
                drop(sshd);
                peer.read_to_string(&mut said).await.expect("read");
                assert_eq!(said, "SSH-2.0-sshd\r\n");
            } else {
                peer.write_all(b"SSH-2.0-ssh\r\n").await.expect("write");
                drop(peer);
                sshd.read_to_string(&mut said).await.expect("read");
                assert_eq!(said, "SSH-2.0-ssh\r\n");
            }
            timeout(Duration::from_secs(5), serving).await.expect("both ended").expect("no panic");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_stays_longer_than_strangers_may_has_logged_in() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let forward = Forward::new(ExporterAddress::Tcp(listener.local_addr().expect("address")));
        let (peer, stream) = duplex(64);
        let serving = tokio::spawn({
            let forward = forward.clone();
            async move { forward.serve(stream).await }
        });
        let _sshd = listener.accept().await.expect("accept");
        tokio::time::sleep(LOGGED_IN / 2).await;
        assert!(!forward.is_in_use(), "a stranger, for all that is known");
        tokio::time::sleep(LOGGED_IN).await;
        assert!(forward.is_in_use());
        drop(peer);
        serving.await.expect("no panic");
        assert!(!forward.is_in_use());
    }
}
