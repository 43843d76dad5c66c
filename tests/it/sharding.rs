//! Two Prometheus, each with a bridge of its own over one inventory, share the devices between them.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::checkout::read;
use crate::exporters::{Exporter, Manner};
use crate::prometheus::Prometheus;
use crate::transports::{NO_TOR, an_sshd, at};
use crate::world::{Monitor, World};

/// Enough that neither shard has all of them by chance.
const DEVICES: usize = 12;

/// The documented `prometheus.yml` of one shard, in a hurry.
fn documented(monitor: &Monitor, shard: usize) -> String {
    read("docs/prometheus/sharded.yml")
        .replace("127.0.0.1:9822", &monitor.bridge.admin().to_string())
        .replace("regex: 0", &format!("regex: {shard}"))
        .replace("15s", "1s")
}

pub async fn each_target_is_in_one_of_two_shards(world: &World) {
    let sshd = an_sshd();
    let pinned = format!("host_key = {:?}", sshd.host_key_public);
    let mut exporters = Vec::new();
    let mut targets = String::new();
    for number in 0..DEVICES {
        let exporter = Exporter::start(Manner::Good(format!("device {number}\n"))).await;
        targets += &at(&format!("device{number}"), "127.0.0.1", &sshd, &pinned, exporter.address);
        exporters.push(exporter);
    }
    let all: BTreeSet<String> = (0..DEVICES).map(|number| format!("device{number}")).collect();
    let mut shards = Vec::new();
    for shard in 0..2 {
        let monitor = world.monitor_of(NO_TOR, &targets).await;
        for name in &all {
            monitor.connected(name).await;
        }
        let prometheus = Prometheus::start(world, &documented(&monitor, shard), &[]);
        shards.push((monitor, prometheus));
    }
    let started = Instant::now();
    let parts = loop {
        let mut parts = Vec::new();
        for (_, prometheus) in &shards {
            let up = prometheus.up().await.into_iter().filter(|(_, up)| *up);
            parts.push(up.map(|((instance, _), _)| instance).collect::<BTreeSet<_>>());
        }
        if parts.iter().map(BTreeSet::len).sum::<usize>() >= DEVICES {
            break parts;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "some are in no shard: {parts:?}");
        tokio::time::sleep(Duration::from_millis(250)).await;
    };
    assert!(parts[0].is_disjoint(&parts[1]), "some are in both: {parts:?}");
    assert!(parts.iter().all(|part| !part.is_empty()), "one shard has none: {parts:?}");
    assert_eq!(&parts[0] | &parts[1], all);

    // Who asks the exporters is one Prometheus for each: the other one's bridge has had no scrape of it.
    for ((monitor, _), other) in shards.iter().zip(parts.iter().rev()) {
        let metrics = monitor.metrics().await;
        for name in &all {
            let series = format!("onionscrape_scrape_requests_total{{target=\"{name}\"}} ");
            let line = metrics.lines().find_map(|line| line.strip_prefix(&series)).unwrap();
            assert_eq!(line == "0", other.contains(name), "{name}: {line} scrapes");
        }
    }
    assert!(exporters.iter().all(|exporter| exporter.requests.load(Ordering::SeqCst) > 0));
}
