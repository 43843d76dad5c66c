//! Devices that come by themselves, with a stock `ssh -R`: to a port, and to an onion service.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use onionscrape::ssh::KeyFile;
use scraper_bridge::overview::{Overview, Wanted};
use tokio::net::TcpStream;
use tokio::task::block_in_place;
use tornet::ClientOptions;
use tornet::process::{self, Process};

use crate::exporters::{Exporter, Manner};
use crate::http::scrape;
use crate::secure;
use crate::surfaces::{PROXY, up_by_every_way};
use crate::transports::{NO_TOR, until_scraped};
use crate::world::{Monitor, World, run};

/// What a device has that comes by itself.
pub struct Router {
    folder: PathBuf,
    key: PathBuf,
    line: String,
}

impl Router {
    pub fn new(world: &World) -> Self {
        let folder = world.folder();
        let key = folder.join("key");
        let line = KeyFile::open_or_make(&key, "router").unwrap().public_line();
        Self { folder, key, line }
    }

    /// A target for it with these exporters, each with its port.
    pub fn target(&self, name: &str, exporters: &[(&str, u16)]) -> String {
        let mut text = format!(
            "[[target]]\nname = {name:?}\ntransport = \"reverse\"\nauthorized_key = {:?}\n",
            self.line
        );
        for (exporter, port) in exporters {
            text += &format!(
                "[[target.exporter]]\nname = {exporter:?}\nlisten = \"127.0.0.1:0\"\nport = {port}\n"
            );
        }
        text
    }

    /// A stock `ssh` with these arguments, which knows the bridge by these lines.
    fn ssh(&self, known: &str, listen: SocketAddr, arguments: &[&str]) -> Process {
        let port = listen.port().to_string();
        self.ssh_to(known, &listen.ip().to_string(), &[&["-p", &port], arguments].concat())
    }

    fn ssh_to(&self, known: &str, host: &str, arguments: &[&str]) -> Process {
        let known_hosts = self.folder.join("known_hosts");
        fs::write(&known_hosts, known).unwrap();
        let mut command = Command::new(process::find("ssh").unwrap());
        command
            .args(["-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-i"])
            .arg(&self.key)
            .arg("-o")
            .arg(format!("UserKnownHostsFile={}", known_hosts.display()))
            .args(["-o", "GlobalKnownHostsFile=/dev/null", "-o", "ExitOnForwardFailure=yes"])
            .args(arguments)
            .arg(format!("anybody@{host}"));
        block_in_place(|| process::spawn(&command, &self.folder.join("ssh.log"))).unwrap()
    }

    /// `ssh -N -R PORT:EXPORTER`.
    pub fn forward(&self, known: &str, listen: SocketAddr, port: u16, exporter: SocketAddr) -> Process {
        self.ssh(known, listen, &["-N", "-R", &format!("{port}:{exporter}")])
    }
}

/// A section for the bridge, and where it will listen.
pub fn reverse() -> (String, SocketAddr) {
    let listen = tornet::ports::reserve().unwrap().addr();
    (format!("{NO_TOR}{PROXY}[reverse]\nlisten = \"{listen}\"\n"), listen)
}

/// What `scraper-bridge host-key` prints.
pub fn known_hosts(file: &Path) -> String {
    let printed = run("scraper-bridge", &["host-key", "--config.file", file.to_str().unwrap()]);
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    String::from_utf8(printed.stdout).unwrap()
}

