//! Every way in for Prometheus, each with the `prometheus.yml` that stands in `docs/prometheus`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hyper::{Method, Request};
use scraper_bridge::target::State;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tornet::process;

use crate::checkout::read;
use crate::exporters::{Exporter, Manner};
use crate::http::{Scraped, Scraper, scrape};
use crate::prometheus::Prometheus;
use crate::world::{Monitor, World, run};

/// A forward proxy.
pub const PROXY: &str = "[proxy]\nlisten = \"127.0.0.1:0\"\n";

/// The file of this name, with the addresses of this bridge and a shorter interval.
fn documented(name: &str, monitor: &Monitor, sd_file: &Path) -> String {
    documented_for("backpack", "node", name, monitor)
        .replace("/run/onionscrape-bridge/targets.json", sd_file.to_str().unwrap())
}

/// The same for another exporter than the documentation's.
fn documented_for(target: &str, exporter: &str, name: &str, monitor: &Monitor) -> String {
    let text = read(&format!("docs/prometheus/{name}"));
    let proxy = monitor.bridge.proxy().expect("configured").to_string();
    text.replace("scrape_interval: 15s", "scrape_interval: 1s")
        .replace("refresh_interval: 15s", "refresh_interval: 1s")
        .replace("127.0.0.1:9101", &monitor.address(target, exporter))
        .replace("127.0.0.1:9822", &monitor.bridge.admin().to_string())
        .replace("127.0.0.1:9823", &proxy)
        .replace("backpack", target)
        .replace("node", exporter)
}

/// Has a real Prometheus scrape an exporter by every way in that does not want TLS.
pub async fn up_by_every_way(world: &World, monitor: &Monitor, target: &str, exporter: &str) {
    for name in ["port.yml", "path.yml", "probe.yml", "proxy.yml", "http_sd.yml", "http_sd_proxy.yml"] {
        let prometheus = Prometheus::start(world, &documented_for(target, exporter, name, monitor), &[]);
        prometheus.until(name, |up| up.iter().any(|((instance, _), up)| instance == target && *up)).await;
    }
}

