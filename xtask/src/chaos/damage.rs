//! Files that are damaged, and writes that break off: what the programs make of them, without a network.

mod files;
mod writes;

use std::path::Path;

use crate::Failure;
use crate::build::Programs;

/// The names of these faults, and what they are.
pub const NAMES: [(&str, &str); 2] = [
    (
        "damaged-files",
        "damaged keys, lists of bridges and targets, and configuration files (bit flips, cut short, empty, wrong mode)",
    ),
    ("killed-writes", "kill -9 of a program that writes"),
];

/// What came of one.
pub struct Outcome {
    /// For the report.
    pub line: String,
    /// What must never be.
    pub violations: Vec<String>,
}

/// Has one of them happen.
///
/// # Errors
/// When the suite itself cannot go on.
pub fn run(
    name: &str,
    what: &str,
    programs: &Programs,
    folder: &Path,
    quick: bool,
) -> Result<Outcome, Failure> {
    let folder = folder.join(name);
    std::fs::create_dir_all(&folder)?;
    match name {
        "damaged-files" => files::run(what, programs, &folder, if quick { 150 } else { 1000 }),
        _ => writes::run(what, programs, &folder, if quick { 100 } else { 500 }),
    }
}
