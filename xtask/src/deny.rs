//! What may come into the programs, checked by cargo-deny against `deny.toml`.

use std::process::{Command, Stdio};

use crate::Failure;
use crate::build::{cargo_tool, workspace};
use crate::stage::Stage;

/// The release of cargo-deny that is used.
const VERSION: &str = "0.20.2";

/// Checks bans, licences and sources; advisories, too, where their database can be had.
///
/// # Errors
/// When something is in the way that `deny.toml` does not let pass.
pub fn check() -> Result<(), Failure> {
    if let Some(why) = look()? {
        println!("advisories were not checked, their database cannot be had: {why}");
    }
    Ok(())
}

/// As [`check`], for who wants to hear of advisories.
///
/// # Errors
/// As [`check`], and when the database of advisories cannot be had.
pub fn check_with_advisories() -> Result<(), Failure> {
    match look()? {
        Some(why) => Err(format!("the database of advisories cannot be had: {why}").into()),
        None => Ok(()),
    }
}

/// Looks at everything; says why advisories were left out, if they were.
fn look() -> Result<Option<String>, Failure> {
    let program = cargo_tool("cargo-deny", VERSION, &[])?;
    let deny = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.args(arguments).current_dir(workspace());
        command
    };
    let stage = Stage::begin("dependencies");
    if !deny(&["--log-level", "error", "check", "bans", "licenses", "sources"]).status()?.success() {
        return Err("cargo deny check failed".into());
    }
    stage.done();
    let fetched = deny(&["fetch", "db"]).stderr(Stdio::piped()).output()?;
    if !fetched.status.success() {
        let why = String::from_utf8_lossy(&fetched.stderr).lines().next().unwrap_or_default().to_owned();
        return Ok(Some(why));
    }
    let stage = Stage::begin("advisories");
    if !deny(&["--log-level", "error", "check", "advisories"]).status()?.success() {
        return Err("cargo deny check advisories failed".into());
    }
    stage.done();
    Ok(None)
}
