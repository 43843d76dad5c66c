//! Ports that the bridge chooses, sockets, and exporters with neither.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use hyper::{Method, Request};
use scraper_bridge::bridge::Bridge;
use scraper_bridge::config::BridgeConfig;
use tokio::task::block_in_place;
use tokio_util::sync::CancellationToken;
use tornet::process;

use crate::checkout::read;
use crate::exporters::{Exporter, Manner};
use crate::http::{Scraped, Scraper, scrape};
use crate::prometheus::Prometheus;
use crate::world::{Device, Monitor, World};

/// A range of so many ports that are all free: below those that anything else here is given.
fn free_range(ports: u16) -> (u16, String) {
    let is_free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    let mut starts = (2000..9900).step_by(100).skip(std::process::id() as usize % 40);
    let first = starts.find(|first| (*first..first + ports).all(is_free)).expect("free ports");
    (first, format!("[listen]\nauto_ports = \"{first}-{}\"\n", first + ports - 1))
}

/// A target whose exporters listen as said.
fn target(world: &World, name: &str, device: &Device, exporters: &[(&str, &str)]) -> String {
    let mut text = world.target(name, device, "", &[]);
    for (name, listen) in exporters {
        let listen = if listen.is_empty() { String::new() } else { format!("listen = {listen:?}\n") };
        text += &format!("[[target.exporter]]\nname = {name:?}\n{listen}");
    }
    text
}

/// Asks with curl over a socket, as Prometheus does.
fn curl(socket: &Path, url: &str) -> String {
    let mut command = Command::new("curl");
    command.args([
        "--silent",
        "--show-error",
        "--include",
        "--max-time",
        "20",
        "--noproxy",
        "*",
        "--unix-socket",
    ]);
    let output = block_in_place(|| command.arg(socket).arg(url).output()).unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

async fn get(monitor: &Monitor, path: &str) -> Scraped {
    Scraper::connect(&monitor.bridge.admin().to_string()).await.get(path, &[]).await
}

fn json(answered: &Scraped) -> serde_json::Value {
    serde_json::from_slice(&answered.body).unwrap()
}

pub async fn by_a_chosen_port_a_socket_or_neither(world: &World) {
    let exporter = Exporter::start(Manner::Good("a 1\n".into())).await;
    let device = world.device(&[("app", exporter.address), ("more", exporter.address)]).await;
    let folder = world.folder();
    let socket = folder.join("app.sock");
    // One that a program left behind that is gone.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let (first, range) = free_range(50);
    let unix = format!("unix:{}", socket.display());
    let exporters = [("app", unix.as_str()), ("more", "auto"), ("host", "")];
    let group = rustix::process::getegid().as_raw();
    let more = format!("{range}socket_mode = \"0640\"\nsocket_group = \"{group}\"\n");
    let monitor = world.monitor_of(&more, &target(world, "backpack", &device, &exporters)).await;
    monitor.connected("backpack").await;

    let port = monitor.address("backpack", "more");
    assert!(port.starts_with("127.0.0.1:") && port.parse::<std::net::SocketAddr>().unwrap().port() >= first);
    assert_eq!(scrape(&port).await.text(), "a 1\n");
    let admin = monitor.bridge.admin().to_string();
    let by_port = format!(
        "scrape_configs:\n- job_name: a\n  scrape_interval: 1s\n  http_sd_configs:\n  - url: http://{admin}/sd?via=port\n"
    );
    let prometheus = Prometheus::start(world, &by_port, &[]);
    prometheus.until_up("backpack", "more").await;
    let urls: Vec<_> = prometheus.targets().await.iter().map(|one| one["scrapeUrl"].to_string()).collect();
    assert!(urls.contains(&format!("\"http://{port}/metrics\"")), "{urls:?}");
    drop(prometheus);
    assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o640);
    let said = curl(&socket, "http://app.backpack/metrics");
    assert!(said.starts_with("HTTP/1.1 200 OK\r\n") && said.ends_with("\r\n\r\na 1\n"), "{said}");
    let said = curl(&socket, "http://app.backpack/other");
    assert!(said.starts_with("HTTP/1.1 404 the metrics are at /metrics\r\n"), "{said}");
    assert_eq!(get(&monitor, "/t/backpack/host/metrics").await.status, 200);

    let overview = json(&get(&monitor, "/api/v1/targets").await);
    let listens: Vec<_> =
        overview["targets"][0]["exporters"].as_array().unwrap().iter().map(|one| &one["listen"]).collect();
    assert_eq!(listens, [&serde_json::json!(unix), &serde_json::json!(port), &serde_json::Value::Null]);

    // Who has not the surface that is asked for is found by the path.
    let of = |group: &serde_json::Value| {
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let labels = &group["labels"];
        (text(&group["targets"][0]), text(&labels["__metrics_path__"]), text(&labels["__unix_socket__"]))
    };
    let path = |name: &str| (admin.clone(), format!("/t/backpack/{name}/metrics"), String::new());
    let file = socket.display().to_string();
    for (via, app, more) in [
        ("socket", ("app.backpack.invalid".to_owned(), "/metrics".to_owned(), file), path("more")),
        ("port", path("app"), (port.clone(), "/metrics".to_owned(), String::new())),
        ("path", path("app"), path("more")),
    ] {
        let found = json(&get(&monitor, &format!("/sd?via={via}")).await);
        let found: Vec<_> = found.as_array().unwrap().iter().map(of).collect();
        assert_eq!(found, [app, more, path("host")], "{via}");
    }
    // What the documentation shows is what promtool takes, also of this bridge's answers.
    let config = read("docs/prometheus/socket.yml")
        .replace("127.0.0.1:9822", &admin)
        .replace("/run/onionscrape-bridge/backpack-node.sock", socket.to_str().unwrap());
    let config_file = folder.join("prometheus.yml");
    fs::write(&config_file, config).unwrap();
    let promtool = |arguments: &[&str]| {
        let mut command = Command::new(process::find("promtool").unwrap());
        block_in_place(|| command.arg("check").args(arguments).output()).unwrap()
    };
    let config_file = config_file.to_str().unwrap();
    let checked = promtool(&["config", config_file]);
    assert!(checked.status.success(), "{checked:?}");
    let checked = promtool(&["service-discovery", "--timeout=3s", config_file, "socket_sd"]);
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success() && said.contains("\"__unix_socket__\": "), "{said}");
    assert!(said.contains(socket.to_str().unwrap()), "{said}");

    // A second bridge does not take the socket away from the first.
    let other = world.bridge_file(&world.folder(), "", &target(world, "backpack", &device, &exporters[..1]));
    let config = BridgeConfig::read(Some(&other), None).unwrap();
    let why = Bridge::start(config, CancellationToken::new()).await.err().unwrap();
    let expected = format!("cannot listen on {unix}: another program serves it");
    assert_eq!(why.0, format!("target backpack, exporter app: {expected}"));
    assert!(curl(&socket, "http://app.backpack/metrics").starts_with("HTTP/1.1 200 "));

    // A bad reload leaves everything as it was; a good one keeps what is the same.
    let text = fs::read_to_string(&monitor.file).unwrap();
    fs::write(&monitor.file, text.replace(&unix, "unix:/no/such/folder/app.sock")).unwrap();
    let why = monitor.bridge.reloader().reload().await.unwrap_err();
    assert!(why.0.ends_with("; its folder is not there"), "{}", why.0);
    assert!(curl(&socket, "http://app.backpack/metrics").starts_with("HTTP/1.1 200 "));
    let moved = folder.join("moved.sock");
    fs::write(&monitor.file, text.replace(&unix, &format!("unix:{}", moved.display()))).unwrap();
    monitor.bridge.reloader().reload().await.unwrap();
    assert!(moved.metadata().unwrap().file_type().is_socket() && !socket.exists());
    assert_eq!(monitor.address("backpack", "more"), port, "the port has stayed");
    monitor.stop().await;
    assert!(!moved.exists(), "the socket is removed at the end");
}

