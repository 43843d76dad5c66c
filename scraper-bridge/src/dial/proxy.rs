//! What is said to a proxy to get through it. It is told the host's name and looks it up itself.

use data_encoding::BASE64;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue, PROXY_AUTHORIZATION};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use onionscrape::files;
use onionscrape::http::{MAX_FIELDS, MAX_HEAD};
use tokio::net::TcpStream;
use tokio_socks::TargetAddr;
use tokio_socks::tcp::Socks5Stream;
use tracing::error;
use zeroize::Zeroizing;

use super::{DialFailure, Stream};
use crate::config::{Host, Proxy, ProxyKind};
use crate::metrics::Stage;

/// A stream through `proxy`, to which there is a connection already, to `host` and `port`. The caller
/// sets the time it may take.
pub(super) async fn ask(
    proxy: &Proxy,
    stream: TcpStream,
    host: &Host,
    port: u16,
) -> Result<Box<dyn Stream>, DialFailure> {
    let login = login(proxy)?;
    let login = login.as_deref().map(String::as_str);
    match proxy.kind {
        ProxyKind::Socks5 => socks5(stream, host, port, login).await,
        ProxyKind::Http => http(stream, host, port, login).await,
    }
}

fn failed(what: impl std::fmt::Display) -> DialFailure {
    DialFailure::at(Stage::Proxy, what)
}

/// `user:password`, if the proxy wants it.
fn login(proxy: &Proxy) -> Result<Option<Zeroizing<String>>, DialFailure> {
    let Some(path) = &proxy.auth_file else { return Ok(None) };
    let unusable = |why: &dyn std::fmt::Display| {
        error!("no login for the proxy: {why}");
        failed("no login for the proxy, see the bridge's log")
    };
    let text = files::read_private(path).map_err(|fault| unusable(&fault))?;
    let line = text.as_ref().and_then(|text| text.lines().next()).map(str::trim);
    match line.filter(|line| line.split_once(':').is_some_and(|(user, _)| !user.is_empty())) {
        Some(line) => Ok(Some(Zeroizing::new(line.to_owned()))),
        None => Err(unusable(&format_args!("{}: its first line is not user:password", path.display()))),
    }
}

async fn socks5(
    stream: TcpStream,
    host: &Host,
    port: u16,
    login: Option<&str>,
) -> Result<Box<dyn Stream>, DialFailure> {
    use tokio_socks::Error as E;
    let target = match host {
        Host::Name(name) => TargetAddr::Domain(name.into(), port),
        Host::Ip(ip) => TargetAddr::Ip((*ip, port).into()),
    };
    let asked = match login.and_then(|login| login.split_once(':')) {
        Some((user, password)) => {
            Socks5Stream::connect_with_password_and_socket(stream, target, user, password).await
        }
        None => Socks5Stream::connect_with_socket(stream, target).await,
    };
    match asked {
        Ok(stream) => Ok(Box::new(stream.into_inner())),
        Err(E::HostUnreachable | E::NetworkUnreachable | E::TtlExpired) => {
            Err(failed("the proxy says that the host is unreachable"))
        }
        Err(E::ConnectionRefused) => Err(failed("the proxy says that the host refused the connection")),
        Err(E::ConnectionNotAllowedByRuleset) => Err(failed("the proxy does not let the bridge through")),
        Err(
            E::NoAcceptableAuthMethods
            | E::PasswordAuthFailure(_)
            | E::InvalidAuthValues(_)
            | E::AuthorizationRequired,
        ) => Err(failed("the proxy wants another login")),
        Err(
            E::InvalidResponseVersion | E::InvalidReservedByte | E::UnknownAddressType | E::UnknownAuthMethod,
        ) => Err(failed("the proxy does not speak SOCKS5")),
        Err(E::Io(_)) => Err(failed("the proxy broke off")),
        Err(_) => Err(failed("the proxy failed")),
    }
}

async fn http(
    stream: TcpStream,
    host: &Host,
    port: u16,
    login: Option<&str>,
) -> Result<Box<dyn Stream>, DialFailure> {
    let broke_off = |error: hyper::Error| {
        failed(if error.is_parse() { "the proxy does not speak HTTP" } else { "the proxy broke off" })
    };
    let authority = match host {
        Host::Ip(std::net::IpAddr::V6(ip)) => format!("[{ip}]:{port}"),
        host => format!("{host}:{port}"),
    };
    let odd = |_| failed("the proxy cannot be asked for this host");
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = authority.parse().map_err(|_| odd(()))?;
    let host = HeaderValue::try_from(authority).map_err(|_| odd(()))?;
    request.headers_mut().insert(HOST, host);
    if let Some(login) = login {
        let basic = Zeroizing::new(format!("Basic {}", BASE64.encode(login.as_bytes())));
        let mut basic = HeaderValue::try_from(basic.as_str()).map_err(|_| odd(()))?;
        basic.set_sensitive(true);
        request.headers_mut().insert(PROXY_AUTHORIZATION, basic);
    }
    let (mut sender, connection) = http1::Builder::new()
        .max_headers(MAX_FIELDS)
        .max_buf_size(MAX_HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broke_off)?;
    // It ends when the stream is handed over, or the answer is dropped.
    tokio::spawn(connection.with_upgrades());
    let response = sender.send_request(request).await.map_err(broke_off)?;
    match response.status() {
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => Err(failed("the proxy wants another login")),
        status if status.is_success() => {
            let upgraded = hyper::upgrade::on(response).await.map_err(broke_off)?;
            Ok(Box::new(TokioIo::new(upgraded)))
        }
        status => Err(failed(format_args!("the proxy refused with status {}", status.as_u16()))),
    }
}
