//! A network that lets nobody through to Tor's relays but whoever comes in disguise.

use std::fs;
use std::process::Command;

use onionscrape::tor::Bootstrap;
use scraper_bridge::bridge::Bridge;
use scraper_bridge::config::BridgeConfig;
use target_agent::agent::Agent;
use target_agent::config::AgentConfig;
use target_agent::status::AgentStatus;
use tokio::task::block_in_place;
use tokio_util::sync::CancellationToken;
use tornet::{Cut, process};

use crate::checkout::program;
use crate::exporters::{Exporter, Manner};
use crate::http::scrape;
use crate::secure::plain;
use crate::world::{Device, Monitor, PATIENCE, World};

/// The client of the network whose own connections to relays are reset.
const CENSORED: usize = 4;

/// A `[tor]` section for whoever is censored; `more` is what helps against it.
fn tor(world: &World, more: &str) -> String {
    let network = world.network();
    let (include, from) = (network.fragment(), network.client_address(CENSORED).unwrap());
    format!("[tor]\ninclude = {include:?}\noutbound_bind_address = \"{from}\"\n{more}")
}

pub async fn a_captive_portal_is_told_of(world: &World) {
    let folder = world.folder();
    let portal = plain("HTTP/1.1 302 Found\r\nLocation: http://portal/\r\n\r\n").await;
    // Every relay that a new device knows is at the portal's address.
    let network = fs::read_to_string(world.network().fragment()).unwrap();
    let relays = network.lines().map(|line| match line.split_once("orports = [") {
        Some((relay, _)) => format!("{relay}orports = [\"{portal}\"] }},\n"),
        None => format!("{line}\n"),
    });
    let include = folder.join("network.toml");
    fs::write(&include, relays.collect::<String>()).unwrap();
    let file = folder.join("agent.toml");
    let key = world.key().public_line();
    let text = format!(
        "state_dir = {:?}\n[tor]\ninclude = {include:?}\n[ssh]\nkeys = [{key:?}]\n",
        folder.join("agent")
    );
    fs::write(&file, text).unwrap();
    // In a process of its own: what comes from relays is counted for the whole of one.
    let mut command = Command::new(program("target-agent"));
    command.args(["run", "--config.file", file.to_str().unwrap()]);
    let agent = process::spawn(&command, &folder.join("agent.log")).unwrap();
    world.until("it is told", || agent.log_text().contains("sign in to a captive portal")).await;
}

pub async fn both_programs_through_obfs4(world: &World) {
    let bridge = block_in_place(|| world.network().obfs4_bridge()).unwrap();
    world.network().cut(CENSORED, Cut::Reset).unwrap();
    let exporter = Exporter::start(Manner::Good("a 1\n".into())).await;
    let program = tornet::process::find("obfs4proxy").unwrap();
    let disguised = tor(
        world,
        &format!(
            "bridges = [{:?}]\n[[tor.transport]]\nprotocols = [\"obfs4\"]\npath = {program:?}\n",
            bridge.line()
        ),
    );

    let folder = world.folder();
    let key = world.key().public_line();
    let file = folder.join("agent.toml");
    let app = format!("[[exporter]]\nname = \"app\"\naddress = \"{}\"\n", exporter.address);
    let text = format!("state_dir = {:?}\n{disguised}[ssh]\nkeys = [{key:?}]\n{app}", folder.join("agent"));
    fs::write(&file, text).unwrap();
    let shutdown = CancellationToken::new();
    let agent = Agent::start(AgentConfig::read(Some(&file), None).unwrap(), shutdown.clone()).await.unwrap();
    let _stop = shutdown.drop_guard();
    let device = Device::nowhere(agent.onion().unredacted(), &agent.host_key().fingerprint());
    let target = world.target("backpack", &device, "", &["app"]);
    let mut status = agent.status();
    let running = tokio::spawn(agent.run());
    let reachable = status.wait_for(|status| matches!(status, AgentStatus::Reachable));
    tokio::time::timeout(PATIENCE, reachable).await.expect("reachable in time").unwrap();

    let monitor = world.monitor_of(&disguised, &target).await;
    monitor.connected("backpack").await;
    assert_eq!(scrape(&monitor.address("backpack", "app")).await.text(), "a 1\n");

    // Without the disguise there is no way, and it is said so.
    let plain = world.bridge_file(&world.folder(), &tor(world, ""), &target);
    let stop = CancellationToken::new();
    let started = Bridge::start(BridgeConfig::read(Some(&plain), None).unwrap(), stop.clone()).await.unwrap();
    let cut_off = Monitor::new(started, plain, stop);
    let tor = cut_off.bridge.tor().started().expect("a target needs it").clone();
    assert!(!tor.bootstrap().borrow().is_done());
    let scraped = scrape(&cut_off.address("backpack", "app")).await;
    assert_eq!(scraped.status, 503, "{scraped:?}");
    assert_ne!(*tor.bootstrap().borrow(), Bootstrap::Done);
    assert_eq!(scrape(&monitor.address("backpack", "app")).await.status, 200);
    world.network().restore(CENSORED).unwrap();
    drop(running);
}
