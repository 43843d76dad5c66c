//! The onion address and the host key: made once, never replaced.

use std::fs;
use std::path::{Path, PathBuf};

use crate::checkout::program;
use crate::exporters::{Exporter, Manner};
use crate::http::scrape;
use crate::world::{World, run};

fn hostname(state: &Path) -> String {
    let printed = run("target-agent", &["hostname", "--state-dir", state.to_str().unwrap()]);
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    String::from_utf8(printed.stdout).unwrap()
}

pub async fn hostname_is_stable_and_published(world: &World) {
    let exporter = Exporter::start(Manner::Good("a 1\n".into())).await;
    let folder = world.folder();
    let state = folder.join("agent");
    // Before the agent ever ran…
    let before = hostname(&state);
    assert_eq!(before.len(), 56 + ".onion\n".len(), "the address and nothing else: {before:?}");
    // …while it runs, and again after a restart: it is the one that is published and can be scraped…
    let ssh = format!("[ssh]\nkeys = [{:?}]\n", world.key().public_line());
    let mut host_key = None;
    for _ in 0..2 {
        let device = world.device_in(folder.clone(), &ssh, &[("app", exporter.address)]).await;
        assert_eq!(device.onion, before.trim());
        assert_eq!(hostname(&state), before);
        let json = run("target-agent", &["hostname", "--json", "--state-dir", state.to_str().unwrap()]);
        let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
        assert_eq!(json["hostname"], before.trim());
        assert_eq!(json["host_key_fingerprint"], device.host_key.as_str());
        assert!(json["host_key"].as_str().unwrap().starts_with("ssh-ed25519 AAAA"));
        assert_eq!(host_key.get_or_insert(device.host_key.clone()), &device.host_key);
        let monitor = world.monitor(&[("backpack", &device, &["app"])]).await;
        monitor.connected("backpack").await;
        assert_eq!(scrape(&monitor.address("backpack", "app")).await.text(), "a 1\n");
        device.stop().await;
    }
    // …and after.
    assert_eq!(hostname(&state), before);
}

fn find(folder: &Path, name: &str) -> PathBuf {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().unwrap().to_str().unwrap().starts_with(name) {
                return path;
            }
        }
    }
    panic!("no file {name}…");
}

pub async fn a_damaged_identity_is_never_replaced(world: &World) {
    let state = world.folder().join("agent");
    hostname(&state);
    let printed = run("target-agent", &["hostname", "--json", "--state-dir", state.to_str().unwrap()]);
    assert!(printed.status.success());
    for name in ["ks_hs_id", "ssh_host_ed25519_key"] {
        let key = find(&state, name);
        let good = fs::read(&key).unwrap();
        for damaged in [&b""[..], &good[..good.len() / 2], b"garbage\n"] {
            fs::write(&key, damaged).unwrap();
            for arguments in [&["hostname", "--json"][..], &["run"]] {
                let arguments = [arguments, &["--state-dir", state.to_str().unwrap()]].concat();
                let refused = run("target-agent", &arguments);
                let said = String::from_utf8_lossy(&refused.stderr);
                assert_eq!(refused.status.code(), Some(1), "{arguments:?} with {name} damaged: {said}");
                assert!(said.contains(name), "the file is named: {said}");
                assert_eq!(fs::read(&key).unwrap(), damaged, "nothing was changed");
            }
        }
        fs::write(&key, good).unwrap();
    }
}

pub async fn many_at_once_make_one_identity(world: &World) {
    let state = world.folder().join("agent");
    let name = program("target-agent");
    let printed: Vec<String> = tokio::task::block_in_place(|| {
        let start = |_| {
            let mut command = std::process::Command::new(&name);
            command.args(["hostname", "--json", "--state-dir"]).arg(&state);
            command.stdout(std::process::Stdio::piped()).spawn().unwrap()
        };
        let all: Vec<_> = (0..8).map(start).collect();
        let print = |child: std::process::Child| child.wait_with_output().unwrap().stdout;
        all.into_iter().map(|child| String::from_utf8(print(child)).unwrap()).collect()
    });
    assert!(printed[0].contains(".onion"), "{printed:?}");
    assert!(printed.iter().all(|one| *one == printed[0]), "{printed:?}");
    assert!(printed[0].contains(hostname(&state).trim()), "what was printed is what is kept");
}

