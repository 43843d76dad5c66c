//! What is given to people: both programs for one kind of machine, with a bill of materials and checksums.
//!
//! - `recipe`: how they are built so that anybody gets the same bytes;
//! - `reproducible`: the proof that it is so.

pub mod recipe;
pub mod reproducible;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use recipe::Recipe;

use crate::Failure;
use crate::build::{cargo, cargo_tool, workspace};
use crate::stage::Stage;

/// The two programs.
pub const PROGRAMS: [&str; 2] = ["target-agent", "scraper-bridge"];
/// The profile that they are built in.
pub const GIVEN: &str = "dist";
/// What is packed beside them, each at its place in the repository: papers, and what `docs/install.md` has people
/// install where there is no package.
const BESIDE: [&str; 14] = [
    "README.md",
    "CHANGELOG.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "deploy/debian/agent/agent.toml",
    "deploy/debian/agent/command",
    "deploy/debian/bridge/bridge.toml",
    "deploy/debian/bridge/command",
    "deploy/systemd/onionscrape-agent.service",
    "deploy/systemd/onionscrape-bridge.service",
    "deploy/systemd/sysusers.d/onionscrape-agent.conf",
    "deploy/systemd/sysusers.d/onionscrape-bridge.conf",
    "deploy/systemd/tmpfiles.d/onionscrape-agent.conf",
    "deploy/systemd/tmpfiles.d/onionscrape-bridge.conf",
];
/// The release of cargo-auditable that is used.
const AUDITABLE: &str = "0.7.7";
/// The release of cargo-cyclonedx that is used.
const CYCLONEDX: &str = "0.5.9";

/// Options of `cargo xtask release`.
#[derive(clap::Args)]
pub struct Release {
    /// The kind of machine, as rustc names it; with cargo-zigbuild if it is another one than this
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,
    /// The profile that the programs are built in
    #[arg(long, default_value = GIVEN)]
    profile: String,
    /// Where the files go
    #[arg(long, default_value = "target/distribution", value_name = "DIR")]
    out: PathBuf,
}

impl Release {
    /// Builds both programs and packs them; writes `*.tar.gz`, `*.cdx.json` and `SHA256SUMS`.
    ///
    /// # Errors
    /// When a tool is missing or a step fails.
    pub fn run(self) -> Result<(), Failure> {
        let host = host()?;
        let triple = self.target.clone().unwrap_or_else(|| host.clone());
        let out = workspace().join(&self.out);
        fs::create_dir_all(&out)?;
        let cyclonedx = cargo_tool("cargo-cyclonedx", CYCLONEDX, &[])?;

        let stage = Stage::begin(format!("building for {triple}"));
        let triple_if_other = (triple != host).then(|| triple.clone());
        let recipe = Recipe { triple: triple_if_other, ..Recipe::here(&self.profile)? };
        let programs = recipe.build()?;
        stage.done();

        let stage = Stage::begin("packing");
        let name = format!("onionscrape-{}-{triple}", env!("CARGO_PKG_VERSION"));
        pack(&name, &programs, recipe::epoch()?, &out)?;
        write_bills(&cyclonedx, &triple, recipe::epoch()?, &out)?;
        sum_up(&out)?;
        stage.done();
        println!("{}", out.display());
        Ok(())
    }
}

/// One archive, the same for the same files: names in order, nobody's ownership, and the commit's time.
fn pack(name: &str, programs: &[PathBuf], epoch: u64, out: &Path) -> Result<(), Failure> {
    let laid_out = tempfile::tempdir()?;
    let folder = laid_out.path().join(name);
    let beside = BESIDE.map(|file| (workspace().join(file), PathBuf::from(file)));
    let programs = programs.iter().map(|file| (file.clone(), file.file_name().unwrap_or_default().into()));
    for (file, place) in beside.into_iter().chain(programs) {
        let place = folder.join(place);
        place.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::copy(file, place)?;
    }
    let packed = Command::new("tar")
        .args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mode=u=rwX,go=rX"])
        .arg(format!("--mtime=@{epoch}"))
        // Without a name or a time of its own in it.
        .args(["--use-compress-program=gzip --no-name --best", "--create", "--file"])
        .arg(out.join(format!("{name}.tar.gz")))
        .args(["--directory".as_ref(), laid_out.path(), name.as_ref()])
        .status()?;
    if packed.success() { Ok(()) } else { Err("tar failed".into()) }
}

