//! Another release than the one that wrote the state: an older one's is taken over, a newer one's is refused
//! and left as it is.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::checkout::repository;
use crate::http::Scraper;
use crate::paired::{Device, bridge, text};
use crate::world::{PATIENCE, World, run};

/// A copy of what the first release left, private as it was, with the two configuration files.
fn first_release(world: &World) -> (PathBuf, PathBuf, PathBuf) {
    let folder = world.folder();
    let kept = repository("tests/state/0.1.0");
    for program in ["agent", "bridge"] {
        copy(&kept.join(program), &folder.join(program));
    }
    // The ports may be taken on this machine.
    let target = folder.join("bridge/targets.d/backpack.toml");
    let mut words = fs::read_to_string(&target).unwrap();
    for port in ["29901", "29902"] {
        words = words.replace(&format!("127.0.0.1:{port}"), "127.0.0.1:0");
    }
    fs::write(&target, words).unwrap();
    let agent = world.agent_file(&folder, "", &[]);
    let bridge = world.bridge_file(&folder, "", "");
    (folder, agent, bridge)
}

/// git keeps no modes, and these are keys.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, Permissions::from_mode(0o700)).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
            fs::set_permissions(&to, Permissions::from_mode(0o600)).unwrap();
        }
    }
}

/// Everything in a folder, by its path.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(contents(&path));
            all.insert(path, Vec::new());
        } else {
            let bytes = fs::read(&path).unwrap();
            all.insert(path, bytes);
        }
    }
    all
}

pub async fn state_of_the_first_release_is_taken_over(world: &World) {
    let (folder, agent_file, bridge_file) = first_release(world);
    let before = contents(&folder);
    let process = Device::run(&folder, &agent_file);
    let device = Device { folder: folder.clone(), file: agent_file, process, admin: String::new() };
    let running = bridge(&bridge_file).await;
    let target = running.bridge.fleet().target("backpack").expect("it is known");
    let mut state = target.state();
    let up = state.wait_for(|state| state.pool().is_some());
    tokio::time::timeout(PATIENCE, up).await.expect("connected").unwrap();
    let admin = running.bridge.admin().to_string();
    let scraped = Scraper::connect(&admin).await.get("/t/backpack/host/metrics", &[]).await;
    assert!(scraped.status == 200 && scraped.text().contains("\nnode_load1 "), "{scraped:?}");

    // It is who it was, and knows whom it knew.
    let onion = device.onion();
    assert!(fs::read_to_string(folder.join("bridge/targets.d/backpack.toml")).unwrap().contains(&onion));
    let bridges = text(&device.agent(&["bridges"]).stdout);
    assert!(bridges.contains("monitor") && bridges.contains("spare"), "{bridges}");
    for (path, bytes) in &before {
        let is_key = path.components().any(|part| {
            ["keystore", "targets.d", "bridges", "ssh_host_ed25519_key"]
                .contains(&part.as_os_str().to_str().unwrap())
        });
        if is_key && path.is_file() {
            assert_eq!(&fs::read(path).unwrap(), bytes, "{} was changed", path.display());
        }
    }
    for program in ["agent", "bridge"] {
        assert_eq!(fs::read_to_string(folder.join(program).join("version")).unwrap(), "1\n");
    }
}

pub async fn newer_and_damaged_state_is_refused_and_left_alone(world: &World) {
    let (folder, agent, bridge) = first_release(world);
    for (says, told) in [("2\n", "version 2, and this release knows version 1 only"), ("x\n", "is damaged")] {
        for program in ["agent", "bridge"] {
            fs::write(folder.join(program).join("version"), says).unwrap();
        }
        let before = contents(&folder);
        let from = folder.join("agent").to_str().unwrap().to_owned();
        let copy = folder.join("copy").to_str().unwrap().to_owned();
        for (program, file, arguments) in [
            ("target-agent", &agent, &["run"][..]),
            ("target-agent", &agent, &["hostname"]),
            ("target-agent", &agent, &["ticket"]),
            ("target-agent", &agent, &["bridges"]),
            ("target-agent", &agent, &["revoke", "monitor"]),
            ("target-agent", &agent, &["rotate", "host-key"]),
            ("target-agent", &agent, &["import", "--from", &from]),
            ("target-agent", &agent, &["export", "--to", &copy]),
            ("target-agent", &agent, &["status"]),
            ("target-agent", &agent, &["check"]),
            ("target-agent", &agent, &["doctor"]),
            ("scraper-bridge", &bridge, &["run"]),
            ("scraper-bridge", &bridge, &["key"]),
            ("scraper-bridge", &bridge, &["remove", "backpack"]),
            ("scraper-bridge", &bridge, &["probe", "backpack"]),
            ("scraper-bridge", &bridge, &["status"]),
            ("scraper-bridge", &bridge, &["check"]),
            ("scraper-bridge", &bridge, &["doctor"]),
        ] {
            // What is damaged is found in the same place.
            if told == "is damaged" && !["run", "hostname", "key", "check"].contains(&arguments[0]) {
                continue;
            }
            let refused = run(program, &[arguments, &["--config.file", file.to_str().unwrap()]].concat());
            let said = text(&refused.stderr) + &text(&refused.stdout);
            assert_eq!(refused.status.code(), Some(1), "{program} {arguments:?}: {said}");
            assert!(said.contains("/version: ") && said.contains(told), "{program} {arguments:?}: {said}");
            assert_eq!(contents(&folder), before, "{program} {arguments:?} changed something");
        }
    }
}
