//! What gets out that should not: packets past Tor, listening ports, addresses and keys in logs.

use std::collections::HashSet;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use tornet::process::{self, Process};

use crate::checkout::program;
use crate::exporters::{Exporter, Manner};
use crate::world::{World, run};

/// Set in the network namespace that the tests run in.
const INSIDE: &str = "ONIONSCRAPE_IT_INSIDE";
/// The way out of that namespace, which leads nowhere and counts.
const WAY_OUT: &str = "out0";

/// Runs this binary again in a network namespace of its own, whose only way out is an interface that
/// swallows everything. `None` where that cannot be had, or where this is it already.
pub fn in_a_namespace() -> Option<ExitCode> {
    if is_in_a_namespace() {
        return None;
    }
    // IPv6 would send packets of its own accord.
    let script = format!(
        "ip link set lo up && ip link add {WAY_OUT} type veth peer name nowhere && \
         for end in {WAY_OUT} nowhere; do \
         echo 1 > /proc/sys/net/ipv6/conf/$end/disable_ipv6 && ip link set $end up || exit 1; done && \
         ip addr add 192.0.2.1/24 dev {WAY_OUT} && ip route add default via 192.0.2.254 dev {WAY_OUT}"
    );
    let unshare = |then: &str| {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", then]);
        command
    };
    let can = unshare(&script).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !can.is_ok_and(|status| status.success()) {
        eprintln!("no network namespaces here: packets past Tor are not looked for");
        return None;
    }
    let mut command = unshare(&format!("{script} && exec \"$0\" \"$@\""));
    command.arg(std::env::current_exe().unwrap()).args(std::env::args_os().skip(1)).env(INSIDE, "1");
    let error = command.exec();
    panic!("the tests do not start in a namespace: {error}");
}

/// True in that namespace.
pub fn is_in_a_namespace() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// What went past loopback while all tests ran: packets of any kind, and UDP anywhere, since DNS on
/// loopback would be DNS all the same. Empty where there is no namespace.
pub fn past_tor() -> Vec<String> {
    if !is_in_a_namespace() {
        return Vec::new();
    }
    let devices = fs::read_to_string("/proc/net/dev").unwrap();
    let out = devices.lines().find_map(|line| line.trim().strip_prefix(WAY_OUT)?.strip_prefix(':')).unwrap();
    // Eight columns of what came in, then the bytes and the packets that went out.
    let packets = out.split_whitespace().nth(9).unwrap();
    let snmp = fs::read_to_string("/proc/net/snmp").unwrap();
    let mut udp = snmp.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = (udp.next().unwrap().to_owned(), udp.next().unwrap().to_owned());
    let sent = names.split(' ').zip(values.split(' ')).find(|(name, _)| *name == "OutDatagrams").unwrap().1;
    let mut leaks = Vec::new();
    if packets != "0" {
        leaks.push(format!("{packets} packets left the machine"));
    }
    if sent != "0" {
        leaks.push(format!("{sent} UDP datagrams were sent"));
    }
    leaks
}

/// A program of ours as a process.
pub fn start(name: &str, file: &Path, log: &Path) -> Process {
    let mut command = Command::new(program(name));
    command.arg("run").arg("--config.file").arg(file);
    process::spawn(&command, log).unwrap()
}

/// The sockets on which a process listens for TCP connections.
fn listening(pid: u32) -> usize {
    let is_socket = |link: PathBuf| {
        let link = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned();
        Some(link)
    };
    let own: HashSet<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| is_socket(fs::read_link(entry.ok()?.path()).ok()?))
        .collect();
    assert!(!own.is_empty(), "a program without any socket does not work");
    ["tcp", "tcp6"]
        .iter()
        .flat_map(|kind| {
            let table = fs::read_to_string(format!("/proc/{pid}/net/{kind}")).unwrap_or_default();
            table
                .lines()
                .skip(1)
                .map(|line| line.split_whitespace().map(str::to_owned).collect())
                .collect::<Vec<Vec<_>>>()
        })
        // The fourth column is the state, 0A for listening; the tenth the socket's number.
        .filter(|columns| columns[3] == "0A" && own.contains(&columns[9]))
        .count()
}

pub async fn nothing_is_told_and_nothing_listens(world: &World) {
    let exporter = Exporter::start(Manner::Good("a 1\n".into())).await;
    let folder = world.folder();
    let agent_file = world.agent_file(&folder, "", &[("app", exporter.address)]);
    let agent = start("target-agent", &agent_file, &folder.join("agent.log"));
    let bridge_file = world.bridge_file(&folder, "[reverse]\nonion = true\n", "");
    let bridge = start("scraper-bridge", &bridge_file, &folder.join("bridge.log"));
    world.until("the device is reachable", || agent.log_text().contains("reachable")).await;
    let (agent_path, bridge_path) = (agent_file.to_str().unwrap(), bridge_file.to_str().unwrap());
    let ticket = run("target-agent", &["ticket", "--name", "home", "--config.file", agent_path]);
    let ticket = String::from_utf8(ticket.stdout).unwrap();
    let added =
        run("scraper-bridge", &["add", ticket.trim(), "--name", "pack", "--config.file", bridge_path]);
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    world.until("the bridge has connected", || bridge.log_text().contains("connected")).await;
    let probed = run("scraper-bridge", &["probe", "pack", "app", "--config.file", bridge_path]);
    assert_eq!(probed.stdout, b"a 1\n");
    // A stranger's key, a ticket twice, a wrong destination: what is refused is logged, too.
    let again = run("scraper-bridge", &["remove", "pack", "--config.file", bridge_path]);
    assert!(again.status.success());
    let revoked = run("target-agent", &["revoke", "home", "--config.file", agent_path]);
    assert!(revoked.status.success());
    world.until("the exporter's channel has ended", || agent.log_text().contains("exporter=app")).await;

    assert_eq!(listening(agent.pid()), 0, "the agent listens");
    assert_eq!(listening(bridge.pid()), 1, "the bridge listens for more than its admin page");
    let told = |program: &str, subcommand: &str, path: &str| {
        String::from_utf8(run(program, &[subcommand, "--config.file", path]).stdout).unwrap()
    };
    let onion = told("target-agent", "hostname", agent_path);
    let own = told("scraper-bridge", "host-key", bridge_path);
    assert!(onion.contains(".onion") && own.contains(".onion"), "{onion} {own}");
    for (name, log) in [("agent", agent.log_text()), ("bridge", bridge.log_text())] {
        for line in log.lines() {
            let long = line
                .split(|c: char| !c.is_ascii_alphanumeric())
                .find(|word| word.len() >= 52 && word.bytes().all(|byte| byte.is_ascii_alphanumeric()));
            assert!(long.is_none(), "the {name}'s log has an address or a key: {line}");
            for secret in
                ["SHA256:", "AAAAC3Nza", "descriptor:x25519", &onion[..16], &own[..16], "127.0.0.1:22"]
            {
                assert!(!line.contains(secret), "the {name}'s log has {secret}: {line}");
            }
        }
        assert!(log.contains("key=home") || name == "bridge", "{log}");
    }
    for said in
        ["a session began", "a channel ended", "exporter=app", "received=", "why=", "a bridge was paired"]
    {
        assert!(agent.log_text().contains(said), "{said:?} is missing in:\n{}", agent.log_text());
    }
}
