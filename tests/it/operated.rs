//! What `docs/operate.md` says to do, with its commands; and that it says something about every alert.

use std::path::Path;

use crate::checkout::read;
use crate::exporters::{Exporter, Manner};
use crate::http::scrape;
use crate::paired::{Device, Running, add, bridge, text};
use crate::world::{PATIENCE, World, run};

pub async fn every_alert_has_its_heading(_: &World) {
    let alerts = read("monitoring/alerts.yml");
    let mut alerts: Vec<_> =
        alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let document = read("docs/operate.md");
    let (_, document) = document.split_once("\n## Alerts\n").unwrap();
    let mut headings = Vec::new();
    for part in document.split("\n### ").skip(1) {
        let (heading, what) = part.split_once('\n').unwrap();
        assert!(what.trim().len() > 80, "{heading}: nothing to do?");
        headings.push(heading);
    }
    assert!(alerts.len() >= 20, "{alerts:?}");
    alerts.sort_unstable();
    headings.sort_unstable();
    assert_eq!(headings, alerts);
}

/// Waits for a session, which is new if the bridge is told to dial anew.
async fn connected(running: &Running, file: &Path, anew: bool) {
    let mut state = running.bridge.fleet().target("backpack").expect("paired").state();
    if anew {
        let redialled =
            run("scraper-bridge", &["redial", "backpack", "--config.file", file.to_str().unwrap()]);
        assert!(redialled.status.success(), "{}", text(&redialled.stderr));
    }
    let up = state.wait_for(|state| state.pool().is_some());
    tokio::time::timeout(PATIENCE, up).await.expect("connected").unwrap();
}

fn address(running: &Running) -> String {
    running.bridge.fleet().offered()[0].listening[0].to_string()
}

pub async fn from_a_backup_and_to_another_monitor(world: &World) {
    let exporter = Exporter::start(Manner::Good("a 1\n".into())).await;
    let lost = Device::start(world, &[("app", exporter.address)]).await;
    lost.reachable(world).await;
    let (old_file, new_file) =
        (world.bridge_file(&world.folder(), "", ""), world.bridge_file(&world.folder(), "", ""));
    let old = bridge(&old_file).await;
    let added = add(&old_file, &lost.ticket(&["--name", "prometheus"]), &["--name", "backpack"]);
    assert!(added.status.success(), "{}", text(&added.stderr));
    connected(&old, &old_file, false).await;

    // The card breaks; another one has the device's identity and its guests from the copy.
    let copy = world.folder().join("backup");
    let copied = lost.agent(&["export", "--to", copy.to_str().unwrap()]);
    assert!(copied.status.success(), "{}", text(&copied.stderr));
    lost.process.kill();
    let folder = world.folder();
    let file = world.agent_file(&folder, "", &[("app", exporter.address)]);
    let arguments = ["import", "--from", copy.to_str().unwrap(), "--config.file", file.to_str().unwrap()];
    let imported = run("target-agent", &arguments);
    assert_eq!(text(&imported.stdout).trim(), lost.onion(), "{}", text(&imported.stderr));
    let process = Device::run(&folder, &file);
    let device = Device { folder, file, process, admin: String::new() };
    device.reachable(world).await;
    connected(&old, &old_file, true).await;
    assert_eq!(scrape(&address(&old)).await.text(), "a 1\n");

    // To another monitor; the old one gets no further then.
    let new = bridge(&new_file).await;
    let added = add(&new_file, &device.ticket(&["--name", "new-monitor"]), &["--name", "backpack"]);
    assert!(added.status.success(), "{}", text(&added.stderr));
    connected(&new, &new_file, false).await;
    assert_eq!(scrape(&address(&new)).await.text(), "a 1\n");
    assert!(device.agent(&["revoke", "prometheus"]).status.success());
    let refused = || {
        let target = old.bridge.fleet().target("backpack").expect("still there");
        target.state().borrow().pool().is_none()
    };
    world.until("the old monitor is kept out", refused).await;
    let arguments = ["remove", "backpack", "--config.file", old_file.to_str().unwrap()];
    let removed = run("scraper-bridge", &arguments);
    assert!(removed.status.success(), "{}", text(&removed.stderr));
    assert_eq!(scrape(&address(&new)).await.text(), "a 1\n", "the new one is as it was");

    // Somebody has the key: another address, without waiting for anybody.
    let before = device.onion();
    let rotated = device.agent(&["rotate", "onion", "--now"]);
    assert!(rotated.status.success(), "{}", text(&rotated.stderr));
    let now = text(&rotated.stdout).trim().to_owned();
    world.until("the new address counts", || device.onion() == now).await;
    assert_ne!(now, before);
}