pub async fn an_address_is_taken_over_from_c_tor(world: &World) {
    let client = onionscrape::tor::ClientAuthKey::generate().public().to_string();
    let options = tornet::ServiceOptions {
        ports: vec![(22, world.node_exporter())],
        authorized_clients: vec![client.clone()],
        ..Default::default()
    };
    let service = tokio::task::block_in_place(|| world.network().hidden_service(&options)).unwrap();
    let onion = service.process().log().with_file_name("onion");
    let folder = world.folder();
    let state = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let import = |from: &Path, to: &str| {
        run("target-agent", &["import", "--from", from.to_str().unwrap(), "--state-dir", &state(to)])
    };
    let printed = |output: std::process::Output| {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stderr).contains("take each other's place"));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(printed(import(&onion, "taken")).trim(), service.hostname());
    assert_eq!(hostname(&folder.join("taken")).trim(), service.hostname());
    // Who was invited there is invited here, so that it is not open for a moment.
    let invited = fs::read_to_string(folder.join("taken/authorized_clients/client0.auth")).unwrap();
    assert_eq!(invited.trim(), client);

    // A copy of all of it, and back on another device: address and host key are the same, and who may come in.
    let lists = [("authorized_keys", "# nobody\n"), ("closed_to_strangers", "")];
    for (list, text) in lists {
        fs::write(folder.join("taken").join(list), text).unwrap();
    }
    let copy = folder.join("copy");
    let arguments = ["export", "--to", copy.to_str().unwrap(), "--state-dir", &state("taken")];
    printed(run("target-agent", &arguments));
    assert_eq!(fs::read(copy.join("hs_ed25519_secret_key")).unwrap().len(), 96);
    assert_eq!(
        fs::read(copy.join("hs_ed25519_public_key")).unwrap(),
        fs::read(onion.join("hs_ed25519_public_key")).unwrap()
    );
    printed(import(&copy, "moved"));
    for (list, text) in lists {
        assert_eq!(fs::read_to_string(folder.join("moved").join(list)).unwrap(), text);
    }
    let host_key = |name: &str| fs::read(folder.join(name).join("ssh_host_ed25519_key")).unwrap();
    assert_eq!(host_key("moved"), host_key("taken"));
    assert_eq!(hostname(&folder.join("moved")).trim(), service.hostname());

    // A device that has an address already keeps it.
    let before = hostname(&folder.join("other"));
    let refused = import(&onion, "other");
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("has another onion address already"));
    assert_eq!(hostname(&folder.join("other")), before);
    let nothing = import(&folder, "nothing");
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("hs_ed25519_secret_key"), "{nothing:?}");
}

pub async fn systemd_hears_each_step(world: &World) {
    let folder = world.folder();
    let socket = folder.join("notify");
    let heard = tokio::net::UnixDatagram::bind(&socket).unwrap();
    let file = world.agent_file(&folder, "", &[]);
    let mut command = std::process::Command::new(program("target-agent"));
    command.arg("run").arg("--config.file").arg(&file).env("NOTIFY_SOCKET", &socket);
    let agent = tornet::process::spawn(&command, &folder.join("agent.log")).unwrap();
    let mut said = Vec::new();
    while said.last().is_none_or(|last| last != "STATUS=reachable") {
        let mut datagram = [0; 1024];
        let length = tokio::time::timeout(std::time::Duration::from_secs(90), heard.recv(&mut datagram));
        let length = length.await.unwrap_or_else(|_| panic!("only {said:?}")).unwrap();
        said.extend(String::from_utf8_lossy(&datagram[..length]).lines().map(str::to_owned));
    }
    // Ready does not wait for Tor; reachable means that a dial from outside got through.
    let ready = said.iter().position(|line| line == "READY=1").expect("it is ready");
    said.remove(ready);
    assert_eq!(said, ["STATUS=bootstrapping", "STATUS=publishing", "STATUS=reachable"]);
    assert!(ready < said.len(), "ready came before reachable: {said:?}");
    agent.signal(tornet::process::Signal::Hangup).unwrap();
    let mut datagram = [0; 1024];
    for told in ["RELOADING=1\nMONOTONIC_USEC=", "READY=1"] {
        let length = tokio::time::timeout(std::time::Duration::from_secs(30), heard.recv(&mut datagram));
        let length = length.await.unwrap_or_else(|_| panic!("no {told}")).unwrap();
        let said = String::from_utf8_lossy(&datagram[..length]).into_owned();
        assert!(said.starts_with(told), "{said} in place of {told}");
    }
    assert!(agent.is_running());
    drop(agent);
}
