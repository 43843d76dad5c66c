//! Plain TCP to a host, for targets that say so, and to proxies.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use onionscrape::address::OnionAddress;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Dial, DialFailure, Dialled, Stream, proxy};
use crate::config::{Host, Proxy, SshAddress};
use crate::metrics::Stage;

/// For everything up to a byte stream: looking up, connecting, and what a proxy does.
const TCP_LIMIT: Duration = Duration::from_secs(30);
/// Of the addresses that a name has, so many are tried.
const MAX_ADDRESSES: usize = 8;

/// To a host and port, through a proxy or without one.
pub struct TcpDial {
    address: SshAddress,
    proxy: Option<Proxy>,
}

impl TcpDial {
    /// A way to the host, through `proxy` if there is one.
    pub fn new(address: SshAddress, proxy: Option<Proxy>) -> Self {
        Self { address, proxy }
    }

    async fn connect(&self, deadline: Instant) -> Result<Box<dyn Stream>, DialFailure> {
        let SshAddress { host, port, .. } = &self.address;
        let Some(proxy) = &self.proxy else {
            return Ok(Box::new(connect(host, *port, deadline).await?));
        };
        // Whatever goes wrong up to there is the proxy's fault, not the device's.
        let stream = connect(&proxy.host, proxy.port, deadline).await.map_err(|failure| {
            DialFailure::at(Stage::Proxy, format_args!("no way to the proxy: {failure}"))
        })?;
        proxy::ask(proxy, stream, host, *port).await
    }
}

impl Dial for TcpDial {
    fn stages(&self) -> &'static [Stage] {
        match (&self.proxy, &self.address.host) {
            (Some(_), _) => &[Stage::Proxy],
            (None, Host::Name(_)) => &[Stage::Resolve, Stage::Connect],
            (None, Host::Ip(_)) => &[Stage::Connect],
        }
    }

    fn ready<'a>(
        &'a self,
        _: &'a (dyn Fn(String) + Send + Sync),
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(std::future::ready(()))
    }

    fn dial<'a>(&'a self, _: Option<&'a OnionAddress>) -> Dialled<'a> {
        Box::pin(async move {
            let deadline = Instant::now() + TCP_LIMIT;
            let late = if self.proxy.is_some() {
                DialFailure::at(Stage::Proxy, "no way through the proxy: timed out")
            } else {
                DialFailure::at(Stage::Connect, "host unreachable: timed out")
            };
            timeout_at(deadline, self.connect(deadline)).await.unwrap_or(Err(late))
        })
    }
}

/// A connection to the first of the host's addresses that takes it. Each of them gets its share of
/// the time that is left.
async fn connect(host: &Host, port: u16, deadline: Instant) -> Result<TcpStream, DialFailure> {
    let addresses = look_up(host, port).await?;
    let mut last = None;
    for (index, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        // A tenth is left for saying which step failed.
        let share = left.mul_f64(0.9) / u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => last = Some(error.kind()),
            Err(_) => last = last.or(Some(io::ErrorKind::TimedOut)),
        }
    }
    let why = match last {
        Some(io::ErrorKind::ConnectionRefused) => "connection refused",
        Some(io::ErrorKind::TimedOut) => "timed out",
        Some(io::ErrorKind::NetworkUnreachable) => "no network leads there",
        _ => "no connection",
    };
    Err(DialFailure::at(Stage::Connect, format_args!("host unreachable: {why}")))
}

