//! The main job: from Prometheus to an exporter and back.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use tornet::Cut;
use tornet::process;

use crate::checkout::program;
use crate::exporters::{Exporter, Manner};
use crate::http::{Scraper, scrape};
use crate::prometheus::Prometheus;
use crate::world::{World, run};

/// The names and labels of all series and the comments, without the values that move.
fn series(text: &str) -> BTreeSet<String> {
    text.lines()
        .map(|line| {
            if line.starts_with('#') {
                line
            } else {
                line.rsplit_once(' ').map_or(line, |(series, _)| series)
            }
        })
        // These come and go from one scrape to the next.
        .filter(|line| {
            !line.contains("node_scrape_collector") && !line.contains("promhttp") && !line.contains("go_")
        })
        .map(str::to_owned)
        .collect()
}

pub async fn the_body_is_a_direct_scrapes(world: &World) {
    let exporter = world.node_exporter();
    let device = world.device(&[("node", exporter)]).await;
    let monitor = world.monitor(&[("backpack", &device, &["node"])]).await;
    monitor.connected("backpack").await;
    let mut through = Scraper::connect(&monitor.address("backpack", "node")).await;
    let mut direct = Scraper::connect(&exporter.to_string()).await;

    let openmetrics =
        [("accept", "application/openmetrics-text; version=1.0.0"), ("accept-encoding", "identity")];
    for headers in [&openmetrics[1..], &openmetrics] {
        let (through, direct) =
            (through.get("/metrics", headers).await, direct.get("/metrics", headers).await);
        assert_eq!((through.status, through.complete), (200, true));
        assert_eq!(through.header("content-type"), direct.header("content-type"));
        assert_eq!(series(through.text()), series(direct.text()));
        assert!(through.text().lines().count() > 500, "it is a real exporter");
    }

    let through = through.get("/metrics?collect[]=uname", &[("accept-encoding", "gzip")]).await;
    assert!(
        through.text().contains("node_uname_info") && !through.text().contains("node_load1"),
        "the query"
    );
}

pub async fn a_warm_scrape_reuses_its_channel(world: &World) {
    let exporter = Exporter::start(Manner::Good("a 1\n".into())).await;
    let device = world.device(&[("app", exporter.address)]).await;
    let monitor = world.monitor(&[("backpack", &device, &["app"])]).await;
    monitor.connected("backpack").await;
    let address = monitor.address("backpack", "app");
    scrape(&address).await;
    // On a new connection from Prometheus too: the channel to the device is open already.
    for _ in 0..3 {
        let scraped = scrape(&address).await;
        let timing = scraped.header("server-timing").unwrap().to_owned();
        let channel = timing.split(", ").find_map(|lap| lap.strip_prefix("channel;dur=")).unwrap();
        assert!(channel.parse::<f64>().unwrap() < 5.0, "a channel was opened: {timing}");
    }
}

pub async fn prometheus_says_up(world: &World) {
    let device = world.device(&[("node", world.node_exporter())]).await;
    let monitor = world.monitor(&[("backpack", &device, &["node"])]).await;
    monitor.connected("backpack").await;
    is_up(world, &monitor.address("backpack", "node"), "").await;
}

/// Has a real Prometheus scrape `target`, with `more` in its job, until it says `up`.
pub async fn is_up(world: &World, target: &str, more: &str) {
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n- job_name: onion\n  \
         static_configs: [{{targets: ['{target}'], labels: {{instance: backpack}}}}]\n{more}",
    );
    Prometheus::start(world, &config, &[]).until_up("backpack", "").await;
}

pub async fn probe_and_metrics(world: &World) {
    let exporter = Exporter::start(Manner::Good("a 1\n".into())).await;
    let nobody = tornet::ports::reserve().unwrap().addr();
    let device = world.device(&[("app", exporter.address), ("down", nobody)]).await;
    let monitor = world.monitor(&[("backpack", &device, &["app", "down"])]).await;
    monitor.connected("backpack").await;
    let file = monitor.file.to_str().unwrap();

    // With the running bridge.
    let probed = run("scraper-bridge", &["probe", "backpack", "app", "--config.file", file]);
    let said = String::from_utf8_lossy(&probed.stderr).into_owned();
    assert!(probed.status.success(), "{said}");
    assert_eq!(probed.stdout, b"a 1\n");
    for word in ["running bridge", "session", "channel", "answer", "in all", "status 200"] {
        assert!(said.contains(word), "{word:?} is missing in:\n{said}");
    }
    let unknown = run("scraper-bridge", &["probe", "backpack", "nope", "--config.file", file]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("configured are: app, down"));

    // A scrape that fails: nothing on standard output, and an exit code for scripts.
    let failed = run("scraper-bridge", &["probe", "backpack", "down", "--config.file", file]);
    let said = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert_eq!((failed.status.code(), failed.stdout.as_slice()), (Some(1), &b""[..]), "{said}");
    assert!(said.contains("status 502") && said.contains("exporter"), "{said}");

    let metrics = monitor.metrics().await;
    for line in [
        "onionscrape_target_connected{target=\"backpack\"} 1\n",
        "onionscrape_scrape_requests_total{target=\"backpack\"} 2\n",
        "onionscrape_scrape_failures_total{target=\"backpack\",reason=\"timeout\"} 0\n",
        "onionscrape_scrape_response_bytes_total{target=\"backpack\"} 4\n",
        "onionscrape_scrape_requests_in_flight 0\n",
        "onionscrape_tor_bootstrap_ratio 1.0\n",
    ] {
        assert!(metrics.contains(line), "{line:?} is missing in:\n{metrics}");
    }
    assert!(!metrics.contains(&device.onion[..20]), "no address in metrics");
    promtool_accepts(world, &metrics);
    let mut admin = Scraper::connect(&monitor.bridge.admin().to_string()).await;
    for (path, status) in [("/-/healthy", 200), ("/-/ready", 200), ("/", 200), ("/nope", 404)] {
        assert_eq!(admin.get(path, &[]).await.status, status, "{path}");
    }

    // Without one: the probe connects by itself.
    let folder = monitor.file.clone();
    drop(monitor);
    let file = folder.to_str().unwrap();
    world
        .until("the bridge has let go of its state", || {
            let lock = std::fs::File::open(folder.with_file_name("bridge").join("lock")).unwrap();
            lock.try_lock().is_ok()
        })
        .await;
    let probed =
        run("scraper-bridge", &["probe", "backpack", "app", "--config.file", file, "--log.level", "debug"]);
    assert!(probed.status.success(), "{}", String::from_utf8_lossy(&probed.stderr));
    // The body and nothing else, however much is logged.
    assert_eq!(probed.stdout, b"a 1\n");
}

