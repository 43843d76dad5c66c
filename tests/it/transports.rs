//! Devices that are not reached through Tor: an ordinary `sshd` by TCP and through proxies. No Tor runs for
//! them: the tests' bridges would use everybody's, and a packet to that fails the whole.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use scraper_bridge::target::State;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::block_in_place;
use tornet::process;
use tornet::sshd::{self, Sshd};

use crate::exporters::{Exporter, Manner};
use crate::http::{Scraper, scrape};
use crate::prometheus::Prometheus;
use crate::surfaces::{PROXY, up_by_every_way};
use crate::world::{Monitor, World};

/// Not the private network's: nothing here may start Tor.
pub const NO_TOR: &str = "[tor]\n";

pub fn an_sshd() -> Sshd {
    let sshd = block_in_place(|| sshd::start(&[])).unwrap();
    fs::set_permissions(&sshd.user_key, fs::Permissions::from_mode(0o600)).unwrap();
    sshd
}

/// A target at an `sshd`; `more` are keys besides the usual ones.
pub fn at(name: &str, host: &str, sshd: &Sshd, more: &str, exporter: SocketAddr) -> String {
    format!(
        "[[target]]\nname = {name:?}\naddress = \"ssh://{}@{host}:{}\"\nkey_file = {:?}\n{more}\n\
         [[target.exporter]]\nname = \"app\"\nlisten = \"127.0.0.1:0\"\naddress = \"{exporter}\"\n",
        sshd.user,
        sshd.addr.port(),
        sshd.user_key,
    )
}

