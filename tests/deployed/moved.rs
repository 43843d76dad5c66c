//! What the documents have people type to take along what a package keeps: copies of who a machine is, and the keys
//! of what did its work before.

use std::path::Path;
use std::process::Command;

use crate::document::{block, typed};
use crate::machine::Machine;
use crate::packages::{AGENT, BRIDGE};
use crate::world::World;

const OPERATE: &str = include_str!("../../docs/operate.md");
const MIGRATE: &str = include_str!("../../docs/migrate.md");
/// A bridge's targets with their keys, as they are kept.
const TARGETS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/state/0.1.0/bridge/targets.d");

/// Copies a file or folder of root's home to another machine's, as a person does with a stick.
fn carry(name: &str, from: &Machine, to: &Machine) {
    let (from, to) = (from.path("/root").join(name), to.path("/root"));
    assert!(Command::new("cp").arg("-r").args([&from, &to]).status().unwrap().success());
}

/// What belongs to somebody else in a service's folder, or is left beside it.
fn assert_tidy(machine: &Machine, name: &str) {
    let strange = machine.sh(&format!(
        "find /var/lib/{name} ! -user {name}; ls -d /var/lib/{name}.* /var/lib/onionscrape-import || true"
    ));
    assert_eq!(strange, "");
    assert_eq!(machine.run(&["systemctl", "is-active", name]), "active\n", "{}", machine.journal(name));
}

pub fn a_device_and_a_monitor_by_their_copies(world: &World) {
    let (old, new) = (world.machine("old"), world.machine("new"));
    for machine in [&old, &new] {
        for part in [AGENT, BRIDGE] {
            world.packages().install(part, machine);
        }
    }
    let onion = |machine: &Machine| machine.run(&[AGENT.name, "hostname"]);
    let device =
        |machine: &Machine| ["hostname", "bridges"].map(|what| machine.run(&[AGENT.name, what, "--json"]));
    old.run(&[AGENT.name, "ticket", "--name", "prometheus"]);
    let before = device(&old);
    assert_ne!(device(&new), before);
    typed(&old, block(OPERATE, "## Backup", "sh", "export --to /var"));
    // As from a card that cannot be written to any more.
    let line = OPERATE.split('`').find(|words| words.starts_with("sudo onionscrape-agent export --to /dev"));
    typed(&old, line.unwrap());
    old.sh("cmp /root/backup/hs_ed25519_secret_key /dev/shm/copy/hs_ed25519_secret_key");
    carry("backup", &old, &new);
    let restored = block(OPERATE, "## Backup", "sh", "import --from /var");
    typed(&new, restored);
    assert_eq!(device(&new), before);
    assert_tidy(&new, AGENT.name);

    // The address alone, from a folder as C tor has it.
    let address = onion(&old);
    old.sh("mkdir /var/lib/tor; mv /root/backup /var/lib/tor/device; cd /var/lib/tor/device; rm -r ssh_host* bridges");
    old.sh("chown -R nobody: /var/lib/tor");
    let line = MIGRATE.split('`').find(|words| words.starts_with("sudo cp -r /var/lib/tor/device"));
    typed(&old, line.unwrap());
    typed(&old, restored);
    assert_eq!(onion(&old), address);
    assert_ne!(device(&old), before, "the host key is its own");
    assert_tidy(&old, AGENT.name);

    // A monitor's targets, with their keys, and the address that devices come to by themselves.
    let targets = |machine: &Machine| {
        [&["targets", "--json"][..], &["key"], &["host-key"]]
            .map(|what| machine.run(&[&[BRIDGE.name], what].concat()))
    };
    for machine in [&old, &new] {
        machine.sh(&format!("echo '[reverse]\nonion = true' >> {}", BRIDGE.config));
    }
    let kept = old.path("/var/lib/onionscrape-bridge");
    assert!(Command::new("cp").arg("-r").args([Path::new(TARGETS), &kept]).status().unwrap().success());
    old.sh("cd /var/lib/onionscrape-bridge; chmod -R go= targets.d; chown -R onionscrape-bridge: targets.d");
    let before = targets(&old);
    assert!(before[0].contains("\"backpack\"") && before[2].contains(".onion "), "{before:?}");
    let other = targets(&new);
    assert!(before.iter().zip(&other).all(|(old, new)| old != new), "{before:?} {other:?}");
    typed(&old, block(OPERATE, "## Backup", "sh", "-cf bridge.tar"));
    carry("bridge.tar", &old, &new);
    typed(&new, block(OPERATE, "## Backup", "sh", "-xf bridge.tar"));
    assert_eq!(targets(&new), before);
    assert_tidy(&new, BRIDGE.name);
}

/// Keys that only another program's user, or root, can read.
pub fn keys_of_what_was_there_before(world: &World) {
    let machine = world.machine("before");
    world.packages().install(BRIDGE, &machine);
    machine.sh("useradd --create-home --home-dir /home/metrics metrics; mkdir -m 700 /home/metrics/.ssh");
    let key = std::fs::read(Path::new(TARGETS).join("backpack.key")).unwrap();
    for path in ["/home/metrics/.ssh/id_ed25519", "/etc/systemd/tunnel", "/etc/sshified/key"] {
        machine.put(path, &key);
        machine.sh(&format!("chmod 600 {path}"));
    }
    let host =
        "server.example ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    for path in ["/home/metrics/.ssh/known_hosts", "/root/.ssh/known_hosts", "/etc/sshified/known_hosts"] {
        let onion = block(MIGRATE, "## From tor, socat and `ssh -L`", "toml", "address = ");
        let (_, onion) = onion.split_once("\naddress = \"").unwrap();
        let known =
            format!("{host}\n{}{}\n", onion.split('"').next().unwrap(), &host["server.example".len()..]);
        machine.put(path, known);
    }
    machine.sh("chown -R metrics: /home/metrics");
    let config = machine.run(&["cat", BRIDGE.config]);
    let read = |from: &str| {
        machine.run(&[BRIDGE.name, "check"]);
        // With the fingerprint of its key, if that can be read.
        let targets = machine.run(&[BRIDGE.name, "targets"]);
        assert_eq!(targets.matches("SHA256:").count(), 1, "{from}: {targets}");
    };
    for from in ["## From tor, socat and `ssh -L`", "## From `ssh -L` in a systemd unit", "## From sshified"]
    {
        typed(&machine, block(MIGRATE, from, "sh", "sudo install"));
        let after = block(MIGRATE, from, "toml", "key_file");
        machine.put(BRIDGE.config, format!("{config}\n{after}"));
        read(from);
    }
    // As the module for NixOS hands it over, from where it is: the unit's own line gives way.
    machine.sh("rm -r /etc/credstore");
    machine.put(
        "/etc/systemd/system/onionscrape-bridge.service.d/overrides.conf",
        "[Service]\nLoadCredential=login:/etc/sshified/key\n",
    );
    machine.sh("systemctl daemon-reload && systemctl restart onionscrape-bridge");
    read("NixOS");
}
