//! How the programs are built so that the same source gives the same bytes, in whatever folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tornet::process;

use super::{AUDITABLE, PROGRAMS, printed};
use crate::Failure;
use crate::build::{cargo_command, cargo_tool, workspace};

/// One build of both programs.
pub struct Recipe {
    /// The workspace.
    pub source: PathBuf,
    /// Where cargo puts what it makes.
    pub target_folder: PathBuf,
    /// The profile of the workspace's `Cargo.toml`.
    pub profile: String,
    /// Another kind of machine than this one, which cargo-zigbuild builds for.
    pub triple: Option<String>,
    /// cargo-auditable, which writes the list of dependencies into the programs.
    pub auditable: Option<PathBuf>,
}

impl Recipe {
    /// Both programs of this source for this machine, as they are given to people.
    ///
    /// # Errors
    /// When cargo-auditable does not build.
    pub fn here(profile: &str) -> Result<Self, Failure> {
        Ok(Self {
            source: workspace().to_owned(),
            target_folder: target_folder(),
            profile: profile.to_owned(),
            triple: None,
            auditable: Some(cargo_tool("cargo-auditable", AUDITABLE, &[])?),
        })
    }

    /// Builds both programs; returns where they are.
    ///
    /// # Errors
    /// When they do not compile, no commit says when they were made, or the list of dependencies is not in them.
    pub fn build(&self) -> Result<Vec<PathBuf>, Failure> {
        let mut cargo = match &self.auditable {
            Some(auditable) => {
                let mut cargo = Command::new(auditable);
                process::forget_this_package(&mut cargo);
                cargo.arg("auditable");
                cargo
            }
            None => cargo_command(&[]),
        };
        cargo.arg(if self.triple.is_some() { "zigbuild" } else { "build" });
        cargo.args(["--quiet", "--locked", "--profile", &self.profile]).current_dir(&self.source);
        cargo.args(PROGRAMS.iter().flat_map(|program| ["--package", program]));
        cargo.args(self.triple.iter().flat_map(|triple| ["--target", triple]));
        let (rust, c) = self.flags()?;
        cargo
            .env("CARGO_TARGET_DIR", &self.target_folder)
            .env("CARGO_ENCODED_RUSTFLAGS", rust)
            .env("CFLAGS", c)
            .env("CARGO_INCREMENTAL", "0")
            .env("SOURCE_DATE_EPOCH", epoch()?.to_string());
        if !cargo.status()?.success() {
            return Err("the programs were not built".into());
        }
        // Cargo's own profiles have folders of other names; these two have their own.
        let made = self.triple.iter().fold(self.target_folder.clone(), |folder, triple| folder.join(triple));
        let programs = PROGRAMS.map(|program| made.join(&self.profile).join(program));
        if self.auditable.is_some() {
            for program in &programs {
                if !lists_dependencies(&fs::read(program)?) {
                    return Err(format!("{} has no list of its dependencies in it", program.display()).into());
                }
            }
        }
        Ok(programs.into())
    }

    /// What takes the names of folders out of the programs, for rustc and for the C compiler, and makes them small.
    fn flags(&self) -> Result<(String, String), Failure> {
        let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
        let home = home.ok_or("neither CARGO_HOME nor HOME is set")?;
        // The last one that fits counts, so what is inside of another comes after it.
        let names =
            [(home.as_path(), "/cargo"), (&self.source, "/onionscrape"), (&self.target_folder, "/target")];
        let map = |how: &str, between: &str| {
            let shown = |(folder, name): &(&Path, &str)| format!("{how}={}={name}", folder.display());
            names.iter().map(shown).collect::<Vec<_>>().join(between)
        };
        let mut rust = map("--remap-path-prefix", "\x1f");
        if self.triple.is_none() {
            // Half a megabyte less of addresses for the loader to fill in; from glibc 2.36 on it reads them packed.
            rust += "\x1f-Clink-arg=-Wl,-z,pack-relative-relocs";
        }
        Ok((rust, map("-ffile-prefix-map", " ")))
    }
}

/// Whether a program has the section that cargo-auditable writes, by its name.
fn lists_dependencies(program: &[u8]) -> bool {
    const SECTION: &[u8] = b"\0.dep-v0\0";
    program.windows(SECTION.len()).any(|bytes| bytes == SECTION)
}

/// Cargo's folder for both programs of this source.
pub fn target_folder() -> PathBuf {
    workspace().join("target/release-files")
}

/// When the source was committed, in seconds since 1970: the only time that a build may know.
///
/// # Errors
/// When there is no commit, and `SOURCE_DATE_EPOCH` is not set either.
pub fn epoch() -> Result<u64, Failure> {
    if let Some(given) = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|given| given.parse().ok()) {
        return Ok(given);
    }
    let commit = printed(Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(workspace()));
    let time = commit.ok().and_then(|time| time.trim().parse().ok());
    time.ok_or_else(|| "no commit says when this was made; set SOURCE_DATE_EPOCH".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_dependencies_is_seen() {
        assert!(lists_dependencies(b"\0.text\0.dep-v0\0.bss\0"));
        assert!(!lists_dependencies(b"\0.text\0.bss\0looks for .dep-v0 in others\0"));
    }

    #[test]
    fn the_inner_folder_comes_last() {
        let recipe = Recipe {
            source: "/here".into(),
            target_folder: "/here/target".into(),
            profile: "dist".into(),
            triple: None,
            auditable: None,
        };
        let (rust, c) = recipe.flags().expect("a home");
        assert!(
            rust.contains(
                "--remap-path-prefix=/here=/onionscrape\x1f--remap-path-prefix=/here/target=/target"
            )
        );
        assert!(c.ends_with("-ffile-prefix-map=/here=/onionscrape -ffile-prefix-map=/here/target=/target"));
    }
}
