//! A device as a person runs it, to be paired by ticket.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use scraper_bridge::bridge::Bridge;
use scraper_bridge::config::BridgeConfig;
use tokio::task::block_in_place;
use tokio_util::sync::CancellationToken;
use tornet::process::{self, Process};

use crate::checkout::program;
use crate::http::scrape;
use crate::world::{World, run};

/// A device of its own process, which nobody may scrape yet.
pub struct Device {
    pub folder: PathBuf,
    pub file: PathBuf,
    pub process: Process,
    pub admin: String,
}

impl Device {
    pub async fn start(world: &World, exporters: &[(&str, std::net::SocketAddr)]) -> Self {
        let folder = world.folder();
        let admin = tornet::ports::reserve().unwrap().addr().to_string();
        let file = world.agent_file(&folder, &format!("[admin]\nlisten = \"{admin}\"\n"), exporters);
        let process = Self::run(&folder, &file);
        Self { folder, file, process, admin }
    }

    pub fn run(folder: &Path, file: &Path) -> Process {
        let mut command = Command::new(program("target-agent"));
        command.arg("run").arg("--config.file").arg(file);
        process::spawn(&command, &folder.join("agent.log")).unwrap()
    }

    pub fn agent(&self, arguments: &[&str]) -> Output {
        let file = ["--config.file", self.file.to_str().unwrap()];
        run("target-agent", &[arguments, &file].concat())
    }

    pub fn ticket(&self, arguments: &[&str]) -> String {
        let printed = self.agent(&[&["ticket"], arguments].concat());
        assert!(printed.status.success(), "{}", text(&printed.stderr));
        let line = text(&printed.stdout);
        assert_eq!(line.lines().count(), 1, "the ticket and nothing else: {line}");
        line.trim().to_owned()
    }

    pub fn onion(&self) -> String {
        text(&self.agent(&["hostname"]).stdout).trim().to_owned()
    }

    pub async fn metric(&self, series: &str) -> f64 {
        let metrics = scrape(&self.admin).await.text().to_owned();
        let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in:\n{metrics}")).parse().unwrap()
    }

    pub async fn reachable(&self, world: &World) {
        let log = self.folder.join("agent.log");
        world
            .until("the device is reachable", || fs::read_to_string(&log).unwrap().contains("reachable"))
            .await;
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs `scraper-bridge add` with the ticket on standard input.
pub fn add(file: &Path, ticket: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program("scraper-bridge"));
    command.arg("add").args(arguments).arg("--config.file").arg(file);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    block_in_place(|| {
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(ticket.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    })
}

/// A bridge of this process; it stops when dropped.
pub struct Running {
    pub bridge: Bridge,
    stop: CancellationToken,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A bridge of this process with this configuration file.
pub async fn bridge(file: &Path) -> Running {
    let stop = CancellationToken::new();
    let bridge = Bridge::start(BridgeConfig::read(Some(file), None).unwrap(), stop.clone()).await.unwrap();
    Running { bridge, stop }
}
