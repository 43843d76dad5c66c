//! Exporter, agent and bridge as processes, from the exporter's metrics to a local URL.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tornet::process::{self, Process};

use crate::Failure;
use crate::build::Programs;
use crate::stage::Stage;

/// How long the agent may take to be reachable; on the public network the first time takes minutes.
const REACHABLE_LIMIT: Duration = Duration::from_secs(300);
/// How long the bridge may take to its first scrape.
const SCRAPE_LIMIT: Duration = Duration::from_secs(180);

/// The running chain; dropping it ends its processes.
pub struct Chain {
    /// Where the bridge offers the exporter.
    pub listen: SocketAddr,
    /// The bridge's own pages.
    pub bridge_admin: SocketAddr,
    /// The agent's own pages.
    pub agent_admin: SocketAddr,
    /// The device's onion address.
    pub onion: String,
    /// The bridge's configuration, for its subcommands.
    pub bridge_file: PathBuf,
    /// The bridge's socket for its own subcommands.
    pub control: PathBuf,
    /// The agent's configuration.
    pub agent_file: PathBuf,
    /// The agent's process.
    pub agent: Process,
    /// The bridge's process.
    pub bridge: Process,
}

/// Starts node_exporter on a free port.
///
/// # Errors
/// When it cannot be started.
pub fn node_exporter(folder: &Path) -> Result<(SocketAddr, Process), Failure> {
    let address = free_address()?;
    let mut command = Command::new(process::find("prometheus-node-exporter")?);
    command.arg(format!("--web.listen-address={address}"));
    let process = process::spawn(&command, &folder.join("node_exporter.log"))?;
    wait_for(Duration::from_secs(20), &process, || Ok(status(&format!("http://{address}/metrics"))? == 200))?;
    Ok((address, process))
}

impl Chain {
    /// Starts an agent in front of exporters, each with its name, and a bridge, on the network of
    /// `fragment` (`None`: the public one), and waits until a scrape of the first one goes through.
    ///
    /// # Errors
    /// When a program cannot be started or the chain does not come about in time.
    pub fn start(
        programs: &Programs,
        folder: &Path,
        fragment: Option<&Path>,
        exporters: &[(&str, SocketAddr)],
    ) -> Result<Self, Failure> {
        let tor =
            fragment.map(|path| format!("[tor]\ninclude = {:?}\n\n", path.display())).unwrap_or_default();
        let agent_admin = free_address()?;
        let agent_file = folder.join("agent.toml");
        let mut agent_text =
            format!("state_dir = {:?}\n\n{tor}[admin]\nlisten = \"{agent_admin}\"\n", folder.join("agent"),);
        for (name, address) in exporters {
            agent_text += &format!("\n[[exporter]]\nname = \"{name}\"\naddress = \"{address}\"\n");
        }
        fs::write(&agent_file, agent_text)?;
        let onion = output(&programs.agent, &["hostname"], &agent_file, "")?;

        let stage = Stage::begin("target-agent: reachable over Tor");
        let agent = start(&programs.agent, &agent_file, &folder.join("agent.log"))?;
        wait_for(REACHABLE_LIMIT, &agent, || {
            let (code, words) = get(&format!("http://{agent_admin}/-/ready"))?;
            stage.say(words.trim());
            Ok(code == 200)
        })?;
        stage.done();

        let (listen, bridge_admin) = (free_address()?, free_address()?);
        let bridge_file = folder.join("bridge.toml");
        let bridge_state = folder.join("bridge");
        let bridge_text =
            format!("state_dir = {bridge_state:?}\n\n{tor}[admin]\nlisten = \"{bridge_admin}\"\n");
        fs::write(&bridge_file, bridge_text)?;
        let stage = Stage::begin("scraper-bridge: ready");
        let bridge = start(&programs.bridge, &bridge_file, &folder.join("bridge.log"))?;
        wait_for(REACHABLE_LIMIT, &bridge, || {
            let (code, words) = get(&format!("http://{bridge_admin}/-/ready"))?;
            stage.say(words.trim());
            Ok(code == 200)
        })?;
        stage.done();

        let stage = Stage::begin("paired: target-agent ticket, scraper-bridge add");
        let ticket = output(&programs.agent, &["ticket"], &agent_file, "")?;
        let add = ["add", "--name", "backpack", "--listen", &listen.to_string()];
        output(&programs.bridge, &add, &bridge_file, &ticket)?;
        stage.done();
        let url = format!("http://{listen}/metrics");
        let stage = Stage::begin("scraper-bridge: first scrape");
        wait_for(SCRAPE_LIMIT, &bridge, || {
            let (code, words) = get(&url)?;
            stage.say(if code == 200 { "scraped" } else { words.trim() });
            Ok(code == 200)
        })?;
        stage.done();
        let control = bridge_state.join("control.sock");
        Ok(Self { listen, bridge_admin, agent_admin, onion, bridge_file, control, agent_file, agent, bridge })
    }
}

/// Starts `program run` with a configuration file.
///
/// # Errors
/// When it cannot be started.
pub fn start(program: &Path, file: &Path, log: &Path) -> Result<Process, Failure> {
    let mut command = Command::new(program);
    command.arg("run").arg("--config.file").arg(file);
    Ok(process::spawn(&command, log)?)
}

/// What a subcommand prints when it is given `input`.
///
/// # Errors
/// When it fails: what it says.
pub fn output(program: &Path, arguments: &[&str], file: &Path, input: &str) -> Result<String, Failure> {
    let mut command = Command::new(program);
    command.args(arguments).arg("--config.file").arg(file);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    child.stdin.take().ok_or("no standard input")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned().into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// An address on loopback that nobody listens on.
///
/// # Errors
/// When there is none.
pub fn free_address() -> Result<SocketAddr, Failure> {
    Ok(tornet::ports::reserve()?.addr())
}

/// Waits until `done` says so; an error from it means not yet.
///
/// # Errors
/// When the process ends or time runs out: what its log says last.
pub fn wait_for(
    limit: Duration,
    process: &Process,
    mut done: impl FnMut() -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let started = Instant::now();
    loop {
        if done().unwrap_or(false) {
            return Ok(());
        }
        if !process.is_running() {
            return Err(format!("{} ended: {}", process.log().display(), process.log_tail()).into());
        }
        if started.elapsed() > limit {
            return Err(format!("not done after {limit:?}; the log says last: {}", process.log_tail()).into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The status and body of a page, whatever the status.
///
/// # Errors
/// When nobody answers.
pub fn get(url: &str) -> Result<(u16, String), Failure> {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(20)))
        .proxy(None)
        .build();
    let mut response = ureq::Agent::new_with_config(config).get(url).call()?;
    let status = response.status().as_u16();
    Ok((status, response.body_mut().read_to_string()?))
}

fn status(url: &str) -> Result<u16, Failure> {
    Ok(get(url)?.0)
}