/// The host's addresses, as the system has them.
#[expect(
    clippy::disallowed_methods,
    reason = "the target names a host to be looked up; onion targets do not get here"
)]
async fn look_up(host: &Host, port: u16) -> Result<Vec<SocketAddr>, DialFailure> {
    let name = match host {
        Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, port)]),
        Host::Name(name) => name.as_str(),
    };
    let failed = |why| DialFailure::at(Stage::Resolve, format_args!("host not found: {why}"));
    let found = tokio::net::lookup_host((name, port)).await;
    let found: Vec<_> =
        found.map_err(|_| failed("its name cannot be looked up"))?.take(MAX_ADDRESSES).collect();
    if found.is_empty() { Err(failed("its name has no address")) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::ProxyKind;

    fn address(port: u16) -> SshAddress {
        format!("ssh://127.0.0.1:{port}").parse().expect("address")
    }

    /// What comes of a dial through a proxy that reads once for each answer, and then says it.
    async fn through(kind: ProxyKind, answers: &'static [&'static [u8]]) -> Result<Vec<u8>, DialFailure> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listening");
        let at = listener.local_addr().expect("address");
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            for answer in answers {
                let mut asked = [0; 1024];
                let _ = stream.read(&mut asked).await;
                stream.write_all(answer).await.expect("written");
            }
        });
        let proxy = Proxy { kind, host: Host::Ip(at.ip()), port: at.port(), auth_file: None };
        let address = "ssh://device.invalid:22".parse().expect("address");
        let mut stream = TcpDial::new(address, Some(proxy)).dial(None).await?;
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.expect("read");
        serving.await.expect("served");
        Ok(read)
    }

    #[tokio::test]
    async fn a_host_that_refuses_or_is_not_there() {
        let free = TcpListener::bind("127.0.0.1:0").await.expect("listening").local_addr().expect("address");
        let failure = TcpDial::new(address(free.port()), None).dial(None).await.err().expect("refused");
        assert_eq!(
            (failure.stage, failure.what.as_str()),
            (Stage::Connect, "host unreachable: connection refused")
        );
        // Names under .invalid are never to be had (RFC 6761).
        let nowhere = "ssh://device.invalid".parse().expect("address");
        let failure = TcpDial::new(nowhere, None).dial(None).await.err().expect("not found");
        assert_eq!(failure.stage, Stage::Resolve, "{failure}");
    }

    #[tokio::test]
    async fn what_comes_first_through_a_proxy_is_not_lost() {
        let good: [&'static [u8]; 1] = [b"HTTP/1.1 200 OK\r\n\r\nSSH-2.0-x\r\n"];
        let read = through(ProxyKind::Http, Box::leak(Box::new(good))).await.expect("a stream");
        assert_eq!(read, b"SSH-2.0-x\r\n");
        let good: [&'static [u8]; 2] = [&[5, 0], b"\x05\0\0\x01\0\0\0\0\0\0SSH-2.0-x\r\n"];
        let read = through(ProxyKind::Socks5, Box::leak(Box::new(good))).await.expect("a stream");
        assert_eq!(read, b"SSH-2.0-x\r\n");
    }

    #[tokio::test]
    async fn a_proxy_that_refuses_is_named() {
        for (kind, answers, said) in [
            (
                ProxyKind::Http,
                &[b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n" as &[u8]] as &[&[u8]],
                "403",
            ),
            (ProxyKind::Http, &[b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"], "login"),
            (ProxyKind::Http, &[b"SSH-2.0-x\r\n"], "does not speak HTTP"),
            (ProxyKind::Socks5, &[&[5, 0xff]], "login"),
            (ProxyKind::Socks5, &[&[5, 0], &[5, 4, 0, 1, 0, 0, 0, 0, 0, 0]], "unreachable"),
            (ProxyKind::Socks5, &[&[5, 0], &[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]], "refused"),
            (ProxyKind::Socks5, &[b"HTTP/1.1 400 Bad Request\r\n\r\n"], "does not speak SOCKS5"),
        ] {
            let answers: &'static [&'static [u8]] = Vec::leak(answers.to_vec());
            let failure = through(kind, answers).await.expect_err("no stream");
            assert_eq!(failure.stage, Stage::Proxy);
            assert!(failure.what.contains(said) && failure.what.len() <= 80, "{said}: {failure}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_proxy_that_says_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listening");
        let at = listener.local_addr().expect("address");
        let proxy =
            Proxy { kind: ProxyKind::Socks5, host: Host::Ip(at.ip()), port: at.port(), auth_file: None };
        let failure = TcpDial::new(address(22), Some(proxy)).dial(None).await.err().expect("late");
        assert_eq!(
            (failure.stage, failure.what.as_str()),
            (Stage::Proxy, "no way through the proxy: timed out")
        );
    }
}