/// Waits until a scrape of the exporter says this.
pub async fn until_scraped(monitor: &Monitor, target: &str, exporter: &str, text: &str) {
    let started = Instant::now();
    loop {
        let scraped = scrape(&monitor.address(target, exporter)).await;
        if scraped.status == 200 && scraped.text() == text {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{target}: {scraped:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub async fn an_sshd_by_tcp(world: &World) {
    let exporter = Exporter::start(Manner::Good("a 1\n".into())).await;
    let sshd = an_sshd();
    let known = world.folder().join("known_hosts");
    let (name, port) = ("localhost", sshd.addr.port());
    fs::write(&known, format!("[{name}]:{port} {}\n", sshd.host_key_public)).unwrap();
    let pinned = format!("host_key = {:?}", sshd.host_key_public);
    let other = format!("host_key = {:?}", world.key().public_line());
    let closed = tornet::ports::reserve().unwrap().addr().port();
    let targets = [
        at("pinned", "127.0.0.1", &sshd, &pinned, exporter.address),
        at("known", name, &sshd, &format!("known_hosts = {known:?}"), exporter.address),
        at("another", "127.0.0.1", &sshd, &other, exporter.address),
        at("off", "127.0.0.1", &sshd, &pinned, exporter.address)
            .replace(&format!(":{port}\""), &format!(":{closed}\"")),
    ];
    let monitor = world.monitor_of(&format!("{NO_TOR}{PROXY}"), &targets.concat()).await;
    let admin = monitor.bridge.admin().to_string();
    let ready = Scraper::connect(&admin).await.get("/-/ready", &[]).await;
    assert_eq!(ready.status, 200, "there is no Tor to wait for: {ready:?}");
    for name in ["pinned", "known"] {
        monitor.connected(name).await;
        until_scraped(&monitor, name, "app", "a 1\n").await;
    }
    up_by_every_way(world, &monitor, "pinned", "app").await;
    for (name, status, reason, stage) in [
        ("another", 502, "ssh host key mismatch", "host_key"),
        ("off", 503, "host unreachable: connection refused", "connect"),
    ] {
        let is_down = |state: &State| matches!(state, State::Waiting(..) | State::Refused(..));
        monitor.state(name, "down", is_down).await;
        let scraped = scrape(&monitor.address(name, "app")).await;
        assert_eq!((scraped.status, scraped.reason.as_str()), (status, reason), "{name}");
        let series = format!("target_connect_failures_total{{target=\"{name}\",stage=\"{stage}\"}} 0");
        let metrics = monitor.metrics().await;
        assert!(
            metrics.contains(&series[..series.len() - 1]) && !metrics.contains(&format!("{series}\n")),
            "{name}"
        );
    }
    assert!(monitor.bridge.tor().started().is_none(), "Tor was started");
    assert!(!monitor.metrics().await.contains("tor_bootstrap_ratio"), "there is nothing to say of it");
    let found = Scraper::connect(&admin).await.get("/sd", &[]).await;
    assert!(found.text().contains("\"__meta_onionscrape_transport\":\"tcp\""), "{}", found.text());

    let listed = "scrape_configs:\n- job_name: a\n  scrape_interval: 1s\n  static_configs:\n";
    let listed = format!(
        "{listed}  - targets: [{:?}]\n    labels: {{instance: server}}\n",
        monitor.address("known", "app")
    );
    let prometheus = Prometheus::start(world, &listed, &[]);
    prometheus.until_up("server", "").await;
}

/// A proxy for CONNECT that wants this login and knows one name; counts whom it let through.
async fn http_proxy(login: &str, name: &'static str, leads_to: SocketAddr) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let let_through = Arc::new(AtomicUsize::new(0));
    let (count, login) = (let_through.clone(), format!("Basic {}\r\n", BASE64.encode(login.as_bytes())));
    tokio::spawn(async move {
        while let Ok((mut asker, _)) = listener.accept().await {
            let (count, login) = (count.clone(), login.clone());
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(asker.read_u8().await?);
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let port = leads_to.port();
                let answer = if !head.contains(&login) {
                    "407 Proxy Authentication Required"
                } else if head.starts_with(&format!("CONNECT {name}:{port} HTTP/1.1\r\n")) {
                    count.fetch_add(1, Ordering::SeqCst);
                    "200 OK"
                } else {
                    "403 Forbidden"
                };
                asker.write_all(format!("HTTP/1.1 {answer}\r\n\r\n").as_bytes()).await?;
                if answer == "200 OK" {
                    let mut host = TcpStream::connect(leads_to).await?;
                    copy_bidirectional(&mut asker, &mut host).await?;
                }
                std::io::Result::Ok(())
            });
        }
    });
    (address, let_through)
}

pub async fn an_sshd_through_proxies(world: &World) {
    let exporter = Exporter::start(Manner::Good("a 1\n".into())).await;
    let (sshd, jump) = (an_sshd(), an_sshd());
    let folder = world.folder();

    // OpenSSH's own SOCKS5 server; the name is looked up behind it.
    let socks = tornet::ports::reserve().unwrap().addr();
    let mut command = Command::new(process::find("ssh").unwrap());
    command
        .args(["-F", "none", "-N", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"])
        .args([
            "-o",
            "IdentitiesOnly=yes",
            "-D",
            &socks.to_string(),
            "-p",
            &jump.addr.port().to_string(),
            "-i",
        ])
        .arg(&jump.user_key)
        .arg(format!("{}@127.0.0.1", jump.user));
    let jumping = block_in_place(|| process::spawn(&command, &folder.join("ssh.log"))).unwrap();
    while TcpStream::connect(socks).await.is_err() {
        assert!(jumping.is_running(), "{}", jumping.log_text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    let (http, let_through) = http_proxy("me:se:cret", "device.example", sshd.addr).await;
    for (name, login) in [("right", "me:se:cret\n"), ("wrong", "me:other\n")] {
        fs::write(folder.join(name), login).unwrap();
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let keys = |proxy: String| format!("host_key = {:?}\nproxy = {proxy:?}\n", sshd.host_key_public);
    let by_http =
        |login: &str| keys(format!("http://{http}")) + &format!("proxy_auth_file = {:?}", folder.join(login));
    let gone = tornet::ports::reserve().unwrap().addr();
    let targets = [
        at("socks", "localhost", &sshd, &keys(format!("socks5://{socks}")), exporter.address),
        at("http", "device.example", &sshd, &by_http("right"), exporter.address),
        at("login", "device.example", &sshd, &by_http("wrong"), exporter.address),
        at("name", "other.example", &sshd, &by_http("right"), exporter.address),
        at("gone", "localhost", &sshd, &keys(format!("socks5://{gone}")), exporter.address),
    ];
    let monitor = world.monitor_of(NO_TOR, &targets.concat()).await;
    for name in ["socks", "http"] {
        monitor.connected(name).await;
        until_scraped(&monitor, name, "app", "a 1\n").await;
    }
    for (name, reason) in [
        ("login", "the proxy wants another login"),
        ("name", "the proxy refused with status 403"),
        ("gone", "no way to the proxy: host unreachable: connection refused"),
    ] {
        monitor.state(name, "down", |state| matches!(state, State::Waiting(..))).await;
        let scraped = scrape(&monitor.address(name, "app")).await;
        assert_eq!((scraped.status, scraped.reason.as_str()), (503, reason), "{name}");
        let metrics = monitor.metrics().await;
        let series = format!("target_connect_failures_total{{target=\"{name}\",stage=\"proxy\"}} 0\n");
        assert!(!metrics.contains(&series), "{name}");
    }
    assert_eq!(let_through.load(Ordering::SeqCst), 1, "one session, through the proxy");

    // Without its proxy a target is not reached in another way.
    jumping.kill();
    monitor.state("socks", "down", |state| matches!(state, State::Waiting(..))).await;
    assert_eq!(scrape(&monitor.address("socks", "app")).await.status, 503);
}
