//! The original recipe for the same device and monitor: C tor and sshd there; C tor, socat and autossh here.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tornet::process::{self, Process, Signal};
use tornet::sshd::{self, Sshd};
use tornet::{CTorClient, ClientOptions, HiddenService, Network, ServiceOptions};

use super::place::{Place, wrapped};
use crate::Failure;
use crate::chain::free_address;

/// All of it, running.
pub struct Recipe {
    /// Where the monitor finds the exporter.
    pub listen: SocketAddr,
    client: CTorClient,
    service: HiddenService,
    sshd: Sshd,
    autossh: Process,
    command: Command,
    log: PathBuf,
}

impl Recipe {
    /// Starts all of it, for an exporter where the device is.
    ///
    /// # Errors
    /// When a part of it does not start.
    pub fn start(
        network: &Network,
        [device, monitor]: [&Place; 2],
        exporter: SocketAddr,
        folder: &Path,
    ) -> Result<Self, Failure> {
        let sshd = device.within(|| Ok(sshd::start_within(&device.wrapper(), &[])?))?;
        let service = ServiceOptions {
            ports: vec![(22, sshd.addr)],
            wrapper: device.wrapper(),
            ..ServiceOptions::default()
        };
        let service = network.hidden_service(&service)?;
        let options = ClientOptions { wrapper: monitor.wrapper(), ..ClientOptions::default() };
        let client = monitor.within(|| Ok(network.c_tor_client(&options)?))?;
        let known_hosts = folder.join("known_hosts");
        fs::write(&known_hosts, format!("{} {}\n", service.hostname(), sshd.host_key_public.trim()))?;
        let listen = monitor.within(free_address)?;
        let (ip, port) = (client.socks.ip(), client.socks.port());
        let mut command = wrapped(&monitor.wrapper(), &process::find("autossh")?);
        command
            .args(["-M", "0", "-N", "-F", "none"])
            .args(["-o", "ServerAliveInterval=15", "-o", "ExitOnForwardFailure=yes"])
            .args(["-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes"])
            .arg("-o")
            .arg(format!("UserKnownHostsFile={}", known_hosts.display()))
            .arg("-o")
            .arg(format!("ProxyCommand=socat STDIO SOCKS4A:{ip}:%h:%p,socksport={port}"))
            .arg("-i")
            .arg(&sshd.user_key)
            .args(["-l", &sshd.user, "-L", &format!("{listen}:{exporter}"), service.hostname()]);
        // It shall go on trying if the first time fails, as units that run it have it.
        command.env("AUTOSSH_GATETIME", "0");
        let log = folder.join("autossh.log");
        let autossh = process::spawn(&command, &log)?;
        Ok(Self { listen, client, service, sshd, autossh, command, log })
    }

    /// Kills what is on the device and starts it again.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart_device(&mut self) -> Result<(), Failure> {
        self.service.relaunch()?;
        Ok(self.sshd.relaunch()?)
    }

    /// Kills what is on the monitor and starts it again.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart_monitor(&mut self) -> Result<(), Failure> {
        self.autossh.kill();
        self.client.relaunch()?;
        self.autossh = process::spawn(&self.command, &self.log)?;
        Ok(())
    }

    /// Sends a signal to what is on the device. Of sshd only the listener hears it; without tor the
    /// sessions are as good as stopped, too.
    ///
    /// # Errors
    /// When one of them has ended.
    pub fn signal_device(&self, signal: Signal) -> Result<(), Failure> {
        self.service.process().signal(signal)?;
        Ok(self.sshd.process().signal(signal)?)
    }
}
