//! The world changes under a running program, and it finds back by itself.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tokio::task::block_in_place;
use tornet::process::{self, Process, Signal};

use crate::checkout::program;
use crate::doctor::Examined;
use crate::exporters::{Exporter, Manner};
use crate::http::scrape;
use crate::world::{Monitor, World};

/// Long enough that no session survives it.
const SLEEP: Duration = Duration::from_secs(60);

async fn exporter() -> Exporter {
    Exporter::start(Manner::Good("a 1\n".into())).await
}

/// Waits for a good scrape.
async fn scraped_again(world: &World, monitor: &Monitor, exporter: &str) {
    let address = monitor.address("backpack", exporter);
    let good = async {
        while scrape(&address).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    world.in_time("there is a good scrape again", good).await;
}

pub async fn the_monitors_tor_is_started_anew(world: &World) {
    let exporter = exporter().await;
    let device = world.device(&[("app", exporter.address)]).await;
    let monitor = world.monitor(&[("backpack", &device, &["app"])]).await;
    monitor.connected("backpack").await;
    let tor = monitor.bridge.tor().started().expect("it is in use");
    for _ in 0..2 {
        tor.renew().await.expect("another client in the place of the first");
        scraped_again(world, &monitor, "app").await;
    }
}

pub async fn two_monitors_see_an_agent_come_again(world: &World) {
    let exporter = exporter().await;
    let (folder, ssh) = (world.folder(), format!("[ssh]\nkeys = [{:?}]\n", world.key().public_line()));
    let exporters = [("app", exporter.address)];
    let start = || world.device_in(folder.clone(), &ssh, &exporters);
    let device = start().await;
    let targets: [(_, _, &[&str]); 1] = [("backpack", &device, &["app"])];
    let monitors = [world.monitor(&targets).await, world.monitor(&targets).await];
    for monitor in &monitors {
        monitor.connected("backpack").await;
        assert_eq!(scrape(&monitor.address("backpack", "app")).await.status, 200);
    }
    device.stop().await;
    for monitor in &monitors {
        monitor.state("backpack", "given up", |state| state.pool().is_none()).await;
    }
    let _device = start().await;
    for monitor in &monitors {
        scraped_again(world, monitor, "app").await;
    }
}

/// An agent in a process of its own, run by the command that `wrap` makes of it, with its target.
fn agent(
    world: &World,
    exporters: &[(&str, SocketAddr)],
    wrap: impl FnOnce(&Path, &[&str]) -> Command,
) -> (Process, String) {
    let folder = world.folder();
    let ssh = format!("[ssh]\nkeys = [{:?}]\n", world.key().public_line());
    let file = world.agent_file(&folder, &ssh, exporters);
    let names: Vec<_> = exporters.iter().map(|(name, _)| *name).chain(["host"]).collect();
    let target = world.target_of(&file, "backpack", &names);
    let command = wrap(&program("target-agent"), &["run", "--config.file", file.to_str().unwrap()]);
    (process::spawn(&command, &folder.join("agent.log")).unwrap(), target)
}

pub async fn a_device_that_was_asleep(world: &World) {
    let exporter = exporter().await;
    let (agent, target) = agent(world, &[("app", exporter.address)], |program, arguments| {
        let mut command = Command::new(program);
        command.args(arguments);
        command
    });
    let monitor = world.monitor_of("", &target).await;
    monitor.connected("backpack").await;
    agent.signal(Signal::Stop).unwrap();
    tokio::time::sleep(SLEEP).await;
    agent.signal(Signal::Continue).unwrap();
    world.until("it knows that it slept", || agent.log_text().contains("was asleep for")).await;
    scraped_again(world, &monitor, "app").await;
    assert!(agent.log_text().contains("reason=slept"), "{}", agent.log_tail());
    settles(&agent).await;
    assert!(agent.is_running());
}

/// Sees that nothing is done any more once all is well: what goes on would show within some seconds.
async fn settles(agent: &Process) {
    let done = || {
        let log = agent.log_text();
        ["launched again", "started anew", "can find this device"].map(|said| log.matches(said).count())
    };
    let before = done();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(done(), before, "{}", agent.log_tail());
}

/// Runs `ip` and the like in a namespace of a process.
fn in_namespace_of(process: &Process, kind: &str, script: &str) {
    let mut command = Command::new("nsenter");
    let pid = process.pid().to_string();
    command.args(["--target", &pid, kind, "sh", "-ec", script]);
    let done = block_in_place(|| command.output()).unwrap();
    assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Gives the device this address on its one link, and the ways to the network's relays, which are on
/// the other side's loopback.
fn address(last: u8) -> String {
    format!(
        "ip addr add 10.77.0.{last}/24 dev pack0 && ip route add default via 10.77.0.1 && \
         ip route add 127.0.0.1/32 via 10.77.0.1"
    )
}

pub async fn a_device_in_another_network(world: &World) {
    // Its namespace has not even a loopback when it starts, so what it tells of is built in.
    let (agent, target) = agent(world, &[], |program, arguments| {
        let mut command = Command::new("unshare");
        command.arg("--net").arg(program).args(arguments);
        command
    });
    let pid = agent.pid();
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    let namespace = format!("/proc/{pid}/ns/net");
    world.until("it is in its namespace", || fs::read_link(&namespace).unwrap() != own).await;
    world.until("it says what is missing", || agent.log_text().contains("no network")).await;
    let link = format!(
        "ip link add pack1 type veth peer name pack0 && ip link set pack0 netns {pid} && \
         ip addr add 10.77.0.1/24 dev pack1 && ip link set pack1 up && \
         echo 1 > /proc/sys/net/ipv4/conf/pack1/route_localnet"
    );
    let linked = block_in_place(|| Command::new("sh").args(["-ec", &link]).output()).unwrap();
    assert!(linked.status.success(), "{}", String::from_utf8_lossy(&linked.stderr));
    let up = "echo 1 > /proc/sys/net/ipv4/conf/pack0/route_localnet && ip link set pack0 up";
    in_namespace_of(&agent, "--net", &format!("{up} && {}", address(2)));
    let monitor = world.monitor_of("", &target).await;
    monitor.connected("backpack").await;
    assert_eq!(scrape(&monitor.address("backpack", "host")).await.status, 200);

    let counts = || {
        let log = agent.log_text();
        ["the network changed", "reason=network"].map(|said| log.matches(said).count())
    };
    let before = counts();
    in_namespace_of(&agent, "--net", &format!("ip addr del 10.77.0.2/24 dev pack0 && {}", address(3)));
    world.until("it has seen the change", || counts()[0] > before[0]).await;
    scraped_again(world, &monitor, "host").await;
    assert!(counts()[1] > before[1], "{}", agent.log_tail());
    settles(&agent).await;
}

pub async fn a_device_that_cannot_write_its_state(world: &World) {
    let exporter = exporter().await;
    let (agent, target) = agent(world, &[("app", exporter.address)], |program, arguments| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private"]).arg(program).args(arguments);
        command
    });
    let monitor = world.monitor_of("", &target).await;
    monitor.connected("backpack").await;
    let state = agent.log().with_file_name("agent");
    let state = state.display();
    let shut = format!("mount --bind {state} {state} && mount -o remount,bind,ro {state}");
    in_namespace_of(&agent, "--mount", &shut);
    agent.signal(Signal::Stop).unwrap();
    tokio::time::sleep(SLEEP).await;
    agent.signal(Signal::Continue).unwrap();
    world
        .until("it knows that it slept", || agent.log_text().contains("dead connections to relays closed"))
        .await;
    assert!(agent.log_text().contains("nothing can be written"), "{}", agent.log_tail());
    scraped_again(world, &monitor, "app").await;
    let file = agent.log().with_file_name("agent.toml");
    let examined = block_in_place(|| Examined::by("target-agent", &[], &file));
    assert_eq!(examined.hop("tor state")["outcome"], "failed");
    // What operators are told to do first.
    let (command, copy) = (program("target-agent"), agent.log().with_file_name("copy"));
    let export = format!("{command:?} export --config.file {file:?} --to {copy:?}");
    in_namespace_of(&agent, "--mount", &export);
    assert!(copy.join("hs_ed25519_secret_key").is_file());
    in_namespace_of(&agent, "--mount", &format!("umount {state}"));
    assert!(agent.is_running());
}

/// What becomes of a file.
type Damage = fn(&[u8]) -> Vec<u8>;

/// Files of arti's that can be made anew: no keys among them.
fn learnt(folder: &Path) -> Vec<PathBuf> {
    let tor = folder.join("agent/tor");
    let mut folders = vec![tor.join("state")];
    for service in fs::read_dir(tor.join("hss")).unwrap() {
        let service = service.unwrap().path();
        folders.extend([service.join("iptreplay"), service]);
    }
    let files =
        folders.iter().filter(|folder| folder.is_dir()).flat_map(|folder| fs::read_dir(folder).unwrap());
    let files = files.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    files.chain([folder.join("agent/cache/dir.sqlite3")]).collect()
}

pub async fn what_arti_learnt_is_damaged(world: &World) {
    let folder = world.folder();
    let file = world.agent_file(&folder, "", &[]);
    let identity = world.target_of(&file, "backpack", &[]);
    let run_until_reachable = async |number: usize| {
        let mut command = Command::new(program("target-agent"));
        command.args(["run", "--config.file", file.to_str().unwrap()]);
        // It is killed with the end of this function, as by a power cut.
        let agent = process::spawn(&command, &folder.join(format!("{number}.log"))).unwrap();
        let started = Instant::now();
        while !agent.log_text().contains("message=reachable") {
            assert!(
                agent.is_running() && started.elapsed() < Duration::from_secs(90),
                "{}",
                agent.log_text()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    run_until_reachable(0).await;
    let damages: [Damage; 3] = [
        |_| Vec::new(),
        |good| good[..good.len() / 2].to_vec(),
        |good| good.iter().map(|byte| byte ^ 0x20).collect(),
    ];
    for (number, damage) in (1..).zip(damages) {
        let files = learnt(&folder);
        assert!(files.len() >= 5, "{files:?}");
        for file in files {
            let damaged = damage(&fs::read(&file).unwrap());
            fs::write(&file, damaged).unwrap();
        }
        run_until_reachable(number).await;
        assert_eq!(world.target_of(&file, "backpack", &[]), identity, "keys stay what they are");
    }
    // Arti trusts its database that the directory is there.
    let directories = fs::read_dir(folder.join("agent/cache/dir_blobs")).unwrap();
    let directories: Vec<_> = directories.map(|entry| entry.unwrap().path()).collect();
    assert!(!directories.is_empty(), "none in the cache");
    for directory in directories {
        fs::write(&directory, &fs::read(&directory).unwrap()[..100]).unwrap();
    }
    run_until_reachable(4).await;
}
