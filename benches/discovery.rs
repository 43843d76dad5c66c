//! What Prometheus is told of 1,000 targets: `/sd`, from the fleet to JSON.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::fs;

use criterion::{Criterion, criterion_group, criterion_main};
use onionscrape::ssh::KeyFile;
use scraper_bridge::bridge::Bridge;
use scraper_bridge::config::BridgeConfig;
use scraper_bridge::discovery::{Place, Via, groups, json};
use tokio_util::sync::CancellationToken;

const TARGETS: usize = 1000;

/// A device that comes by itself, and so is not dialled all the while.
fn target(number: usize, folder: &std::path::Path) -> String {
    let key = KeyFile::open_or_make(&folder.join(number.to_string()), "device").unwrap();
    format!(
        "[[target]]\nname = \"device{number:04}\"\ntransport = \"reverse\"\nauthorized_key = {:?}\n\
         labels = {{ site = \"harbour\" }}\n\
         [[target.exporter]]\nname = \"node\"\nport = 20001\n",
        key.public_line()
    )
}

fn discovery(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let targets: String = (0..TARGETS).map(|number| target(number, folder.path())).collect();
    let file = folder.path().join("bridge.toml");
    let head = "[admin]\nlisten = \"127.0.0.1:0\"\n[reverse]\nlisten = \"127.0.0.1:0\"\n";
    fs::write(&file, format!("state_dir = {:?}\n{head}{targets}", folder.path().join("state"))).unwrap();
    let config = BridgeConfig::read(Some(&file), None).unwrap();
    let shutdown = CancellationToken::new();
    let bridge = runtime.block_on(Box::pin(Bridge::start(config, shutdown.clone()))).unwrap();
    let place = Place { admin: "127.0.0.1:9822".to_owned(), scheme: "http" };
    criterion.bench_function("/sd of 1,000 targets", |bencher| {
        bencher.iter(|| {
            let groups = runtime.block_on(groups(bridge.fleet(), Via::Path, &place));
            assert_eq!(groups.len(), TARGETS);
            json(&groups)
        });
    });
    shutdown.cancel();
    runtime.block_on(bridge.run());
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = discovery
}
criterion_main!(benches);