fn promtool_accepts(world: &World, metrics: &str) {
    let file = world.folder().join("metrics");
    fs::write(&file, metrics).unwrap();
    let checked = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(fs::File::open(file).unwrap())
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

pub async fn resumes_after_the_agent_is_killed(world: &World) {
    let exporter = Exporter::start(Manner::Good("a 1\n".into())).await;
    let folder = world.folder();
    let ssh = format!("[ssh]\nkeys = [{:?}]\n", world.key().public_line());
    let file = world.agent_file(&folder, &ssh, &[("app", exporter.address)]);
    let start = |log: &str| {
        let mut command = Command::new(program("target-agent"));
        command.arg("run").arg("--config.file").arg(&file);
        process::spawn(&command, &folder.join(log)).unwrap()
    };
    let target = world.target_of(&file, "backpack", &["app"]);
    let agent = start("first.log");
    let monitor = world.monitor_of("", &target).await;
    let address = monitor.address("backpack", "app");
    monitor.connected("backpack").await;
    assert_eq!(scrape(&address).await.status, 200);

    drop(agent); // SIGKILL
    monitor.state("backpack", "given up", |state| state.pool().is_none()).await;
    let scraped = scrape(&address).await;
    assert_eq!(scraped.status, 503, "{scraped:?}");
    let agent = start("second.log");
    monitor.connected("backpack").await;
    assert_eq!(scrape(&address).await.text(), "a 1\n");
    drop(agent);
}

pub async fn tor_down_is_503(world: &World) {
    let exporter = Exporter::start(Manner::Good("a 1\n".into())).await;
    let device = world.device(&[("app", exporter.address)]).await;
    let network = world.network();
    let address = network.client_address(1).unwrap();
    tokio::task::block_in_place(|| network.cut(1, Cut::Reset)).unwrap();
    let more = format!("{}outbound_bind_address = \"{address}\"\n", world.tor_section());
    let monitor = world.monitor_with(&more, &[("backpack", &device, &["app"])]).await;
    let scraped = scrape(&monitor.address("backpack", "app")).await;
    assert_eq!(scraped.status, 503, "{scraped:?}");
    assert!(scraped.reason.contains("Tor"), "{}", scraped.reason);
    let mut admin = Scraper::connect(&monitor.bridge.admin().to_string()).await;
    assert_eq!(admin.get("/-/ready", &[]).await.status, 503);
    assert_eq!(admin.get("/-/healthy", &[]).await.status, 200);
    tokio::task::block_in_place(|| network.restore(1)).unwrap();
    monitor.connected("backpack").await;
    assert_eq!(scrape(&monitor.address("backpack", "app")).await.status, 200);
}

pub async fn a_session_that_stands_by(world: &World) {
    let exporter = Exporter::start(Manner::Good("a 1\n".into())).await;
    let device = world.device(&[("app", exporter.address)]).await;
    let monitor = world.monitor_with("standby = true\n", &[("backpack", &device, &["app"])]).await;
    monitor.connected("backpack").await;
    let target = monitor.bridge.fleet().target("backpack").unwrap();
    for round in 0..3 {
        world.until("a second session stands by", || target.has_standby()).await;
        target.state().borrow().pool().expect("it is up").session().cut();
        for _ in 0..5 {
            let scraped = scrape(&monitor.address("backpack", "app")).await;
            assert_eq!((scraped.status, scraped.text()), (200, "a 1\n"), "round {round}: {scraped:?}");
        }
    }
    let metrics = monitor.metrics().await;
    let failed = "onionscrape_scrape_failures_total{target=\"backpack\",reason=\"aborted\"} 0\n";
    assert!(metrics.contains(failed), "{metrics}");
}
