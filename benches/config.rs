//! Reading a bridge's configuration with 1,000 targets, in one file and in a file for each.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::fs;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use scraper_bridge::config::BridgeConfig;

const TARGETS: usize = 1000;

fn target(number: usize) -> String {
    format!(
        "[[target]]\nname = \"device{number:04}\"\naddress = \"ssh://device{number:04}.example\"\n\
         host_key = \"SHA256:uNiVztksCsDhcc0u9e8BrfJXVREF2P2hkKKrbSQGHqs\"\nlabels = {{ site = \"harbour\" }}\n\
         [[target.exporter]]\nname = \"node\"\nlisten = \"auto\"\naddress = \"127.0.0.1:9100\"\n\
         [[target.exporter]]\nname = \"app\"\naddress = \"127.0.0.1:9101\"\n"
    )
}

fn file(folder: &Path, targets: &str) -> std::path::PathBuf {
    fs::create_dir_all(folder.join("state")).unwrap();
    let file = folder.join("bridge.toml");
    fs::write(&file, format!("state_dir = {:?}\n{targets}", folder.join("state"))).unwrap();
    file
}

fn config(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let one = file(&folder.path().join("one"), &(0..TARGETS).map(target).collect::<String>());
    let many = file(&folder.path().join("many"), "");
    let targets = folder.path().join("many/state/targets.d");
    fs::create_dir(&targets).unwrap();
    for number in 0..TARGETS {
        fs::write(targets.join(format!("device{number:04}.toml")), target(number)).unwrap();
    }
    for (name, file) in
        [("config of 1,000 targets, one file", one), ("config of 1,000 targets, a file each", many)]
    {
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                let config = BridgeConfig::read(Some(&file), None).unwrap();
                assert_eq!(config.targets.len(), TARGETS);
                config
            });
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = config
}
criterion_main!(benches);
