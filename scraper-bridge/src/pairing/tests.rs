use std::fs;

use serde_json::json;

use super::*;

/// A bridge's configuration in `folder`, whose targets are in `folder/targets`.
fn config(folder: &Path, targets: &str) -> BridgeConfig {
    let file = folder.join("bridge.toml");
    let state = folder.join("state");
    let text = format!("state_dir = {state:?}\ntargets_dir = {:?}\n{targets}", folder.join("targets"));
    fs::write(&file, text).expect("written");
    fs::create_dir_all(folder.join("targets")).expect("made");
    BridgeConfig::read(Some(&file), None).expect("right")
}

const BY_HAND: &str = "[[target]]\nname = \"backpack\"\naddress = \"ssh://metrics@server.example\"\n\
                       known_hosts = \"hosts\"\nkey_file = \"targets/backpack.key\"\n\n\
                       [[target.exporter]]\nname = \"node\"\naddress = \"127.0.0.1:9100\"\n";

fn addition(name: &str) -> Addition {
    Addition { ticket: None, name: name.parse().ok(), listen: None, no_listen: true, with_agent: true }
}

fn ticket() -> Ticket {
    let onion = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion".parse().expect("an address");
    let host_key = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU".parse().expect("a fingerprint");
    Ticket::new(onion, host_key, SystemTime::now())
}

fn inventory(exporters: &[&str]) -> Inventory {
    let exporters: Vec<_> =
        exporters.iter().map(|name| json!({ "name": name, "path": "/metrics" })).collect();
    serde_json::from_value(json!({ "version": 1, "exporters": exporters })).expect("an inventory")
}

#[tokio::test]
async fn a_target_that_stands_elsewhere_keeps_its_keys() {
    let folder = tempfile::tempdir().expect("folder");
    fs::create_dir(folder.path().join("targets")).expect("made");
    let key = folder.path().join("targets/backpack.key");
    fs::write(&key, "key").expect("written");
    let config = config(folder.path(), BY_HAND);
    let Failure(why) = remove(config, "backpack").await.expect_err("by hand");
    assert!(why.contains("is in no file of its own"), "{why}");
    assert!(key.exists());
}

#[test]
fn a_name_that_was_given_away_meanwhile_is_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let config = config(folder.path(), "");
    let target = || addition("backpack").target(&config, ticket(), inventory(&["node"]));
    assert!(target().is_ok());
    fs::write(folder.path().join("targets/backpack.toml"), "").expect("written");
    let Failure(why) = target().err().expect("taken");
    assert!(why.contains("is here already"), "{why}");
}

#[test]
fn a_device_cannot_take_the_name_of_its_agent() {
    let folder = tempfile::tempdir().expect("folder");
    let config = config(folder.path(), "");
    let target = addition("backpack").target(&config, ticket(), inventory(&["agent", "node"]));
    let offers = target.unwrap_or_else(|Failure(why)| panic!("{why}")).offers;
    let names: Vec<_> = offers.iter().map(|offer| offer.exporter.as_str()).collect();
    assert_eq!(names, ["node", OWN_NAME]);
}
