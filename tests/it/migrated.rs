//! What stands in `docs/migrate.md` under "After": each configuration and command as it is written there, with
//! this machine's ports and paths, against the real parts that it says are there.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use onionscrape::ssh::KeyFile;
use tokio::task::block_in_place;
use tornet::process::{self, Process};
use tornet::{ServiceOptions, sshd};

use crate::checkout::read;
use crate::exporters::{Exporter, Manner};
use crate::http::scrape;
use crate::paired::{Device, Running, add, bridge, text};
use crate::prometheus::Prometheus;
use crate::transports::{NO_TOR, an_sshd};
use crate::world::{PATIENCE, World, run};

/// What stands in the document between two headings.
struct Part(String);

impl Part {
    /// Under "## From …", "### After…", by how they go on.
    fn of(from: &str, after: &str) -> Self {
        let document = read("docs/migrate.md");
        let section = |text: &str, heading: &str| {
            let begin = text.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
            let rest = &text[begin + 1 + heading.len()..];
            let level = heading.split(' ').next().unwrap().len();
            let ends = (2..=level).filter_map(|level| rest.find(&format!("\n{} ", "#".repeat(level))));
            rest[..ends.min().unwrap_or(rest.len())].to_owned()
        };
        Self(section(&section(&document, &format!("## From {from}")), &format!("### After{after}")))
    }

    /// The file of this name, with these words in the place of the document's, all of which it must have.
    fn file(&self, name: &str, words: &[(&str, &str)]) -> String {
        let head = format!("\n# {name}\n");
        let block = self.blocks().find(|block| block.starts_with(&head));
        put(&block.unwrap_or_else(|| panic!("no {name}"))[1..], words)
    }

    /// The command that begins with these words, without what is said of it.
    fn command(&self, begin: &str) -> String {
        let lines = self.blocks().flat_map(|block| block.lines()).collect::<Vec<_>>();
        let line = lines.into_iter().find(|line| line.starts_with(begin));
        let line = line.unwrap_or_else(|| panic!("no {begin}"));
        line.split("    #").next().unwrap().trim().to_owned()
    }

    fn blocks(&self) -> impl Iterator<Item = &str> {
        // What is fenced is every second part; it begins with the language.
        let fenced = self.0.split("```").skip(1).step_by(2);
        fenced.map(|block| &block[block.find('\n').unwrap()..])
    }
}

fn put(text: &str, words: &[(&str, &str)]) -> String {
    words.iter().fold(text.to_owned(), |text, (documented, here)| {
        assert!(text.contains(documented), "{documented:?} is not in:\n{text}");
        text.replace(documented, here)
    })
}

/// A word of the document's that stands for this onion address.
const ONION: &str = "stqgmcdsk7kgxh5wi6lxaew2axmk4e5av2xy65d62e5lp44mh4pkscid.onion";
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
const NODE: &str = "127.0.0.1:9100";

/// Waits until the target is connected, over a session that is new if `anew`.
async fn connected(running: &Running, name: &str, anew: bool) {
    let target = running.bridge.fleet().target(name).expect("it is configured");
    let mut state = target.state();
    if anew {
        target.redial().await;
    }
    let up = state.wait_for(|state| state.pool().is_some());
    tokio::time::timeout(PATIENCE, up).await.expect("connected").unwrap();
}

/// A real Prometheus with this configuration, scraping often, until this instance is up.
async fn up_in_prometheus(world: &World, config: &str, instance: &str) {
    let config = format!("global:\n  scrape_interval: 1s\n{config}");
    Prometheus::start(world, &config, &[]).until_up(instance, "").await;
}

fn reserved() -> String {
    tornet::ports::reserve().unwrap().addr().to_string()
}

fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A device with a program of its own, configured by a file of the document's.
fn agent(world: &World, folder: PathBuf, config: &str) -> Device {
    let file = world.agent_file(&folder, config, &[]);
    let process = Device::run(&folder, &file);
    Device { folder, file, process, admin: String::new() }
}

async fn exporter() -> (Exporter, String) {
    let exporter = Exporter::start(Manner::Good("a 1\n".into())).await;
    let address = exporter.address.to_string();
    (exporter, address)
}

