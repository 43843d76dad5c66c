//! A listener that others may reach, and what stands between them and its handler.
//!
//! In this order: TLS, requests with a body, the names that the listener answers to, pages from
//! elsewhere, a password.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Body as _;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONNECTION, HeaderValue, PROXY_AUTHORIZATION};
use hyper::{Request, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::serve::{Peer, serve_each};
use super::web::{Settings, Web};
use super::{Answer, Body, Ended, HalfClose, HostNames, Listener, own_pages_only, serve_connection};

/// How long a TLS handshake may take, from the first byte to the last.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Why a request was refused before it came to a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is no request, or has a body, which none here needs.
    Malformed,
    /// It was meant for another listener.
    WrongHost,
    /// A page from elsewhere had a browser send it.
    CrossSite,
    /// It has no password, or a wrong one.
    NoPassword,
}

/// Is told of each refusal, to count it.
pub type OnRefusal = Arc<dyn Fn(Refusal) + Send + Sync>;

/// Serves a listener until `shutdown`, then lets requests under way finish for 5 s.
///
/// `handler` gets only what `names` and `web` let through.
pub async fn serve_public<H, F>(
    listener: Listener,
    names: HostNames,
    web: Web,
    refused: OnRefusal,
    handler: H,
    shutdown: CancellationToken,
) where
    H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let door = Arc::new(Door { names: Some(names), web, refused, handler });
    serve_door(listener, door, shutdown).await;
}

/// Serves a listener that is a proxy until `shutdown`, in the same way. Which names it leads to is the
/// handler's to decide; passwords come in `Proxy-Authorization` (RFC 9110, section 11.7), and what is
/// in `Authorization` is for whoever is behind it.
pub async fn serve_proxy<H, F>(
    listener: Listener,
    web: Web,
    refused: OnRefusal,
    handler: H,
    shutdown: CancellationToken,
) where
    H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let door = Arc::new(Door { names: None, web, refused, handler });
    serve_door(listener, door, shutdown).await;
}

async fn serve_door<H, F>(listener: Listener, door: Arc<Door<H>>, shutdown: CancellationToken)
where
    H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let stop = shutdown.clone();
    let connection = move |peer| Arc::clone(&door).serve(peer, stop.child_token());
    serve_each(listener, connection, shutdown).await;
}

struct Door<H> {
    /// `None` for a proxy.
    names: Option<HostNames>,
    web: Web,
    refused: OnRefusal,
    handler: H,
}

