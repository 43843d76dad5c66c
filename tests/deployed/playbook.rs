//! A fleet by one command: Debian's ansible, a monitor, and devices behind a firewall that lets nothing in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::controller::Controller;
use crate::firewall::{Firewall, open_ports};
use crate::machine::Machine;
use crate::packages::{AGENT, BRIDGE};
use crate::tree::Tree;
use crate::world::World;

/// What a machine has before the playbook comes: what ansible asks of a host, and a firewall.
pub const BARE: &[&str] = &["openssh-server", "python3", "python3-apt", "nftables"];
/// What the playbook installs of Debian's.
pub const STOCK: &[&str] = &["prometheus", "prometheus-node-exporter"];
/// Where the private network's part of a configuration is on each machine.
const NETWORK: &str = "/srv/tor.toml";
/// Where the bridge has its targets.
const TARGETS: &str = "/var/lib/onionscrape-bridge/targets.d";
/// What Debian's Prometheus is started with.
const ARGUMENTS: &str = "/etc/default/prometheus";
/// How long Prometheus may take to see what Tor leads to.
const PATIENCE: Duration = Duration::from_secs(120);
/// The services that the playbook starts.
const SERVICES: &[&str] =
    &["onionscrape-agent", "onionscrape-bridge", "prometheus", "prometheus-node-exporter"];

