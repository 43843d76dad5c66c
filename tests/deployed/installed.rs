//! What `docs/install.md` has people type.

use std::fs;
use std::process::Command;

use crate::checkout::repository;
use crate::document::{block, line, typed};
use crate::firewall::open_ports;
use crate::machine::{Machine, PATIENCE};
use crate::packages::{AGENT, BRIDGE};
use crate::playbook::{BARE, STOCK};
use crate::tree::Tree;
use crate::world::World;

const INSTALL: &str = include_str!("../../docs/install.md");
/// The section about a device that has an `sshd` and needs no agent.
const SERVER: &str = "## A server as a device";

/// Units, users and configurations as they are in an archive, which has no package.
pub fn without_a_package(world: &World) {
    let machine = world.machine("archive");
    let copied = |from: &str| {
        let to = machine.path("/root/deploy");
        fs::create_dir_all(&to).unwrap();
        assert!(Command::new("cp").arg("-r").arg(repository(from)).arg(&to).status().unwrap().success());
    };
    copied("deploy/debian");
    copied("deploy/systemd");
    let lines = block(INSTALL, "## Without packages", "sh", "sudo install");
    let of_bridge = lines.replace("target-agent", "scraper-bridge").replace("agent", "bridge");
    for (part, program, lines) in [(AGENT, "target-agent", lines), (BRIDGE, "scraper-bridge", &of_bridge)] {
        // An archive's are the same for other kinds of machines.
        let package = world.packages().bring(part, &machine);
        machine.sh(&format!(
            "dpkg-deb --extract {package} /root/package; mv /root/package/usr/bin/{program} /root"
        ));
        typed(&machine, lines);
        let name = part.name;
        assert_eq!(machine.run(&["systemctl", "is-active", name]), "active\n", "{}", machine.journal(name));
        assert_eq!(machine.run(&["systemctl", "is-enabled", name]), "enabled\n");
        machine.run(&[name, "check"]);
        machine.run(&[name, "status", "--healthy"]);
        let of_whom = format!("stat --format='%a %U %G' /var/lib/{name}");
        assert_eq!(machine.sh(&of_whom), format!("700 {name} {name}\n"));
    }
}

/// One machine is both here, the monitor and the server; the bridge comes to its `sshd` all the same.
pub fn a_server_as_a_device(world: &World) {
    let machine = Machine::boot("server", &Tree::stocked(BARE, STOCK));
    // Nobody is there to be asked, and what was put in stock is no more than what is needed.
    let settings = "APT::Get::Assume-Yes \"true\";\nAPT::Install-Recommends \"false\";\n";
    machine.put("/etc/apt/apt.conf.d/unasked", settings);
    typed(&machine, line(INSTALL, "sudo apt install prometheus-node-exporter"));
    typed(&machine, line(INSTALL, "echo 'ARGS="));
    typed(&machine, line(INSTALL, "sudo systemctl restart prometheus-node-exporter"));
    machine.put("/root/onionscrape-bridge_1_amd64.deb", fs::read(world.packages().file(BRIDGE)).unwrap());
    typed(&machine, line(INSTALL, "sudo dpkg -i onionscrape-bridge_"));

    let printed = typed(&machine, block(INSTALL, SERVER, "sh", "sudo adduser"));
    let key = printed.lines().last().unwrap();
    let restriction =
        INSTALL.split('`').find(|words| words.starts_with("restrict,port-forwarding,")).unwrap();
    machine.put("/var/lib/metrics/.ssh/authorized_keys", format!("{restriction} {key}\n"));
    machine.sh("echo '127.0.0.1 server.example' >> /etc/hosts");
    let host_key = machine.sh("cut -d ' ' -f 1,2 /etc/ssh/ssh_host_ed25519_key.pub");
    let target = block(INSTALL, SERVER, "toml", "ssh://metrics@server.example:22");
    let written =
        target.lines().find_map(|line| line.strip_prefix("host_key = \"")?.split('"').next()).unwrap();
    let target = target.replace(written, host_key.trim());
    let config = machine.run(&["cat", BRIDGE.config]);
    machine.put(BRIDGE.config, format!("{config}\n{target}"));
    machine.wait_until("it is scraped", PATIENCE, &format!("{} probe server node", BRIDGE.name));
    assert_eq!(open_ports(&machine), [22], "node_exporter is asked on loopback only");
    // The key opens nothing else.
    let login = ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "metrics@server.example", "true"];
    let refused =
        machine.output(&[&["ssh", "-i", "/var/lib/onionscrape-bridge/id_ed25519"], &login[..]].concat());
    let said = String::from_utf8_lossy(&refused.stdout);
    assert!(!refused.status.success() && said.contains("not available"), "{refused:?}");
}
