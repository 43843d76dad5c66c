//! How a bridge knows a device and logs in to it: the real `sshd` behind C tor, with keys, certificates
//! and an ssh-agent of OpenSSH's own.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use scraper_bridge::target::State;
use tokio::task::block_in_place;
use tornet::process::{self, Process};
use tornet::sshd::{self, Sshd};
use tornet::{HiddenService, ServiceOptions};

use crate::exporters::{Exporter, Manner};
use crate::http::scrape;
use crate::world::{Monitor, World, run};

/// An `sshd` behind C tor, and what logs in there.
struct Server {
    service: HiddenService,
    sshd: Sshd,
    exporter: Exporter,
    folder: PathBuf,
}

impl Server {
    /// The lines `extra` of its configuration come first; `{folder}` in them is a folder with a
    /// certificate authority `ca` and a host key `host` with its certificate.
    async fn start(world: &World, extra: &[&str]) -> Self {
        let exporter = Exporter::start(Manner::Good("a 1\n".into())).await;
        let folder = world.folder();
        keygen(&folder, &["-t", "ed25519", "-N", "", "-f", "ca"]);
        keygen(&folder, &["-t", "ed25519", "-N", "", "-f", "host"]);
        keygen(&folder, &["-s", "ca", "-I", "host", "-h", "-n", "backpack.example", "host.pub"]);
        let extra: Vec<_> =
            extra.iter().map(|line| line.replace("{folder}", folder.to_str().unwrap())).collect();
        let (service, sshd) = block_in_place(|| {
            let extra: Vec<_> = extra.iter().map(String::as_str).collect();
            let sshd = sshd::start(&extra).unwrap();
            let options = ServiceOptions { ports: vec![(22, sshd.addr)], ..Default::default() };
            (world.network().hidden_service(&options).unwrap(), sshd)
        });
        fs::set_permissions(&sshd.user_key, Permissions::from_mode(0o600)).unwrap();
        Self { service, sshd, exporter, folder }
    }

    /// A `[[target]]` table that knows the host and logs in with these keys.
    fn target(&self, name: &str, keys: &str) -> String {
        format!(
            "[[target]]\nname = {name:?}\naddress = {:?}\nuser = {:?}\n{keys}\n\
             [[target.exporter]]\nname = \"app\"\nlisten = \"127.0.0.1:0\"\naddress = \"{}\"\n",
            self.service.hostname(),
            self.sshd.user,
            self.exporter.address,
        )
    }

    /// The key that `sshd` lets in.
    fn key_file(&self) -> String {
        format!("key_file = {:?}\n", self.sshd.user_key)
    }

    /// A known_hosts file with these lines, each after the onion address.
    fn known_hosts(&self, name: &str, lines: &[&str]) -> String {
        let path = self.folder.join(name);
        let lines: Vec<_> = lines.iter().map(|line| line.replace("HOST", self.service.hostname())).collect();
        fs::write(&path, lines.join("\n") + "\n").unwrap();
        format!("known_hosts = {path:?}\n")
    }
}

fn keygen(folder: &Path, arguments: &[&str]) {
    block_in_place(|| {
        process::run(Command::new("ssh-keygen").arg("-q").args(arguments).current_dir(folder), "")
    })
    .unwrap();
}

fn public(path: &Path) -> String {
    fs::read_to_string(path.with_extension("pub")).unwrap().trim().to_owned()
}

async fn scraped(monitor: &Monitor, targets: &[&str]) {
    for target in targets {
        monitor.connected(target).await;
        assert_eq!(scrape(&monitor.address(target, "app")).await.text(), "a 1\n", "{target}");
    }
}

async fn refused(monitor: &Monitor, target: &str, reason: &str) {
    monitor.state(target, "refused", |state| matches!(state, State::Refused(..))).await;
    let scraped = scrape(&monitor.address(target, "app")).await;
    assert_eq!((scraped.status, scraped.reason.as_str()), (502, reason), "{target}");
}

pub async fn known_hosts(world: &World) {
    let server = Server::start(world, &[]).await;
    let key = &server.sshd.host_key_public;
    let plain = server.known_hosts("plain", &["# comment", "garbage", &format!("HOST {key}")]);
    let hashed = server.known_hosts("hashed", &[&format!("HOST {key}")]);
    keygen(&server.folder, &["-H", "-f", "hashed"]);
    let revoked = server.known_hosts("revoked", &[&format!("HOST {key}"), &format!("@revoked * {key}")]);
    let other = server.known_hosts("other", &[&format!("HOST {}", public(&server.folder.join("host")))]);
    let empty = server.known_hosts("empty", &[]);
    let targets: String = [
        ("plain", plain),
        ("hashed", hashed),
        ("revoked", revoked),
        ("other", other),
        ("empty", empty),
        ("missing", "known_hosts = \"nowhere\"\n".into()),
    ]
    .iter()
    .map(|(name, known)| server.target(name, &(known.to_owned() + &server.key_file())))
    .collect();
    let monitor = world.monitor_of("", &targets).await;
    scraped(&monitor, &["plain", "hashed"]).await;
    refused(&monitor, "revoked", "ssh host key revoked").await;
    refused(&monitor, "other", "ssh host key mismatch").await;
    refused(&monitor, "empty", "ssh host key unknown: the known_hosts file has no line for the device").await;
    refused(&monitor, "missing", "ssh host key unknown: its file cannot be read, see the bridge's log").await;
    let metrics = monitor.metrics().await;
    for (target, value) in [("plain", 0), ("revoked", 1), ("other", 1), ("empty", 1), ("missing", 0)] {
        let line = format!("onionscrape_target_host_key_mismatch{{target={target:?}}} {value}\n");
        assert!(metrics.contains(&line), "{line} is not in {metrics}");
    }
}

