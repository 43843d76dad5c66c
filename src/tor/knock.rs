//! Whether relays that were met before accept connections again, asked while nothing comes from any: arti
//! itself waits longer and longer before it tries.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::net::TcpSocket;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::Tor;
use crate::healing::LOW_POWER_SLACK;

/// After so long a silence relays are asked; where power counts it is longer, as in [`healing`](crate::healing).
const SILENT: Duration = Duration::from_secs(20);
/// How long one may take to accept a connection.
const LIMIT: Duration = Duration::from_secs(3);
/// For so long the connection must stay: something on the way may accept it, find that the relay does not,
/// and close it. A relay itself waits to be spoken to.
const STAYS: Duration = Duration::from_millis(500);
/// Shortest pause between two questions; a twentieth of the silence if that is longer.
const SHORTEST: Duration = Duration::from_secs(2);
/// Longest one.
const LONGEST: Duration = Duration::from_secs(15);
/// Longest one where power counts.
const LONGEST_LOW_POWER: Duration = Duration::from_secs(120);

/// Hears when relays can be reached again, for as long as it lives.
pub struct Reopening {
    told: Arc<Notify>,
    _watcher: AbortOnDropHandle<()>,
}

impl Reopening {
    /// Asks the relays that the client of this moment has met, if there is one; needs a tokio runtime.
    pub fn watch(tor: impl Fn() -> Option<Tor> + Send + 'static) -> Self {
        let told = Arc::new(Notify::new());
        let tell = told.clone();
        let watcher = async move {
            let (mut closed, mut begun) = (false, Instant::now());
            loop {
                let Some(tor) = tor() else {
                    begun = Instant::now();
                    sleep(SHORTEST).await;
                    continue;
                };
                if tor.settings().through_transports() {
                    // Their own connections are not known.
                    return;
                }
                let low_power = tor.settings().low_power();
                let silent = SILENT * if low_power { LOW_POWER_SLACK } else { 1 };
                let silence = tor.silence().unwrap_or_else(|| begun.elapsed());
                if let Some(left) = silent.checked_sub(silence) {
                    closed = false;
                    sleep(left.max(SHORTEST)).await;
                    continue;
                }
                sleep(pause(silence, low_power)).await;
                if !is_open(tor.met(), tor.settings().outbound_bind_address).await {
                    closed = true;
                } else if std::mem::take(&mut closed) {
                    tell.notify_one();
                }
            }
        };
        Self { told, _watcher: AbortOnDropHandle::new(tokio::spawn(watcher)) }
    }

    /// Completes when one that did not accept connections does so again, while nothing comes from any.
    pub async fn next(&self) {
        self.told.notified().await;
    }
}

fn pause(silence: Duration, low_power: bool) -> Duration {
    (silence / 20).clamp(SHORTEST, if low_power { LONGEST_LOW_POWER } else { LONGEST })
}

/// True if one of these accepts a connection in time, and keeps it.
async fn is_open(relays: Vec<SocketAddr>, from: Option<IpAddr>) -> bool {
    let knocks: FuturesUnordered<_> = relays.into_iter().map(|relay| knock(relay, from)).collect();
    let mut answers = knocks.filter(|opened| std::future::ready(*opened));
    matches!(timeout(LIMIT, answers.next()).await, Ok(Some(_)))
}

async fn knock(relay: SocketAddr, from: Option<IpAddr>) -> bool {
    let connected = async {
        let socket = if relay.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(from) = from.filter(|from| from.is_ipv4() == relay.is_ipv4()) {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        let stream = socket.connect(relay).await?;
        io::Result::Ok(timeout(STAYS, stream.readable()).await.is_err())
    };
    connected.await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn one_open_door_is_enough() {
        let [open, shut] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let addresses = [&open, &shut].map(|listener| listener.local_addr().expect("bound"));
        drop(shut);
        assert!(is_open(addresses.to_vec(), None).await);
        assert!(!is_open(vec![addresses[1]], None).await);
        assert!(!is_open(Vec::new(), None).await);
        let slammed = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = slammed.local_addr().expect("bound");
        let slamming = tokio::spawn(async move {
            while let Ok((stream, _)) = slammed.accept().await {
                drop(stream);
            }
        });
        assert!(!is_open(vec![address], None).await);
        slamming.abort();
        // An address that is not this machine's.
        assert!(!is_open(vec![addresses[0]], Some("192.0.2.7".parse().expect("IP"))).await);
    }

    #[test]
    fn it_is_asked_less_often_the_longer_nothing_comes() {
        let seconds = Duration::from_secs;
        assert_eq!(pause(seconds(20), false), seconds(2));
        assert_eq!(pause(seconds(100), false), seconds(5));
        assert_eq!(pause(seconds(86_400), false), seconds(15));
        assert_eq!(pause(seconds(86_400), true), seconds(120));
    }
}
