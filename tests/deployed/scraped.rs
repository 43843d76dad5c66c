//! Both packages on machines with nothing else on them, under their units' restrictions, over Tor.

use std::time::Duration;

use crate::machine::{Machine, PATIENCE};
use crate::packages::{AGENT, BRIDGE};
use crate::world::World;

/// How long what needs Tor may take.
const FOR_TOR: Duration = Duration::from_secs(180);
/// An exporter made of systemd and the shell, which wants a password.
const EXPORTER: [(&str, &str); 3] = [
    ("/etc/systemd/system/exporter.socket", "[Socket]\nListenStream=127.0.0.1:9800\nAccept=yes\n"),
    (
        "/etc/systemd/system/exporter@.service",
        "[Service]\nExecStart=-/bin/sh /usr/local/bin/exporter\nStandardInput=socket\n",
    ),
    ("/usr/local/bin/exporter", include_str!("exporter.sh")),
];

/// A page, asked for on a machine itself; bash is all that is there for it.
fn get(machine: &Machine, path: &str) -> String {
    let script = format!(
        "exec 3<>/dev/tcp/127.0.0.1/9822; \
         printf 'GET {path} HTTP/1.0\\r\\nHost: 127.0.0.1:9822\\r\\n\\r\\n' >&3; cat <&3"
    );
    String::from_utf8_lossy(&machine.output(&["bash", "-c", &script]).stdout).into_owned()
}

pub fn from_one_machine_to_another(world: &World) {
    // Of the newer release, which enforces SocketBindDeny=; the playbook's are of the older one.
    let (device, monitor) = (world.newer_machine("device"), world.newer_machine("monitor"));
    for (path, text) in EXPORTER {
        device.put(path, text);
    }
    device.run(&["systemctl", "start", "exporter.socket"]);
    // A key that the service's user cannot read, and systemd hands to it.
    device.put("/etc/credstore/onionscrape-agent.exporter", "secret\n");
    device.sh("chmod 700 /etc/credstore; chmod 600 /etc/credstore/*");
    for (machine, part) in [(&device, AGENT), (&monitor, BRIDGE)] {
        world.packages().install(part, machine);
        world.give_network(machine, "/etc/onionscrape/tornet.toml");
        let include = "\n[tor]\ninclude = \"/etc/onionscrape/tornet.toml\"\n";
        let more = match part.name == AGENT.name {
            true => concat!("cache_in_memory = true\n", include_str!("exporter.toml")),
            false => "",
        };
        machine.sh(&format!("cat >> {} <<'END'\n{include}{more}END", part.config));
        machine.run(&["systemctl", "restart", part.name]);
    }

    // What systemd hands to a service is there for its commands, too.
    device.run(&[AGENT.name, "check"]);

    // One line from the one to the other.
    let ticket = device.run(&[AGENT.name, "ticket", "--name", "prometheus"]);
    device.wait_until("the device is reachable", FOR_TOR, &format!("{} status", AGENT.name));
    let added = monitor.output_with(&[BRIDGE.name, "add", "--name", "backpack"], &ticket);
    assert!(added.status.success(), "{added:?}");
    monitor.wait_until("the target is up", FOR_TOR, &format!("{} status", BRIDGE.name));
    let app = get(&monitor, "/t/backpack/app/metrics");
    assert!(app.contains("\nanswered_with_its_password 1"), "{app}\n{}", device.journal(AGENT.name));

    // What the built-in exporter says is the device's truth, not the restricted service's.
    let host = get(&monitor, "/t/backpack/host/metrics");
    assert!(host.starts_with("HTTP/1.") && host.contains(" 200 OK\r\n"), "{host}");
    assert!(
        host.contains("node_memory_MemTotal_bytes ")
            && host.contains("node_network_receive_bytes_total{device=\"eth0\"}"),
        "{host}"
    );
    let failed: Vec<_> = host
        .lines()
        .filter(|line| line.starts_with("node_scrape_collector_success{") && line.ends_with(" 0"))
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
    let readonly = |place: &str| {
        let label = format!("mountpoint=\"{place}\"");
        let mut lines = host.lines().filter(|line| line.starts_with("node_filesystem_readonly{"));
        lines.find(|line| line.contains(&label)).map(|line| line.rsplit(' ').next().unwrap().to_owned())
    };
    assert_eq!(readonly("/run").as_deref(), Some("0"), "{host}");
    for own in ["/var/lib/onionscrape-agent", "/var/tmp", "/root", "/home"] {
        assert_eq!(readonly(own), None, "{own} is mounted for the service alone");
    }
    // Nothing but the exporter listens on the device, and that on loopback only.
    let listening = device.sh("cat /proc/net/tcp /proc/net/tcp6 | awk '$4 == \"0A\" { print $2 }'");
    assert_eq!(listening.trim(), "0100007F:2648", "what listens on the device");

    // A change of networks is noticed by netlink, which the unit lets through.
    let journal = format!("journalctl --no-pager --output=cat --unit {}", AGENT.name);
    let changes = format!("{journal} | grep --count 'the network changed' || true");
    let before = device.sh(&changes);
    let [_, _, third, _] = device.address.octets();
    device.sh(&format!(
        "ip addr del 10.77.{third}.2/24 dev eth0; ip addr add 10.77.{third}.3/24 dev eth0; \
         ip route add default via 10.77.{third}.1"
    ));
    let noticed = format!("[ \"$({changes})\" -gt {} ]", before.trim());
    device.wait_until("the agent notices another network", PATIENCE, &noticed);

    // Tor's directory is in memory, and not thrown away by what starts the agent anew.
    let in_memory = || device.sh("stat --format='%i %U' /dev/shm/onionscrape-*/dir.sqlite3");
    let directory = in_memory();
    assert!(directory.ends_with(" onionscrape-agent\n"), "{directory}");
    // Both come back with the same keys: in another process, and after the machine's own restart of it.
    let before = device.run(&[AGENT.name, "hostname"]);
    device.run(&["systemctl", "restart", AGENT.name]);
    assert_eq!(in_memory(), directory, "another file");
    monitor.run(&["systemctl", "restart", BRIDGE.name]);
    assert_eq!(device.run(&[AGENT.name, "hostname"]), before);
    monitor.wait_until("the target is up again", FOR_TOR, &format!("{} status", BRIDGE.name));
    let app = get(&monitor, "/t/backpack/app/metrics");
    assert!(app.contains("\nanswered_with_its_password 1"), "{app}");

    for (machine, part) in [(&device, AGENT), (&monitor, BRIDGE)] {
        let journal = machine.journal(part.name);
        for trouble in ["Operation not permitted", "Permission denied", "Read-only file system", "Failed to"]
        {
            assert!(!journal.contains(trouble), "a restriction breaks something:\n{journal}");
        }
    }
}