/// Where the exporters `app` of these targets are offered after a start on this state.
async fn ports_after_start(file: &Path, targets: &[&str]) -> Vec<u16> {
    let shutdown = CancellationToken::new();
    let bridge =
        Bridge::start(BridgeConfig::read(Some(file), None).unwrap(), shutdown.clone()).await.unwrap();
    let offered = bridge.fleet().offered();
    let of = |name: &&str| {
        let one = offered.iter().find(|one| one.target.config.name.as_str() == *name).unwrap();
        one.listening[0].port().unwrap()
    };
    let ports = targets.iter().map(of).collect();
    shutdown.cancel();
    bridge.run().await;
    ports
}

pub async fn a_chosen_port_is_kept(world: &World) {
    let exporter = Exporter::start(Manner::Good("a 1\n".into())).await;
    let device = world.device(&[("app", exporter.address)]).await;
    let folder = world.folder();
    let (first, _) = free_range(3);
    let write = |ports: u16, targets: &[(&str, &str)]| -> PathBuf {
        let range = format!("[listen]\nauto_ports = \"{first}-{}\"\n", first + ports - 1);
        let targets: Vec<_> =
            targets.iter().map(|(name, listen)| target(world, name, &device, &[("app", listen)])).collect();
        world.bridge_file(&folder, &range, &targets.concat())
    };
    let file = write(3, &[("a", "auto"), ("b", "auto")]);
    let given = ports_after_start(&file, &["a", "b"]).await;
    let file = write(3, &[("b", "auto"), ("c", "auto"), ("a", "auto")]);
    let again = ports_after_start(&file, &["a", "b", "c"]).await;
    assert_eq!(again[..2], given, "whatever order and company they are in");

    let refused = async |file: &Path| {
        let config = BridgeConfig::read(Some(file), None).unwrap();
        Bridge::start(config, CancellationToken::new()).await.err().unwrap().0
    };
    let file = write(3, &["a", "b", "c", "d"].map(|name| (name, "auto")));
    let range = format!("{first}-{}", first + 2);
    let why =
        format!("d/app: no port of {range} is left for listen = \"auto\"; widen auto_ports in [listen]");
    assert_eq!(refused(&file).await, why);
    let by_hand = format!("127.0.0.1:{}", given[0]);
    let file = write(3, &[("a", "auto"), ("e", &by_hand)]);
    let why =
        format!("e/app: port {} was given to a/app, which has listen = \"auto\"; choose another", given[0]);
    assert_eq!(refused(&file).await, why);
    // On a reload the same is refused, counted, and changes nothing.
    let file = write(3, &[("a", "auto"), ("b", "auto"), ("c", "auto")]);
    let shutdown = CancellationToken::new();
    let bridge =
        Bridge::start(BridgeConfig::read(Some(&file), None).unwrap(), shutdown.clone()).await.unwrap();
    write(3, &[("a", "auto"), ("b", "auto"), ("c", "auto"), ("e", &by_hand)]);
    assert_eq!(bridge.reloader().reload().await.unwrap_err().0, why);
    let metrics = scrape(&bridge.admin().to_string()).await;
    assert!(metrics.text().contains("onionscrape_config_last_reload_successful 0\n"));
    assert_eq!(bridge.fleet().offered().len(), 3);
    shutdown.cancel();
    bridge.run().await;
    // A damaged list is never passed over.
    let list = folder.join("bridge/auto_ports.toml");
    let damaged = fs::read_to_string(&list).unwrap().replace("[ports]", "[parts]");
    fs::write(&list, &damaged).unwrap();
    let why = refused(&file).await;
    assert!(why.starts_with(&format!("{}: is damaged: ", list.display())), "{why}");
    assert_eq!(fs::read_to_string(&list).unwrap(), damaged);
}

