//! Memory of the two programs with one target, and the size of their files.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use super::ground::Ground;
use super::page::{Page, table};
use super::usage;
use crate::Failure;
use crate::build::{Programs, workspace};
use crate::release::GIVEN;
use crate::release::recipe;

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

/// Looks at the files: of `programs` if these are what is given to people, and otherwise of what was built as such
/// before, too.
///
/// # Errors
/// When one of them is not there.
pub fn sizes(page: &mut Page, programs: &Programs, is_given: bool) -> Result<(), Failure> {
    page.section(
        "The programs' files",
        "Megabytes; `dist` is what is given to people, as packages have it. A quick run does not build it: what was \
         built before counts if it is newer than all sources.",
    );
    let dist = recipe::target_folder().join(GIVEN);
    let sources = newest_source()?;
    let size = |file: &Path| Ok::<_, Failure>(fs::metadata(file)?.len() as f64 / 1e6);
    let mut table = if is_given { table(&["", "dist"]) } else { table(&["", "release", "dist"]) };
    for (name, program) in [("target-agent", &programs.agent), ("scraper-bridge", &programs.bridge)] {
        let mut cells = vec![name.to_owned()];
        let file = if is_given {
            program.clone()
        } else {
            cells.push(format!("{:.1}", size(program)?));
            dist.join(name)
        };
        cells.push(match fs::metadata(&file).and_then(|found| found.modified()) {
            Err(_) => "not built".to_owned(),
            Ok(built) if built < sources && !is_given => "older than the sources".to_owned(),
            Ok(_) => {
                let size = size(&file)?;
                page.at_most(format!("{name}, built with dist"), 16.0, "MB", size);
                format!("{size:.1}")
            }
        });
        table.add_row(cells);
    }
    page.table(&table);
    Ok(())
}

/// When a file that programs are made of was last changed.
fn newest_source() -> Result<SystemTime, Failure> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "Cargo.toml", "Cargo.lock", "src", "target-agent", "scraper-bridge"]);
    let listing = git.current_dir(workspace()).output()?.stdout;
    let files = listing.split(|byte| *byte == 0).map(|name| workspace().join(OsStr::from_bytes(name)));
    let changed = files.filter_map(|file| fs::metadata(file).ok()?.modified().ok());
    Ok(changed.max().ok_or("git lists no sources, so nobody knows how old programs are")?)
}
