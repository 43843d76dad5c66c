//! Answers that are made small for who takes them.

use std::sync::LazyLock;

use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE};
use onionscrape::compression::{
    AVAILABLE_DICTIONARY, Coding, Decoder, Dictionaries, Dictionary, USE_AS_DICTIONARY, available,
};
use prometheus_client::metrics::gauge::Gauge;

use super::*;

/// A page of some 30 kB.
static PAGE: LazyLock<String> =
    LazyLock::new(|| (0..1000).map(|n| format!("app_requests_total{{code=\"{n}\"}} {}\n", n * 7)).collect());

/// A whole answer with this body, for as long as the tests run.
fn page(fields: &str, body: &str) -> &'static [u8] {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{fields}\r\n{body}").leak().as_bytes()
}

const TEXT: &str = "Content-Type: text/plain; version=0.0.4; escaping=underscores\r\n";

/// An exporter that says `bytes`, with `memory` bytes for its answers.
async fn small(bytes: &'static [u8], memory: u64) -> (Exporter, mpsc::UnboundedReceiver<String>) {
    let (address, asked) = raw_exporter(bytes, LATER).await;
    let config = ExporterConfig::at("node".parse().expect("name"), ExporterAddress::Tcp(address));
    let shelf = Dictionaries::new(memory, Gauge::default()).shelf();
    (Exporter::compressing(config, shelf, &Metrics::new()), asked)
}

fn asking(codings: &str, known: Option<&Dictionary>) -> Request<()> {
    let mut request = get("/metrics?collect[]=cpu");
    let headers = request.headers_mut();
    headers.insert("accept-encoding", codings.parse().expect("a value"));
    if let Some(known) = known {
        headers.insert(AVAILABLE_DICTIONARY, available(known.digest()).expect("a value"));
    }
    request
}

/// The coding of an answer, whether later ones may be told by it, and its body.
async fn taken(response: Response<Body>) -> (Option<Coding>, bool, Bytes) {
    assert_eq!(response.status(), 200);
    let coding = response.headers().get(CONTENT_ENCODING).and_then(Coding::of);
    let is_offered = response.headers().contains_key(USE_AS_DICTIONARY);
    (coding, is_offered, response.into_body().collect().await.expect("whole").to_bytes())
}

fn decoded(coding: Coding, known: Option<Arc<Dictionary>>, mut body: Bytes) -> Vec<u8> {
    let (mut decoder, mut all) = (Decoder::new(coding, known), Vec::new());
    while let Some(part) = decoder.next(&mut body).expect("right") {
        all.extend_from_slice(&part);
    }
    assert!(decoder.is_at_end());
    all
}

fn dictionary(body: &str) -> Arc<Dictionary> {
    Arc::new(Dictionary::new(body.to_owned().into()).expect("long enough"))
}

#[tokio::test]
async fn the_first_is_small_by_itself_and_later_ones_by_it() {
    let (exporter, mut asked) = small(page(TEXT, &PAGE), 1 << 20).await;
    let response = exporter.answer(asking("dcz, zstd, gzip", None)).await;
    assert_eq!(response.headers()[CONTENT_TYPE], "text/plain; version=0.0.4; escaping=underscores");
    assert_eq!(response.headers()[USE_AS_DICTIONARY], "match=\"/metrics\"");
    let (coding, _, first) = taken(response).await;
    assert_eq!(coding, Some(Coding::Zstd));
    assert_eq!(decoded(Coding::Zstd, None, first.clone()), PAGE.as_bytes());
    let heard = asked.recv().await.expect("asked");
    assert!(heard.contains("accept-encoding: identity\r\n"), "{heard}");

    let known = dictionary(&PAGE);
    for _ in 0..3 {
        let (coding, is_offered, body) =
            taken(exporter.answer(asking("dcz, zstd", Some(&known))).await).await;
        assert_eq!((coding, is_offered), (Some(Coding::Dcz), true));
        assert!(body.len() * 5 < first.len(), "{} of {}", body.len(), first.len());
        assert_eq!(decoded(Coding::Dcz, Some(known.clone()), body), PAGE.as_bytes());
        let heard = asked.recv().await.expect("asked").to_ascii_lowercase();
        assert!(!heard.contains("dictionary"), "{heard}");
    }
}

#[tokio::test]
async fn a_dictionary_that_is_not_here_is_not_used() {
    let (exporter, _asked) = small(page(TEXT, &PAGE), 1 << 20).await;
    let stranger = dictionary(&PAGE.replace('7', "8"));
    for _ in 0..2 {
        let (coding, is_offered, body) =
            taken(exporter.answer(asking("dcz, zstd", Some(&stranger))).await).await;
        assert_eq!((coding, is_offered), (Some(Coding::Zstd), true));
        assert_eq!(decoded(Coding::Zstd, None, body), PAGE.as_bytes());
    }
    // Without zstd to fall back to, it goes as it is.
    assert_eq!(
        taken(exporter.answer(asking("dcz", Some(&stranger))).await).await,
        (None, false, PAGE.clone().into())
    );
    // Where there is no room to keep it, nobody is told to.
    let (exporter, _asked) = small(page(TEXT, &PAGE), PAGE.len() as u64 - 1).await;
    let (coding, is_offered, body) = taken(exporter.answer(asking("dcz, zstd", None)).await).await;
    assert_eq!((coding, is_offered), (Some(Coding::Zstd), false));
    assert_eq!(decoded(Coding::Zstd, None, body), PAGE.as_bytes());
    // Who knows nothing of dictionaries is not told of them.
    let (exporter, _asked) = small(page(TEXT, &PAGE), 1 << 20).await;
    let (coding, is_offered, _) = taken(exporter.answer(asking("gzip, zstd", None)).await).await;
    assert_eq!((coding, is_offered), (Some(Coding::Zstd), false));
}

