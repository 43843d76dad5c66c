use super::*;

/// What an exporter behind `drop = "b"` comes to when it answers like this.
async fn filtered(answer: &'static [u8], open_for: Duration) -> (u16, String, bool, String) {
    let (address, _asked) = raw_exporter(answer, open_for).await;
    let metrics = Metrics::new();
    let exporter = without_b(address, &metrics);
    let (status, what, whole) = outcome(exporter.answer(get("/metrics")).await).await;
    let text = classic_text(&registry("0", |own| metrics.register(own)));
    let counted = text.lines().filter(|line| {
        line.starts_with("onionscrape_exporter_failures_total{")
            || line.starts_with("onionscrape_exporter_dropped_samples_total{")
    });
    let counted: Vec<_> = counted.filter(|line| !line.ends_with(" 0")).collect();
    (status, what, whole, counted.join("\n"))
}

fn without_b(address: SocketAddr, metrics: &Metrics) -> Exporter {
    let config = ExporterConfig::at("node".parse().expect("name"), ExporterAddress::Tcp(address));
    let drop = Patterns::new(vec!["b".into()]).expect("pattern");
    let filter = MetricFilter::new(None, Some(drop)).map(Arc::new);
    Exporter::new(ExporterConfig { filter, ..config }, metrics)
}

fn dropped(samples: u32) -> String {
    format!("onionscrape_exporter_dropped_samples_total{{exporter=\"node\"}} {samples}")
}

#[tokio::test]
async fn a_text_is_filtered_whatever_its_framing() {
    let with_length =
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: 12\r\n\r\na 1\nb 1\nc 1\n";
    let chunked = b"HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text; version=1.0.0\r\n\
        Transfer-Encoding: chunked\r\n\r\n5\r\na 1\nb\r\n7\r\n 1\nc 1\n\r\n0\r\n\r\n";
    let until_close = b"HTTP/1.0 200 OK\r\nContent-Encoding: identity\r\n\r\na 1\nb 1\nc 1\n";
    for answer in [&with_length[..], chunked, until_close] {
        let whole = (200, "a 1\nc 1".into(), true, dropped(1));
        assert_eq!(filtered(answer, AT_ONCE).await, whole);
    }
    let error = b"HTTP/1.1 500 No\r\nContent-Type: text/html\r\nContent-Length: 3\r\n\r\n<b>";
    assert_eq!(filtered(error, AT_ONCE).await, (500, "<b>".into(), true, String::new()));
}

#[tokio::test]
async fn a_part_of_a_text_is_still_an_error() {
    let with_length = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\na 1\nb 1\n";
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\na 1\nb 1\n\r\n";
    let only_dropped = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nb 1\n";
    for answer in [&with_length[..], chunked, only_dropped] {
        let aborted = format!("{}\n{}", failures("aborted"), dropped(1));
        let (status, _, whole, counted) = filtered(answer, AT_ONCE).await;
        assert_eq!((status, whole, counted), (502, true, aborted.clone()), "nothing was sent on yet");
        let (status, _, whole, counted) = filtered(answer, LATER).await;
        assert_eq!((status, whole, counted), (200, false, aborted));
    }
}

#[tokio::test]
async fn what_cannot_be_filtered_is_an_error() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\na 1\n"[..],
        b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.google.protobuf\r\nContent-Length: 4\r\n\r\na 1\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\na 1\n",
        b"HTTP/1.1 206 Partial Content\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\na 1\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\x0a\x02a-",
    ] {
        let what = "exporter node sends no text that can be filtered".to_owned();
        assert_eq!(filtered(answer, AT_ONCE).await, (502, what, true, failures("unfilterable")));
    }
}

#[tokio::test]
async fn text_is_asked_for_as_it_is() {
    let (address, mut asked) = raw_exporter(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", AT_ONCE).await;
    let exporter = without_b(address, &Metrics::new());
    let open = "application/openmetrics-text;version=1.0.0;q=0.6";
    let protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;q=0.7";
    for (accept, expected) in [
        (format!("{protobuf},{open}, text/plain;q=0.5,*/*;q=0.1"), format!("{open},text/plain;q=0.5")),
        ("*/*".to_owned(), "text/plain;version=0.0.4".to_owned()),
    ] {
        let request =
            Request::head("/metrics").header("accept", accept).header("accept-encoding", "gzip, br");
        let request =
            request.header("range", "bytes=2-").header("if-range", "\"x\"").body(()).expect("request");
        let answer = exporter.answer(request).await;
        assert!(!answer.headers().contains_key("content-length"), "that would be the length of all");
        let heard = asked.recv().await.expect("asked").to_ascii_lowercase();
        let mut fields: Vec<_> = heard.trim_end().lines().skip(1).collect();
        fields.sort_unstable();
        let host = format!("host: {address}");
        assert_eq!(fields, ["accept-encoding: identity", &format!("accept: {expected}"), &host]);
    }
}

#[tokio::test]
async fn the_built_in_exporter_is_filtered_too() {
    let metrics = Metrics::new();
    let keep = Patterns::new(vec![r"node_load\d+".into(), "node_time.*".into()]).expect("patterns");
    let config = ExporterConfig {
        source: Source::BuiltIn(crate::host::Collector::ALL.into()),
        filter: MetricFilter::new(Some(keep), None).map(Arc::new),
        ..ExporterConfig::at("host".parse().expect("name"), ExporterAddress::Unix("/".into()))
    };
    let exporter = Exporter::new(config, &metrics);
    let (status, text, whole) = outcome(exporter.answer(get("/metrics")).await).await;
    let names: Vec<_> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(' ').next().expect("a name"))
        .collect();
    assert_eq!((status, whole), (200, true));
    assert_eq!(names, ["node_load1", "node_load5", "node_load15", "node_time_seconds"]);
    assert_eq!(exporter.answer(get("/other")).await.status(), 404);
    let post = Request::post("/metrics").body(()).expect("request");
    assert_eq!(exporter.answer(post).await.status(), 405);
}
