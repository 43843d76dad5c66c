//! Scrapes, seen byte by byte.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::ext::ReasonPhrase;
use hyper::header::HOST;
use hyper::{HeaderMap, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// An answer, complete or not.
#[derive(Debug)]
pub struct Scraped {
    pub status: u16,
    pub reason: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// False if the body broke off.
    pub complete: bool,
    pub took: Duration,
}

impl Scraped {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// A connection to a listener, as Prometheus keeps one.
pub struct Scraper {
    sender: SendRequest<Empty<Bytes>>,
    host: String,
}

impl Scraper {
    pub async fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { sender, host: address.to_owned() }
    }

    pub async fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Scraped {
        let mut request = Request::get(path);
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            request = request.header(HOST, &self.host);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Empty::new()).unwrap()).await
    }

    pub async fn send(&mut self, request: Request<Empty<Bytes>>) -> Scraped {
        let started = Instant::now();
        self.sender.ready().await.unwrap();
        let response = self.sender.send_request(request).await.unwrap();
        let (head, mut body) = response.into_parts();
        let mut bytes = Vec::new();
        let complete = loop {
            match body.frame().await {
                None => break true,
                Some(Err(_)) => break false,
                Some(Ok(frame)) => bytes.extend_from_slice(&frame.into_data().unwrap_or_default()),
            }
        };
        let phrase = head.extensions.get::<ReasonPhrase>();
        Scraped {
            status: head.status.as_u16(),
            reason: phrase
                .map(|phrase| String::from_utf8_lossy(phrase.as_bytes()).into_owned())
                .unwrap_or_default(),
            headers: head.headers,
            body: bytes.into(),
            complete,
            took: started.elapsed(),
        }
    }
}

/// One scrape of `/metrics` on a new connection.
pub async fn scrape(address: &str) -> Scraped {
    scrape_within(address, "10").await
}

/// One scrape whose asker waits `seconds`.
pub async fn scrape_within(address: &str, seconds: &str) -> Scraped {
    let headers = [("x-prometheus-scrape-timeout-seconds", seconds)];
    Scraper::connect(address).await.get("/metrics", &headers).await
}
