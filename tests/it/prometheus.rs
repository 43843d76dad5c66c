//! A real Prometheus.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use tornet::process::{self, Process};

use crate::http::Scraper;
use crate::world::World;

/// How long Prometheus may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// It stops when dropped.
pub struct Prometheus {
    web: SocketAddr,
    process: Process,
}

impl Prometheus {
    /// Runs with this configuration, which may name files beside `files`.
    pub fn start(world: &World, config: &str, files: &[(&str, &str)]) -> Self {
        let folder = world.folder();
        for (name, text) in files.iter().chain(&[("prometheus.yml", config)]) {
            fs::write(folder.join(name), text).unwrap();
        }
        let web = tornet::ports::reserve().unwrap().addr();
        let mut command = Command::new(process::find("prometheus").unwrap());
        command
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={web}"));
        let process = process::spawn(&command, &folder.join("prometheus.log")).unwrap();
        Self { web, process }
    }

    /// `up` of each target, by its instance and exporter.
    pub async fn up(&self) -> BTreeMap<(String, String), bool> {
        if tokio::net::TcpStream::connect(self.web).await.is_err() {
            return BTreeMap::new();
        }
        let answer = Scraper::connect(&self.web.to_string()).await.get("/api/v1/query?query=up", &[]).await;
        let answer: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let series = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        let label =
            |one: &serde_json::Value, name: &str| one["metric"][name].as_str().unwrap_or_default().to_owned();
        let of = |one: &serde_json::Value| {
            ((label(one, "instance"), label(one, "exporter")), one["value"][1] == "1")
        };
        series.iter().map(of).collect()
    }

    /// Its targets that were found, as its API tells of them.
    pub async fn targets(&self) -> Vec<serde_json::Value> {
        if tokio::net::TcpStream::connect(self.web).await.is_err() {
            return Vec::new();
        }
        let answer = Scraper::connect(&self.web.to_string()).await.get("/api/v1/targets", &[]).await;
        let answer: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        answer["data"]["activeTargets"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until `up` is so.
    pub async fn until(&self, what: &str, wanted: impl Fn(&BTreeMap<(String, String), bool>) -> bool) {
        let started = Instant::now();
        loop {
            let up = self.up().await;
            if wanted(&up) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "not {what}: {up:?}\n{}", self.process.log_tail());
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// Waits until this target is up.
    pub async fn until_up(&self, instance: &str, exporter: &str) {
        let named = (instance.to_owned(), exporter.to_owned());
        self.until(&format!("{named:?} up"), |up| up.get(&named) == Some(&true)).await;
    }
}
