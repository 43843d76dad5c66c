//! The two kinds of channel: bytes to a listed address, and HTTP to a listed name.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use onionscrape::address::Name;
use onionscrape::http::{Answer, Body, HalfClose, serve_connection};
use onionscrape::ssh::{ChannelStream, UserKey};
use russh::server::{ChannelOpenHandle, Msg};
use russh::{Channel, ChannelOpenFailure};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::audit::{Counted, Traffic};
use super::identity::Shown;
use crate::access::{NAME_PORT, Permits};
use crate::admin::Pages;
use crate::config::OWN_NAME;
use crate::enrolment::Desk;
use crate::exporters::Exporters;

/// How long a listed address may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// How long a channel to an exporter goes on that is not listed any more.
const UNLISTED: Duration = Duration::from_secs(3);

/// Everything that channels can lead to.
#[derive(Clone)]
pub struct Services {
    /// By address and by name.
    pub exporters: Exporters,
    /// Under the name `agent`.
    pub pages: Pages,
}

/// What one channel leads to.
pub(super) enum Destination {
    /// A listed address, and the exporter that is listed with it.
    Bytes(SocketAddr, Name, Exporters),
    /// An exporter that was asked for by name; the pages' stamp goes on its answers.
    Exporter(Name, Services),
    /// The agent's own pages, for the login key of this fingerprint, which may open these channels.
    Own(Pages, String, Permits),
    /// The place where this ticket is taken.
    Enrolment(Box<(Desk, UserKey)>),
}

impl Services {
    /// What a channel to `host` and `port` leads to; `None` for what is not listed.
    ///
    /// Both are compared as they are. Nothing is looked up, and no two spellings are the same but
    /// those of one literal IP address. An exporter with a filter is not listed by its address, where
    /// the filter would not be passed.
    pub(super) fn find(
        &self,
        host: &str,
        port: u32,
        shown: &Shown,
        permits: &Permits,
    ) -> Option<Destination> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            let wanted = SocketAddr::new(ip, u16::try_from(port).ok()?);
            let name = self.exporters.openly_at(wanted)?.config().name.clone();
            return Some(Destination::Bytes(wanted, name, self.exporters.clone()));
        }
        if port != u32::from(NAME_PORT) {
            return None;
        }
        if host == OWN_NAME {
            return Some(Destination::Own(self.pages.clone(), shown.fingerprint(), permits.clone()));
        }
        let named = self.exporters.named(host)?;
        Some(Destination::Exporter(named.config().name.clone(), self.clone()))
    }
}

/// The exporter's name; never an address.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(_, exporter, _) | Self::Exporter(exporter, _) => exporter.fmt(f),
            Self::Own(..) | Self::Enrolment(..) => f.write_str(OWN_NAME),
        }
    }
}

impl Destination {
    /// Answers the request for a channel and serves the channel until it ends; says why it did.
    pub(super) async fn serve(
        self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        traffic: Traffic,
        shutdown: CancellationToken,
    ) -> &'static str {
        match self {
            Self::Bytes(address, _, exporters) => {
                let gone = || exporters.none_is(|exporter| exporter.listens_openly_at(address));
                return while_listed(gone, pass(address, channel, reply, traffic)).await;
            }
            Self::Exporter(name, Services { exporters, pages }) => {
                reply.accept().await;
                let (of, now) = (name.clone(), exporters.clone());
                let handler = move |request| {
                    // The one that has the name now: it may have changed since the channel was opened.
                    let (exporter, pages, name) = (now.named(of.as_str()), pages.clone(), of.clone());
                    async move {
                        pages.stamped(match exporter {
                            Some(exporter) => exporter.answer(request).await,
                            None => unlisted(&name).into(),
                        })
                    }
                };
                let serving = async {
                    serve(channel, traffic, handler, shutdown).await;
                    "closed"
                };
                let gone = || exporters.none_is(|exporter| exporter.name == name);
                return while_listed(gone, serving).await;
            }
            Self::Own(pages, key, permits) => {
                reply.accept().await;
                let handler = move |request| std::future::ready(pages.to_bridge(&key, &permits, &request));
                serve(channel, traffic, handler, shutdown).await;
            }
            Self::Enrolment(enrolment) => {
                let (desk, ticket) = *enrolment;
                reply.accept().await;
                let handler = move |request| {
                    let (desk, ticket) = (desk.clone(), ticket.clone());
                    async move { desk.answer(&ticket, request).await }
                };
                serve(channel, traffic, handler, shutdown).await;
            }
        }
        "closed"
    }
}

/// Serves a channel to its end, or to a moment after its exporter is `gone` from the list, in which an
/// answer that is on its way gets there. One that is listed again by then goes on.
async fn while_listed<G: Future<Output = ()>>(
    gone: impl Fn() -> G,
    serving: impl Future<Output = &'static str>,
) -> &'static str {
    let unlisted = async {
        loop {
            gone().await;
            sleep(UNLISTED).await;
            // What is gone is known at once.
            if timeout(Duration::ZERO, gone()).await.is_ok() {
                return;
            }
        }
    };
    tokio::select! {
        why = serving => why,
        () = unlisted => "its exporter is not listed any more",
    }
}

fn unlisted(name: &Name) -> Answer {
    Answer::new(StatusCode::NOT_FOUND, format!("exporter {name} is not listed any more"))
}

/// Speaks HTTP on the channel until it is closed; what is still being asked for then is dropped.
async fn serve<H, F>(channel: Channel<Msg>, traffic: Traffic, handler: H, shutdown: CancellationToken)
where
    H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let stream = ChannelStream::new(channel);
    let closed = stream.closed();
    let stream = Counted::new(stream, traffic);
    closed.run_until_cancelled(serve_connection(stream, HalfClose::Waits, handler, shutdown)).await;
}

async fn pass(
    address: SocketAddr,
    channel: Channel<Msg>,
    reply: ChannelOpenHandle,
    traffic: Traffic,
) -> &'static str {
    let mut exporter = match timeout(CONNECT_LIMIT, TcpStream::connect(address)).await {
        Ok(Ok(exporter)) => exporter,
        failed => {
            debug!(%address, ?failed, "a listed address cannot be reached");
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
            return "the exporter cannot be reached";
        }
    };
    let _ = exporter.set_nodelay(true);
    reply.accept().await;
    let mut channel = Counted::new(ChannelStream::new(channel), traffic);
    // An error on either side drops both without an orderly end, so that nobody takes a part for
    // the whole.
    match copy_bidirectional(&mut channel, &mut exporter).await {
        Ok(_) => "closed",
        Err(error) => {
            debug!(%error, "a channel ended early");
            "broken off"
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_is_listed_again_in_time_keeps_the_channel() {
        let (list, listed) = watch::channel(true);
        let gone = move || {
            let mut listed = listed.clone();
            async move { drop(listed.wait_for(|listed| !listed).await) }
        };
        let served = tokio::spawn(while_listed(gone, std::future::pending()));
        list.send_replace(false);
        sleep(UNLISTED / 2).await;
        list.send_replace(true);
        sleep(UNLISTED * 2).await;
        assert!(!served.is_finished());
        list.send_replace(false);
        sleep(UNLISTED * 2).await;
        assert!(served.is_finished());
    }
}
