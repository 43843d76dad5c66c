use std::ffi::OsString;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::gate::Gate;
use crate::keys::make_private;
use crate::node::tor_within;
use crate::process::Process;
use crate::{Error, Network, ports, torrc, wait};

/// The bound on a bootstrap and on a publication.
const LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// A client's control socket, in its directory, which only its owner can enter.
const CONTROL: &str = "control";

/// What a C tor client shall be like.
#[derive(Clone, Debug, Default)]
pub struct ClientOptions {
    /// Its number, from 1, if it shall have a source address of its own. It then
    /// goes through one more proxy on loopback.
    pub number: Option<usize>,
    /// What runs its tor: a program and arguments before the command, such as nsenter's. Nothing if empty.
    pub wrapper: Vec<OsString>,
    /// A directory with `*.auth_private` files for services that demand a key.
    pub onion_auth_dir: Option<PathBuf>,
}

/// A C tor client. Dropping it ends it.
#[derive(Debug)]
pub struct CTorClient {
    /// Its SOCKS 5 port.
    pub socks: SocketAddr,
    dir: PathBuf,
    wrapper: Vec<OsString>,
    process: Process,
    _gate: Option<Gate>,
}

impl CTorClient {
    /// Its process, with its log.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Has it forget descriptors and use no circuit again that it has used: what `NEWNYM` does. C tor does that
    /// once in 10 s and no sooner.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if it does not do it at once.
    pub fn forget(&self) -> Result<(), Error> {
        let failed = || Error::system("have the client forget descriptors");
        let asked = || -> std::io::Result<String> {
            let mut control = UnixStream::connect(self.dir.join(CONTROL))?;
            control.set_read_timeout(Some(LIMIT))?;
            control.write_all(b"AUTHENTICATE\r\nSIGNAL NEWNYM\r\nQUIT\r\n")?;
            let mut answer = String::new();
            control.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = asked().map_err(failed())?;
        match answer.lines().find(|line| !line.starts_with("250")) {
            None => Ok(()),
            Some(line) => Err(failed()(std::io::Error::other(line.to_owned()))),
        }
    }

    /// Ends it and starts it again with what it knew; does not wait for it to be of use.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if it cannot be started.
    pub fn relaunch(&mut self) -> Result<(), Error> {
        self.process.kill();
        self.process = run_tor(&self.wrapper, &self.dir)?;
        Ok(())
    }
}

/// What a C tor hidden service shall be like.
#[derive(Clone, Debug, Default)]
pub struct ServiceOptions {
    /// Pairs of virtual port and target.
    pub ports: Vec<(u16, SocketAddr)>,
    /// A client's number, from 1, if it shall have a source address of its own. It then
    /// goes through one more proxy on loopback.
    pub number: Option<usize>,
    /// What runs its tor: a program and arguments before the command, such as nsenter's. Nothing if empty.
    pub wrapper: Vec<OsString>,
    /// Clients that may connect, as `descriptor:x25519:<base32>`; all if empty.
    pub authorized_clients: Vec<String>,
}

/// A C tor hidden service. Dropping it ends it.
#[derive(Debug)]
pub struct HiddenService {
    hostname: String,
    dir: PathBuf,
    wrapper: Vec<OsString>,
    process: Process,
    _gate: Option<Gate>,
}

impl Network {
    /// Starts a C tor client and waits until it has bootstrapped.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a number that is not a client's, [`Error::Ended`]
    /// if tor ended, [`Error::Late`] after 60 s.
    pub fn c_tor_client(&self, options: &ClientOptions) -> Result<CTorClient, Error> {
        let gate = self.gate(options.number)?;
        let dir = self.peer_dir("client");
        make_private(&dir)?;
        let reserved = ports::reserve()?;
        let mut text =
            torrc::peer(&self.common, &dir.join("data"), Some(reserved.addr()), gate_addr(gate.as_ref()));
        text += &torrc::control(&dir.join(CONTROL));
        if let Some(dir) = &options.onion_auth_dir {
            text += &torrc::onion_auth(dir);
        }
        write(&dir.join("torrc"), &text)?;
        let socks = reserved.addr();
        reserved.release();
        let wrapper = options.wrapper.clone();
        let process = run_tor(&wrapper, &dir)?;
        wait::until("the client's bootstrap", LIMIT, POLL, |last| {
            process.check("the client")?;
            let log = process.log_text();
            if let Some(line) = log.lines().rev().find(|line| line.contains("Bootstrapped ")) {
                line.clone_into(last);
            }
            Ok(last.contains("Bootstrapped 100%").then_some(()))
        })?;
        Ok(CTorClient { socks, dir, wrapper, process, _gate: gate })
    }

