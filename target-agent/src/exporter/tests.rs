use std::net::SocketAddr;

use http_body_util::BodyExt as _;
use onionscrape::metrics::{classic_text, registry};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;

mod compressed;
mod filtered;

/// When an exporter closes the connection: before its answer goes on, after it began to, or never.
const AT_ONCE: Duration = Duration::ZERO;
const LATER: Duration = Duration::from_millis(100);
const NEVER: Duration = Duration::from_secs(3600);

/// Answers every connection with `bytes`, then closes it after `open_for`; tells what was asked.
async fn raw_exporter(
    bytes: &'static [u8],
    open_for: Duration,
) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    let (heard, asked) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.is_ok_and(|n| n > 0) {}
            let _ = heard.send(String::from_utf8_lossy(&head).into_owned());
            let _ = stream.write_all(bytes).await;
            // Until then it is read, so that closing it is not a reset.
            tokio::spawn(async move { timeout(open_for, stream.read_to_end(&mut Vec::new())).await });
        }
    });
    (address, asked)
}

fn exporter(address: ExporterAddress, path: &str, metrics: &Metrics) -> Exporter {
    let config = ExporterConfig::at("node".parse().expect("name"), address);
    Exporter::new(ExporterConfig { path: path.into(), ..config }, metrics)
}

fn get(uri: &str) -> Request<()> {
    let request = Request::get(uri).header("X-Prometheus-Scrape-Timeout-Seconds", "0.3");
    request.body(()).expect("request")
}

/// Status, reason phrase or body, and whether the body was whole.
async fn outcome(response: Response<Body>) -> (u16, String, bool) {
    let status = response.status().as_u16();
    match response.into_body().collect().await {
        Ok(body) => (status, String::from_utf8_lossy(&body.to_bytes()).trim_end().to_owned(), true),
        Err(error) => (status, error.to_string(), false),
    }
}

async fn outcome_of(bytes: &'static [u8], open_for: Duration) -> (u16, String, bool, String) {
    let (address, _asked) = raw_exporter(bytes, open_for).await;
    let metrics = Metrics::new();
    let exporter = exporter(ExporterAddress::Tcp(address), "/metrics", &metrics);
    let (status, what, whole) = outcome(exporter.answer(get("/metrics")).await).await;
    let text = classic_text(&registry("0", |own| metrics.register(own)));
    let failed = text.lines().filter(|line| line.starts_with("onionscrape_exporter_failures_total{"));
    let counted: Vec<_> = failed.filter(|line| !line.ends_with(" 0")).collect();
    (status, what, whole, counted.join("\n"))
}

fn failures(reason: &str) -> String {
    format!("onionscrape_exporter_failures_total{{exporter=\"node\",reason=\"{reason}\"}} 1")
}

#[tokio::test]
async fn whole_answers_pass() {
    let with_length = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nup";
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nup\r\n0\r\n\r\n";
    let until_close = b"HTTP/1.0 200 OK\r\n\r\nup";
    for answer in [&with_length[..], chunked, until_close] {
        assert_eq!(outcome_of(answer, AT_ONCE).await, (200, "up".into(), true, String::new()));
    }
    let moved = b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(outcome_of(moved, AT_ONCE).await.0, 302);
}

#[tokio::test]
async fn cut_answers_are_errors() {
    let with_length = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nup";
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nup\r\n";
    for answer in [&with_length[..], chunked] {
        let (status, _, whole, counted) = outcome_of(answer, AT_ONCE).await;
        assert_eq!((status, whole, counted), (502, true, failures("aborted")), "nothing was sent on yet");
        let (status, _, whole, counted) = outcome_of(answer, LATER).await;
        assert_eq!((status, whole, counted), (200, false, failures("aborted")));
        let (status, what, whole, counted) = outcome_of(answer, NEVER).await;
        assert_eq!((status, whole, counted), (200, false, failures("timeout")), "{what}");
    }
}

