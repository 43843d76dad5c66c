//! The network and what stands on it, and devices and monitors for a test to use.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use onionscrape::lifecycle::Failure;
use onionscrape::ssh::KeyFile;
use scraper_bridge::bridge::Bridge;
use scraper_bridge::config::BridgeConfig;
use scraper_bridge::fleet::Offered;
use scraper_bridge::target::State;
use target_agent::agent::Agent;
use target_agent::config::AgentConfig;
use target_agent::status::AgentStatus;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::{JoinHandle, block_in_place};
use tokio_util::sync::{CancellationToken, DropGuard};
use tornet::Network;
use tornet::process::{self, Process};

use crate::checkout::program;

/// How long anything that needs Tor may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// What all tests share. Each part is started by the first test that needs it.
pub struct World {
    folder: TempDir,
    runtime: Runtime,
    network: OnceLock<Network>,
    node_exporter: OnceLock<(SocketAddr, Process)>,
    counter: AtomicUsize,
}

impl World {
    pub fn new() -> Self {
        Self {
            folder: tempfile::Builder::new().prefix("onionscrape-it-").tempdir().unwrap(),
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(4)
                .enable_all()
                .build()
                .unwrap(),
            network: OnceLock::new(),
            node_exporter: OnceLock::new(),
            counter: AtomicUsize::new(0),
        }
    }

    /// Runs a test to its end.
    pub fn run(&self, test: impl AsyncFnOnce(&Self)) {
        self.runtime.block_on(test(self));
    }

