//! A firewall on a machine, and whether anybody touched it.

use std::net::Ipv4Addr;
use std::time::Duration;

use tempfile::TempDir;
use tornet::process::{self, Process};

use crate::machine::{Machine, wait_for};

/// Lets nothing in but ssh from the machine that the operator sits at: ansible itself comes that way.
const RULES: &str = "
table inet machine {
    chain input {
        type filter hook input priority 0; policy drop;
        iif lo accept
        ct state established,related accept
        ip saddr OPERATOR tcp dport 22 accept
    }
    chain forward {
        type filter hook forward priority 0; policy drop;
    }
}
";
/// How long a connection that is swallowed is waited for.
const SWALLOWED: Duration = Duration::from_millis(500);

/// Rules, and a program that writes down every change of any.
pub struct Firewall {
    rules: String,
    watch: Process,
    seen: usize,
    _folder: TempDir,
}

impl Firewall {
    /// Raises one on a machine with nft.
    pub fn raise(machine: &Machine) -> Self {
        let [a, b, c, _] = machine.address.octets();
        let operator = Ipv4Addr::new(a, b, c, 1).to_string();
        machine.put("/etc/nftables.conf", RULES.replace("OPERATOR", &operator));
        machine.run(&["nft", "-f", "/etc/nftables.conf"]);
        let folder = tempfile::tempdir().unwrap();
        let watch =
            process::spawn(&machine.command(&["nft", "monitor"]), &folder.path().join("changes")).unwrap();
        // A watch that sees nothing would prove nothing.
        wait_for("a change of rules to be seen", || {
            machine.sh("nft add table inet seen; nft delete table inet seen");
            watch.log_text().contains("delete table inet seen").then_some(())
        });
        // The last one may be on its way yet.
        machine.sh("nft add table inet last; nft delete table inet last");
        let seen = wait_for("the last change of rules to be seen", || {
            let text = watch.log_text();
            let end = text.find("delete table inet last")?;
            text[end..].contains("# new generation").then_some(text.len())
        });
        let rules = machine.run(&["nft", "--stateless", "list", "ruleset"]);
        Self { rules, watch, seen, _folder: folder }
    }

    /// Fails if a rule was changed since, or anything but ssh gets in from outside.
    pub fn assert_untouched(&self, machine: &Machine) {
        let changes = self.watch.log_text();
        assert_eq!(&changes[self.seen..], "", "{}: rules were changed", machine.name);
        assert!(self.watch.is_running(), "{}: rules were not watched to the end", machine.name);
        assert_eq!(machine.run(&["nft", "--stateless", "list", "ruleset"]), self.rules, "{}", machine.name);
        for port in [9090, 9100, 9822] {
            let address = (machine.address, port).into();
            let reached = std::net::TcpStream::connect_timeout(&address, SWALLOWED);
            assert!(reached.is_err(), "{}: port {port} is open", machine.name);
        }
    }
}

/// The TCP ports at which something listens on more than loopback.
pub fn open_ports(machine: &Machine) -> Vec<u16> {
    let listening = machine.run(&["ss", "--no-header", "--listening", "--tcp", "--numeric"]);
    let addresses = listening.lines().filter_map(|line| line.split_whitespace().nth(3));
    let open = addresses.filter(|address| !address.starts_with("127.") && !address.starts_with("[::1]"));
    let mut ports: Vec<u16> = open.filter_map(|address| address.rsplit(':').next()?.parse().ok()).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}
