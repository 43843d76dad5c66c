//! Cargo, and the programs it builds.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Failure;
use crate::stage::Stage;

/// The two programs, built in the release profile.
pub struct Programs {
    /// `target-agent`.
    pub agent: PathBuf,
    /// `scraper-bridge`.
    pub bridge: PathBuf,
}

impl Programs {
    /// Builds both.
    ///
    /// # Errors
    /// When they do not compile; cargo has said why.
    pub fn build() -> Result<Self, Failure> {
        let stage = Stage::begin("building target-agent and scraper-bridge");
        cargo(&["build", "--quiet", "--release", "-p", "target-agent", "-p", "scraper-bridge"])?;
        stage.done();
        Ok(Self::built())
    }

    /// Builds both, and many agents in one process with them, all with the same features of what they
    /// share; returns where the last one is, too.
    ///
    /// # Errors
    /// When they do not compile; cargo has said why.
    pub fn build_with_crowd() -> Result<(Self, PathBuf), Failure> {
        let stage = Stage::begin("building target-agent, scraper-bridge and crowd");
        cargo(&[
            "build",
            "--quiet",
            "--release",
            "-p",
            "target-agent",
            "-p",
            "scraper-bridge",
            "-p",
            "crowd",
        ])?;
        stage.done();
        Ok((Self::built(), target_folder().join("release/crowd")))
    }

    fn built() -> Self {
        let folder = target_folder().join("release");
        Self { agent: folder.join("target-agent"), bridge: folder.join("scraper-bridge") }
    }
}

/// Runs cargo in the workspace.
///
/// # Errors
/// When it fails; it has said why.
pub fn cargo(arguments: &[&str]) -> Result<(), Failure> {
    let status = cargo_command(arguments).status()?;
    if status.success() { Ok(()) } else { Err(format!("cargo {} failed", arguments.join(" ")).into()) }
}

/// Cargo with arguments, to be run in the workspace.
pub fn cargo_command(arguments: &[&str]) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What cargo tells this program of its package would reach the build scripts of dependencies;
    // ring's has itself run again when it changes, and with it most of the tree is built again.
    for (name, _) in std::env::vars_os() {
        let told = name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"));
        if told {
            cargo.env_remove(name);
        }
    }
    cargo.args(arguments).current_dir(workspace());
    cargo
}

/// The workspace's root.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Where cargo builds.
pub fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}
