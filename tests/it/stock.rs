//! Each of our ends against the stock programs at the other.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use onionscrape::healing::Reach;
use target_agent::status::AgentStatus;
use tokio::task::block_in_place;
use tornet::process::{self, Process};
use tornet::{ClientOptions, ServiceOptions, sshd};

use crate::exporters::{Exporter, Manner};
use crate::http::{Scraped, Scraper, scrape};
use crate::world::{PATIENCE, World};

pub async fn bridge_scrapes_through_sshd(world: &World) {
    let exporter = world.node_exporter();
    let (service, sshd) = block_in_place(|| {
        let sshd = sshd::start(&[]).unwrap();
        let options = ServiceOptions { ports: vec![(22, sshd.addr)], ..Default::default() };
        (world.network().hidden_service(&options).unwrap(), sshd)
    });
    std::fs::set_permissions(&sshd.user_key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let target = format!(
        "[[target]]\nname = \"router\"\naddress = {:?}\nhost_key = {:?}\nuser = {:?}\nkey_file = {:?}\n\
         [[target.exporter]]\nname = \"node\"\nlisten = \"127.0.0.1:0\"\naddress = \"{exporter}\"\n",
        service.hostname(),
        sshd.host_key_public.trim(),
        sshd.user,
        sshd.user_key,
    );
    let monitor = world.monitor_of("", &target).await;
    monitor.connected("router").await;
    for _ in 0..3 {
        let scraped = scrape(&monitor.address("router", "node")).await;
        assert_eq!(scraped.status, 200, "{}", scraped.reason);
        assert!(scraped.complete && scraped.text().contains("node_exporter_build_info"));
    }
}

/// `ssh -L` through C tor and socat: the monitor's side of the well-known recipe.
pub fn forward(world: &World, onion: &str, socks: SocketAddr, to: &str) -> (SocketAddr, Process) {
    let local = tornet::ports::reserve().unwrap().addr();
    let proxy = format!("ProxyCommand=socat STDIO SOCKS4A:{}:%h:%p,socksport={}", socks.ip(), socks.port());
    let mut command = Command::new(process::find("ssh").unwrap());
    command
        .args(["-F", "none", "-N", "-i"])
        .arg(world.key_file())
        .args(["-o", &proxy, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"])
        .args(["-o", "ExitOnForwardFailure=yes", "-o", "IdentitiesOnly=yes", "-L"])
        .arg(format!("{local}:{to}"))
        .arg(format!("anybody@{onion}"));
    (local, process::spawn(&command, &world.folder().join("ssh.log")).unwrap())
}

pub async fn scrape_when_up(local: SocketAddr, ssh: &Process, path: &str) -> Scraped {
    let started = Instant::now();
    while tokio::net::TcpStream::connect(local).await.is_err() {
        assert!(ssh.is_running() && started.elapsed() < Duration::from_secs(60), "{}", ssh.log_text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Scraper::connect(&local.to_string()).await.get(path, &[]).await
}

pub async fn ssh_reaches_both_kinds_of_channel(world: &World) {
    let exporter = Exporter::start(Manner::Good("a 1\n".into())).await;
    let device = world.device(&[("app", exporter.address)]).await;
    let tor = block_in_place(|| world.network().c_tor_client(&ClientOptions::default())).unwrap();
    let ways = [
        (exporter.address.to_string(), "/metrics", "a 1\n"),
        ("app:80".into(), "/metrics", "a 1\n"),
        ("agent:80".into(), "/inventory", "\"app\""),
        ("agent:80".into(), "/metrics", "onionscrape_ssh_sessions"),
    ];
    for (to, path, expected) in ways {
        let (local, ssh) = block_in_place(|| forward(world, &device.onion, tor.socks, &to));
        let scraped = scrape_when_up(local, &ssh, path).await;
        assert_eq!(scraped.status, 200, "{to}: {scraped:?}");
        assert!(scraped.text().contains(expected), "{to}: {}", scraped.text());
    }

    // The onion service has port 22 and no other.
    let patience = Duration::from_secs(60);
    let refused = block_in_place(|| tornet::socks::connect(tor.socks, &device.onion, 80, None, patience));
    assert!(refused.is_err(), "port 80 was answered");
}

pub async fn agent_forwards_to_sshd(world: &World) {
    let exporter = Exporter::start(Manner::Good("a 1\n".into())).await;
    let sshd = block_in_place(|| sshd::start(&[])).unwrap();
    let device = world.device_with(&format!("[ssh]\nforward = \"{}\"\n", sshd.addr), &[]).await;
    let target = format!(
        "[[target]]\nname = \"old\"\naddress = {:?}\nhost_key = {:?}\nuser = {:?}\nkey_file = {:?}\n\
         [[target.exporter]]\nname = \"app\"\nlisten = \"127.0.0.1:0\"\naddress = \"{}\"\n",
        device.onion,
        sshd.host_key_public.trim(),
        sshd.user,
        sshd.user_key,
        exporter.address,
    );
    let monitor = world.monitor_of("", &target).await;
    monitor.connected("old").await;
    assert_eq!(scrape(&monitor.address("old", "app")).await.text(), "a 1\n");
    monitor.stop().await;
    // It listens no more, which the next look from outside finds; that may take a minute.
    drop(sshd);
    let mut status = device.status.clone();
    let is_silent = |status: &AgentStatus| status.to_string().contains("no SSH server answers");
    let silent = status.wait_for(is_silent);
    let silent = tokio::time::timeout(PATIENCE * 2, silent).await.expect("in time").unwrap().clone();
    assert_eq!(silent.way_in(), Reach::Proved, "Tor is not to blame");
}
