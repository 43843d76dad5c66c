//! Debian's ansible, as an operator runs it: on a machine that reaches the others by ssh, and by nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Instant;

use tempfile::TempDir;

use crate::machine::Machine;

/// Where the playbook stands.
const PLAYBOOK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/ansible");

/// Who runs playbooks.
pub struct Controller {
    folder: TempDir,
}

/// What a run did to one host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    pub ok: u32,
    pub changed: u32,
    pub unreachable: u32,
    pub failed: u32,
}

impl Controller {
    /// One with a key of its own.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("onionscrape-controller-").tempdir().unwrap();
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "controller", "-f"])
            .arg(folder.path().join("key"))
            .status();
        assert!(made.unwrap().success());
        Self { folder }
    }

    /// Lets it in as root, by ssh.
    pub fn admit_to(&self, machine: &Machine) {
        machine.put("/root/.ssh/authorized_keys", fs::read(self.folder.path().join("key.pub")).unwrap());
    }

    /// Runs the playbook with an inventory; says what it did to each host. It must end well.
    pub fn play(&self, inventory: &str, arguments: &[&str]) -> BTreeMap<String, Done> {
        let (ended_well, said) = self.run(inventory, arguments);
        assert!(ended_well, "{arguments:?}: {said}");
        recap(&said)
    }

    /// The same, which must fail; returns what was said.
    pub fn fail(&self, inventory: &str, arguments: &[&str]) -> String {
        let (ended_well, said) = self.run(inventory, arguments);
        assert!(!ended_well, "{arguments:?}: {said}");
        said
    }

    fn run(&self, inventory: &str, arguments: &[&str]) -> (bool, String) {
        let began = Instant::now();
        let file = self.folder.path().join("inventory.yml");
        fs::write(&file, inventory).unwrap();
        let mut ansible = Command::new("ansible-playbook");
        ansible
            .current_dir(PLAYBOOK)
            .arg("--inventory")
            .arg(&file)
            .arg("--private-key")
            .arg(self.folder.path().join("key"));
        ansible.arg("site.yml").args(arguments);
        ansible.env("ANSIBLE_HOME", self.folder.path().join("ansible")).env("ANSIBLE_NOCOLOR", "1");
        // Machines of tests come and go under the same addresses.
        ansible.env("ANSIBLE_HOST_KEY_CHECKING", "False");
        // What is kept open must not outlive the run for long.
        ansible.env(
            "ANSIBLE_SSH_ARGS",
            "-o ControlMaster=auto -o ControlPersist=10s -o UserKnownHostsFile=/dev/null",
        );
        ansible.env("ANSIBLE_SSH_TIMEOUT", "5").env("LC_ALL", "C.UTF-8");
        let output = ansible.output().unwrap();
        let said = String::from_utf8_lossy(&[output.stderr, output.stdout].concat()).into_owned();
        assert!(!said.contains("onionscrape1-"), "a ticket was shown: {said}");
        eprintln!("played {arguments:?} in {} s", began.elapsed().as_secs());
        (output.status.success(), said)
    }
}

/// What stands under PLAY RECAP.
fn recap(said: &str) -> BTreeMap<String, Done> {
    let (_, lines) = said.split_once("PLAY RECAP").unwrap_or_else(|| panic!("no recap in:\n{said}"));
    let lines = lines.lines().skip(1).filter_map(|line| line.split_once(" : "));
    let done = |words: &str| {
        let count = |what: &str| -> u32 {
            let word = words.split_whitespace().find_map(|word| word.strip_prefix(what)?.strip_prefix('='));
            word.unwrap_or_else(|| panic!("no {what} in {words}")).parse().unwrap()
        };
        Done {
            ok: count("ok"),
            changed: count("changed"),
            unreachable: count("unreachable"),
            failed: count("failed"),
        }
    };
    lines.map(|(host, words)| (host.trim().to_owned(), done(words))).collect()
}