    /// Starts a C tor hidden service with a new key and waits until its
    /// descriptors are published.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] without ports or for a number that is not a client's,
    /// [`Error::Ended`] if tor ended, [`Error::Late`] after 60 s.
    pub fn hidden_service(&self, options: &ServiceOptions) -> Result<HiddenService, Error> {
        if options.ports.is_empty() {
            return Err(Error::Argument("a hidden service needs a port".to_owned()));
        }
        let gate = self.gate(options.number)?;
        let dir = self.peer_dir("service");
        let onion = dir.join("onion");
        make_private(&onion.join("authorized_clients"))?;
        for (number, line) in options.authorized_clients.iter().enumerate() {
            let path = onion.join(format!("authorized_clients/client{number}.auth"));
            write(&path, &format!("{line}\n"))?;
        }
        let text = torrc::peer(&self.common, &dir.join("data"), None, gate_addr(gate.as_ref()));
        write(&dir.join("torrc"), &(text + &torrc::service(&onion, &options.ports)))?;
        let wrapper = options.wrapper.clone();
        let process = run_tor(&wrapper, &dir)?;
        wait_for_publication(&process)?;
        let path = onion.join("hostname");
        let hostname = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
        let hostname = hostname.trim().to_owned();
        Ok(HiddenService { hostname, dir, wrapper, process, _gate: gate })
    }
}

impl Network {
    fn gate(&self, number: Option<usize>) -> Result<Option<Gate>, Error> {
        number.map(|number| Gate::open(&self.fronts, self.client_address(number)?)).transpose()
    }
}

fn gate_addr(gate: Option<&Gate>) -> Option<SocketAddr> {
    gate.map(|gate| gate.addr)
}

impl HiddenService {
    /// Its address: 56 characters and `.onion`.
    #[must_use]
    pub fn hostname(&self) -> &str {
        &self.hostname
    }

    /// Its process, with its log; also for killing and stopping it.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Ends it, starts it again with the same key, and waits until its
    /// descriptors are published anew.
    ///
    /// # Errors
    ///
    /// [`Error::Ended`] if tor ended, [`Error::Late`] after 60 s.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.relaunch()?;
        wait_for_publication(&self.process)
    }

    /// Ends it and starts it again with the same key; does not wait for its descriptors.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if it cannot be started.
    pub fn relaunch(&mut self) -> Result<(), Error> {
        self.process.kill();
        self.process = run_tor(&self.wrapper, &self.dir)?;
        Ok(())
    }
}

/// Starts the tor of a client or service.
fn run_tor(wrapper: &[OsString], dir: &Path) -> Result<Process, Error> {
    tor_within(wrapper, &dir.join("torrc"), &dir.join("log"))
}

/// Waits until every upload of a descriptor that a service's tor began has been confirmed.
fn wait_for_publication(process: &Process) -> Result<(), Error> {
    wait::until("the publication of the service", LIMIT, POLL, |missing| {
        process.check("the hidden service")?;
        let log = process.log_text();
        let count = |what: &str| log.lines().filter(|line| line.contains(what)).count();
        let begun = count("initiated upload request to");
        let done = count("Uploading hidden service descriptor: finished with status 200");
        *missing = format!("{done} of {begun} uploads of descriptors confirmed");
        Ok((done > 0 && done >= begun).then_some(()))
    })
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(Error::file("write", path))
}
