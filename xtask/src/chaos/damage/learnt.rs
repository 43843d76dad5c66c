//! One file of what Tor learnt on a device is damaged, and the agent is started: it can be reached again, as who it was,
//! or names the file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tornet::process::{self, Process};
use tornet::{Network, Options};

use super::{Outcome, copy_whole, damage};
use crate::Failure;
use crate::build::Programs;
use crate::chain::output;
use crate::chaos::{cable, place};
use crate::stage::Stage;

/// How long an agent may take until it can be reached; it takes some seconds.
const LIMIT: Duration = Duration::from_secs(90);

/// A device on a private network.
struct Device<'a> {
    agent: &'a Path,
    file: PathBuf,
    state: PathBuf,
    log: PathBuf,
}

/// Starts an agent so many times, each time with another file damaged or in another way.
pub fn run(what: &str, programs: &Programs, folder: &Path, times: usize) -> Result<Outcome, Failure> {
    let stage = Stage::begin(format!("{times} {what}"));
    let mut options = Options { dir: Some(folder.join("network")), ..Options::default() };
    if place::is_inside() {
        cable::make_world()?;
        options.address = cable::WORLD;
    }
    let network = Network::start(&options, |_| ())?;
    let device = Device {
        agent: &programs.agent,
        file: folder.join("config.toml"),
        state: folder.join("state"),
        log: folder.join("agent.log"),
    };
    let tor = network.fragment().display();
    fs::write(
        &device.file,
        format!("state_dir = {:?}\n\n[tor]\ninclude = {:?}\n", device.state, tor.to_string()),
    )?;
    let identity = device.identity()?;
    if let Err(why) = device.start()? {
        return Err(format!("the agent cannot be reached though nothing is damaged: {why}").into());
    }
    let whole = folder.join("whole");
    copy_whole(&device.state, &whole)?;
    let (mut reached, mut refused) = (0, 0);
    let mut violations = Vec::new();
    for number in 0..times {
        stage.say(format!("{number} of {times}"));
        // The copy does not know when the service was published last, and a descriptor of the same second is refused.
        std::thread::sleep(Duration::from_secs(1));
        copy_whole(&whole, &device.state)?;
        let files = learnt(&device.state)?;
        let count = files.len().max(1);
        // Each file has its turn, or some from everywhere, and with every round another way.
        let (round, place) =
            if times < count { (number, number * count / times) } else { (number / count, number % count) };
        let file = files.get(place).ok_or("Tor has learnt nothing")?;
        let damage = damage(file, round + place, number)?;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        match device.start()? {
            Ok(()) => reached += 1,
            Err(why) if why.contains(&*name) && !why.contains("panicked") => refused += 1,
            Err(why) => violations.push(format!("{name}, {damage}: {why}")),
        }
        if device.identity()? != identity {
            violations.push(format!("{name}, {damage}: another identity"));
        }
    }
    stage.done();
    let line = format!(
        "{times} {what}: {reached} reachable again, {refused} refused with the file's name, {} wrong",
        violations.len()
    );
    Ok(Outcome { line, violations })
}

impl Device<'_> {
    /// Runs the agent until it can be reached, and kills it then; or else what it said.
    fn start(&self) -> Result<Result<(), String>, Failure> {
        let mut command = Command::new(self.agent);
        command.arg("run").arg("--config.file").arg(&self.file);
        let _ = fs::remove_file(&self.log);
        let process = process::spawn(&command, &self.log)?;
        let started = Instant::now();
        loop {
            let log = process.log_text();
            if log.contains("message=reachable") {
                return Ok(Ok(()));
            }
            if !process.is_running() || started.elapsed() > LIMIT {
                return Ok(Err(last_lines(&process)));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn identity(&self) -> Result<String, Failure> {
        output(self.agent, &["hostname", "--json"], &self.file, "")
    }
}

fn last_lines(process: &Process) -> String {
    let how = if process.is_running() { "not reachable" } else { "it ended" };
    format!("{how}: {}", process.log_tail().trim().replace('\n', " | "))
}

/// Files of Tor's that can be made anew, in the same order each time; no keys are among them.
fn learnt(state: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut folders = ["tor/state", "cache", "cache/dir_blobs"].map(|name| state.join(name)).to_vec();
    for service in fs::read_dir(state.join("tor/hss"))? {
        let service = service?.path();
        folders.extend([service.join("iptreplay"), service]);
    }
    let mut files = Vec::new();
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            // What is locked says nothing, and nothing is cut short where nothing is.
            if entry.file_type()?.is_file() && entry.metadata()?.len() > 0 {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}
