//! Devices that are not reached through Tor: an ordinary `sshd` by TCP and through proxies, and a stock
//! `ssh -R` that comes by itself. No Tor runs for them: the tests' bridges would use everybody's, and a
//! packet to that fails the whole.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use onionscrape::ssh::KeyFile;
use scraper_bridge::overview::{Overview, Wanted};
use scraper_bridge::target::State;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::block_in_place;
use tornet::process::{self, Process};
use tornet::sshd::{self, Sshd};

use crate::exporters::{Exporter, Manner};
use crate::http::{Scraper, scrape};
use crate::prometheus::Prometheus;
use crate::world::{Monitor, World, run};

/// Not the private network's: nothing here may start Tor.
const NO_TOR: &str = "[tor]\n";

fn an_sshd() -> Sshd {
    let sshd = block_in_place(|| sshd::start(&[])).unwrap();
    fs::set_permissions(&sshd.user_key, fs::Permissions::from_mode(0o600)).unwrap();
    sshd
}

/// A target at an `sshd`; `more` are keys besides the usual ones.
fn at(name: &str, host: &str, sshd: &Sshd, more: &str, exporter: SocketAddr) -> String {
    format!(
        "[[target]]\nname = {name:?}\naddress = \"ssh://{}@{host}:{}\"\nkey_file = {:?}\n{more}\n\
         [[target.exporter]]\nname = \"app\"\nlisten = \"127.0.0.1:0\"\naddress = \"{exporter}\"\n",
        sshd.user,
        sshd.addr.port(),
        sshd.user_key,
    )
}

/// Waits until a scrape of the exporter says this.
async fn until_scraped(monitor: &Monitor, target: &str, exporter: &str, text: &str) {
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
    let monitor = world.monitor_of(NO_TOR, &targets.concat()).await;
    let admin = monitor.bridge.admin().to_string();
    let ready = Scraper::connect(&admin).await.get("/-/ready", &[]).await;
    assert_eq!(ready.status, 200, "there is no Tor to wait for: {ready:?}");
    for name in ["pinned", "known"] {
        monitor.connected(name).await;
        until_scraped(&monitor, name, "app", "a 1\n").await;
    }
    for (name, status, reason, stage) in [
        ("another", 502, "ssh host key mismatch", "host_key"),
        ("off", 503, "host unreachable: connection refused", "connect"),
    ] {
        let is_down = |state: &State| matches!(state, State::Waiting(_) | State::Refused(_));
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
        monitor.state(name, "down", |state| matches!(state, State::Waiting(_))).await;
        let scraped = scrape(&monitor.address(name, "app")).await;
        assert_eq!((scraped.status, scraped.reason.as_str()), (503, reason), "{name}");
        let metrics = monitor.metrics().await;
        let series = format!("target_connect_failures_total{{target=\"{name}\",stage=\"proxy\"}} 0\n");
        assert!(!metrics.contains(&series), "{name}");
    }
    assert_eq!(let_through.load(Ordering::SeqCst), 1, "one session, through the proxy");

    // Without its proxy a target is not reached in another way.
    jumping.kill();
    monitor.state("socks", "down", |state| matches!(state, State::Waiting(_))).await;
    assert_eq!(scrape(&monitor.address("socks", "app")).await.status, 503);
}

/// What a device has that comes by itself.
struct Router {
    folder: PathBuf,
    key: PathBuf,
    line: String,
}

impl Router {
    fn new(world: &World) -> Self {
        let folder = world.folder();
        let key = folder.join("key");
        let line = KeyFile::open_or_make(&key, "router").unwrap().public_line();
        Self { folder, key, line }
    }

    /// A target for it with these exporters, each with its port.
    fn target(&self, name: &str, exporters: &[(&str, u16)]) -> String {
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

    /// A stock `ssh` with these arguments, which knows the bridge by this line.
    fn ssh(&self, known: &str, listen: SocketAddr, arguments: &[&str]) -> Process {
        let known_hosts = self.folder.join("known_hosts");
        fs::write(&known_hosts, known).unwrap();
        let mut command = Command::new(process::find("ssh").unwrap());
        command
            .args(["-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-i"])
            .arg(&self.key)
            .arg("-o")
            .arg(format!("UserKnownHostsFile={}", known_hosts.display()))
            .args(["-o", "GlobalKnownHostsFile=/dev/null", "-o", "ExitOnForwardFailure=yes"])
            .args(["-p", &listen.port().to_string()])
            .args(arguments)
            .arg(format!("anybody@{}", listen.ip()));
        block_in_place(|| process::spawn(&command, &self.folder.join("ssh.log"))).unwrap()
    }

    /// `ssh -N -R PORT:EXPORTER`.
    fn forward(&self, known: &str, listen: SocketAddr, port: u16, exporter: SocketAddr) -> Process {
        self.ssh(known, listen, &["-N", "-R", &format!("{port}:{exporter}")])
    }
}

/// A section for the bridge, and where it will listen.
fn reverse() -> (String, SocketAddr) {
    let listen = tornet::ports::reserve().unwrap().addr();
    (format!("{NO_TOR}[reverse]\nlisten = \"{listen}\"\n"), listen)
}

/// What `scraper-bridge host-key` prints.
fn known_hosts(file: &Path) -> String {
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
    let listed = "scrape_configs:\n- job_name: a\n  scrape_interval: 1s\n  static_configs:\n";
    let listed = format!(
        "{listed}  - targets: [{:?}]\n    labels: {{instance: router}}\n",
        monitor.address("router", "node")
    );
    let prometheus = Prometheus::start(world, &listed, &[]);
    prometheus.until_up("router", "").await;

    // Killed and started again: it is back without any timeout having to pass.
    ssh.kill();
    let again = router.forward(&known, listen, 20001, first.address);
    until_scraped(&monitor, "router", "node", "a 1\n").await;

    // One that hangs is replaced by one that comes, at once, and what went through it has failed.
    let slow = Exporter::start(Manner::SaysAndHangs(Vec::new())).await;
    let hanging = Router { folder: world.folder(), key: router.key.clone(), line: router.line.clone() };
    drop(prometheus);
    let idle = || in_flight(&monitor) == "0";
    world.until("Prometheus has gone", idle).await;
    again.signal(process::Signal::Stop).unwrap();
    let address = monitor.address("router", "node");
    let under_way = tokio::spawn(async move { scrape(&address).await });
    world.until("a scrape is under way", || !idle()).await;
    let _next = hanging.forward(&known, listen, 20001, slow.address);
    let failed = under_way.await.unwrap();
    assert_eq!((failed.status, failed.reason.as_str()), (502, "session lost during the scrape"));
    assert!(failed.took < Duration::from_secs(9), "not by a timeout: {failed:?}");
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

    // The key is taken out of the configuration: its session ends.
    let ssh = router.forward(&known, listen, 20001, exporter.address);
    monitor.connected("router").await;
    until_scraped(&monitor, "router", "node", "a 1\n").await;
    let text = fs::read_to_string(&monitor.file).unwrap();
    fs::write(&monitor.file, text.replace(&router.line, &stranger.line)).unwrap();
    until_ended(&ssh).await;
    let _now = stranger.forward(&known, listen, 20001, exporter.address);
    world
        .until("the other key is the target's", || {
            let target = monitor.bridge.fleet().target("router");
            target.is_some_and(|target| matches!(&*target.state().borrow(), State::Up(_)))
        })
        .await;
    until_scraped(&monitor, "router", "node", "a 1\n").await;
}
