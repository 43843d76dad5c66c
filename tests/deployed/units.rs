//! The units as systemd sees them, and the programs under systemd's hand.

use crate::machine::{Machine, PATIENCE};
use crate::packages::{AGENT, BRIDGE};
use crate::tree::{NEWER, Tree};
use crate::world::World;

/// How exposed systemd may find a service, in tenths.
const EXPOSURE: &str = "15";

/// Asks a program that speaks a pluggable transport to begin, as whoever uses it does.
const TRANSPORT: &str = "#!/bin/sh
export TOR_PT_MANAGED_TRANSPORT_VER=1 TOR_PT_CLIENT_TRANSPORTS=obfs4 TOR_PT_EXIT_ON_STDIN_CLOSE=1
export TOR_PT_STATE_LOCATION=/var/lib/onionscrape-agent/transport
said=$(obfs4proxy < /dev/null)
echo \"$said\"
echo \"$said\" | grep -q '^CMETHOD obfs4 socks5'
";

/// The drop-in that the documentation has for those programs.
fn documented_allowance() -> &'static str {
    let document = include_str!("../../docs/configure.md");
    let (_, section) = document.split_once("\n## Where Tor is blocked\n").unwrap();
    let (_, drop_in) = section.split_once("```ini\n").unwrap();
    drop_in.split_once("```").unwrap().0
}

fn install(world: &World, machine: &Machine) {
    for part in [AGENT, BRIDGE] {
        world.packages().install(part, machine);
    }
}

/// No complaint by `systemd-analyze` of either release, and little that is open.
pub fn are_sound_and_hardened(world: &World) {
    // The older one does not know how pauses can grow, says so, and has them all of one length.
    let unknown = ["RestartSteps", "RestartMaxDelaySec"];
    for (machine, unknown) in
        [(world.machine("units"), &unknown[..]), (world.newer_machine("newer-units"), &[])]
    {
        install(world, &machine);
        for part in [AGENT, BRIDGE] {
            let unit = format!("{}.service", part.name);
            // Nobody can read manual pages on this machine.
            let verified = machine.output(&["systemd-analyze", "verify", "--man=no", &unit]);
            let complaints = String::from_utf8(verified.stderr).unwrap();
            let is_known = |line: &str| {
                unknown.iter().any(|key| line.contains(&format!("Unknown key '{key}' in section [Service]")))
            };
            let others: Vec<_> = complaints.lines().filter(|line| !is_known(line)).collect();
            assert!(verified.status.success() && others.is_empty(), "{others:?}");
            let threshold = format!("--threshold={EXPOSURE}");
            machine.run(&["systemd-analyze", "security", "--offline=true", &threshold, &unit]);
            let shown = machine.run(&["systemctl", "show", &unit]);
            for line in ["\nRestartSteps=8\n", "\nRestartMaxDelayUSec=5min\n"] {
                assert_eq!(shown.contains(line), unknown.is_empty(), "{unit}: {line}{shown}");
            }
        }
        for page in ["man1/target-agent.1.gz", "man1/scraper-bridge-add.1.gz", "man8/onionscrape-agent.8.gz"]
        {
            assert!(machine.path("/usr/share/man").join(page).exists(), "{page}");
        }
    }
}

/// An onion service needs no port, and the unit proves that none is there.
pub fn the_agent_can_listen_on_no_port(world: &World) {
    let machine = Machine::boot("portless", &Tree::of(NEWER, &["obfs4proxy"]));
    world.packages().install(AGENT, &machine);
    machine.sh(&format!("echo '[admin]\nlisten = \"127.0.0.1:9821\"' >> {}", AGENT.config));
    let restarted = machine.output(&["systemctl", "restart", AGENT.name]);
    let journal = machine.journal(AGENT.name);
    assert!(!restarted.status.success() && journal.contains("admin: "), "{restarted:?}\n{journal}");
    // What the unit says to do about it.
    let drop_ins = "/etc/systemd/system/onionscrape-agent.service.d";
    machine.put(&format!("{drop_ins}/admin.conf"), "[Service]\nSocketBindAllow=ipv4:tcp:9821\n");
    machine.sh("systemctl daemon-reload && systemctl restart onionscrape-agent");

    // What a pluggable transport does: a port's number in a rule is not enough for one that is any that is free.
    machine.put("/usr/local/bin/transport", TRANSPORT);
    machine.put(
        &format!("{drop_ins}/transport.conf"),
        "[Service]\nExecStartPre=/bin/sh /usr/local/bin/transport\n",
    );
    let restart = "systemctl daemon-reload && systemctl restart onionscrape-agent";
    let refused = machine.output(&["sh", "-c", restart]);
    let journal = machine.journal(AGENT.name);
    assert!(!refused.status.success() && journal.contains("CMETHOD-ERROR obfs4"), "{refused:?}\n{journal}");
    machine.put(&format!("{drop_ins}/allowed.conf"), documented_allowance());
    machine.sh(restart);
}

/// A program that hangs is started anew, one that was killed is, and one that works is left alone.
pub fn a_program_that_hangs_is_started_again(world: &World) {
    let machine = world.machine("watchdog");
    install(world, &machine);
    for part in [AGENT, BRIDGE] {
        let name = part.name;
        machine.put(
            &format!("/etc/systemd/system/{name}.service.d/quick.conf"),
            "[Service]\nWatchdogSec=12s\nRestartSec=100ms\n",
        );
        machine.sh(&format!("systemctl daemon-reload && systemctl restart {name}"));
        let show = |property: &str| format!("systemctl show -P {property} {name}");
        let value = |property: &str| machine.sh(&show(property)).trim().to_owned();
        let main = value("MainPID");
        // Fed once it has proved something, and again.
        for _ in 0..3 {
            let fed = value("WatchdogTimestampMonotonic");
            let again = format!("[ \"$({})\" != {fed} ]", show("WatchdogTimestampMonotonic"));
            machine.wait_until("the watchdog is fed", PATIENCE, &again);
        }
        assert_eq!((value("MainPID"), value("NRestarts")), (main.clone(), "0".to_owned()));
        machine.sh(&format!("systemctl reload {name}"));
        assert_eq!(value("MainPID"), main, "a reload starts nothing anew");

        let beside = format!("/run/{name}/beside");
        machine.put(&beside, "");
        for (signal, what) in [("STOP", "one that hangs"), ("KILL", "one that was killed")] {
            let (main, restarts) = (value("MainPID"), value("NRestarts"));
            machine.sh(&format!("kill -{signal} {main}"));
            let again = format!("[ \"$({})\" -gt {restarts} ]", show("NRestarts"));
            machine.wait_until(&format!("{what} is started anew"), PATIENCE, &again);
            machine.wait_until("it is ready", PATIENCE, &format!("systemctl is-active --quiet {name}"));
        }
        // What Prometheus reads in the bridge's folder outlives the process that wrote it.
        assert_eq!(machine.path(&beside).exists(), name == BRIDGE.name, "{beside}");
        assert!(machine.journal(name).contains("Watchdog timeout"), "{}", machine.journal(name));
    }
}