    /// A folder of a test's own.
    pub fn folder(&self) -> PathBuf {
        let path = self.folder.path().join(self.counter.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir(&path).unwrap();
        path
    }

    pub fn network(&self) -> &Network {
        let start = || Network::start(&tornet::Options { clients: 4, ..Default::default() }, |_| {}).unwrap();
        block_in_place(|| self.network.get_or_init(start))
    }

    /// The `[tor]` section for programs on the network.
    pub fn tor_section(&self) -> String {
        format!("[tor]\ninclude = {:?}\n", self.network().fragment())
    }

    /// A real node_exporter.
    pub fn node_exporter(&self) -> SocketAddr {
        let start = || {
            let address = tornet::ports::reserve().unwrap().addr();
            let mut command = Command::new(process::find("prometheus-node-exporter").unwrap());
            command.arg(format!("--web.listen-address={address}"));
            let process = process::spawn(&command, &self.folder.path().join("node_exporter.log")).unwrap();
            let started = Instant::now();
            while std::net::TcpStream::connect(address).is_err() {
                assert!(started.elapsed() < PATIENCE, "{}", process.log_tail());
                std::thread::sleep(Duration::from_millis(20));
            }
            (address, process)
        };
        block_in_place(|| self.node_exporter.get_or_init(start)).0
    }

    /// The key that every monitor logs in with and every device knows.
    pub fn key(&self) -> KeyFile {
        KeyFile::open_or_make(&self.key_file(), "monitor").unwrap()
    }

    pub fn key_file(&self) -> PathBuf {
        self.folder.path().join("monitor_key")
    }

    /// An agent in this process with these exporters, reachable when this returns.
    pub async fn device(&self, exporters: &[(&str, SocketAddr)]) -> Device {
        let ssh = format!("[ssh]\nkeys = [{:?}]\n", self.key().public_line());
        self.device_with(&ssh, exporters).await
    }

    /// The same, with an `[ssh]` section of the test's own.
    pub async fn device_with(&self, ssh: &str, exporters: &[(&str, SocketAddr)]) -> Device {
        self.device_in(self.folder(), ssh, exporters).await
    }

    /// The same, with its state in `folder`, where there may be some already.
    pub async fn device_in(&self, folder: PathBuf, ssh: &str, exporters: &[(&str, SocketAddr)]) -> Device {
        let file = self.agent_file(&folder, ssh, exporters);
        let shutdown = CancellationToken::new();
        let config = AgentConfig::read(Some(&file), None).unwrap();
        let agent = Agent::start(config, shutdown.clone()).await.unwrap();
        let onion = agent.onion().unredacted().to_owned();
        let host_key = agent.host_key().fingerprint();
        let mut status = agent.status();
        let task = tokio::spawn(agent.run());
        let reachable = status.wait_for(|status| matches!(status, AgentStatus::Reachable));
        tokio::time::timeout(PATIENCE, reachable).await.expect("the device is reachable in time").unwrap();
        Device { onion, host_key, status, task, stop: shutdown }
    }

    /// A configuration file for an agent.
    pub fn agent_file(&self, folder: &Path, ssh: &str, exporters: &[(&str, SocketAddr)]) -> PathBuf {
        let mut text = format!("state_dir = {:?}\n{}{ssh}\n", folder.join("agent"), self.tor_section());
        for (name, address) in exporters {
            text += &format!("[[exporter]]\nname = {name:?}\naddress = \"{address}\"\n");
        }
        let file = folder.join("agent.toml");
        fs::write(&file, text).unwrap();
        file
    }

    /// A bridge in this process; each target is a name, a device and the exporters to offer.
    pub async fn monitor(&self, targets: &[(&str, &Device, &[&str])]) -> Monitor {
        self.monitor_with("", targets).await
    }

    /// The same, with further configuration before the targets.
    pub async fn monitor_with(&self, more: &str, targets: &[(&str, &Device, &[&str])]) -> Monitor {
        let targets: Vec<String> = targets
            .iter()
            .map(|(name, device, exporters)| self.target(name, device, "", exporters))
            .collect();
        self.monitor_of(more, &targets.concat()).await
    }

    /// A bridge with these `[[target]]` tables.
    pub async fn monitor_of(&self, more: &str, targets: &str) -> Monitor {
        let folder = self.folder();
        let file = self.bridge_file(&folder, more, targets);
        let shutdown = CancellationToken::new();
        let bridge =
            Bridge::start(BridgeConfig::read(Some(&file), None).unwrap(), shutdown.clone()).await.unwrap();
        Monitor::new(bridge, file, shutdown)
    }

    /// A configuration file for a bridge.
    pub fn bridge_file(&self, folder: &Path, more: &str, targets: &str) -> PathBuf {
        let state = folder.join("bridge");
        let text = format!(
            "state_dir = {state:?}\n{more}\n[admin]\nlisten = \"127.0.0.1:0\"\n{}{targets}",
            if more.contains("[tor]") { String::new() } else { self.tor_section() },
        );
        let file = folder.join("bridge.toml");
        fs::write(&file, text).unwrap();
        file
    }

    /// A `[[target]]` table; `more` are keys besides the usual ones.
    pub fn target(&self, name: &str, device: &Device, more: &str, exporters: &[&str]) -> String {
        self.target_at(name, (&device.onion, &device.host_key), more, exporters)
    }

    /// A `[[target]]` table for an agent with this configuration file, which need not run.
    pub fn target_of(&self, file: &Path, name: &str, exporters: &[&str]) -> String {
        let identity = run("target-agent", &["hostname", "--json", "--config.file", file.to_str().unwrap()]);
        let identity: serde_json::Value = serde_json::from_slice(&identity.stdout).unwrap();
        let text = |key: &str| identity[key].as_str().unwrap();
        self.target_at(name, (text("hostname"), text("host_key_fingerprint")), "", exporters)
    }

    fn target_at(
        &self,
        name: &str,
        (onion, host_key): (&str, &str),
        more: &str,
        exporters: &[&str],
    ) -> String {
        let mut text = format!(
            "[[target]]\nname = {name:?}\naddress = {onion:?}\nhost_key = {host_key:?}\nkey_file = {:?}\n{more}\n",
            self.key_file(),
        );
        self.key();
        for exporter in exporters {
            text += &format!("[[target.exporter]]\nname = {exporter:?}\nlisten = \"127.0.0.1:0\"\n");
        }
        text
    }

    /// Waits for something that needs Tor.
    pub async fn in_time<T>(&self, what: &str, waited_for: impl Future<Output = T>) -> T {
        tokio::time::timeout(PATIENCE, waited_for).await.unwrap_or_else(|_| panic!("not in time: {what}"))
    }

    /// Waits until a condition holds.
    pub async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let started = Instant::now();
        while !condition() {
            assert!(started.elapsed() < PATIENCE, "not in time: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// An agent of this process; it stops when dropped.
pub struct Device {
    pub onion: String,
    pub host_key: String,
    pub status: watch::Receiver<AgentStatus>,
    task: JoinHandle<Result<(), Failure>>,
    stop: CancellationToken,
}

impl Device {
    /// What is configured for a device that is not there.
    pub fn nowhere(onion: &str, host_key: &str) -> Self {
        let (onion, host_key) = (onion.to_owned(), host_key.to_owned());
        let status = watch::channel(AgentStatus::Bootstrapping).1;
        Self { onion, host_key, status, task: tokio::spawn(async { Ok(()) }), stop: CancellationToken::new() }
    }

    /// Stops the agent and waits until it has.
    pub async fn stop(mut self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, &mut self.task)
            .await
            .expect("the agent stops in time")
            .unwrap()
            .unwrap();
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A bridge of this process; it stops when dropped.
pub struct Monitor {
    pub bridge: Bridge,
    pub file: PathBuf,
    _stop: DropGuard,
}

impl Monitor {
    pub fn new(bridge: Bridge, file: PathBuf, shutdown: CancellationToken) -> Self {
        Self { bridge, file, _stop: shutdown.drop_guard() }
    }

    /// Stops the bridge and waits until it has.
    pub async fn stop(self) {
        let Self { bridge, _stop, .. } = self;
        drop(_stop);
        bridge.run().await;
    }

    /// Where an exporter is offered.
    pub fn address(&self, target: &str, exporter: &str) -> String {
        let offered = self.bridge.fleet().offered().into_iter();
        let offered = offered.filter(|offered| offered.target.config.name.as_str() == target);
        let mut addresses = offered.flat_map(|Offered { target, listening }| {
            let names = target.config.exporters.clone().into_iter().map(|exporter| exporter.name);
            names.zip(listening).collect::<Vec<_>>()
        });
        let found = addresses.find(|(name, _)| name.as_str() == exporter);
        found.expect("the exporter is configured").1.to_string()
    }

    /// Waits until the target's session does this.
    pub async fn state(&self, target: &str, what: &str, wanted: impl FnMut(&State) -> bool) {
        let target = self.bridge.fleet().target(target).unwrap();
        let mut state = target.state();
        let waited = tokio::time::timeout(PATIENCE, state.wait_for(wanted)).await;
        waited.unwrap_or_else(|_| panic!("the session is not {what} in time")).unwrap();
    }

    pub async fn connected(&self, target: &str) {
        self.state(target, "up", |state| state.pool().is_some()).await;
    }

    /// The bridge's own metrics.
    pub async fn metrics(&self) -> String {
        crate::http::scrape(&self.bridge.admin().to_string()).await.text().to_owned()
    }
}

/// Runs one of the programs to its end, which must come in time.
pub fn run(name: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(process::find("timeout").unwrap());
    command.arg("--signal=KILL").arg(PATIENCE.as_secs().to_string()).arg(program(name)).args(arguments);
    let output = block_in_place(|| command.env_remove("NOTIFY_SOCKET").output()).unwrap();
    let in_time = output.status.code().is_some_and(|code| code != 137);
    assert!(in_time, "{name} {arguments:?} does not end: {output:?}");
    output
}