impl<H, F> Door<H>
where
    H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    async fn serve(self: Arc<Self>, peer: Peer, stop: CancellationToken) {
        let settings = self.web.current();
        let Some(acceptor) = settings.tls() else {
            return self.speak_http(peer, false, &settings, stop).await;
        };
        match timeout(HANDSHAKE, acceptor.accept(peer)).await {
            Ok(Ok(stream)) => self.speak_http(Box::new(stream), true, &settings, stop).await,
            Ok(Err(error)) => debug!(%error, "a TLS handshake failed"),
            Err(_) => debug!("a TLS handshake took longer than 10 s"),
        }
    }

    async fn speak_http<S>(
        self: Arc<Self>,
        stream: S,
        tls: bool,
        settings: &Settings,
        stop: CancellationToken,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let refused = self.refused.clone();
        let handler = move |request| Arc::clone(&self).answer(request, tls);
        let serving = serve_connection(stream, HalfClose::Gone, handler, stop.clone());
        tokio::pin!(serving);
        let ended = tokio::select! {
            ended = &mut serving => ended,
            // What was proved by this connection's certificate may not be enough any more.
            () = settings.replaced() => {
                stop.cancel();
                serving.await
            }
        };
        if ended == Ended::Malformed {
            refused(Refusal::Malformed);
        }
    }

    async fn answer(self: Arc<Self>, mut request: Request<Incoming>, tls: bool) -> Response<Body> {
        // The settings of now: a password that was changed is asked for on open connections too.
        let settings = self.web.current();
        let mut response = match self.admit(&mut request, tls, &settings).await {
            Ok(()) => (self.handler)(request).await,
            Err((refusal, answer)) => {
                (self.refused)(refusal);
                let mut response = Response::from(answer);
                if refusal == Refusal::Malformed {
                    // What follows may be what somebody wants taken for a request.
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                response
            }
        };
        settings.dress(response.headers_mut());
        response
    }

    async fn admit(
        &self,
        request: &mut Request<Incoming>,
        tls: bool,
        settings: &Settings,
    ) -> Result<(), (Refusal, Answer)> {
        if !tls && settings.tls().is_some() {
            // Opened before TLS was asked for.
            let answer = Answer::new(StatusCode::MISDIRECTED_REQUEST, "TLS is spoken here; connect anew");
            return Err((Refusal::WrongHost, answer));
        }
        if !request.body().is_end_stream() {
            let answer = Answer::new(StatusCode::BAD_REQUEST, "a request has no body here");
            return Err((Refusal::Malformed, answer));
        }
        let because = |refusal| move |answer| (refusal, answer);
        let Some(names) = &self.names else {
            // A page elsewhere cannot have a browser send what only proxies are sent.
            if let Some(users) = settings.users() {
                users.check(request.headers(), PROXY_AUTHORIZATION).await.map_err(|mut answer| {
                    if answer.status == StatusCode::UNAUTHORIZED {
                        answer.status = StatusCode::PROXY_AUTHENTICATION_REQUIRED;
                    }
                    (Refusal::NoPassword, answer)
                })?;
            }
            return Ok(());
        };
        names.check(request).map_err(because(Refusal::WrongHost))?;
        own_pages_only(request, names, tls).map_err(because(Refusal::CrossSite))?;
        if let Some(users) = settings.users() {
            users.check(request.headers(), AUTHORIZATION).await.map_err(because(Refusal::NoPassword))?;
            // It was meant for us, and a device has no business with it.
            request.headers_mut().remove(AUTHORIZATION);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn a_proxy_has_a_password_of_its_own_and_leaves_the_other_alone() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("web.yml");
        let hash = bcrypt::hash("secret", 4).expect("hash");
        std::fs::write(&file, format!("basic_auth_users:\n  prometheus: {hash}\n")).expect("written");
        let web = Web::open(&file).expect("good");
        let listener = Listener::tcp("127.0.0.1:0".parse().expect("address")).await.expect("bound");
        let address = listener.tcp_address().expect("TCP");
        let handler = |request: Request<Incoming>| async move {
            let theirs =
                request.headers().get(AUTHORIZATION).map(|value| value.to_str().expect("text").to_owned());
            Answer::new(StatusCode::OK, theirs.unwrap_or_default()).into()
        };
        let stop = CancellationToken::new();
        tokio::spawn(serve_proxy(listener, web, Arc::new(|_| ()), handler, stop.clone()));
        let ask = async |fields: &str| {
            let mut stream = TcpStream::connect(address).await.expect("open");
            let request = format!(
                "GET http://node.backpack/metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n"
            );
            stream.write_all(request.as_bytes()).await.expect("sent");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("answered");
            answer
        };
        let right = data_encoding::BASE64.encode(b"prometheus:secret");
        let wrong = data_encoding::BASE64.encode(b"prometheus:other");
        for refused in [
            String::new(),
            format!("Proxy-Authorization: Basic {wrong}\r\n"),
            format!("Authorization: Basic {right}\r\n"),
        ] {
            let answer = ask(&refused).await;
            assert!(answer.starts_with("HTTP/1.1 407 "), "{answer}");
            assert!(answer.contains("proxy-authenticate: Basic realm="), "{answer}");
        }
        let both = format!("Proxy-Authorization: Basic {right}\r\nAuthorization: Basic exporter\r\n");
        let answer = ask(&both).await;
        assert!(answer.starts_with("HTTP/1.1 200 Basic exporter\r\n"), "{answer}");
        stop.cancel();
    }
}
