//! Both programs as people run them, fenced in by the kernel.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::checkout::program;
use crate::exporters::{Exporter, Manner};
use crate::http::scrape;
use crate::paired::Device;
use crate::world::World;

/// What a program says of its sandbox: that it is in it, or that it is not.
fn told(log: &Path) -> [bool; 2] {
    let log = fs::read_to_string(log).unwrap();
    ["message=\"fenced in by Landlock", "not fenced in by Landlock"].map(|said| log.contains(said))
}

pub async fn nothing_is_missing_in_it(world: &World) {
    let folder = world.folder();
    let exporter = Exporter::start(Manner::Good("a 1\n".into())).await;
    let keys = format!("[ssh]\nkeys = [{:?}]\n", world.key().public_line());
    let exporters = [("app", exporter.address)];
    let agent_file = world.agent_file(&folder, &keys, &exporters);
    let agent = Device::run(&folder, &agent_file);

    let list = folder.join("sd/targets.json");
    fs::create_dir(list.parent().unwrap()).unwrap();
    let socket = folder.join("sockets/app.sock");
    fs::create_dir(socket.parent().unwrap()).unwrap();
    let more = format!("[discovery]\nfile = {list:?}\n");
    let target = world.target_of(&agent_file, "backpack", &["app", "agent"]);
    let bridge_file = world.bridge_file(&folder, &more, &target);
    let mut command = Command::new(program("scraper-bridge"));
    command.arg("run").arg("--config.file").arg(&bridge_file);
    command.env("RUNTIME_DIRECTORY", socket.parent().unwrap());
    let bridge = tornet::process::spawn(&command, &folder.join("bridge.log")).unwrap();

    world.until("the list of targets is there", || list.exists()).await;
    let listed: Vec<Value> = serde_json::from_slice(&fs::read(&list).unwrap()).unwrap();
    let address = listed[0]["targets"][0].as_str().unwrap().to_owned();
    world
        .in_time("the exporter is scraped", async {
            while scrape(&address).await.status != 200 {
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            }
        })
        .await;

    // A socket that nobody knew of when it was fenced in.
    let text = fs::read_to_string(&bridge_file).unwrap();
    let moved = text.replacen(
        "\"127.0.0.1:0\"\n[[target.exporter]]",
        &format!("\"unix:{}\"\n[[target.exporter]]", socket.display()),
        1,
    );
    assert_ne!(moved, text);
    fs::write(&bridge_file, moved).unwrap();
    world.until("it listens there", || socket.exists()).await;

    for (process, log) in [(&agent, "agent.log"), (&bridge, "bridge.log")] {
        assert!(process.is_running());
        let [fenced, unknown] = told(&folder.join(log));
        assert!(fenced != unknown, "{log}: one of the two");
    }
    drop((agent, bridge));

    // And without, where that is wanted.
    let open = fs::read_to_string(&agent_file).unwrap().replacen("[tor]", "sandbox = false\n[tor]", 1);
    fs::write(&agent_file, open).unwrap();
    let without = world.folder();
    let agent = Device::run(&without, &agent_file);
    let log = without.join("agent.log");
    world.until("it publishes", || fs::read_to_string(&log).unwrap().contains("publishing")).await;
    assert_eq!(told(&log), [false, false]);
    drop(agent);
}

pub async fn what_it_denies_is_told(world: &World) {
    for name in ["target-agent", "scraper-bridge"] {
        let folder = world.folder();
        let (state, elsewhere) = (folder.join("state"), folder.join("elsewhere"));
        for folder in [&state, &elsewhere] {
            fs::DirBuilder::new().mode(0o700).create(folder).unwrap();
        }
        // It may be written to until the fence is there.
        symlink(elsewhere.join("lock"), state.join("lock")).unwrap();
        let mut command = Command::new(program(name));
        command.arg("run").arg("--state-dir").arg(&state);
        let log = folder.join("log");
        let _process = tornet::process::spawn(&command, &log).unwrap();
        world
            .until("it says that the fence may be why, or that there is none", || {
                let [_, unknown] = told(&log);
                unknown || fs::read_to_string(&log).unwrap().contains("sandbox = false")
            })
            .await;
    }
}