pub async fn reloading_over_http(world: &World) {
    let exporter = Exporter::start(Manner::Good("a 1\n".into())).await;
    let device = world.device(&[("app", exporter.address)]).await;
    let targets = target(world, "backpack", &device, &[("app", "")]);
    let send = async |monitor: &Monitor, method: Method, headers: &[(&str, &str)]| {
        let admin = monitor.bridge.admin().to_string();
        let mut request = Request::builder().method(method).uri("/-/reload");
        for (name, value) in [("host", admin.as_str())].iter().chain(headers) {
            request = request.header(*name, *value);
        }
        let body = http_body_util::Empty::new();
        Scraper::connect(&admin).await.send(request.body(body).unwrap()).await
    };

    let off = world.monitor_of("", &targets).await;
    let answered = send(&off, Method::POST, &[]).await;
    let said = "reloading over HTTP is off; set lifecycle = true in [admin]";
    assert_eq!((answered.status, answered.reason.as_str()), (403, said));
    let counted = "surface_refusals_total{surface=\"admin\",reason=\"not_allowed\"} 1\n";
    assert!(off.metrics().await.contains(counted));

    let folder = world.folder();
    let file = world.bridge_file(&folder, "", &targets);
    let text = fs::read_to_string(&file).unwrap().replace("[admin]\n", "[admin]\nlifecycle = true\n");
    fs::write(&file, &text).unwrap();
    let shutdown = CancellationToken::new();
    let bridge =
        Bridge::start(BridgeConfig::read(Some(&file), None).unwrap(), shutdown.clone()).await.unwrap();
    let on = Monitor::new(bridge, file.clone(), shutdown);
    for method in [Method::POST, Method::PUT] {
        assert_eq!(send(&on, method, &[]).await.status, 200);
    }
    let answered = send(&on, Method::GET, &[]).await;
    assert_eq!((answered.status, answered.header("allow")), (405, Some("POST, PUT")));
    for elsewhere in [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")] {
        let answered = send(&on, Method::POST, &[elsewhere]).await;
        assert_eq!(
            (answered.status, answered.reason.as_str()),
            (403, "a page from elsewhere may not change anything here")
        );
    }
    fs::write(&file, text.replace("lifecycle", "livecycle") + "[[target.exporter]]\n").unwrap();
    let answered = send(&on, Method::POST, &[]).await;
    assert_eq!((answered.status, answered.text().lines().count()), (500, 2), "{}", answered.text());
    assert!(answered.text().contains("unknown key \"livecycle\""), "{}", answered.text());
    let metrics = on.metrics().await;
    assert!(metrics.contains("config_last_reload_successful 0\n"));
    assert!(
        metrics.contains("surface_refusals_total{surface=\"admin\",reason=\"cross_site\"} 2\n"),
        "{metrics}"
    );
    assert!(on.bridge.fleet().target("backpack").is_some(), "the old configuration stays");
}
