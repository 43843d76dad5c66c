//! Memory of the two programs with one target, and the size of their files.

use std::fs;
use std::path::Path;

use super::ground::Ground;
use super::page::{Page, table};
use super::usage;
use crate::Failure;
use crate::build::{Programs, workspace};

/// Measures memory as it is now; `when` says when that is.
///
/// # Errors
/// When a program has ended.
pub fn measure(ground: &Ground, page: &mut Page, when: &str, judged: bool) -> Result<(), Failure> {
    page.section(
        &format!("Memory with one target, {when}"),
        "Megabytes resident, and the same where pages shared with other processes count in part (`Pss`).",
    );
    let mut table = table(&["", "resident", "share"]);
    let rivals = &ground.rivals;
    for (name, pid, bound) in [
        ("target-agent", ground.chain.agent.pid(), Some(40.0)),
        ("scraper-bridge", ground.chain.bridge.pid(), Some(40.0)),
        ("tor on the monitor", rivals.tor.process().pid(), None),
        ("tor on the device", rivals.with_ssh.process().pid(), None),
    ] {
        let memory = usage::memory(pid)?;
        table.add_row([name.into(), format!("{:.1}", memory.resident), format!("{:.1}", memory.share)]);
        if let Some(bound) = bound.filter(|_| judged) {
            page.at_most(format!("memory of {name} with one target, resident"), bound, "MB", memory.resident);
        }
    }
    page.table(&table);
    Ok(())
}

/// Looks at the files.
///
/// # Errors
/// When one of them is not there.
pub fn sizes(page: &mut Page, programs: &Programs) -> Result<(), Failure> {
    page.section(
        "The programs' files",
        "Megabytes; `dist` is the profile for packages, if it has been built.",
    );
    let mut table = table(&["", "release", "dist"]);
    for (name, release) in [("target-agent", &programs.agent), ("scraper-bridge", &programs.bridge)] {
        let dist = release.parent().and_then(Path::parent).unwrap_or(workspace()).join("dist").join(name);
        let megabytes = |file: &Path| Some(fs::metadata(file).ok()?.len() as f64 / 1e6);
        let shown = |size: Option<f64>| size.map_or("–".to_owned(), |size| format!("{size:.1}"));
        table.add_row([name.to_owned(), shown(megabytes(release)), shown(megabytes(&dist))]);
        if let Some(size) = megabytes(&dist) {
            page.at_most(format!("{name}, built with dist"), 16.0, "MB", size);
        }
    }
    page.table(&table);
    Ok(())
}