pub async fn host_and_user_certificates(world: &World) {
    let server = Server::start(
        world,
        &[
            "HostKey {folder}/host",
            "HostCertificate {folder}/host-cert.pub",
            "TrustedUserCAKeys {folder}/ca.pub",
            "AuthorizedKeysFile none",
        ],
    )
    .await;
    let folder = &server.folder;
    let ca = public(&folder.join("ca"));
    keygen(folder, &["-t", "ed25519", "-N", "", "-f", "user"]);
    keygen(folder, &["-s", "ca", "-I", "user", "-n", &server.sshd.user, "user.pub"]);
    let named = "host_principal = \"backpack.example\"\n";
    let listed = server.known_hosts("listed", &[&format!("@cert-authority HOST {ca}")]);
    let bare = format!("key_file = {:?}\n", folder.join("user"));
    let certified = format!("{bare}certificate_file = {:?}\n", folder.join("user-cert.pub"));
    let targets = [
        server.target("listed", &format!("{listed}{named}{certified}")),
        server.target("pinned-ca", &format!("host_ca = {ca:?}\n{named}{certified}")),
        server.target("another-name", &format!("{listed}{certified}")),
        server.target("bare", &format!("{listed}{named}{bare}")),
    ];
    let monitor = world.monitor_of("", &targets.concat()).await;
    scraped(&monitor, &["listed", "pinned-ca"]).await;
    refused(&monitor, "another-name", "ssh host certificate is for another host").await;
    refused(&monitor, "bare", "ssh login refused: the device does not know this bridge's key").await;
}

pub async fn trust_on_first_use(world: &World) {
    let server = Server::start(world, &["HostKey {folder}/host"]).await;
    let target = server.target("new", &format!("trust_on_first_use = true\n{}", server.key_file()));
    let monitor = world.monitor_of("", &target).await;
    scraped(&monitor, &["new"]).await;
    let record = monitor.file.with_file_name("bridge/known_host_keys/new");
    let first = public(&server.folder.join("host"));
    let first = first.split(' ').take(2).collect::<Vec<_>>().join(" ");
    assert_eq!(fs::read_to_string(&record).unwrap().trim(), first);
    assert_eq!(record.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let checked = run("scraper-bridge", &["check", "--config.file", monitor.file.to_str().unwrap()]);
    let said = String::from_utf8(checked.stdout).unwrap();
    assert!(checked.status.success() && said.contains("target new has trust_on_first_use"), "{said}");

    // The same address with another key: somebody who got hold of the onion key, say.
    keygen(&server.folder, &["-t", "ed25519", "-N", "", "-f", "other"]);
    fs::rename(server.folder.join("other"), server.folder.join("host")).unwrap();
    let pid = server.sshd.process().pid().to_string();
    block_in_place(|| process::run(Command::new("kill").args(["-HUP", &pid]), "")).unwrap();
    monitor.bridge.fleet().offered()[0].target.redial().await;
    refused(&monitor, "new", "ssh host key mismatch").await;
    assert_eq!(fs::read_to_string(&record).unwrap().trim(), first, "it is never replaced");
}

pub async fn locked_keys_and_ssh_agents(world: &World) {
    let server = Server::start(world, &[]).await;
    let folder = &server.folder;
    let pin = format!("host_key = {:?}\n", server.sshd.host_key_public);
    let locked = folder.join("locked");
    fs::copy(&server.sshd.user_key, &locked).unwrap();
    keygen(folder, &["-p", "-P", "", "-N", "open sesame", "-f", "locked"]);
    fs::write(folder.join("passphrase"), "open sesame\n").unwrap();
    fs::set_permissions(folder.join("passphrase"), Permissions::from_mode(0o600)).unwrap();
    let (socket, _ssh_agent) = ssh_agent(folder);
    let add = |key: &Path| {
        let mut command = Command::new("ssh-add");
        block_in_place(|| process::run(command.arg("-q").arg(key).env("SSH_AUTH_SOCK", &socket), ""))
            .unwrap();
    };
    add(&folder.join("host"));
    add(&server.sshd.user_key);
    let public = server.sshd.user_key.with_extension("pub");
    let targets = [
        server.target(
            "locked",
            &format!("{pin}key_file = {locked:?}\nkey_passphrase_file = {:?}\n", folder.join("passphrase")),
        ),
        server.target("agent", &format!("{pin}ssh_agent = {socket:?}\n")),
        server.target("agent-one", &format!("{pin}ssh_agent = {socket:?}\nkey_file = {public:?}\n")),
        server.target("agent-gone", &format!("{pin}ssh_agent = \"/nowhere/ssh-agent.sock\"\n")),
    ];
    let monitor = world.monitor_of("", &targets.concat()).await;
    scraped(&monitor, &["locked", "agent", "agent-one"]).await;
    refused(&monitor, "agent-gone", "no key from the ssh-agent, see the bridge's log").await;
}

/// A real ssh-agent and its socket.
fn ssh_agent(folder: &Path) -> (PathBuf, Process) {
    let socket = folder.join("ssh-agent.sock");
    let mut command = Command::new("ssh-agent");
    command.arg("-D").arg("-a").arg(&socket);
    let process = process::spawn(&command, &folder.join("ssh-agent.log")).unwrap();
    while !socket.exists() {
        assert!(process.is_running(), "{}", process.log_text());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    (socket, process)
}