pub async fn prometheus_by_every_way_in(world: &World) {
    // An exporter that speaks TLS, besides the usual one.
    let folder = world.folder();
    let certified = rcgen::generate_simple_self_signed(["exporter.example".to_owned()]).unwrap();
    fs::write(folder.join("exporter.crt"), certified.cert.pem()).unwrap();
    fs::write(folder.join("exporter.key"), certified.signing_key.serialize_pem()).unwrap();
    fs::write(
        folder.join("web.yml"),
        "tls_server_config: {cert_file: exporter.crt, key_file: exporter.key}\n",
    )
    .unwrap();
    let secure = tornet::ports::reserve().unwrap().addr();
    let mut command = Command::new(process::find("prometheus-node-exporter").unwrap());
    command
        .arg(format!("--web.listen-address={secure}"))
        .arg(format!("--web.config.file={}", folder.join("web.yml").display()));
    let _secure = process::spawn(&command, &folder.join("node_exporter.log")).unwrap();

    let device = world.device(&[("node", world.node_exporter()), ("secure", secure)]).await;
    let (gone_folder, ssh) = (world.folder(), format!("[ssh]\nkeys = [{:?}]\n", world.key().public_line()));
    let node = [("node", world.node_exporter())];
    let gone = world.device_in(gone_folder.clone(), &ssh, &node).await;
    let sd_file = folder.join("targets.json");
    let more = format!("{PROXY}[discovery]\nfile = {sd_file:?}\nvia = \"port\"\n");
    let targets = world.target("backpack", &device, "labels = {room = \"attic\"}", &["node"])
        + &format!(
            "[[target.exporter]]\nname = \"secure\"\nlisten = \"127.0.0.1:0\"\naddress = \"{secure}\"\n"
        )
        + &world.target("gone", &gone, "", &["node"]);
    gone.stop().await;
    let monitor = world.monitor_of(&more, &targets).await;
    monitor.connected("backpack").await;

    up_by_every_way(world, &monitor, "backpack", "node").await;
    let config =
        documented("proxy_https.yml", &monitor, &sd_file).replace("9443", &secure.port().to_string());
    let certificate = ("exporter.crt", certified.cert.pem());
    let prometheus = Prometheus::start(world, &config, &[(certificate.0, &certificate.1)]);
    prometheus.until_up("backpack", "secure").await;

    // What is found has everything in it, also what is down.
    for name in ["http_sd.yml", "file_sd.yml"] {
        let prometheus = Prometheus::start(world, &documented(name, &monitor, &sd_file), &[]);
        prometheus.until_up("backpack", "node").await;
        let down = ("gone".to_owned(), "node".to_owned());
        prometheus.until("listed as down", |up| up.get(&down) == Some(&false)).await;
    }
    // Switched on again, it comes back by itself.
    let prometheus = Prometheus::start(world, &documented("http_sd.yml", &monitor, &sd_file), &[]);
    let _back = world.device_in(gone_folder, &ssh, &node).await;
    prometheus.until_up("gone", "node").await;
    let found = Scraper::connect(&monitor.bridge.admin().to_string()).await.get("/sd", &[]).await;
    assert_eq!(found.header("content-type"), Some("application/json"));
    let found: serde_json::Value = serde_json::from_slice(&found.body).unwrap();
    let labels = &found[0]["labels"];
    assert_eq!(found[0]["targets"][0], monitor.address("backpack", "node"));
    for (name, value) in [
        ("instance", "backpack"),
        ("exporter", "node"),
        ("room", "attic"),
        ("__metrics_path__", "/metrics"),
        ("__scheme__", "http"),
        ("__meta_onionscrape_target", "backpack"),
        ("__meta_onionscrape_transport", "onion"),
    ] {
        assert_eq!(labels[name], value, "{name} in {labels}");
    }
    assert!(!found.to_string().contains(".onion"), "no address is told");
    let written: serde_json::Value = serde_json::from_slice(&fs::read(&sd_file).unwrap()).unwrap();
    assert_eq!(written, found);
    // Promtool reads it as Prometheus would.
    let checked = folder.join("prometheus.yml");
    fs::write(&checked, documented("file_sd.yml", &monitor, &sd_file)).unwrap();
    let promtool = Command::new(process::find("promtool").unwrap())
        .args(["check", "config"])
        .arg(&checked)
        .output()
        .unwrap();
    assert!(promtool.status.success(), "{}", String::from_utf8_lossy(&promtool.stderr));
}

async fn through(proxy: &str, method: Method, target: &str) -> Scraped {
    let request = Request::builder().method(method).uri(target).header("host", "ignored");
    Scraper::connect(proxy).await.send(request.body(http_body_util::Empty::new()).unwrap()).await
}

