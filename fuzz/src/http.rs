//! Requests from whoever reaches a listener, and answers from whoever is an exporter.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use hyper::{Request, StatusCode};
use onionscrape::address::ExporterAddress;
use onionscrape::http::{Answer, HalfClose, HostNames, only_reading, serve_connection, timeout_header};
use onionscrape::metrics::Format;
use scraper_bridge::inventory::Reply;
use scraper_bridge::inventory::judged::{judge, parse};
use target_agent::config::ExporterConfig;
use target_agent::exporter::{Exporter, MetricFilter, Patterns};
use target_agent::metrics::Metrics;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// Longer than the one second that every scrape here is given.
const LIMIT: Duration = Duration::from_secs(10);

static SOCKETS: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a folder"));
static NEXT: AtomicU64 = AtomicU64::new(0);
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));

/// A connection to a listener; it is never answered in the name of another.
pub fn request(data: &[u8]) {
    RUNTIME.block_on(async {
        let names = HostNames::of("127.0.0.1:9100".parse().expect("an address"), &[]);
        let (mut near, far) = duplex(1 << 20);
        let handler = move |request: Request<hyper::body::Incoming>| {
            let checked = names.check(&request).and_then(|()| only_reading(&request));
            if checked.is_ok() {
                let named = request.uri().authority().map(|name| name.as_str().to_owned());
                let host =
                    request.headers().get("host").and_then(|host| host.to_str().ok().map(str::to_owned));
                let host = named.or(host).unwrap_or_default().to_ascii_lowercase();
                assert!(
                    ["127.0.0.1:9100", "localhost:9100", "[::1]:9100"].contains(&host.as_str()),
                    "{host}"
                );
            }
            let answer = checked.err().unwrap_or_else(|| Answer::new(StatusCode::OK, "up"));
            std::future::ready(answer.into())
        };
        let served = tokio::spawn(serve_connection(far, HalfClose::Gone, handler, CancellationToken::new()));
        let _ = near.write_all(data).await;
        let _ = near.shutdown().await;
        let mut said = Vec::new();
        let reading = tokio::time::timeout(LIMIT, near.read_to_end(&mut said)).await;
        assert!(reading.is_ok(), "the listener goes on without the asker");
        tokio::time::timeout(LIMIT, served).await.expect("the connection ends").expect("no panic");
    });
}

/// `X-Prometheus-Scrape-Timeout-Seconds`; what is taken is a time that can be waited for.
pub fn scrape_timeout(data: &[u8]) {
    let Ok(value) = hyper::header::HeaderValue::from_bytes(data) else { return };
    let mut request = Request::new(());
    request.headers_mut().insert("x-prometheus-scrape-timeout-seconds", value);
    if let Some(timeout) = timeout_header(request.headers()) {
        assert!(timeout > Duration::ZERO && std::time::Instant::now().checked_add(timeout).is_some());
    }
}

/// `Accept`, on which nothing depends but the format.
pub fn accept(data: &[u8]) {
    let Ok(value) = hyper::header::HeaderValue::from_bytes(data) else { return };
    let mut request = Request::new(());
    request.headers_mut().insert(hyper::header::ACCEPT, value);
    let _ = Format::wanted(request.headers());
}

/// What a device says of itself; what is taken of it names nothing that is not its own, and is as it
/// was when it is judged again.
pub fn inventory(data: &[u8]) {
    let reply = Reply { status: StatusCode::OK, revision: None, body: data.to_vec().into() };
    let Ok((taken, _)) = parse(&reply) else { return };
    for item in &taken.exporters {
        assert!(item.labels.len() <= 32 && !item.labels.keys().any(|name| name.starts_with("__")));
    }
    let (again, left_out) = judge(taken.clone()).expect("taken once, taken twice");
    assert!(again == taken && left_out.is_empty());
}

/// What an exporter answers, passed on by the agent: whole, or broken off, and never in between.
pub fn exporter_answer(data: &[u8]) {
    answer(data.to_vec(), None);
}

/// The same for an exporter with a filter.
pub fn filtered_answer(data: &[u8]) {
    let dropped = Patterns::new(vec!["go_.*".into(), "b".into()]).expect("expressions");
    answer(data.to_vec(), MetricFilter::new(None, Some(dropped)));
}

fn answer(data: Vec<u8>, filter: Option<MetricFilter>) {
    RUNTIME.block_on(async move {
        // A port would be in nobody's hands for a minute after each connection, and there are not so many.
        let path = SOCKETS.path().join(NEXT.fetch_add(1, Ordering::Relaxed).to_string());
        let listener = UnixListener::bind(&path).expect("a socket");
        let exporter = tokio::spawn(async move {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(&data).await;
        });
        let config = ExporterConfig::at("fuzz".parse().expect("a name"), ExporterAddress::Unix(path.clone()));
        let config = ExporterConfig { filter: filter.map(Arc::new), ..config };
        let forward = Exporter::new(config, &Metrics::new());
        let (mut near, far) = duplex(1 << 20);
        let handler = move |request| {
            let forward = forward.clone();
            async move { forward.answer(request).await }
        };
        let served = tokio::spawn(serve_connection(far, HalfClose::Waits, handler, CancellationToken::new()));
        let ask = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Prometheus-Scrape-Timeout-Seconds: 1\r\n\r\n";
        let _ = near.write_all(ask).await;
        let mut said = Vec::new();
        let reading = tokio::time::timeout(LIMIT, near.read_to_end(&mut said)).await;
        assert!(reading.is_ok(), "the answer is not bounded in time");
        assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 "), "{}", String::from_utf8_lossy(&said));
        drop(near);
        tokio::time::timeout(LIMIT, served).await.expect("the connection ends").expect("no panic");
        exporter.abort();
        let _ = std::fs::remove_file(path);
    });
}