#[tokio::test]
async fn what_is_no_text_small_or_encoded_goes_as_it_is() {
    for (fields, body) in [
        (TEXT, "up 1\n"),
        ("", PAGE.as_str()),
        ("Content-Type: image/png\r\n", &PAGE),
        ("Content-Type: text/plain\r\nContent-Encoding: gzip\r\n", &PAGE),
        ("Content-Type: text/plain\r\nContent-Encoding: zstd\r\n", &PAGE),
    ] {
        let (exporter, _asked) = small(page(fields, body), 1 << 20).await;
        let response = exporter.answer(asking("dcz, zstd", None)).await;
        let encoding = response.headers().get(CONTENT_ENCODING).cloned();
        assert_eq!(encoding.is_some(), fields.contains("Encoding"), "{fields}");
        assert!(!response.headers().contains_key(USE_AS_DICTIONARY));
        assert_eq!(outcome(response).await, (200, body.trim_end().to_owned(), true), "{fields}");
    }
    let (exporter, mut asked) = small(page(TEXT, &PAGE), 1 << 20).await;
    for codings in ["gzip", "zstd;q=0, dcz;q=0"] {
        let (coding, _, body) = taken(exporter.answer(asking(codings, None)).await).await;
        assert_eq!((coding, body), (None, PAGE.clone().into()));
        let heard = asked.recv().await.expect("asked");
        assert!(heard.contains(&format!("accept-encoding: {codings}\r\n")), "{heard}");
    }
    let mut part = asking("dcz, zstd", None);
    part.headers_mut().insert("range", HeaderValue::from_static("bytes=0-9"));
    assert_eq!(taken(exporter.answer(part).await).await.0, None);
    let mut other = asking("dcz, zstd", None);
    *other.method_mut() = Method::HEAD;
    assert!(exporter.answer(other).await.headers().get(CONTENT_ENCODING).is_none());
    let teapot = format!("HTTP/1.1 418 No\r\nContent-Length: {}\r\n{TEXT}\r\n{}", PAGE.len(), *PAGE).leak();
    let (exporter, _asked) = small(teapot.as_bytes(), 1 << 20).await;
    let response = exporter.answer(asking("dcz, zstd", None)).await;
    assert!(response.headers().get(CONTENT_ENCODING).is_none());
    assert_eq!(outcome(response).await, (418, PAGE.trim_end().to_owned(), true));
}

#[tokio::test]
async fn one_that_breaks_off_is_an_error_instead_of_a_part() {
    let cut = |open_for| async move {
        let half = format!("HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n{TEXT}\r\n{}", *PAGE).leak();
        let (address, _asked) = raw_exporter(half.as_bytes(), open_for).await;
        let config = ExporterConfig::at("node".parse().expect("name"), ExporterAddress::Tcp(address));
        let shelf = Dictionaries::new(1 << 20, Gauge::default()).shelf();
        let metrics = Metrics::new();
        let exporter = Exporter::compressing(config, shelf, &metrics);
        let (status, what, whole) = outcome(exporter.answer(asking("dcz, zstd", None)).await).await;
        let text = classic_text(&registry("0", |own| metrics.register(own)));
        let failed: u32 = text
            .lines()
            .filter(|line| line.starts_with("onionscrape_exporter_failures_total{"))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u32>().ok())
            .sum();
        (status, what, whole, failed)
    };
    let aborted = "exporter node closed the connection without a whole answer".to_owned();
    assert_eq!(cut(LATER).await, (502, aborted, true, 1));
    // Of one that there is no room for a part has gone on then, and breaks off.
    let half = format!("HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n{TEXT}\r\n{}", *PAGE).leak();
    let (exporter, _asked) = small(half.as_bytes(), 1 << 10).await;
    let (status, _, whole) = outcome(exporter.answer(asking("dcz, zstd", None)).await).await;
    assert_eq!((status, whole), (200, false));
    assert_eq!(cut(NEVER).await, (504, "exporter node did not answer in time".to_owned(), true, 1));
}

#[tokio::test]
async fn a_long_one_is_small_too_and_leaves_the_thread_to_others() {
    let long = PAGE.repeat(40);
    let (exporter, _asked) = small(page(TEXT, &long), 8 << 20).await;
    let (coding, _, first) = taken(exporter.answer(asking("dcz, zstd", None)).await).await;
    assert_eq!(coding, Some(Coding::Zstd));
    assert_eq!(decoded(Coding::Zstd, None, first), long.as_bytes());
    let known = dictionary(&long);
    let (coding, _, body) = taken(exporter.answer(asking("dcz, zstd", Some(&known))).await).await;
    assert_eq!(coding, Some(Coding::Dcz));
    assert_eq!(decoded(Coding::Dcz, Some(known), body), long.as_bytes());
}
