//! The same exporter by other ways over the same network.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tornet::process::{self, Process};
use tornet::sshd::{self, Sshd};
use tornet::{CTorClient, ClientOptions, HiddenService, Network, ServiceOptions, socks};

use super::wire::Connection;
use crate::Failure;
use crate::chain::free_address;

/// How long a rival may take for one thing.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often C tor forgets at most, and a bit.
const FORGETTING: Duration = Duration::from_millis(10_500);

/// The hidden service's port for the first exporter; the others follow.
const FIRST_PORT: u16 = 9100;

/// C tor on both sides, with SSH and without.
pub struct Rivals {
    folder: PathBuf,
    exporters: Vec<SocketAddr>,
    /// C tor on the monitor.
    pub tor: CTorClient,
    /// C tor on the device, with SSH behind it.
    pub with_ssh: HiddenService,
    /// C tor on the device, with nothing but exporters behind it.
    pub without_ssh: HiddenService,
    /// What is behind the one.
    pub sshd: Sshd,
    known_hosts: PathBuf,
    forgot: Option<Instant>,
}

/// A process that ends when this is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The standard streams of a process, as one stream in both directions.
struct Streams {
    request: ChildStdin,
    answer: ChildStdout,
}

impl Read for Streams {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.answer.read(buffer)
    }
}

impl Write for Streams {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.request.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.request.flush()
    }
}

/// `ssh -L`, up and listening.
pub struct Forwarding {
    /// Where it listens, for each exporter.
    pub local: Vec<SocketAddr>,
    /// The process.
    pub ssh: Process,
}

impl Rivals {
    /// Starts them all and waits until the services can be reached.
    ///
    /// # Errors
    /// When one of them does not start.
    pub fn start(network: &Network, folder: &Path, exporters: Vec<SocketAddr>) -> Result<Self, Failure> {
        let tor = network.c_tor_client(&ClientOptions::default())?;
        let sshd = sshd::start(&[])?;
        let service = |ports| network.hidden_service(&ServiceOptions { ports, ..ServiceOptions::default() });
        let with_ssh = service(vec![(22, sshd.addr)])?;
        let without_ssh = service((FIRST_PORT..).zip(exporters.iter().copied()).collect())?;
        let known_hosts = folder.join("known_hosts");
        std::fs::write(&known_hosts, format!("{} {}\n", with_ssh.hostname(), sshd.host_key_public.trim()))?;
        let folder = folder.to_owned();
        let rivals = Self { folder, exporters, tor, with_ssh, without_ssh, sshd, known_hosts, forgot: None };
        rivals.forward("first")?;
        rivals.through_socks("first", 0)?;
        Ok(rivals)
    }

    /// Starts `ssh -L` over circuits of its own, and waits until it listens.
    pub fn forward(&self, circuit: &str) -> Result<Forwarding, Failure> {
        let command = self.ssh(circuit);
        let log = self.folder.join(format!("ssh-{circuit}.log"));
        forward(command, self.with_ssh.hostname(), &self.exporters, &log)
    }

    /// A stream to an exporter, by its place in the list, through C tor alone, as `proxy_url: socks5://`
    /// makes one. Streams with the same word share a circuit.
    pub fn through_socks(&self, circuit: &str, exporter: u16) -> Result<TcpStream, Failure> {
        let (onion, port) = (self.without_ssh.hostname(), FIRST_PORT + exporter);
        Ok(socks::connect(self.tor.socks, onion, port, Some(circuit), PATIENCE)?)
    }

    /// Starts `ssh`, has it carry one scrape of the first exporter, and returns the time to the first byte of a
    /// good answer, whose body has so many bytes at least. A word that was used before finds its circuit still open.
    ///
    /// # Errors
    /// When no such answer comes within 60 s.
    pub fn cold(&self, circuit: &str, least: usize) -> Result<Duration, Failure> {
        let exporter = self.exporters.first().ok_or("there is no exporter")?;
        let mut command = self.ssh(circuit);
        command.arg("-W").arg(exporter.to_string()).arg(self.with_ssh.hostname());
        let started = Instant::now();
        let mut ssh =
            Ended(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?);
        let (Some(request), Some(answer)) = (ssh.0.stdin.take(), ssh.0.stdout.take()) else {
            return Err("ssh has no standard streams".into());
        };
        let mut connection = Connection::new(Streams { request, answer }, "exporter").at_least(least);
        let (scraped, ends) = mpsc::channel();
        // It ends with ssh, whose output it reads; who has waited too long does not hear of it.
        std::thread::spawn(move || drop(scraped.send(connection.scrape_from_first_byte())));
        loop {
            match ends.recv_timeout(Duration::from_millis(200)) {
                Ok(came) => return Ok(came? - started),
                Err(mpsc::RecvTimeoutError::Timeout) if started.elapsed() < PATIENCE => super::go_on()?,
                Err(_) => return Err("a cold ssh brought no answer".into()),
            }
        }
    }

    /// Has C tor on the monitor forget descriptors; it does so once in 10 s, and this waits until it may.
    ///
    /// # Errors
    /// When it does not.
    pub fn forget(&mut self) -> Result<(), Failure> {
        if let Some(forgot) = self.forgot {
            super::pause(FORGETTING.saturating_sub(forgot.elapsed()))?;
        }
        self.forgot = Some(Instant::now());
        Ok(self.tor.forget()?)
    }

    /// `ssh` through socat and C tor, as the recipe has it.
    fn ssh(&self, circuit: &str) -> Command {
        let (ip, port) = (self.tor.socks.ip(), self.tor.socks.port());
        let mut command = ssh_to(&self.sshd, &self.known_hosts);
        command
            .arg("-o")
            .arg(format!("ProxyCommand=socat STDIO SOCKS4A:{ip}:%h:%p,socksport={port},socksuser={circuit}"));
        command
    }
}

/// `ssh` that logs in to this `sshd`, without a host's name yet.
pub fn ssh_to(sshd: &Sshd, known_hosts: &Path) -> Command {
    let mut command = Command::new("ssh");
    command
        .args(["-F", "none", "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=yes", "-o"])
        .arg(format!("UserKnownHostsFile={}", known_hosts.display()))
        .arg("-i")
        .arg(&sshd.user_key)
        .args(["-l", &sshd.user]);
    command
}

/// Has `ssh` forward a port to each exporter, and waits until it does.
///
/// # Errors
/// When it does not come up in time: what it says.
pub fn forward(
    mut ssh: Command,
    host: &str,
    exporters: &[SocketAddr],
    log: &Path,
) -> Result<Forwarding, Failure> {
    ssh.args(["-N", "-o", "ExitOnForwardFailure=yes"]);
    let mut local = Vec::new();
    for exporter in exporters {
        let address = free_address()?;
        ssh.arg("-L").arg(format!("{address}:{exporter}"));
        local.push(address);
    }
    let ssh = process::spawn(ssh.arg(host), log)?;
    let started = Instant::now();
    while !local.iter().all(|address| TcpStream::connect(address).is_ok()) {
        if !ssh.is_running() || started.elapsed() > PATIENCE {
            return Err(format!("ssh -L does not come up: {}", ssh.log_tail()).into());
        }
        super::pause(Duration::from_millis(50))?;
    }
    Ok(Forwarding { local, ssh })
}
