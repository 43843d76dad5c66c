use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::keys::make_private;
use crate::process::Process;
use crate::{Error, Network, node, ports, process, torrc, wait};

/// The bound on a start.
const LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// A bridge that speaks obfs4. Dropping it ends it.
#[derive(Debug)]
pub struct Obfs4Bridge {
    line: String,
    process: Process,
}

impl Obfs4Bridge {
    /// What a client's configuration names it by: `obfs4 ADDRESS FINGERPRINT cert=… iat-mode=0`.
    #[must_use]
    pub fn line(&self) -> &str {
        &self.line
    }

    /// Its process, with its log; also for killing and stopping it.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }
}

impl Network {
    /// Starts a bridge that is in no directory and waits until it can be used.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] without `obfs4proxy`, [`Error::Ended`] if tor ended, [`Error::Late`] after 60 s.
    pub fn obfs4_bridge(&self) -> Result<Obfs4Bridge, Error> {
        let transport = process::find("obfs4proxy")?;
        let (dir, data) = (self.peer_dir("bridge"), "data");
        make_private(&dir)?;
        let (or_port, obfs4) = (ports::reserve()?, ports::reserve()?);
        let address = obfs4.addr();
        let text = torrc::bridge(&self.common, &dir.join(data), or_port.addr(), address, &transport);
        let torrc = dir.join("torrc");
        fs::write(&torrc, text).map_err(Error::file("write", &torrc))?;
        [or_port, obfs4].into_iter().for_each(ports::Reserved::release);
        let process = node::tor(&torrc, &dir.join("log"))?;
        let line = wait::until("the start of the bridge", LIMIT, POLL, |missing| {
            process.check("the bridge")?;
            "its line, or its bootstrap".clone_into(missing);
            let is_up = process.log_text().contains("Bootstrapped 100%");
            Ok(line(&dir.join(data), address).filter(|_| is_up))
        })?;
        Ok(Obfs4Bridge { line, process })
    }
}

/// The bridge's line, as soon as tor and its transport have written what it is made of.
fn line(data: &Path, address: SocketAddr) -> Option<String> {
    let read = |name: &str| fs::read_to_string(data.join(name)).ok();
    let identity = read("fingerprint")?.split_whitespace().nth(1)?.to_owned();
    let sample = read("pt_state/obfs4_bridgeline.txt")?;
    let arguments = sample.lines().find_map(|line| Some(line.split_once(" cert=")?.1.to_owned()))?;
    Some(format!("obfs4 {address} {identity} cert={arguments}"))
}