/// What each program is made of, in CycloneDX; without a random number where there is a time.
fn write_bills(cyclonedx: &Path, triple: &str, epoch: u64, out: &Path) -> Result<(), Failure> {
    // It writes beside the manifest of every package of the workspace, so it is given another one.
    let copy = tempfile::tempdir()?;
    // As programs that are started there see it, so without links.
    let folder = copy.path().canonicalize()?;
    reproducible::copy_sources(&folder)?;
    let mut write = Command::new(cyclonedx);
    write.args(["cyclonedx", "--quiet", "--format", "json", "--no-build-deps", "--target", triple]);
    printed(write.env("SOURCE_DATE_EPOCH", epoch.to_string()).current_dir(&folder))?;
    for program in PROGRAMS {
        let bill = fs::read_to_string(folder.join(program).join(format!("{program}.cdx.json")))?;
        fs::write(out.join(format!("{program}-{triple}.cdx.json")), without_folder(&bill, &folder))?;
    }
    Ok(())
}

/// A bill that is the same for everybody: packages of the workspace are named by the folder they were in.
fn without_folder(bill: &str, folder: &Path) -> String {
    bill.replace(&folder.display().to_string(), "/onionscrape")
}

/// Writes `SHA256SUMS` about every other file in the folder.
fn sum_up(folder: &Path) -> Result<(), Failure> {
    let names = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.file_name()));
    let mut names: Vec<_> = names.collect::<Result<_, _>>()?;
    names.retain(|name| name != "SHA256SUMS");
    names.sort();
    let sums = printed(Command::new("sha256sum").arg("--").args(names).current_dir(folder))?;
    Ok(fs::write(folder.join("SHA256SUMS"), sums)?)
}

/// The kind of machine that this is.
fn host() -> Result<String, Failure> {
    let version = printed(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc does not say what it builds for".into())
}

/// What a command prints, which must succeed; what it complains of is passed on.
///
/// # Errors
/// When it fails, or prints what is no text.
pub fn printed(command: &mut Command) -> Result<String, Failure> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    Err(format!("{} failed: {}", command.get_program().display(), output.status).into())
}

/// Looks whether what would be published on crates.io is whole, without building it once more.
///
/// # Errors
/// When a package lacks something, or needs what has no release.
pub fn rehearse() -> Result<(), Failure> {
    let stage = Stage::begin("packages for crates.io");
    cargo(&["publish", "--quiet", "--workspace", "--dry-run", "--no-verify", "--allow-dirty"])?;
    stage.done();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_what_is_installed_from_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let programs = PROGRAMS.map(|program| folder.path().join(program));
        programs.iter().for_each(|program| fs::write(program, "").expect("written"));
        pack("one", &programs, 1, folder.path()).expect("packed");
        let archive = folder.path().join("one.tar.gz");
        let listed = printed(Command::new("tar").arg("--list").arg("--file").arg(archive)).expect("listed");
        let document = fs::read_to_string(workspace().join("docs/install.md")).expect("read");
        let (_, section) = document.split_once("\n## Without packages\n").expect("a section");
        let of_agent: Vec<_> =
            section.split_whitespace().filter(|word| word.starts_with("deploy/")).collect();
        assert_eq!(of_agent.len(), 5, "{of_agent:?}");
        let of_bridge = of_agent.iter().map(|file| file.replace("agent", "bridge"));
        let files = of_agent.iter().map(|file| (*file).to_owned()).chain(of_bridge);
        for file in files.chain(PROGRAMS.map(str::to_owned)) {
            assert!(listed.lines().any(|line| line == format!("one/{file}")), "no {file} in:\n{listed}");
        }
    }

    #[test]
    fn bills_do_not_say_where_they_were_made() {
        let bill = |folder: &str| {
            format!(
                r#"{{"bom-ref": "path+file://{folder}/target-agent#0.1.0", "dependsOn": ["path+file://{folder}#0.1.0"]}}"#
            )
        };
        let [one, other] = ["/tmp/.tmpA1b2C3", "/var/tmp/.tmpZ"]
            .map(|folder| without_folder(&bill(folder), Path::new(folder)));
        assert_eq!(one, bill("/onionscrape"));
        assert_eq!(one, other);
    }
}