/// A HiddenServiceDir as C tor makes it, and its address; C tor has ended.
fn unpublished(folder: &Path) -> (PathBuf, String) {
    let (data, onion) = (folder.join("c-tor"), folder.join("onion"));
    let mut tor = Command::new(process::find("tor").unwrap());
    let torrc = folder.join("torrc");
    fs::write(&torrc, "").unwrap();
    // Nothing of this machine's own, either.
    tor.arg("-f").arg(&torrc).arg("--defaults-torrc").arg(&torrc);
    tor.args(["--DisableNetwork", "1", "--SocksPort", "0"]);
    tor.arg("--DataDirectory").arg(&data).arg("--HiddenServiceDir").arg(&onion);
    tor.args(["--HiddenServicePort", "22 127.0.0.1:22"]);
    let tor = block_in_place(|| process::spawn(&tor, &folder.join("c-tor.log"))).unwrap();
    let started = Instant::now();
    let hostname = loop {
        match fs::read_to_string(onion.join("hostname")) {
            Ok(name) if name.ends_with('\n') => break name.trim().to_owned(),
            _ => assert!(tor.is_running() && started.elapsed() < PATIENCE, "{}", tor.log_text()),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    (onion, hostname)
}

pub async fn tor_socat_and_ssh(world: &World) {
    const RECIPE: &str = "tor, socat and `ssh -L`";
    let (_exporter, node) = exporter().await;
    let (folder, sshd) = (world.folder(), an_sshd());
    let options = ServiceOptions { ports: vec![(22, sshd.addr)], ..Default::default() };
    let service = block_in_place(|| world.network().hidden_service(&options)).unwrap();
    let before = service.hostname().to_owned();
    let known_hosts = folder.join("known_hosts");
    fs::write(&known_hosts, format!("{before} {}\n", sshd.host_key_public)).unwrap();

    let local = reserved();
    let config = Part::of(RECIPE, ", the monitor first").file(
        "bridge.toml",
        &[
            (ONION, &before),
            ("/etc/onionscrape/known_hosts", shown(&known_hosts)),
            ("\"metrics\"", &format!("{:?}", sshd.user)),
            ("/etc/onionscrape/id_ed25519", shown(&sshd.user_key)),
            ("127.0.0.1:2345", &local),
            (NODE, &node),
        ],
    );
    let running = bridge(&world.bridge_file(&folder, "", &config)).await;
    connected(&running, "backpack", false).await;
    assert_eq!(scrape(&local).await.text(), "a 1\n");

    // The agent takes an address over from C tor's folder; sshd is as it was, and the monitor finds it there. It is
    // one that C tor has not published: as long as the authorities have no shared random value, as on this young
    // network, C tor and arti number descriptors from different moments, and directories would keep C tor's.
    drop((running, service));
    world.until("the port is free", || std::net::TcpStream::connect(&local).is_err()).await;
    let (left, onion) = unpublished(&folder);
    fs::write(&known_hosts, format!("{onion} {}\n", sshd.host_key_public)).unwrap();
    let config = config.replace(&before, &onion);
    let running = bridge(&world.bridge_file(&world.folder(), "", &config)).await;
    let part = Part::of(RECIPE, ", the device with its own `sshd`");
    let import = put(&part.command("target-agent import"), &[("/var/lib/tor/device", shown(&left))]);
    let config = part.file("agent.toml", &[("127.0.0.1:22", &sshd.addr.to_string())]);
    let file = world.agent_file(&folder, &config, &[]);
    let arguments: Vec<&str> = import.split(' ').skip(1).chain(["--config.file", shown(&file)]).collect();
    let imported = run("target-agent", &arguments);
    assert_eq!(text(&imported.stdout).trim(), onion, "{}", text(&imported.stderr));
    let device = agent(world, folder.clone(), &config);
    device.reachable(world).await;
    // It would find it by itself, within a minute.
    connected(&running, "backpack", true).await;
    assert_eq!(scrape(&local).await.text(), "a 1\n");
    drop((device, running, sshd));

    // The agent's own SSH server, under the same address still.
    let part = Part::of(RECIPE, ", the device without `sshd`");
    fs::remove_file(folder.join("agent.log")).unwrap();
    let device = agent(world, folder.clone(), &part.file("agent.toml", &[(NODE, &node)]));
    device.reachable(world).await;
    assert_eq!(device.onion(), onion);
    let monitor = world.folder();
    let file = world.bridge_file(&monitor, "", "");
    let running = bridge(&file).await;
    let ticket = part.command("target-agent ticket");
    let ticket = device.ticket(&ticket.split(' ').skip(2).collect::<Vec<_>>());
    let (addition, local) = (part.command("scraper-bridge add"), reserved());
    let addition = put(&addition, &[("127.0.0.1:2345", &local)]);
    let added = add(&file, &ticket, &addition.split(' ').skip(2).collect::<Vec<_>>());
    assert!(added.status.success(), "{}", text(&added.stderr));
    connected(&running, "backpack", false).await;
    assert_eq!(scrape(&local).await.text(), "a 1\n");
}

pub async fn ssh_in_a_unit(world: &World) {
    let part = Part::of("`ssh -L` in a systemd unit", "");
    let (_exporter, node) = exporter().await;
    let (_other, elsewhere) = exporter().await;
    let folder = world.folder();
    let key = folder.join("tunnel");
    let line = KeyFile::open_or_make(&key, "tunnel").unwrap().public_line();
    let line = line.rsplit_once(' ').unwrap().0;
    let keys = folder.join("authorized_keys");
    fs::write(&keys, part.file("~metrics/.ssh/authorized_keys", &[(NODE, &node), (KEY, line)])).unwrap();
    let sshd = block_in_place(|| sshd::start(&[&format!("AuthorizedKeysFile {}", keys.display())])).unwrap();
    let known_hosts = folder.join("known_hosts");
    fs::write(&known_hosts, format!("[localhost]:{} {}\n", sshd.addr.port(), sshd.host_key_public)).unwrap();
    let local = reserved();
    let config = part.file(
        "bridge.toml",
        &[
            ("metrics@server.example:22", &format!("{}@localhost:{}", sshd.user, sshd.addr.port())),
            ("/etc/onionscrape/known_hosts", shown(&known_hosts)),
            ("/etc/onionscrape/tunnel", shown(&key)),
            ("127.0.0.1:7080", &local),
            (NODE, &node),
        ],
    );
    let second = reserved();
    let more =
        format!("[[target.exporter]]\nname = \"other\"\nlisten = {second:?}\naddress = {elsewhere:?}\n");
    let running = bridge(&world.bridge_file(&folder, NO_TOR, &(config + &more))).await;
    connected(&running, "server", false).await;
    assert_eq!(scrape(&local).await.text(), "a 1\n");
    let refused = scrape(&second).await;
    assert_eq!(refused.status, 502, "the key opens nothing else: {refused:?}");
}

/// What is said of sshified, with this machine's words.
fn sshified(sshd: &sshd::Sshd, known_hosts: &Path, node: &str, proxy: &str) -> (String, String) {
    let part = Part::of("sshified", "");
    let bridge = part.file(
        "bridge.toml",
        &[
            ("metrics@server.example:22", &format!("{}@localhost:{}", sshd.user, sshd.addr.port())),
            ("/etc/sshified/known_hosts", shown(known_hosts)),
            ("/run/credentials/onionscrape-bridge.service/login", shown(&sshd.user_key)),
            ("127.0.0.1:8888", proxy),
            (NODE, node),
        ],
    );
    let server = format!("server:{}", node.parse::<SocketAddr>().unwrap().port());
    let prometheus = part.file("prometheus.yml", &[("127.0.0.1:8888", proxy), ("server:9100", &server)]);
    (bridge, prometheus)
}

pub async fn sshified_as_a_proxy(world: &World) {
    let (_exporter, node) = exporter().await;
    let (folder, sshd, proxy) = (world.folder(), an_sshd(), reserved());
    let known_hosts = folder.join("known_hosts");
    fs::write(&known_hosts, format!("[localhost]:{} {}\n", sshd.addr.port(), sshd.host_key_public)).unwrap();
    let (config, prometheus) = sshified(&sshd, &known_hosts, &node, &proxy);
    let running = bridge(&world.bridge_file(&folder, NO_TOR, &config)).await;
    connected(&running, "server", false).await;
    let server = format!("server:{}", node.parse::<SocketAddr>().unwrap().port());
    up_in_prometheus(world, &prometheus, &server).await;
}

/// True if this machine can tell what a Nix expression says.
pub fn has_nix() -> bool {
    process::find("nix-instantiate").is_ok()
}

pub async fn sshified_on_nixos(_: &World) {
    let block = Part::of("sshified on NixOS", "").file("configuration.nix", &[]);
    let settings = format!("({block}).services.onionscrape-bridge.settings");
    let mut nix = Command::new(process::find("nix-instantiate").unwrap());
    nix.args(["--eval", "--strict", "--json", "--expr", &settings]);
    // It wants no store and no daemon for what is only evaluated.
    let output = block_in_place(|| nix.env("NIX_REMOTE", "dummy://").output()).unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let file: serde_json::Value =
        toml::from_str(&Part::of("sshified", "").file("bridge.toml", &[])).expect("TOML");
    assert_eq!(said, file, "it says what the file above says, which is run by another test");
}

pub async fn monitoring_proxy(world: &World) {
    let part = Part::of("monitoring-proxy, or any `ssh -R`", "");
    let (_exporter, node) = exporter().await;
    let (folder, listen) = (world.folder(), reserved());
    let (host, port) = listen.split_once(':').unwrap();
    let key = folder.join("own_key");
    let keygen = put(&part.command("ssh-keygen"), &[("own_key", shown(&key))]);
    let made = block_in_place(|| Command::new("sh").args(["-c", &keygen]).output()).unwrap();
    assert!(made.status.success(), "{}", text(&made.stderr));
    let line = fs::read_to_string(key.with_extension("pub")).unwrap();
    let line = line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let config = part.file("bridge.toml", &[("192.0.2.1:2222", &listen), (KEY, line.trim())]);
    let file = world.bridge_file(&folder, NO_TOR, &config);
    let running = bridge(&file).await;

    let known_hosts = folder.join("known_hosts");
    let printed = put(&part.command("scraper-bridge host-key"), &[("monitor.example", host)]);
    let arguments: Vec<&str> = printed.split(' ').skip(1).chain(["--config.file", shown(&file)]).collect();
    fs::write(&known_hosts, run("scraper-bridge", &arguments).stdout).unwrap();
    let options = format!("ssh -F none -o BatchMode=yes -o UserKnownHostsFile={} ", known_hosts.display());
    let ssh = put(
        &part.command("ssh -N"),
        &[
            ("ssh -N ", &format!("{options} -N ")),
            ("own_key", shown(&key)),
            ("-p 2222", &format!("-p {port}")),
            ("localhost:9100", &node),
            ("@monitor.example", &format!("@{host}")),
        ],
    );
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec {ssh}")]);
    let ssh: Process = block_in_place(|| process::spawn(&command, &folder.join("ssh.log"))).unwrap();
    connected(&running, "external-host-1", false).await;
    assert!(ssh.is_running(), "{}", ssh.log_text());
    let admin = running.bridge.admin().to_string();
    let prometheus = part.file("prometheus.yml", &[("127.0.0.1:9822", &admin)]);
    up_in_prometheus(world, &prometheus, "external-host-1").await;
}

pub async fn pushprox(world: &World) {
    let part = Part::of("PushProx", "");
    let (_exporter, node) = exporter().await;
    let device = agent(world, world.folder(), &part.file("agent.toml", &[(NODE, &node)]));
    device.reachable(world).await;
    let (folder, proxy) = (world.folder(), reserved());
    let config = part.file("bridge.toml", &[("127.0.0.1:9823", &proxy)]);
    let file = world.bridge_file(&folder, "", &config);
    let running = bridge(&file).await;
    let added = add(&file, &device.ticket(&[]), &["--name", "backpack"]);
    assert!(added.status.success(), "{}", text(&added.stderr));
    connected(&running, "backpack", false).await;
    let named = format!("backpack:{}", node.parse::<SocketAddr>().unwrap().port());
    let words = [("127.0.0.1:9823", proxy.as_str()), ("backpack:9100", &named)];
    up_in_prometheus(world, &part.file("prometheus.yml", &words), "backpack").await;
}

pub async fn wireguard(world: &World) {
    let part = Part::of("PromGuard, or WireGuard otherwise", "");
    let (_exporter, node) = exporter().await;
    let (folder, local) = (world.folder(), reserved());
    // What the two have to know of each other, before either runs.
    let state = folder.join("agent");
    let printed = run("target-agent", &["hostname", "--json", "--state-dir", shown(&state)]);
    let identity: serde_json::Value = serde_json::from_slice(&printed.stdout).unwrap();
    let key = text(&run("scraper-bridge", &["key", "--state-dir", shown(&folder.join("bridge"))]).stdout);
    let key = key.trim().rsplit_once(' ').unwrap().0;
    let config = part.file("agent.toml", &[(KEY, key), (NODE, &node)]);
    let device = agent(world, folder.clone(), &config);
    device.reachable(world).await;
    let words = [
        (ONION, identity["hostname"].as_str().unwrap()),
        (
            "SHA256:uNiVztksCsDhcc0u9e8BrfJXVREF2P2hkKKrbSQGHqs",
            identity["host_key_fingerprint"].as_str().unwrap(),
        ),
        ("127.0.0.1:9101", &local),
    ];
    let running = bridge(&world.bridge_file(&folder, "", &part.file("bridge.toml", &words))).await;
    connected(&running, "device-2", false).await;
    let prometheus = part.file("prometheus.yml", &[("127.0.0.1:9101", &local)]);
    up_in_prometheus(world, &prometheus, "device-2").await;
}
