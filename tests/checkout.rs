//! The repository that the tests are of, and its programs; a module of each binary of tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tornet::process::forget_this_package;

/// A path in the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A text of the repository's.
pub fn read(path: &str) -> String {
    std::fs::read_to_string(repository(path)).unwrap()
}

/// One of the two programs, built from the present source.
pub fn program(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let profile: &[&str] = if cfg!(debug_assertions) { &[] } else { &["--release"] };
        let mut cargo = Command::new(env!("CARGO"));
        forget_this_package(&mut cargo);
        cargo.args(["build", "--quiet", "-p", "target-agent", "-p", "scraper-bridge"]).args(profile);
        let status = cargo.current_dir(repository("")).status().unwrap();
        assert!(status.success(), "the programs are built");
        // …/target/release/deps/it-0123 stands beside …/target/release/target-agent.
        let tests = std::env::current_exe().unwrap();
        tests.parent().and_then(Path::parent).unwrap().to_owned()
    };
    BUILT.get_or_init(build).join(name)
}
