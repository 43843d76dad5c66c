//! Proof that a build gives the same bytes in another folder and at another time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::recipe::Recipe;
use super::{GIVEN, printed};
use crate::Failure;
use crate::build::workspace;
use crate::stage::Stage;

/// Options of `cargo xtask reproducible`.
#[derive(clap::Args)]
pub struct Reproducible {
    /// The profile that the programs are built in
    #[arg(long, default_value = GIVEN)]
    profile: String,
    /// Where the two builds are made; a folder in the target folder without this
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Reproducible {
    /// Builds both programs from nothing in two folders, and compares them byte by byte.
    ///
    /// # Errors
    /// When a build fails, or one program differs.
    pub fn run(self) -> Result<(), Failure> {
        let dir = self.dir.clone().unwrap_or_else(|| workspace().join("target"));
        let dir = tempfile::Builder::new().prefix("reproducible-").tempdir_in(dir)?;
        let mut made = Vec::new();
        // Of another length, since that is what a name that was left shows by.
        for name in ["one", "another-elsewhere"] {
            let source = dir.path().join(name);
            copy_sources(&source)?;
            let stage = Stage::begin(format!("building in {name:?}"));
            let recipe =
                Recipe { target_folder: source.join("target"), source, ..Recipe::here(&self.profile)? };
            let mut kept = Vec::new();
            for program in recipe.build()? {
                let to = dir.path().join(format!("{name}-{}", file_name(&program)));
                fs::copy(&program, &to)?;
                kept.push(to);
            }
            made.push(kept);
            stage.done();
            // What was built on the way is large, and is not to be found by the second build.
            fs::remove_dir_all(dir.path().join(name))?;
        }
        let mut differences = Vec::new();
        for (one, other) in made[0].iter().zip(&made[1]) {
            let difference = first_difference(&fs::read(one)?, &fs::read(other)?);
            let name = file_name(one).trim_start_matches("one-").to_owned();
            match difference {
                Some(at) => differences.push(format!("{name} from byte {at} on")),
                None => println!("{name} is the same in both folders: {}", sum(one)?),
            }
        }
        if differences.is_empty() {
            return Ok(());
        }
        let kept = dir.keep();
        Err(format!("they differ: {}; they are in {}", differences.join(", "), kept.display()).into())
    }
}

/// Copies what is the repository's own, with what is not committed yet.
///
/// # Errors
/// When git cannot list it, or it cannot be copied.
pub fn copy_sources(to: &Path) -> Result<(), Failure> {
    let mut list = Command::new("git");
    list.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let names = printed(list.current_dir(workspace()))?;
    for name in names.split_terminator('\0') {
        let (from, to) = (workspace().join(name), to.join(name));
        // What was removed and is not committed as such is still listed.
        if from.is_file() {
            fs::create_dir_all(to.parent().unwrap_or(&to))?;
            fs::copy(from, to)?;
        }
    }
    Ok(())
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Where two programs part.
fn first_difference(one: &[u8], other: &[u8]) -> Option<usize> {
    let parted = one.iter().zip(other).position(|(one, other)| one != other);
    parted.or_else(|| (one.len() != other.len()).then(|| one.len().min(other.len())))
}

fn sum(file: &Path) -> Result<String, Failure> {
    let line = printed(Command::new("sha256sum").arg(file))?;
    Ok(line.split(' ').next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_found() {
        assert_eq!(first_difference(b"same", b"same"), None);
        assert_eq!(first_difference(b"same", b"some"), Some(1));
        assert_eq!(first_difference(b"same", b"sames"), Some(4));
    }
}
