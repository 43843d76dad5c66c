//! The same exporter by other ways over the same network.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tornet::process::{self, Process};
use tornet::sshd::{self, Sshd};
use tornet::{CTorClient, ClientOptions, HiddenService, Network, ServiceOptions, socks};

use crate::Failure;
use crate::chain::free_address;

/// How long a rival may take for one thing.
const PATIENCE: Duration = Duration::from_secs(60);

/// C tor on both sides, with SSH and without.
pub struct Rivals {
    folder: PathBuf,
    exporter: SocketAddr,
    tor: CTorClient,
    with_ssh: HiddenService,
    without_ssh: HiddenService,
    sshd: Sshd,
    known_hosts: PathBuf,
}

/// `ssh -L`, up and listening.
pub struct Forwarding {
    /// Where it listens.
    pub local: SocketAddr,
    _ssh: Process,
}

impl Rivals {
    /// Starts them all and waits until the services can be reached.
    pub fn start(network: &Network, folder: &Path, exporter: SocketAddr) -> Result<Self, Failure> {
        let tor = network.c_tor_client(&ClientOptions::default())?;
        let sshd = sshd::start(&[])?;
        let service = |port, to| {
            network.hidden_service(&ServiceOptions { ports: vec![(port, to)], ..Default::default() })
        };
        let with_ssh = service(22, sshd.addr)?;
        let without_ssh = service(9100, exporter)?;
        let known_hosts = folder.join("known_hosts");
        std::fs::write(&known_hosts, format!("{} {}\n", with_ssh.hostname(), sshd.host_key_public.trim()))?;
        let folder = folder.to_owned();
        let rivals = Self { folder, exporter, tor, with_ssh, without_ssh, sshd, known_hosts };
        rivals.forward("first")?;
        rivals.through_socks("first")?;
        Ok(rivals)
    }

    /// Starts `ssh -L` over circuits of its own, and waits until it listens.
    pub fn forward(&self, circuit: &str) -> Result<Forwarding, Failure> {
        let local = free_address()?;
        let mut command = self.ssh(circuit);
        command.args(["-N", "-o", "ExitOnForwardFailure=yes", "-L"]);
        command.arg(format!("{local}:{}", self.exporter)).arg(self.with_ssh.hostname());
        let ssh = process::spawn(&command, &self.folder.join(format!("ssh-{circuit}.log")))?;
        let started = Instant::now();
        while TcpStream::connect(local).is_err() {
            if !ssh.is_running() || started.elapsed() > PATIENCE {
                return Err(format!("ssh -L does not come up: {}", ssh.log_tail()).into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(Forwarding { local, _ssh: ssh })
    }

    /// A stream to the exporter through C tor alone, as `proxy_url: socks5://` makes one. Streams
    /// with the same word share a circuit.
    pub fn through_socks(&self, circuit: &str) -> Result<TcpStream, Failure> {
        Ok(socks::connect(self.tor.socks, self.without_ssh.hostname(), 9100, Some(circuit), PATIENCE)?)
    }

    /// Starts `ssh`, has it carry one request to the exporter, and returns the time to the answer's
    /// first byte. A word that was used before finds its circuit still open.
    pub fn cold(&self, circuit: &str) -> Result<Duration, Failure> {
        let mut command = self.ssh(circuit);
        command.arg("-W").arg(self.exporter.to_string()).arg(self.with_ssh.hostname());
        let started = Instant::now();
        let mut ssh = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let (Some(mut request), Some(mut answer)) = (ssh.stdin.take(), ssh.stdout.take()) else {
            return Err("ssh has no standard streams".into());
        };
        request.write_all(b"GET /metrics HTTP/1.1\r\nHost: exporter\r\nAccept-Encoding: gzip\r\n\r\n")?;
        let got = answer.read_exact(&mut [0]);
        let took = started.elapsed();
        ssh.kill()?;
        ssh.wait()?;
        got.map_err(|_| "a cold ssh brought no answer")?;
        Ok(took)
    }

    /// `ssh` through socat and C tor, as the recipe has it.
    fn ssh(&self, circuit: &str) -> Command {
        let (ip, port) = (self.tor.socks.ip(), self.tor.socks.port());
        let mut command = Command::new("ssh");
        command
            .args(["-F", "none", "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=yes"])
            .arg("-o")
            .arg(format!("UserKnownHostsFile={}", self.known_hosts.display()))
            .arg("-o")
            .arg(format!("ProxyCommand=socat STDIO SOCKS4A:{ip}:%h:%p,socksport={port},socksuser={circuit}"))
            .arg("-i")
            .arg(&self.sshd.user_key)
            .args(["-l", &self.sshd.user]);
        command
    }
}
