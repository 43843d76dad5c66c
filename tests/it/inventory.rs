//! What a device tells of itself, as Prometheus hears of it.

use std::fs;
use std::path::Path;
use std::time::Instant;

use scraper_bridge::bridge::Bridge;
use scraper_bridge::config::BridgeConfig;
use serde_json::Value;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::exporters::{Exporter, Manner};
use crate::http::Scraper;
use crate::prometheus::Prometheus;
use crate::world::{Device, World};

/// A device with two exporters that say how often they are to be scraped.
async fn device(world: &World) -> (Device, [Exporter; 2]) {
    let exporters = [
        Exporter::start(Manner::Good("a 1\n".into())).await,
        Exporter::start(Manner::Good("b 1\n".into())).await,
    ];
    let [app, queue] = exporters.each_ref().map(|exporter| exporter.address);
    let text = format!(
        "[ssh]\nkeys = [{:?}]\n\
         [[exporter]]\nname = \"app\"\naddress = \"{app}\"\nlabels = {{ room = \"attic\", job = \"theirs\" }}\n\
         scrape_interval = \"3s\"\nscrape_timeout = \"2s\"\n\
         [[exporter]]\nname = \"queue\"\naddress = \"{queue}\"\nscrape_interval = \"5m\"\n",
        world.key().public_line()
    );
    (world.device_with(&text, &[]).await, exporters)
}

pub async fn a_device_says_how_often_it_is_scraped(world: &World) {
    let (device, _exporters) = device(world).await;
    let targets = world.target("backpack", &device, "", &["app", "queue", "host"])
        + &world.target("other", &device, "scrape_interval = \"1m\"", &["app"]);
    let monitor = world.monitor_of("", &targets).await;
    for name in ["backpack", "other"] {
        let target = monitor.bridge.fleet().target(name).unwrap();
        world.until("the inventory is known", || target.inventory().is_some()).await;
    }
    let config = format!(
        "global:\n  scrape_interval: 8s\nscrape_configs:\n  - job_name: found\n    http_sd_configs:\n      \
         - url: http://{}/sd?via=path\n        refresh_interval: 1s\n",
        monitor.bridge.admin()
    );
    let prometheus = Prometheus::start(world, &config, &[]);
    prometheus.until_up("backpack", "app").await;
    let found = prometheus.targets().await;
    let schedule = |instance: &str, exporter: &str| {
        let is_it =
            |one: &&Value| one["labels"]["instance"] == instance && one["labels"]["exporter"] == exporter;
        let one = found.iter().find(is_it).unwrap_or_else(|| panic!("no {exporter} in {found:?}"));
        [
            one["scrapeInterval"].as_str().unwrap().to_owned(),
            one["scrapeTimeout"].as_str().unwrap().to_owned(),
        ]
    };
    assert_eq!(schedule("backpack", "app"), ["3s", "2s"], "the device's");
    assert_eq!(
        schedule("backpack", "queue"),
        ["120s", "10s"],
        "no longer than a device may ask for; a timeout that fits goes with it"
    );
    assert_eq!(schedule("backpack", "host"), ["8s", "8s"], "Prometheus' own where nobody says anything");
    assert_eq!(schedule("other", "app"), ["60s", "10s"], "the bridge's wins");
    let metrics = monitor.metrics().await;
    let refused = "onionscrape_inventory_refusals_total{target=\"backpack\",reason=\"label\"} 1";
    assert!(metrics.contains(refused), "a label that a device cannot set: {metrics}");
}

/// What `/sd` says of the first exporter.
async fn labels(bridge: &Bridge) -> Value {
    let found = Scraper::connect(&bridge.admin().to_string()).await.get("/sd", &[]).await;
    let found: Value = serde_json::from_slice(&found.body).unwrap();
    found[0]["labels"].clone()
}

/// A bridge on this configuration, as soon as the one before it is gone.
async fn bridge(file: &Path) -> (Bridge, DropGuard) {
    let began = Instant::now();
    loop {
        let shutdown = CancellationToken::new();
        match Bridge::start(BridgeConfig::read(Some(file), None).unwrap(), shutdown.clone()).await {
            Ok(bridge) => return (bridge, shutdown.drop_guard()),
            Err(why) => assert!(began.elapsed().as_secs() < 30, "{why}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

pub async fn it_is_known_before_the_device_is_up(world: &World) {
    let (device, _exporters) = device(world).await;
    let folder = world.folder();
    let file = world.bridge_file(&folder, "", &world.target("backpack", &device, "", &["app"]));
    let kept = folder.join("bridge/inventory/backpack.json");
    {
        let (bridge, _stop) = bridge(&file).await;
        assert_eq!(labels(&bridge).await["room"], Value::Null, "nothing is known yet");
        world.until("the inventory is on disk", || kept.exists()).await;
    }
    device.stop().await;

    let whole = fs::read_to_string(&kept).unwrap();
    {
        let (bridge, _stop) = bridge(&file).await;
        let labels = labels(&bridge).await;
        assert_eq!(
            (&labels["room"], &labels["__meta_onionscrape_label_room"]),
            (&"attic".into(), &"attic".into())
        );
        assert_eq!(
            (&labels["__scrape_interval__"], &labels["__scrape_timeout__"]),
            (&"3s".into(), &"2s".into())
        );
        assert_eq!(labels["job"], Value::Null);
    }
    // A copy that is damaged is done without.
    fs::write(&kept, &whole[..whole.len() / 2]).unwrap();
    {
        let (bridge, _stop) = bridge(&file).await;
        let labels = labels(&bridge).await;
        assert_eq!((&labels["instance"], &labels["room"]), (&"backpack".into(), &Value::Null));
    }
    // It goes with its target.
    fs::write(&kept, &whole).unwrap();
    let (bridge, _stop) = bridge(&file).await;
    world.bridge_file(&folder, "", "");
    bridge.reloader().reload().await.unwrap();
    assert!(!kept.exists());
}
