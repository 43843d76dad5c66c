//! However the program that owns a network ends, no tor is left.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

struct Owner {
    child: Child,
    dir: tempfile::TempDir,
}

/// Runs the program until all nine of its tors live.
fn owner() -> Owner {
    let dir = tempfile::tempdir().unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_tornet"))
        .args(["run", "--dir"])
        .arg(dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let owner = Owner { child, dir };
    wait_for("nine tors", || owner.tors().len() == 9);
    owner
}

impl Owner {
    /// Processes that have a torrc in the directory: not those that make keys.
    fn tors(&self) -> Vec<PathBuf> {
        using(self.dir.path(), "/torrc")
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }
}

/// Live processes whose command line names something in `dir` that ends so.
fn using(dir: &Path, end: &str) -> Vec<PathBuf> {
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    processes
        .filter(|process| {
            let bytes = fs::read(process.join("cmdline")).unwrap_or_default();
            bytes.split(|byte| *byte == 0).any(|argument| {
                let argument = String::from_utf8_lossy(argument);
                argument.starts_with(&*dir.to_string_lossy()) && argument.ends_with(end)
            })
        })
        .collect()
}

fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < end, "no {what} after 60 s");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_killed_owner_takes_its_children_along() {
    let mut owner = owner();
    owner.child.kill().unwrap();
    owner.child.wait().unwrap();
    wait_for("end of the tors", || owner.tors().is_empty());
}

#[test]
fn ctrl_c_in_the_middle_of_a_start_ends_everything_in_order() {
    let mut owner = owner();
    owner.signal("-INT");
    let status = owner.child.wait().unwrap();
    assert!(status.success());
    // In order: they were ended before their owner, not after it.
    assert!(owner.tors().is_empty());
}
