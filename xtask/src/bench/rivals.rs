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
    /// Where `ssh -L` listens.
    pub forwarded: SocketAddr,
    exporter: SocketAddr,
    tor: CTorClient,
    with_ssh: HiddenService,
    without_ssh: HiddenService,
    sshd: Sshd,
    known_hosts: PathBuf,
    _ssh: Process,
}

impl Rivals {
    /// Starts them all and waits until the exporter answers by each way.
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
        let forwarded = free_address()?;
        let mut command = ssh(&tor, &sshd, &known_hosts, None);
        command.args(["-N", "-o", "ExitOnForwardFailure=yes", "-L"]);
        command.arg(format!("{forwarded}:{exporter}")).arg(with_ssh.hostname());
        let ssh = process::spawn(&command, &folder.join("ssh.log"))?;
        let started = Instant::now();
        while TcpStream::connect(forwarded).is_err() {
            if !ssh.is_running() || started.elapsed() > PATIENCE {
                return Err(format!("ssh -L does not come up: {}", ssh.log_tail()).into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let rivals = Self { forwarded, exporter, tor, with_ssh, without_ssh, sshd, known_hosts, _ssh: ssh };
        rivals.through_socks()?;
        Ok(rivals)
    }

    /// A stream to the exporter through C tor alone, as `proxy_url: socks5://` makes one.
    pub fn through_socks(&self) -> Result<TcpStream, Failure> {
        Ok(socks::connect(self.tor.socks, self.without_ssh.hostname(), 9100, None, PATIENCE)?)
    }

    /// Starts `ssh`, has it carry one request to the exporter, and returns the time to the answer's
    /// first byte. Each number has circuits of its own; without one, circuits that are open are used.
    pub fn cold(&self, number: Option<usize>) -> Result<Duration, Failure> {
        let mut command = ssh(&self.tor, &self.sshd, &self.known_hosts, number);
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
}

/// `ssh` through socat and C tor, as the recipe has it.
fn ssh(tor: &CTorClient, sshd: &Sshd, known_hosts: &Path, number: Option<usize>) -> Command {
    let user = number.map(|number| format!(",socksuser=cold{number}")).unwrap_or_default();
    let (ip, port) = (tor.socks.ip(), tor.socks.port());
    let mut command = Command::new("ssh");
    command
        .args(["-F", "none", "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=yes"])
        .arg("-o")
        .arg(format!("UserKnownHostsFile={}", known_hosts.display()))
        .arg("-o")
        .arg(format!("ProxyCommand=socat STDIO SOCKS4A:{ip}:%h:%p,socksport={port}{user}"))
        .arg("-i")
        .arg(&sshd.user_key)
        .args(["-l", &sshd.user]);
    command
}