pub fn a_fleet_by_one_command(world: &World) {
    // Made before anything that waits for them runs.
    world.packages();
    let controller = Controller::new();
    let host = |name: &str| Host::boot(world, &controller, name);
    let (monitor, one, two) = (host("monitor"), host("one"), host("two"));
    let here = json!({});
    let both = inventory(world, &monitor, &[(&one, &here), (&two, &here)]);
    // Whoever ran Prometheus before had it do as they liked.
    monitor.machine.put(ARGUMENTS, "ARGS=\"--storage.tsdb.retention.time=9d\"\n");

    // A look at bare machines says what would be done, and does nothing.
    let looked = controller.play(&both, &["--check"]);
    assert!(looked.values().all(|done| done.changed > 0), "{looked:?}");
    assert!(
        !one.machine.path("/etc/onionscrape").exists() && !monitor.machine.path("/etc/onionscrape").exists()
    );

    // One command, from bare to scraped.
    controller.play(&both, &[]);
    let one_and_two = ["one/agent", "one/host", "one/node", "two/agent", "two/host", "two/node"];
    monitor.wait_for_up(&one_and_two);
    let ports = monitor.machine.sh(&format!("grep -h ^listen {TARGETS}/*.toml || true"));
    assert_eq!(ports, "", "Prometheus asks by path");
    let arguments = monitor.machine.run(&["cat", ARGUMENTS]);
    assert_eq!(arguments, "ARGS=\"--web.listen-address=127.0.0.1:9090 --storage.tsdb.retention.time=9d\"\n");

    // A configuration that is wrong is said to be at each run, and the agent goes on with the one before.
    let wrong = json!({ "onionscrape_agent_settings": format!("{}\nnonsense = 1\n", settings()) });
    let wrong = inventory(world, &monitor, &[(&one, &wrong), (&two, &here)]);
    let before = one.running();
    for _ in 0..2 {
        let said = controller.fail(&wrong, &["--limit", "one"]);
        assert!(said.contains("nonsense") && said.contains("unknown key"), "{said}");
    }
    assert_eq!(one.running(), before);

    // A password that the agent is to have from its next start on does not keep the playbook from starting it anew.
    one.machine.put("/etc/credstore/onionscrape-agent.exporter", "secret\n");
    let password = "/run/credentials/onionscrape-agent.service/exporter";
    let node = json!({ "name": "node", "address": "127.0.0.1:9100",
        "basic_auth": { "username": "prometheus", "password_file": password } });
    let with_password = json!({ "onionscrape_agent_exporters": [node] });
    controller
        .play(&inventory(world, &monitor, &[(&one, &with_password), (&two, &here)]), &["--limit", "one"]);
    assert!(one.machine.path(password).exists(), "it was handed over");
    controller.play(&both, &["--limit", "one"]);

    // The second run changes nothing.
    let again = controller.play(&both, &[]);
    assert!(again.values().all(|done| done.changed == 0), "{again:?}");

    // A third device is its own matter and the bridge's.
    let three = host("three");
    let untouched = || {
        let files = format!("stat --format='%n %i %Y' {TARGETS}/one.* {TARGETS}/two.*");
        ([&monitor, &one, &two].map(Host::running), monitor.machine.sh(&files))
    };
    let before = untouched();
    // One whose own sshd answers makes no tickets, and says so.
    let forward = json!({ "onionscrape_agent_settings":
        format!("{}\n[ssh]\nforward = \"127.0.0.1:22\"\n", settings()) });
    let all = inventory(world, &monitor, &[(&one, &here), (&two, &here), (&three, &forward)]);
    let said = controller.fail(&all, &["--limit", "three"]);
    assert!(said.contains("so there are no tickets"), "{said}");
    let node = json!({ "name": "node", "address": "127.0.0.1:9100", "labels": { "site": "garden" } });
    let more = json!({ "name": "more", "address": "127.0.0.1:9100" });
    let with_more = json!({ "onionscrape_agent_exporters": [node, more] });
    let changed = |variables: &Value| {
        let all = inventory(world, &monitor, &[(&one, &here), (&two, &here), (&three, variables)]);
        let done = controller.play(&all, &[]);
        assert!(done.iter().all(|(name, done)| (done.changed > 0) == (name == "three")), "{done:?}");
    };
    changed(&with_more);
    monitor.wait_for_up(
        &[&one_and_two[..], &["three/agent", "three/host", "three/more", "three/node"]].concat(),
    );
    let bridge = monitor.up("job=\"onionscrape-bridge\"");
    assert_eq!(bridge.into_values().collect::<Vec<_>>(), [true], "its own metrics");
    assert_eq!(monitor.up("site=\"garden\"").into_keys().collect::<Vec<_>>(), ["three/node"]);
    assert_eq!(untouched(), before, "a service was started anew, or a target written anew");

    // With another name and one exporter less, the bridge has nothing left of what it was.
    changed(&json!({ "onionscrape_agent_exporters": [node], "onionscrape_target_name": "garden" }));
    monitor.wait_for_up(&[&one_and_two[..], &["garden/agent", "garden/host", "garden/node"]].concat());
    assert_eq!(monitor.targets(), ["garden", "one", "two"]);
    assert_eq!(untouched(), before, "a service was started anew, or a target written anew");

    // Removed, it is forgotten by the bridge, and keeps out even who kept the bridge's keys.
    monitor.machine.sh(&format!("mkdir -m 700 /srv/kept; cp -p {TARGETS}/garden* /srv/kept"));
    let gone = json!({ "onionscrape_state": "absent", "onionscrape_agent_uninstall": false,
        "onionscrape_target_name": "garden" });
    changed(&gone);
    let without = inventory(world, &monitor, &[(&one, &here), (&two, &here), (&three, &gone)]);
    assert_eq!(monitor.machine.sh(&format!("ls {TARGETS} | grep -c garden || true")).trim(), "0");
    monitor.wait_for_up(&one_and_two);
    monitor.machine.sh(&format!("cp -p /srv/kept/* {TARGETS}"));
    monitor.wait_until_refused("garden");
    monitor.machine.sh(&format!("rm {TARGETS}/garden*"));
    let again = controller.play(&without, &["--limit", "three"]);
    assert_eq!(again["three"].changed, 0, "{again:?}");

    for host in [&monitor, &one, &two, &three] {
        assert_eq!(open_ports(&host.machine), [22], "{}", host.machine.name);
        host.firewall.assert_untouched(&host.machine);
    }

    // By default the agent goes, too, but not its keys. A device that is off is forgotten all the same.
    let gone = json!({ "onionscrape_state": "absent" });
    let left = inventory(world, &monitor, &[(&one, &here), (&two, &gone), (&three, &gone)]);
    drop(two);
    controller.play(&left, &[]);
    assert_eq!(monitor.targets(), ["one"]);
    assert!(!three.machine.path("/usr/bin/target-agent").exists());
    assert_ne!(three.machine.run(&["find", "/var/lib/onionscrape-agent", "-name", "*ed25519*"]), "");
}

/// A machine behind its firewall.
struct Host {
    machine: Machine,
    firewall: Firewall,
}

impl Host {
    fn boot(world: &World, controller: &Controller, name: &str) -> Self {
        let machine = Machine::boot(name, &Tree::stocked(BARE, STOCK));
        controller.admit_to(&machine);
        world.give_network(&machine, NETWORK);
        // No mirror is reached from there, so the lists that came with the stock are new enough.
        machine.put("/var/lib/apt/periodic/update-success-stamp", "");
        let firewall = Firewall::raise(&machine);
        Self { machine, firewall }
    }

