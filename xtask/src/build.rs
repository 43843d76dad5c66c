//! Cargo, and the programs it builds.

use std::path::{Path, PathBuf};
use std::process::Command;

use tornet::process;

use crate::Failure;
use crate::release::GIVEN;
use crate::release::recipe::Recipe;
use crate::stage::Stage;

/// The two programs.
#[derive(Clone)]
pub struct Programs {
    /// `target-agent`.
    pub agent: PathBuf,
    /// `scraper-bridge`.
    pub bridge: PathBuf,
}

impl Programs {
    /// Builds both, in the release profile.
    ///
    /// # Errors
    /// When they do not compile; cargo has said why.
    pub fn build() -> Result<Self, Failure> {
        let stage = Stage::begin("building target-agent and scraper-bridge");
        cargo(&["build", "--quiet", "--release", "-p", "target-agent", "-p", "scraper-bridge"])?;
        stage.done();
        Ok(Self::built())
    }

    /// Builds both in the release profile, and many agents in one process with them, all with the same features of what they
    /// share; returns where the last one is, too. If `optimised`, they are so whatever a configuration outside
    /// the repository says.
    ///
    /// # Errors
    /// When they do not compile; cargo has said why.
    pub fn build_with_crowd(optimised: bool) -> Result<(Self, PathBuf), Failure> {
        let stage = Stage::begin("building target-agent, scraper-bridge and crowd");
        let mut arguments = vec!["build", "--quiet", "--release"];
        arguments.extend(["-p", "target-agent", "-p", "scraper-bridge", "-p", "crowd"]);
        if optimised {
            arguments.extend(OPTIMISED.iter().flat_map(|setting| ["--config", setting]));
        }
        cargo(&arguments)?;
        stage.done();
        Ok((Self::built(), target_folder().join("release/crowd")))
    }

    /// Builds both as they are given to people, and many agents in one process in the release profile, optimised
    /// whatever a configuration outside the repository says; returns where the last one is, too.
    ///
    /// # Errors
    /// When they do not compile, or cargo-auditable does not.
    pub fn build_given_with_crowd() -> Result<(Self, PathBuf), Failure> {
        let stage = Stage::begin("building what is given to people");
        let [agent, bridge] = Recipe::here(GIVEN)?
            .build()?
            .try_into()
            .map_err(|_| "other programs than these two are given to people")?;
        stage.done();
        let stage = Stage::begin("building crowd");
        let arguments = ["build", "--quiet", "--release", "-p", "crowd"];
        let optimised = OPTIMISED.iter().flat_map(|setting| ["--config", setting]);
        cargo(&arguments.into_iter().chain(optimised).collect::<Vec<_>>())?;
        stage.done();
        Ok((Self { agent, bridge }, target_folder().join("release/crowd")))
    }

    fn built() -> Self {
        let folder = target_folder().join("release");
        Self { agent: folder.join("target-agent"), bridge: folder.join("scraper-bridge") }
    }
}

/// What a configuration must not take away from programs that are measured.
const OPTIMISED: [&str; 4] = [
    "profile.release.package.onionscrape.opt-level='s'",
    "profile.release.package.target-agent.opt-level='z'",
    "profile.release.package.scraper-bridge.opt-level='z'",
    "profile.release.package.crowd.opt-level='z'",
];

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
    cargo.args(arguments).current_dir(workspace());
    process::forget_this_package(&mut cargo);
    cargo
}

/// A tool of cargo's in the release that is written where it is used, so that a new one cannot fail a change
/// that has nothing to do with it; it is built if it is not there. `more` is what else its installation is told.
///
/// # Errors
/// When it does not build; cargo has said why.
pub fn cargo_tool(name: &str, version: &str, more: &[&str]) -> Result<PathBuf, Failure> {
    let root = format!("target/tools/{name}-{version}");
    let program = workspace().join(&root).join("bin").join(name);
    if !program.exists() {
        let stage = Stage::begin(format!("building {name}"));
        let install = ["install", "--quiet", "--locked", "--root", &root, name, "--version", version];
        cargo(&[&install, more].concat())?;
        stage.done();
    }
    Ok(program)
}

/// The workspace's root.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Where cargo builds.
pub fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}
