//! Connections to relays: like arti's own, but from a chosen local address, and with the kernel
//! told when to give one up.
//!
//! Without `TCP_USER_TIMEOUT` a connection from an address that is gone stays open for about 15
//! minutes, and arti goes on sending into it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{AsyncRead, AsyncWrite};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};
use tor_rtcompat::{NetStreamProvider, PreferredRuntime, StreamOps};

use super::links::{Links, Listed};

/// Sent but not acknowledged for so long, a connection is dead.
const USER_TIMEOUT: Duration = Duration::from_secs(30);
/// With nothing to send for so long, the kernel asks the relay whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// Then it asks so often.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Makes TCP connections to relays.
#[derive(Clone, Debug)]
pub struct TcpProvider {
    from: Option<IpAddr>,
    links: Links,
}

impl TcpProvider {
    pub(super) fn new(from: Option<IpAddr>, links: Links) -> Self {
        Self { from, links }
    }
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl NetStreamProvider for TcpProvider {
    type Stream = RelayStream;
    type Listener = Listener;
    type ConnectOptions = <PreferredRuntime as NetStreamProvider>::ConnectOptions;
    type ListenOptions = <PreferredRuntime as NetStreamProvider>::ListenOptions;

    fn connect<'a, 'b, 'c, 'd>(
        &'a self,
        address: &'b SocketAddr,
        _options: &'c Self::ConnectOptions,
    ) -> BoxFuture<'d, io::Result<Self::Stream>>
    where
        'a: 'd,
        'b: 'd,
        'c: 'd,
    {
        let (address, from, links) = (*address, self.from, self.links.clone());
        links.tries(address);
        Box::pin(async move {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_nonblocking(true)?;
            let from = from.filter(|from| from.is_ipv4() == address.is_ipv4());
            if let Some(from) = from {
                socket.bind(&SocketAddr::new(from, 0).into())?;
            }
            let socket = tokio::net::TcpSocket::from_std_stream(socket.into());
            let stream = socket.connect(address).await?;
            let options = SockRef::from(&stream);
            options.set_tcp_nodelay(true)?;
            options.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
            options.set_tcp_keepalive(
                &TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE_INTERVAL).with_retries(3),
            )?;
            let handle = options.try_clone()?.into();
            let listed = links.list(handle, from.is_some())?;
            Ok(RelayStream { stream: stream.compat(), _listed: listed })
        })
    }

    fn listen<'a, 'b, 'c, 'd>(
        &'a self,
        _address: &'b SocketAddr,
        _options: &'c Self::ListenOptions,
    ) -> BoxFuture<'d, io::Result<Self::Listener>>
    where
        'a: 'd,
        'b: 'd,
        'c: 'd,
    {
        // Neither program is a relay, so arti has no reason to listen; an agent must not.
        Box::pin(async { Err(io::Error::new(io::ErrorKind::Unsupported, "no listening for Tor")) })
    }
}

/// A TCP connection to a relay.
pub struct RelayStream {
    stream: Compat<tokio::net::TcpStream>,
    _listed: Listed,
}

impl StreamOps for RelayStream {}

impl AsyncRead for RelayStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for RelayStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

/// The listener there never is.
pub enum Listener {}

impl tor_rtcompat::NetStreamListener for Listener {
    type Stream = RelayStream;
    type Incoming = futures::stream::Empty<io::Result<(RelayStream, SocketAddr)>>;

    fn incoming(self) -> Self::Incoming {
        match self {}
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        match *self {}
    }
}
