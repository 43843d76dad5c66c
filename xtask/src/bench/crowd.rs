//! Many agents in few processes.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tornet::process::{self, Process};

use crate::Failure;
use crate::chain::wait_for;
use crate::stage::Stage;

/// How long they may take to be there.
const LIMIT: Duration = Duration::from_secs(600);

/// Agents; dropping it ends them.
pub struct Crowd {
    /// Where each of them is, and its host key's fingerprint.
    pub devices: Vec<(String, String)>,
    processes: Vec<Process>,
}

/// What they are like.
pub struct Kind<'a> {
    /// The program.
    pub program: &'a Path,
    /// The `[tor]` section, if they are onion services.
    pub tor: Option<&'a str>,
    /// The public key that may log in, as a line.
    pub key: &'a str,
    /// What each of them has.
    pub exporters: &'a [(&'a str, SocketAddr)],
}

impl Crowd {
    /// The processes' ids.
    pub fn pids(&self) -> Vec<u32> {
        self.processes.iter().map(Process::pid).collect()
    }

    /// Starts `count` of them in so many processes, and waits until all are there.
    ///
    /// # Errors
    /// When a process ends: what it says.
    pub fn start(kind: &Kind<'_>, folder: &Path, count: usize, processes: usize) -> Result<Self, Failure> {
        let stage = Stage::begin(format!("{count} agents in {processes} processes"));
        let mut crowd = Self { devices: Vec::new(), processes: Vec::new() };
        for number in 0..processes {
            // The first ones take what does not divide evenly.
            let own = count / processes + usize::from(number < count % processes);
            let folder = folder.join(number.to_string());
            fs::create_dir_all(&folder)?;
            let file = folder.join("agent.toml");
            fs::write(&file, configuration(kind, &folder))?;
            let mut command = Command::new(kind.program);
            command.arg("--config.file").arg(&file).arg("--count").arg(own.to_string());
            if kind.tor.is_some() {
                command.arg("--onion");
            }
            crowd.processes.push(process::spawn(&command, &folder.join("crowd.log"))?);
        }
        for process in &crowd.processes {
            wait_for(LIMIT, process, || Ok(process.log_text().lines().any(|line| line == "ready")))?;
            let text = process.log_text();
            let devices = text.lines().filter_map(|line| line.strip_prefix("device ")?.split_once(' '));
            crowd.devices.extend(devices.map(|(address, key)| (address.to_owned(), key.to_owned())));
        }
        stage.done();
        Ok(crowd)
    }
}

fn configuration(kind: &Kind<'_>, folder: &Path) -> String {
    let mut text = format!(
        "state_dir = {:?}\n{}\n[ssh]\nkeys = [{:?}]\n[host]\nenabled = false\n",
        folder.join("state"),
        kind.tor.unwrap_or_default(),
        kind.key,
    );
    for (name, address) in kind.exporters {
        text += &format!("[[exporter]]\nname = {name:?}\naddress = \"{address}\"\n");
    }
    text
}