#[tokio::test]
async fn other_failures_say_what_they_are() {
    let of = |status, what: &str, reason| (status, what.to_owned(), true, failures(reason));
    let garbage = outcome_of(b"220 mail.example ESMTP\r\n", NEVER).await;
    assert_eq!(garbage, of(502, "exporter node does not speak HTTP", "bad_response"));
    let silent = outcome_of(b"", NEVER).await;
    assert_eq!(silent, of(504, "exporter node did not answer in time", "timeout"));
    let gone = outcome_of(b"HTTP/1.1 200", AT_ONCE).await;
    assert_eq!(gone, of(502, "exporter node closed the connection without a whole answer", "aborted"));
    let large = outcome_of(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n", NEVER).await;
    assert_eq!(large, of(502, "exporter node sends more than 256 MiB", "too_large"));
    let upgrade = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    assert_eq!(outcome_of(upgrade, NEVER).await.0, 502);

    let address = TcpListener::bind("127.0.0.1:0").await.expect("bind").local_addr().expect("address");
    let closed = exporter(ExporterAddress::Tcp(address), "/metrics", &Metrics::new());
    let answer = closed.answer(get("/metrics")).await;
    let phrase = answer.extensions().get::<hyper::ext::ReasonPhrase>().expect("phrase").clone();
    assert_eq!(phrase.as_bytes(), b"exporter node refused the connection");
    let missing = exporter(ExporterAddress::Unix("/nonexistent/socket".into()), "/", &Metrics::new());
    assert_eq!(missing.answer(get("/metrics")).await.status(), 502);
}

#[tokio::test]
async fn the_exporter_hears_what_it_should() {
    let ok = b"HTTP/1.1 200 OK\r\nConnection: X-Mine\r\nX-Mine: 1\r\nContent-Encoding: gzip\r\n\r\n";
    let (address, mut asked) = raw_exporter(ok, AT_ONCE).await;
    let exporter = exporter(ExporterAddress::Tcp(address), "/own", &Metrics::new());
    for path in ["/metrics?collect[]=cpu", "/own?collect[]=cpu", "http://169.254.169.254/own?collect[]=cpu"] {
        let request = Request::get(path)
            .header("Host", "node")
            .header("Connection", "close, X-Theirs")
            .header("X-Theirs", "1")
            .header("Content-Length", "5")
            .header("Accept-Encoding", "gzip");
        let response = exporter.answer(request.body(()).expect("request")).await;
        let names: Vec<_> = response.headers().keys().map(|name| name.as_str().to_owned()).collect();
        assert_eq!(names, ["content-encoding"], "{path}");
        let heard = asked.recv().await.expect("asked").to_ascii_lowercase();
        let mut lines: Vec<_> = heard.trim_end().lines().collect();
        lines.sort_unstable();
        let host = format!("host: {address}");
        assert_eq!(lines, ["accept-encoding: gzip", "get /own?collect[]=cpu http/1.1", &host], "{path}");
    }
    assert_eq!(exporter.answer(get("/debug/pprof")).await.status(), 404);
    assert_eq!(exporter.answer(get("/own/")).await.status(), 404);
    let post = Request::post("/metrics").body(()).expect("request");
    let refused = exporter.answer(post).await;
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["allow"]),
        (405, &"GET, HEAD".parse().expect("x"))
    );
}

#[tokio::test]
async fn an_exporter_on_a_unix_socket_is_asked() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("exporter.sock");
    let listener = tokio::net::UnixListener::bind(&path).expect("bind");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accept");
        let _ = stream.read_buf(&mut Vec::with_capacity(4096)).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nup").await;
    });
    let exporter = exporter(ExporterAddress::Unix(path), "/metrics", &Metrics::new());
    assert_eq!(outcome(exporter.answer(get("/metrics")).await).await, (200, "up".into(), true));
}

#[tokio::test]
async fn its_own_fields_go_to_it_in_place_of_the_askers() {
    let folder = tempfile::tempdir().expect("folder");
    let token = folder.path().join("token");
    onionscrape::files::replace_private(&token, b"of-the-device\n").expect("written");
    let (address, mut asked) = raw_exporter(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nup", AT_ONCE).await;
    let config = ExporterConfig::at("node".parse().expect("name"), ExporterAddress::Tcp(address));
    let fields = vec![(hyper::header::AUTHORIZATION, Value::Scheme("Bearer".into(), token.clone()))];
    let metrics = Metrics::new();
    let own = Exporter::new(ExporterConfig { own_fields: OwnFields(fields), ..config.clone() }, &metrics);
    let request = || {
        let mut request = get("/metrics");
        let passed = HeaderValue::from_static("Bearer of-the-monitor");
        request.headers_mut().insert(hyper::header::AUTHORIZATION, passed);
        request
    };
    assert_eq!(outcome(own.answer(request()).await).await.0, 200);
    let head = asked.recv().await.expect("asked");
    assert!(head.contains("authorization: Bearer of-the-device\r\n") && !head.contains("monitor"), "{head}");

    std::fs::remove_file(&token).expect("removed");
    let (status, what, _) = outcome(own.answer(request()).await).await;
    assert_eq!(
        (status, what.as_str()),
        (502, "exporter node has a password or header file that cannot be used")
    );
    assert!(asked.try_recv().is_err(), "it was not asked without");

    // Without one of its own, what Prometheus sends is for the exporter.
    let plain = Exporter::new(config, &metrics);
    assert_eq!(outcome(plain.answer(request()).await).await.0, 200);
    let head = asked.recv().await.expect("asked");
    assert!(head.contains("authorization: Bearer of-the-monitor\r\n"), "{head}");
}