    /// What answers to a GET of this machine's own, as status and text; the text of an error is its reason.
    fn fetch(&self, url: &str) -> (u16, String) {
        const SCRIPT: &str = "import sys, urllib.error, urllib.request
try:
    answer = urllib.request.urlopen(sys.argv[1])
    print(answer.status, answer.read().decode())
except urllib.error.HTTPError as error:
    print(error.code, error.reason)";
        let said = self.machine.run(&["python3", "-c", SCRIPT, url]);
        let (status, text) = said.trim().split_once(' ').unwrap_or((said.trim(), ""));
        (status.parse().unwrap(), text.to_owned())
    }

    fn json(&self, url: &str) -> Value {
        let (status, text) = self.fetch(url);
        assert_eq!(status, 200, "{url}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// The exporters, `TARGET/EXPORTER`, that Prometheus has under this label, and whether they are up.
    fn up(&self, label: &str) -> BTreeMap<String, bool> {
        let label = label.replace('=', "%3D").replace('"', "%22");
        let answer = self.json(&format!("http://127.0.0.1:9090/api/v1/query?query=up%7B{label}%7D"));
        let series = answer["data"]["result"].as_array().unwrap().iter().map(|series| {
            let label = |name: &str| series["metric"][name].as_str().unwrap_or_default().to_owned();
            (format!("{}/{}", label("instance"), label("exporter")), series["value"][1] == "1")
        });
        series.collect()
    }

    /// Waits until Prometheus has these exporters, `TARGET/EXPORTER`, all of them up and no others.
    fn wait_for_up(&self, expected: &[&str]) {
        let expected: BTreeSet<_> = expected.iter().copied().collect();
        let began = Instant::now();
        loop {
            let series = self.up("job=\"onion\"");
            if series.keys().map(String::as_str).eq(expected.iter().copied()) && series.values().all(|up| *up)
            {
                return;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "not up: {series:?}\n{}",
                self.machine.journal("onionscrape-bridge")
            );
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Waits until the device lets the bridge in no more.
    fn wait_until_refused(&self, target: &str) {
        let began = Instant::now();
        loop {
            let (status, reason) = self.fetch(&format!("http://127.0.0.1:9822/t/{target}/node/metrics"));
            assert_ne!(status, 200, "it was let in");
            if reason.contains("closed") || reason.contains("denied") {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{status} {reason}");
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Since when the services run, and as which processes.
    fn running(&self) -> String {
        let show = ["systemctl", "show", "--property=Id,MainPID,ActiveEnterTimestampMonotonic"];
        self.machine.run(&[&show, SERVICES].concat())
    }

    /// The targets that the bridge has.
    fn targets(&self) -> Vec<String> {
        let overview = self.json("http://127.0.0.1:9822/api/v1/targets?scrapes=false");
        let targets = overview["targets"].as_array().unwrap().iter();
        targets.map(|target| target["name"].as_str().unwrap().to_owned()).collect()
    }
}

/// What the programs are told besides.
fn settings() -> String {
    format!("[tor]\ninclude = \"{NETWORK}\"\n")
}

/// An inventory of a monitor and devices, each device with variables of its own.
fn inventory(world: &World, monitor: &Host, devices: &[(&Host, &Value)]) -> String {
    let at = |host: &Host| host.machine.address.to_string();
    let devices = devices.iter().map(|(host, variables)| {
        let mut variables = (*variables).clone();
        variables["ansible_host"] = at(host).into();
        (host.machine.name.clone(), variables)
    });
    let devices: serde_json::Map<_, _> = devices.collect();
    json!({ "all": {
        "vars": {
            "ansible_user": "root",
            "onionscrape_agent_deb": world.packages().file(AGENT),
            "onionscrape_bridge_deb": world.packages().file(BRIDGE),
            "onionscrape_agent_settings": settings(),
            "onionscrape_bridge_settings": settings(),
            "onionscrape_prometheus_refresh": "5s",
        },
        "children": {
            "onionscrape_monitors": { "hosts": { &monitor.machine.name: { "ansible_host": at(monitor) } } },
            "onionscrape_devices": { "hosts": devices },
        },
    } })
    .to_string()
}
