//! The two kinds of channel: bytes to a listed address, and HTTP to a listed name.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use onionscrape::address::ExporterAddress;
use onionscrape::http::{Body, HalfClose, serve_connection};
use onionscrape::ssh::ChannelStream;
use russh::server::{ChannelOpenHandle, Msg};
use russh::{Channel, ChannelOpenFailure};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::admin::Pages;
use crate::config::OWN_NAME;
use crate::exporter::Exporter;

/// The port under which names are asked for.
const NAME_PORT: u32 = 80;
/// How long a listed address may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Everything that channels can lead to.
#[derive(Clone)]
pub struct Services {
    /// By address and by name.
    pub exporters: Vec<Exporter>,
    /// Under the name `agent`.
    pub pages: Pages,
}

/// What one channel leads to.
pub(super) enum Destination {
    Bytes(SocketAddr),
    Exporter(Exporter),
    Own(Pages),
}

impl Services {
    /// What a channel to `host` and `port` leads to; `None` for what is not listed.
    ///
    /// Both are compared as they are. Nothing is looked up, and no two spellings are the same but
    /// those of one literal IP address.
    pub(super) fn find(&self, host: &str, port: u32) -> Option<Destination> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            let wanted = SocketAddr::new(ip, u16::try_from(port).ok()?);
            let listed = |exporter: &Exporter| exporter.config().address == ExporterAddress::Tcp(wanted);
            return self.exporters.iter().any(listed).then_some(Destination::Bytes(wanted));
        }
        if port != NAME_PORT {
            return None;
        }
        if host == OWN_NAME {
            return Some(Destination::Own(self.pages.clone()));
        }
        let named = self.exporters.iter().find(|exporter| exporter.config().name.as_str() == host);
        named.cloned().map(Destination::Exporter)
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(address) => address.fmt(f),
            Self::Exporter(exporter) => exporter.config().name.fmt(f),
            Self::Own(_) => f.write_str(OWN_NAME),
        }
    }
}

impl Destination {
    /// Answers the request for a channel and serves the channel until it ends.
    pub(super) async fn serve(
        self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        shutdown: CancellationToken,
    ) {
        match self {
            Self::Bytes(address) => pass(address, channel, reply).await,
            Self::Exporter(exporter) => {
                reply.accept().await;
                let handler = move |request| {
                    let exporter = exporter.clone();
                    async move { exporter.answer(request).await }
                };
                serve(channel, handler, shutdown).await;
            }
            Self::Own(pages) => {
                reply.accept().await;
                let handler = move |request| std::future::ready(pages.to_bridge(&request));
                serve(channel, handler, shutdown).await;
            }
        }
    }
}

/// Speaks HTTP on the channel until it is closed; what is still being asked for then is dropped.
async fn serve<H, F>(channel: Channel<Msg>, handler: H, shutdown: CancellationToken)
where
    H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let stream = ChannelStream::new(channel);
    let closed = stream.closed();
    closed.run_until_cancelled(serve_connection(stream, HalfClose::Waits, handler, shutdown)).await;
}

async fn pass(address: SocketAddr, channel: Channel<Msg>, reply: ChannelOpenHandle) {
    let mut exporter = match timeout(CONNECT_LIMIT, TcpStream::connect(address)).await {
        Ok(Ok(exporter)) => exporter,
        failed => {
            debug!(%address, ?failed, "a listed address cannot be reached");
            return reply.reject(ChannelOpenFailure::ConnectFailed).await;
        }
    };
    let _ = exporter.set_nodelay(true);
    reply.accept().await;
    // An error on either side drops both without an orderly end, so that nobody takes a part for
    // the whole.
    if let Err(error) = copy_bidirectional(&mut ChannelStream::new(channel), &mut exporter).await {
        debug!(%error, "a channel ended early");
    }
}
