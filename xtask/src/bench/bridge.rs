//! A scraper-bridge as a process, and where it offers what.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tornet::process::Process;

use super::wire::Connection;
use crate::Failure;
use crate::build::Programs;
use crate::chain::{self, free_address, get, wait_for};

/// How long it may take to be ready.
const READY_LIMIT: Duration = Duration::from_secs(120);

/// A bridge that is configured by hand; it ends when dropped.
pub struct Bridge {
    /// Its own pages.
    pub admin: SocketAddr,
    /// Its process.
    pub process: Process,
    file: PathBuf,
    head: String,
    control: PathBuf,
}

impl Bridge {
    /// Starts one with a `[tor]` section and `[[target]]` tables, in a folder of its own, and waits until it
    /// is ready.
    ///
    /// # Errors
    /// When it does not start: what its log says.
    pub fn start(programs: &Programs, folder: &Path, tor: &str, targets: &str) -> Result<Self, Failure> {
        fs::create_dir_all(folder)?;
        let (admin, state) = (free_address()?, folder.join("state"));
        let head =
            format!("state_dir = {state:?}\n[admin]\nlisten = \"{admin}\"\n[log]\nlevel = \"warn\"\n{tor}\n");
        let file = folder.join("bridge.toml");
        fs::write(&file, format!("{head}{targets}"))?;
        let process = chain::start(&programs.bridge, &file, &folder.join("bridge.log"))?;
        wait_for(READY_LIMIT, &process, || Ok(get(&format!("http://{admin}/-/ready"))?.0 == 200))?;
        Ok(Self { admin, process, file, head, control: state.join("control.sock") })
    }

    /// Has it keep these targets from now on.
    ///
    /// # Errors
    /// When it does not take them up.
    pub fn retarget(&self, targets: &str) -> Result<(), Failure> {
        fs::write(&self.file, format!("{}{targets}", self.head))?;
        let mut control = Connection::unix(&self.control)?;
        control.send("POST /-/reload", "")?;
        control.read_answer()?;
        Ok(())
    }

    /// The key that it logs in with, as a line.
    ///
    /// # Errors
    /// When it does not say.
    pub fn key(&self, programs: &Programs) -> Result<String, Failure> {
        chain::output(&programs.bridge, &["key"], &self.file, "")
    }

    /// Has it throw a target's session away; returns when it has.
    ///
    /// # Errors
    /// When it does not know the target.
    pub fn redial(&self, target: &str) -> Result<(), Failure> {
        redial(&self.control, target)
    }

    /// Where it offers each exporter of each target.
    ///
    /// # Errors
    /// When it does not say.
    pub fn offered(&self) -> Result<Offered, Failure> {
        offered(self.admin)
    }
}

/// Addresses by target and exporter.
pub type Offered = BTreeMap<(String, String), SocketAddr>;

/// What the bridge with these pages offers, by its discovery.
///
/// # Errors
/// When it does not say.
pub fn offered(admin: SocketAddr) -> Result<Offered, Failure> {
    let groups: Vec<serde_json::Value> = serde_json::from_str(&get(&format!("http://{admin}/sd"))?.1)?;
    let label = |group: &serde_json::Value, name: &str| -> Result<String, Failure> {
        Ok(group["labels"][name].as_str().ok_or("discovery lacks a label")?.to_owned())
    };
    let mut offered = Offered::new();
    for group in &groups {
        let address = group["targets"][0].as_str().ok_or("discovery lacks a target")?.parse()?;
        offered.insert((label(group, "instance")?, label(group, "exporter")?), address);
    }
    Ok(offered)
}

/// As [`Bridge::redial`], for the bridge with this socket.
///
/// # Errors
/// When it does not know the target.
pub fn redial(control: &Path, target: &str) -> Result<(), Failure> {
    let mut bridge = Connection::unix(control)?;
    bridge.send(&format!("POST /t/{target}/redial"), "")?;
    bridge.read_answer()?;
    Ok(())
}

/// Whom a bridge logs in as.
#[derive(Clone, Copy)]
pub struct Login<'a> {
    /// The user's name.
    pub user: &'a str,
    /// The key.
    pub key_file: &'a Path,
}

/// A `[[target]]` table; with an `sshd` exporters have addresses, with an agent names suffice.
pub fn target<'a>(
    name: &str,
    address: &str,
    host_key: &str,
    login: Login<'_>,
    exporters: impl IntoIterator<Item = (&'a str, Option<SocketAddr>)>,
) -> String {
    let mut text = format!(
        "[[target]]\nname = {name:?}\naddress = {address:?}\nhost_key = {host_key:?}\nuser = {:?}\nkey_file = {:?}\n",
        login.user, login.key_file,
    );
    for (name, address) in exporters {
        text += &format!("[[target.exporter]]\nname = {name:?}\nlisten = \"127.0.0.1:0\"\n");
        if let Some(address) = address {
            text += &format!("address = \"{address}\"\n");
        }
    }
    text
}
