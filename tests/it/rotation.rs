//! A device that changes its host key and its address while a bridge scrapes it.

use std::fs;
use std::time::Duration;

use scraper_bridge::fleet::Fleet;

use crate::exporters::{Exporter, Manner};
use crate::http::scrape;
use crate::paired::{Device, add, bridge, text};
use crate::world::World;

/// Waits until a session came about after the one that is up now, or one is up at all.
async fn connected(fleet: &Fleet, anew: bool) {
    let target = fleet.target("backpack").expect("paired");
    let mut state = target.state();
    if anew {
        target.redial().await;
    }
    let up = state.wait_for(|state| state.pool().is_some());
    tokio::time::timeout(Duration::from_secs(90), up).await.expect("connected").unwrap();
}

pub async fn a_new_host_key_and_a_new_address(world: &World) {
    let exporter = Exporter::start(Manner::Good("a 1\n".into())).await;
    let device = Device::start(world, &[("app", exporter.address)]).await;
    device.reachable(world).await;
    let folder = world.folder();
    let file = world.bridge_file(&folder, "", "");
    let running = bridge(&file).await;
    let fleet = running.bridge.fleet();
    let added = add(&file, &device.ticket(&["--name", "home"]), &["--name", "backpack"]);
    assert!(added.status.success(), "{}", text(&added.stderr));
    connected(fleet, false).await;
    let address = fleet.offered()[0].listening[0].to_string();
    assert_eq!(scrape(&address).await.text(), "a 1\n");
    let fingerprint = || {
        let json = text(&device.agent(&["hostname", "--json"]).stdout);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        json["host_key_fingerprint"].as_str().unwrap().to_owned()
    };

    // Begun beside a key that a person put there and that nobody uses: it waits for that one.
    let authorized_keys = folder.join("authorized_keys");
    let other = onionscrape::ssh::KeyFile::open_or_make(&authorized_keys, "other").unwrap();
    let device_keys = device.folder.join("agent/authorized_keys");
    fs::write(&device_keys, other.public_line()).unwrap();
    let old_key = fingerprint();
    let rotated = device.agent(&["rotate", "host-key"]);
    let (new_key, said) = (text(&rotated.stdout).trim().to_owned(), text(&rotated.stderr));
    assert!(rotated.status.success() && new_key.starts_with("SHA256:") && new_key != old_key, "{said}");
    assert!(said.contains("not yet: other, home"), "{said}");
    let known = device.folder.join("agent/rotation/host_key.toml");
    // The session that is up hears of it with the next scrape.
    world
        .until("the bridge has the key to come", || {
            let _ =
                tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(scrape(&address)));
            fs::read_to_string(&known).is_ok_and(|text| text.matches("SHA256:").count() == 2)
        })
        .await;
    let said = text(&device.agent(&["rotate"]).stderr);
    assert!(said.contains("1 have it; not yet: other"), "{said}");
    assert_eq!(fingerprint(), old_key, "one bridge has not learnt of it");
    let again = device.agent(&["rotate", "host-key"]);
    assert!(text(&again.stderr).contains("another host key is to come already"), "{again:?}");
    connected(fleet, true).await;
    fs::remove_file(&device_keys).unwrap();
    world.until("the new key counts", || fingerprint() == new_key).await;
    connected(fleet, true).await;
    assert_eq!(scrape(&address).await.text(), "a 1\n");
    let succession = folder.join("bridge/succession/backpack.toml");
    let written = fs::read_to_string(&succession).unwrap();
    assert!(
        written.contains(&format!("accepted = [\"{new_key}\"]")),
        "the old one counts no more: {written}"
    );

    // The address: the bridge moves by itself, and then there is nobody left to wait for.
    let old_onion = device.onion();
    let rotated = device.agent(&["rotate", "onion"]);
    let new_onion = text(&rotated.stdout).trim().to_owned();
    assert!(new_onion.ends_with(".onion") && new_onion != old_onion, "{}", text(&rotated.stderr));
    world
        .until("the new address counts", || {
            let _ =
                tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(scrape(&address)));
            device.onion() == new_onion
        })
        .await;
    connected(fleet, false).await;
    assert_eq!(scrape(&address).await.text(), "a 1\n");
    connected(fleet, true).await;
    assert_eq!(scrape(&address).await.text(), "a 1\n");
    let written = fs::read_to_string(&succession).unwrap();
    assert!(written.contains(&format!("accepted = [\"{new_onion}\"]")), "{written}");
    let keys = device.folder.join("agent/tor/keystore/hss");
    let left: Vec<_> = fs::read_dir(keys).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["agent-2"], "the old address' key is gone");
}
