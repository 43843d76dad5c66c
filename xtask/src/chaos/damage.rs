//! Files that are damaged, and writes that break off: what the programs make of them.

mod files;
mod learnt;
mod writes;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use tornet::process;

use crate::Failure;
use crate::build::Programs;

/// The names of these faults, and what they are.
pub const NAMES: [(&str, &str); 3] = [
    (
        "damaged-files",
        "damaged keys, lists of bridges and targets, and configuration files (bit flips, cut short, empty, wrong mode)",
    ),
    (
        "damaged-tor",
        "starts of target-agent with a damaged file of Tor's state or cache (bit flips, cut short, empty, wrong mode)",
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
    fs::create_dir_all(&folder)?;
    match name {
        "damaged-files" => files::run(what, programs, &folder, if quick { 150 } else { 900 }),
        "damaged-tor" => learnt::run(what, programs, &folder, if quick { 8 } else { 100 }),
        _ => writes::run(what, programs, &folder, if quick { 100 } else { 500 }),
    }
}

/// Damages a file in one of eight ways, at a place that belongs to a number; says what was done.
fn damage(file: &Path, way: usize, number: usize) -> Result<String, Failure> {
    let mut bytes = fs::read(file)?;
    // The same numbers in every run, spread over the file.
    let place = number.wrapping_mul(2_654_435_761) % bytes.len().max(1);
    let done = match way % 8 {
        0 => {
            fs::set_permissions(file, fs::Permissions::from_mode(0o666))?;
            return Ok("open to all".to_owned());
        }
        1 if place.is_multiple_of(2) => {
            bytes.clear();
            "empty".to_owned()
        }
        1 | 2 => {
            bytes.truncate(place);
            format!("cut short at {place}")
        }
        way => {
            // The other bits have their turn in the next round.
            let bit = (way + number / 64) % 8;
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= 1 << bit;
            }
            format!("bit {bit} of byte {place}")
        }
    };
    // In place, so that its mode stays.
    fs::write(file, bytes)?;
    Ok(done)
}

/// Makes a folder what another one is.
fn copy_whole(from: &Path, to: &Path) -> Result<(), Failure> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    process::run(Command::new("cp").arg("-a").args([from, to]), "")?;
    Ok(())
}
