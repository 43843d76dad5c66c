//! What is no request for a surface: each has its answer and its counter, and comes to no device.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use crate::exporters::{Exporter, Manner};
use crate::world::World;

/// The first line of the answer to these bytes; the connection is closed after it.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &str) -> String {
    // It may be answered before all of it is sent.
    let _ = stream.write_all(bytes.as_bytes()).await;
    let mut answer = Vec::new();
    let reading = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    assert!(reading.is_ok(), "the connection is left open");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.matches("HTTP/1.1 ").count() <= 1, "one answer: {answer}");
    answer.lines().next().unwrap_or_default().to_owned()
}

pub async fn on_every_surface(world: &World) {
    let exporter = Exporter::start(Manner::Good("a 1\n".into())).await;
    let device = world.device(&[("app", exporter.address)]).await;
    let socket = world.folder().join("app.sock");
    let targets = world.target("backpack", &device, "", &["app"])
        + &format!("[[target.exporter]]\nname = \"host\"\nlisten = \"unix:{}\"\n", socket.display());
    let monitor = world.monitor_of("[proxy]\nlisten = \"127.0.0.1:0\"\n", &targets).await;
    monitor.connected("backpack").await;
    let port = monitor.address("backpack", "app");
    let admin = monitor.bridge.admin().to_string();
    let proxy = monitor.bridge.proxy().expect("configured").to_string();

    const FULL: &str = "HTTP/1.1 431 Request Header Fields Too Large";
    const BAD: &str = "HTTP/1.1 400 Bad Request";
    const BODY: &str = "HTTP/1.1 400 a request has no body here";
    const ELSEWHERE: &str =
        "HTTP/1.1 421 not this listener's name; add the Host to host_names if it is yours";
    let chunked = "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /t/x/y/metrics HTTP/1.1\r\nHost: a\r\n\r\n";
    // Nothing of what is sent is left unread, or the answer could be lost in a reset.
    let malformed = [
        (format!("X: {}", "x".repeat(64 << 10)), FULL),
        ((0..=128).map(|number| format!("X{number}: y\r\n")).collect::<String>() + "\r\n", FULL),
        ("Content-Length: 0\r\nContent-Length: 5\r\n\r\n".into(), BAD),
        ("Content-Length: +5\r\n\r\n".into(), BAD),
        ("Transfer-Encoding: gzip\r\n\r\n".into(), BAD),
        ("X : y\r\n\r\n".into(), BAD),
        ("Content-Length: 5\r\n\r\nhello".into(), BODY),
        (format!("Content-Length: 0\r\n{chunked}"), BODY),
        (format!("Content-Length: 60\r\n{chunked}"), BODY),
    ];
    let surfaces = [
        ("port", port.as_str(), "/metrics"),
        ("socket", "", "/metrics"),
        ("admin", &admin, "/t/backpack/app/metrics"),
        ("proxy", &proxy, "http://app.backpack/metrics"),
    ];
    for (surface, address, uri) in surfaces {
        let ask = async |bytes: String| match address {
            "" => answer(UnixStream::connect(&socket).await.unwrap(), &bytes).await,
            address => answer(TcpStream::connect(address).await.unwrap(), &bytes).await,
        };
        let host = if surface == "proxy" { "app.backpack" } else { address };
        for (rest, expected) in &malformed {
            let shown = &rest[..rest.len().min(60)];
            let answered = ask(format!("GET {uri} HTTP/1.1\r\nHost: {host}\r\n{rest}")).await;
            assert_eq!(answered, *expected, "{surface}: {shown}");
        }
        let line = format!(
            "surface_refusals_total{{surface=\"{surface}\",reason=\"bad_request\"}} {}\n",
            malformed.len()
        );
        let metrics = monitor.metrics().await;
        assert!(metrics.contains(&line), "{line} in:\n{metrics}");
    }

    // Another listener's name, in either form, and what only a proxy is asked.
    for (surface, address) in [("port", &port), ("admin", &admin)] {
        for bytes in [
            "GET /metrics HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".to_owned(),
            format!(
                "GET http://169.254.169.254/latest HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
            ),
            format!("CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"),
        ] {
            let answered = answer(TcpStream::connect(address).await.unwrap(), &bytes).await;
            assert_eq!(answered, ELSEWHERE, "{surface}: {bytes}");
        }
        let line = format!("surface_refusals_total{{surface=\"{surface}\",reason=\"wrong_host\"}} 3\n");
        let metrics = monitor.metrics().await;
        assert!(metrics.contains(&line), "{line} in:\n{metrics}");
    }
    for path in
        ["/t/backpack/../../etc/passwd", "/t/backpack/app/metrics/../../../-/reload", "/%2e%2e/metrics"]
    {
        let bytes = format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
        let answered = answer(TcpStream::connect(&admin).await.unwrap(), &bytes).await;
        assert_eq!(answered, "HTTP/1.1 404 no such page", "{path}");
    }
    assert_eq!(exporter.requests.load(Ordering::SeqCst), 0, "nothing got through");
}