async fn until_ended(ssh: &Process) {
    let started = Instant::now();
    while ssh.is_running() {
        assert!(started.elapsed() < Duration::from_secs(30), "ssh goes on: {}", ssh.log_text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub async fn a_stock_ssh_comes_by_itself(world: &World) {
    let (first, second) = (
        Exporter::start(Manner::Good("a 1\n".into())).await,
        Exporter::start(Manner::Good("b 2\n".into())).await,
    );
    let (router, other) = (Router::new(world), Router::new(world));
    let targets = [
        router.target("router", &[("node", 20001), ("app", 20002)]),
        other.target("other", &[("node", 20001)]),
    ];
    let (more, listen) = reverse();
    let monitor = world.monitor_of(&more, &targets.concat()).await;
    assert_eq!(monitor.bridge.reverse(), Some(listen));
    let known = known_hosts(&monitor.file);

    let scraped = scrape(&monitor.address("router", "node")).await;
    assert_eq!((scraped.status, scraped.reason.as_str()), (503, "the device has not connected"));
    let overview = Overview::of(monitor.bridge.fleet(), None, None, Wanted::ALL);
    let remedy = overview.targets[0].remedy.clone().unwrap();
    assert!(
        remedy.contains("-R 20001:localhost:") && remedy.contains(&format!("-p {} ", listen.port())),
        "{remedy}"
    );

    let ssh = router.forward(&known, listen, 20001, first.address);
    let _other = other.forward(&known, listen, 20001, second.address);
    for (name, text) in [("router", "a 1\n"), ("other", "b 2\n")] {
        monitor.connected(name).await;
        assert_eq!(scrape(&monitor.address(name, "node")).await.text(), text, "{name}");
    }
    assert!(TcpStream::connect("127.0.0.1:20001").await.is_err(), "no port is opened");
    let scraped = scrape(&monitor.address("router", "app")).await;
    assert_eq!(scraped.status, 502);
    assert_eq!(scraped.reason, "the device's ssh -R does not forward exporter app");
    up_by_every_way(world, &monitor, "router", "node").await;

    // Killed and started again: it is back without any timeout having to pass.
    ssh.kill();
    let again = router.forward(&known, listen, 20001, first.address);
    until_scraped(&monitor, "router", "node", "a 1\n").await;

    // One that hangs is replaced by one that comes, at once, and a scrape under way is asked for there.
    let hanging = Router { folder: world.folder(), key: router.key.clone(), line: router.line.clone() };
    let idle = || in_flight(&monitor) == "0";
    world.until("Prometheus has gone", idle).await;
    again.signal(process::Signal::Stop).unwrap();
    let address = monitor.address("router", "node");
    let under_way = tokio::spawn(async move { scrape(&address).await });
    world.until("a scrape is under way", || !idle()).await;
    let _next = hanging.forward(&known, listen, 20001, first.address);
    let saved = under_way.await.unwrap();
    assert_eq!((saved.status, saved.text()), (200, "a 1\n"), "{saved:?}");
    assert!(saved.took < Duration::from_secs(9), "not after a timeout: {saved:?}");
    assert_eq!(scrape(&monitor.address("other", "node")).await.text(), "b 2\n", "the other is as it was");
    assert!(monitor.bridge.tor().started().is_none(), "Tor was started");
}

/// How many scrapes are under way, from where nothing can be waited for.
fn in_flight(monitor: &Monitor) -> String {
    let metrics = block_in_place(|| tokio::runtime::Handle::current().block_on(monitor.metrics()));
    let line = metrics.lines().find_map(|line| line.strip_prefix("onionscrape_scrape_requests_in_flight "));
    line.unwrap().to_owned()
}

pub async fn a_stock_ssh_gets_nothing_else(world: &World) {
    let exporter = Exporter::start(Manner::Good("a 1\n".into())).await;
    let (router, stranger) = (Router::new(world), Router::new(world));
    let (more, listen) = reverse();
    let monitor = world.monitor_of(&more, &router.target("router", &[("node", 20001)])).await;
    let known = known_hosts(&monitor.file);

    let unknown = stranger.forward(&known, listen, 20001, exporter.address);
    until_ended(&unknown).await;
    assert!(unknown.log_text().contains("Permission denied (publickey)"), "{}", unknown.log_text());

    let to = exporter.address;
    let socket = world.folder().join("socket");
    for (arguments, said) in [
        (vec!["-N".to_owned(), "-R".into(), format!("20002:{to}")], "remote port forwarding failed"),
        (vec!["-N".into(), "-R".into(), format!("0:{to}")], "remote port forwarding failed"),
        (
            vec!["-N".into(), "-R".into(), format!("{}:{to}", socket.display())],
            "remote port forwarding failed",
        ),
        (vec!["-T".into()], "administratively prohibited"),
        (vec!["-tt".into()], "administratively prohibited"),
        // To a port where nobody is: a channel that the bridge opens would keep ssh from ending.
        (vec!["-R".into(), "20001:127.0.0.1:1".into()], "administratively prohibited"),
        (vec!["-W".into(), to.to_string()], "administratively prohibited"),
    ] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let refused = router.ssh(&known, listen, &arguments);
        until_ended(&refused).await;
        let log = refused.log_text();
        assert!(log.contains(said), "{arguments:?}: {log}");
        assert!(!refused.try_wait().unwrap().unwrap().success(), "{arguments:?}");
    }
    let metrics = monitor.metrics().await;
    for (request, at_least) in
        [("login", 1), ("tcpip_forward", 2), ("streamlocal", 1), ("session", 2), ("direct_tcpip", 1)]
    {
        let series = format!("onionscrape_reverse_refusals_total{{request=\"{request}\"}} ");
        let count = metrics.lines().find_map(|line| line.strip_prefix(&series)).expect(request);
        assert!(count.parse::<u32>().unwrap() >= at_least, "{request}: {count}");
    }
    assert!(!socket.exists() && exporter.requests.load(Ordering::SeqCst) == 0);

    // Another key takes its place in the configuration: its session ends.
    let ssh = router.forward(&known, listen, 20001, exporter.address);
    monitor.connected("router").await;
    until_scraped(&monitor, "router", "node", "a 1\n").await;
    let text = fs::read_to_string(&monitor.file).unwrap();
    fs::write(&monitor.file, text.replace(&router.line, &stranger.line)).unwrap();
    until_ended(&ssh).await;
    let now = stranger.forward(&known, listen, 20001, exporter.address);
    world
        .until("the other key is the target's", || {
            let target = monitor.bridge.fleet().target("router");
            target.is_some_and(|target| target.state().borrow().pool().is_some())
        })
        .await;
    until_scraped(&monitor, "router", "node", "a 1\n").await;

    // As for a device that is lost, the target is taken out.
    let text = fs::read_to_string(&monitor.file).unwrap();
    let (others, _) = text.split_once("[[target]]\n").unwrap();
    fs::write(&monitor.file, others).unwrap();
    until_ended(&now).await;
    assert!(monitor.bridge.fleet().target("router").is_none());
}

pub async fn a_stock_ssh_comes_through_tor(world: &World) {
    let exporter = Exporter::start(Manner::Good("a 1\n".into())).await;
    let router = Router::new(world);
    let target = router.target("router", &[("node", 20001)]);
    let monitor = world.monitor_of("[reverse]\nonion = true\n", &target).await;
    assert_eq!(monitor.bridge.reverse(), None, "nothing listens");
    let known = known_hosts(&monitor.file);
    let (host, _) = known.split_once(' ').unwrap();
    assert!(host.ends_with(".onion") && known.lines().count() == 1, "{known}");
    let overview = Overview::of(monitor.bridge.fleet(), None, None, Wanted::ALL);
    let remedy = overview.targets[0].remedy.clone().unwrap();
    assert!(remedy.contains("ProxyCommand=") && !remedy.contains(host), "{remedy}");

    let tor = block_in_place(|| world.network().c_tor_client(&ClientOptions::default())).unwrap();
    let through =
        format!("ProxyCommand=socat STDIO SOCKS4A:{}:%h:%p,socksport={}", tor.socks.ip(), tor.socks.port());
    let forward = format!("20001:{}", exporter.address);
    let arguments = ["-o", &through, "-N", "-R", &forward];
    // It is published some time after the start, so that the first may not find it, as a device's.
    let started = Instant::now();
    let mut ssh = router.ssh_to(&known, host, &arguments);
    while monitor.bridge.fleet().target("router").unwrap().state().borrow().pool().is_none() {
        assert!(started.elapsed() < Duration::from_secs(60), "{}", ssh.log_text());
        if !ssh.is_running() {
            ssh = router.ssh_to(&known, host, &arguments);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(scrape(&monitor.address("router", "node")).await.text(), "a 1\n");
    let metrics = monitor.metrics().await;
    let counted = "onionscrape_reverse_rend_requests_total ";
    let count = metrics.lines().find_map(|line| line.strip_prefix(counted)).expect("it is counted");
    assert!(count.parse::<u32>().unwrap() >= 1, "{count}");
    assert!(!metrics.contains(host), "no address is told");

    // Other ports, and another session in the place of the first, are as with the listener.
    let other = router.ssh_to(&known, host, &["-o", &through, "-N", "-R", "20002:127.0.0.1:1"]);
    until_ended(&other).await;
    assert!(other.log_text().contains("remote port forwarding failed"), "{}", other.log_text());
    let _again = router.ssh_to(&known, host, &arguments);
    until_ended(&ssh).await;
    until_scraped(&monitor, "router", "node", "a 1\n").await;

    // Who has no target's key gets no further, either.
    let stranger = Router::new(world);
    let unknown = stranger.ssh_to(&known, host, &arguments);
    until_ended(&unknown).await;
    assert!(unknown.log_text().contains("Permission denied (publickey)"), "{}", unknown.log_text());

    // The address is the same for good.
    let file = monitor.file.clone();
    monitor.stop().await;
    assert_eq!(known_hosts(&file), known);
}

pub async fn an_exporter_with_tls(world: &World) {
    let router = Router::new(world);
    let (address, _exporter) = secure::start(&router.folder);
    world.until("the exporter listens", || std::net::TcpStream::connect(address).is_ok()).await;
    let tls = |name: &str| {
        let ca = router.folder.join("exporter.crt");
        format!("tls = true\nca_file = {ca:?}\nserver_name = \"{name}.example\"\n")
    };
    let target = router.target("router", &[("node", 20001)]) + &tls("exporter");
    let other = "[[target.exporter]]\nname = \"other\"\nlisten = \"127.0.0.1:0\"\nport = 20002\n";
    let (more, listen) = reverse();
    let monitor = world.monitor_of(&more, &format!("{target}{other}{}", tls("other"))).await;
    let (node, same) = (format!("20001:{address}"), format!("20002:{address}"));
    let _ssh = router.ssh(&known_hosts(&monitor.file), listen, &["-N", "-R", &node, "-R", &same]);
    monitor.connected("router").await;
    let scraped = scrape(&monitor.address("router", "node")).await;
    assert!(scraped.status == 200 && scraped.text().contains("\nnode_load1 "), "{scraped:?}");
    // The session is there with its first port.
    let started = Instant::now();
    let refused = loop {
        let scraped = scrape(&monitor.address("router", "other")).await;
        if !scraped.reason.contains("does not forward") {
            break scraped;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{scraped:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(refused.reason, "exporter other: certificate is not for server_name", "{refused:?}");
}