pub async fn names_that_lead_nowhere(world: &World) {
    let exporter = Exporter::start(Manner::Good("a 1\n".into())).await;
    let device = world.device(&[("app", exporter.address)]).await;
    let monitor = world.monitor_with(PROXY, &[("backpack", &device, &["app"])]).await;
    monitor.connected("backpack").await;
    // Ports are known once the device has told its inventory.
    let target = monitor.bridge.fleet().target("backpack").expect("configured");
    world.until("the inventory is known", || target.inventory().is_some()).await;
    let proxy = monitor.bridge.proxy().expect("configured").to_string();
    let admin = monitor.bridge.admin().to_string();

    const NAMES_ONLY: &str = "the proxy leads to configured targets and exporters only";
    for (method, target, status, reason) in [
        (Method::GET, "http://169.254.169.254/latest", 403, NAMES_ONLY),
        (Method::GET, "http://127.0.0.1:22/", 403, NAMES_ONLY),
        (Method::GET, "http://other:9100/metrics", 403, NAMES_ONLY),
        (Method::GET, "http://backpack:22/metrics", 403, NAMES_ONLY),
        (Method::GET, "http://nope.backpack/metrics", 403, NAMES_ONLY),
        (Method::GET, "http://app.backpack:22/metrics", 403, NAMES_ONLY),
        (Method::GET, "http://app.backpack/other", 404, "the metrics are at /metrics"),
        (
            Method::GET,
            "https://app.backpack/metrics",
            400,
            "only http is asked for in this form; https goes by CONNECT",
        ),
        (
            Method::GET,
            "/metrics",
            400,
            "this is a proxy: set it as proxy_url, and scrape http://EXPORTER.TARGET/metrics",
        ),
        (Method::POST, "http://app.backpack/metrics", 405, "only GET and HEAD are answered here"),
        (Method::CONNECT, "backpack:22", 403, NAMES_ONLY),
        (Method::CONNECT, "169.254.169.254:80", 403, NAMES_ONLY),
        (
            Method::CONNECT,
            "app.backpack:443",
            403,
            "CONNECT leads to exporters that have an address or a port in the configuration",
        ),
    ] {
        let answered = through(&proxy, method.clone(), target).await;
        assert_eq!((answered.status, answered.reason.as_str()), (status, reason), "{method} {target}");
    }
    for (path, status) in [
        ("/t/other/app/metrics", 404),
        ("/t/backpack/other/metrics", 404),
        ("/t/backpack/../app/metrics", 404),
        ("/t/backpack/app/metrics/../../../-/reload", 404),
        ("/probe?target=other", 404),
        ("/probe", 404),
        ("/sd?via=elsewhere", 400),
    ] {
        let answered = Scraper::connect(&admin).await.get(path, &[]).await;
        assert_eq!(answered.status, status, "{path}: {answered:?}");
    }
    // A block of header fields that is too large, and two lengths, end the connection's request.
    // Nothing is left unread of it, or the answer could be lost in a reset.
    let long = format!("GET http://app.backpack/metrics HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(64 << 10));
    let two = "GET http://app.backpack/metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n";
    for (bytes, status) in [(long.as_str(), "431"), (two, "400")] {
        let mut stream = tokio::net::TcpStream::connect(&proxy).await.unwrap();
        // It may be answered before all of it is sent.
        let _ = stream.write_all(bytes.as_bytes()).await;
        let mut answer = Vec::new();
        let reading = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
        assert!(reading.is_ok(), "the connection is left open");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    assert_eq!(exporter.requests.load(std::sync::atomic::Ordering::SeqCst), 0, "nothing got through");

    let metrics = monitor.metrics().await;
    for (surface, reason, count) in [
        ("proxy", "unknown_target", 4),
        ("proxy", "unknown_exporter", 4),
        ("proxy", "not_allowed", 1),
        ("proxy", "bad_request", 4),
        ("path", "unknown_target", 3),
        ("path", "unknown_exporter", 1),
    ] {
        let line = format!("surface_refusals_total{{surface=\"{surface}\",reason=\"{reason}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line} in:\n{metrics}");
    }

    // Both names of one exporter, and the path, lead to it.
    for target in
        ["http://app.backpack/metrics", &format!("http://backpack:{}/metrics", exporter.address.port())]
    {
        let good = through(&proxy, Method::GET, target).await;
        assert_eq!((good.status, good.text()), (200, "a 1\n"), "{target}");
    }
    let by_path = Scraper::connect(&admin).await.get("/t/backpack/app/metrics", &[]).await;
    assert_eq!(by_path.text(), "a 1\n");
    assert_eq!(scrape(&monitor.address("backpack", "app")).await.text(), "a 1\n");
}

/// What a device answers comes from the bridge's own address, so a browser would take it for the bridge's.
pub async fn a_devices_page_can_do_nothing_in_a_browser(world: &World) {
    let page =
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nSet-Cookie: a=b\r\nService-Worker-Allowed: /\r\n\
        Refresh: 0; url=/sd\r\nLink: </x>; rel=preload\r\nAccess-Control-Allow-Origin: *\r\n\
        Content-Security-Policy: default-src *\r\nContent-Length: 4\r\n\r\na 1\n";
    let hostile = Exporter::start(Manner::Says(page.to_vec())).await;
    let echo = Exporter::start(Manner::Echoes).await;
    let device = world.device(&[("page", hostile.address), ("echo", echo.address)]).await;
    let monitor = world.monitor(&[("backpack", &device, &["page", "echo"])]).await;
    monitor.connected("backpack").await;
    let admin = monitor.bridge.admin().to_string();

    let shown = Scraper::connect(&admin).await.get("/t/backpack/page/metrics", &[]).await;
    assert_eq!((shown.status, shown.text()), (200, "a 1\n"));
    assert_eq!(shown.header("content-security-policy"), Some("sandbox; default-src 'none'"));
    assert_eq!(shown.header("x-content-type-options"), Some("nosniff"));
    for power in ["set-cookie", "service-worker-allowed", "refresh", "link", "access-control-allow-origin"] {
        assert_eq!(shown.header(power), None, "{power}");
    }
    let headers = [("cookie", "grafana_session=secret"), ("x-other", "kept")];
    let echoed = Scraper::connect(&admin).await.get("/t/backpack/echo/metrics", &headers).await;
    assert!(echoed.text().contains("x-other: kept"), "{}", echoed.text());
    assert!(!echoed.text().contains("secret"), "a cookie of this machine's went to a device");
}

pub async fn status_says_what_is_wrong_and_what_to_do(world: &World) {
    let exporter = Exporter::start(Manner::Good("a 1\n".into())).await;
    let nobody = tornet::ports::reserve().unwrap().addr();
    let device = world.device(&[("app", exporter.address), ("down", nobody)]).await;
    let good = world.target("backpack", &device, "", &["app", "down"]);
    let wrong = world.target("wrong", &device, "", &["app"]);
    let wrong = wrong.replace(&device.host_key, &world.key().fingerprint());
    let monitor = world.monitor_of("", &(good + &wrong)).await;
    monitor.connected("backpack").await;
    monitor.state("wrong", "refused", |state| matches!(state, State::Refused(..))).await;
    for name in ["app", "app", "down"] {
        scrape(&monitor.address("backpack", name)).await;
    }

    let file = monitor.file.to_str().unwrap();
    let shown = run("scraper-bridge", &["status", "--config.file", file]);
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert_eq!(shown.status.code(), Some(1), "one is down: {text}");
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert!(line("backpack ").contains(" up ") && line("backpack ").contains(" ms"), "{text}");
    assert!(line("wrong ").contains(" refused ") && line("wrong ").contains("never"), "{text}");
    assert!(text.contains("wrong: ssh host key mismatch; dialled again in "), "{text}");
    assert!(text.contains(" s\n    compare target-agent hostname"), "{text}");
    assert!(text.contains("backpack: exporter down: exporter down refused the connection"), "{text}");

    let shown = run("scraper-bridge", &["status", "--json", "--config.file", file]);
    let json: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    let served =
        Scraper::connect(&monitor.bridge.admin().to_string()).await.get("/api/v1/targets", &[]).await;
    let served: serde_json::Value = serde_json::from_slice(&served.body).unwrap();
    assert_eq!(json, served, "the command and the page say the same");
    let backpack = &json["targets"][0];
    assert_eq!((&backpack["state"], &backpack["why"]), (&"up".into(), &serde_json::Value::Null));
    assert_eq!((&backpack["up"], &json["targets"][1]["up"]), (&true.into(), &false.into()));
    assert!(backpack["latency_p50_seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(backpack["exporters"][0]["listen"], monitor.address("backpack", "app"));
    assert_eq!(backpack["exporters"][0]["proxy"], "app.backpack");
    assert!(!json.to_string().contains(".onion"));

    drop(monitor);
    let folder = world.folder();
    let file = world.bridge_file(&folder, "", "");
    let nobody = run("scraper-bridge", &["status", "--config.file", file.to_str().unwrap()]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("no bridge is running on"), "{nobody:?}");
}
