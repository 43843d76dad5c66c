//! The two kinds of session: one that the bridge dialled, and one in which a device came by itself.

use std::collections::BTreeMap;
use std::time::Duration;

use onionscrape::ssh::ChannelStream;
use russh::client::Handle;
use russh::{ChannelOpenFailure, Disconnect, server};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::ChannelFailure;
use super::handler::Events;

/// How long after the first port of a device its others may follow; they come in one go.
const SETTLING: Duration = Duration::from_secs(2);

/// How channels are opened in a session.
pub(super) enum Link {
    /// The far end is a server, and opens `direct-tcpip` channels.
    Dialled(Handle<Events>),
    /// The far end is a client, and opens `forwarded-tcpip` channels for the ports that it forwards.
    Reverse(ReverseLink),
}

/// A session with a device that came by itself.
pub struct ReverseLink {
    /// The server's side of it.
    pub handle: server::Handle,
    /// The ports that the device forwards.
    pub forwards: Forwards,
    /// Cancelled when the session is over.
    pub closed: CancellationToken,
}

/// Ports that a device forwards, each with the address that it named with it.
pub struct Forwards {
    ports: watch::Receiver<BTreeMap<u16, String>>,
    settled: Instant,
}

impl Forwards {
    /// These ports, the first of which has just come.
    pub fn new(ports: watch::Receiver<BTreeMap<u16, String>>) -> Self {
        Self { ports, settled: Instant::now() + SETTLING }
    }

    /// The address that the device named with `port`, if it forwards that.
    async fn address(&self, port: u16) -> Option<String> {
        let mut ports = self.ports.clone();
        let _ = timeout_at(self.settled, ports.wait_for(|ports| ports.contains_key(&port))).await;
        let ports = self.ports.borrow();
        ports.get(&port).cloned()
    }
}

impl Link {
    /// Opens a channel to `host` and `port`. A device that came by itself knows ports only.
    pub(super) async fn open(&self, host: String, port: u16) -> Result<ChannelStream, ChannelFailure> {
        let opened = match self {
            Self::Dialled(handle) => {
                let opening = handle.channel_open_direct_tcpip(host, port.into(), "127.0.0.1", 0);
                opening.await.map(ChannelStream::new)
            }
            Self::Reverse(link) => {
                let address = link.forwards.address(port).await.ok_or(ChannelFailure::NotForwarded)?;
                let opening = link.handle.channel_open_forwarded_tcpip(address, port.into(), "127.0.0.1", 0);
                opening.await.map(ChannelStream::new)
            }
        };
        opened.map_err(|error| match error {
            russh::Error::ChannelOpenFailure(ChannelOpenFailure::ConnectFailed) => {
                ChannelFailure::Unreachable
            }
            russh::Error::ChannelOpenFailure(reason) => {
                debug!(?reason, "a channel was refused");
                ChannelFailure::Refused
            }
            _ => ChannelFailure::Lost,
        })
    }

    /// Has the far end answer something; without bound.
    pub(super) async fn ping(&self) -> bool {
        match self {
            Self::Dialled(handle) => handle.send_ping().await.is_ok() && !handle.is_closed(),
            Self::Reverse(link) => {
                // Russh has a server ask nothing else that is answered. There is no such forward, and
                // every client says so.
                let _ = link.handle.cancel_forward_tcpip(String::new(), 0).await;
                !link.closed.is_cancelled()
            }
        }
    }

    /// Says goodbye, and completes when the session is over.
    pub(super) async fn disconnect(&self) {
        match self {
            Self::Dialled(handle) => {
                let _ = handle.disconnect(Disconnect::ByApplication, "", "").await;
                while !handle.is_closed() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            Self::Reverse(link) => {
                let goodbye = link.handle.disconnect(Disconnect::ByApplication, String::new(), String::new());
                let _ = goodbye.await;
                link.closed.cancelled().await;
            }
        }
    }
}
