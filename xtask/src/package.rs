//! Debian packages of both programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::build::{cargo, cargo_tool, target_folder, workspace};
use crate::release::recipe::{Recipe, epoch};
use crate::release::{GIVEN, PROGRAMS, printed};
use crate::stage::Stage;
use crate::{Failure, packages};

/// The release of cargo-deb that is used.
const VERSION: &str = "3.8.0";
/// What the packages are numbered with.
const OWN_VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "-1");
/// The packages that the programs come in.
const PACKAGES: [&str; PROGRAMS.len()] = ["onionscrape-agent", "onionscrape-bridge"];
/// Shells with completions, and how these files are named where they are made.
const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

/// Options of `cargo xtask package`.
#[derive(clap::Args)]
pub struct Package {
    /// The profile to build with: `dist` is small, slow to build and the same for everybody, `release` what the
    /// tests have built
    #[arg(long, default_value = GIVEN)]
    profile: String,
    /// Where the packages go
    #[arg(long, value_name = "DIR", default_value = "target/packages")]
    out: PathBuf,
}

impl Package {
    /// Makes both packages, has lintian look at them, and prints their names and sizes.
    pub fn run(self) -> Result<(), Failure> {
        packages::ensure(packages::PACKAGE)?;
        let cargo_deb = cargo_tool("cargo-deb", VERSION, &["--no-default-features"])?;
        let target_folder = self.build()?;
        let out = workspace().join(&self.out);
        fs::create_dir_all(&out)?;
        for (program, package) in PROGRAMS.into_iter().zip(PACKAGES) {
            let stage = Stage::begin(format!("packing {package}"));
            write_documents(&target_folder.join(&self.profile), program, package)?;
            let file = self.pack(&cargo_deb, &target_folder, program, &out)?;
            stage.done();
            lint(package, &file)?;
            let installed =
                printed(Command::new("dpkg-deb").arg("--field").arg(&file).arg("Installed-Size"))?;
            let kib: f64 = installed.trim().parse()?;
            let packed = fs::metadata(&file)?.len() as f64 / f64::from(1 << 20);
            println!("{}: {packed:.1} MiB, installed {:.1} MiB", file.display(), kib / 1024.0);
        }
        Ok(())
    }

    /// Builds both programs; returns cargo's folder.
    fn build(&self) -> Result<PathBuf, Failure> {
        let stage = Stage::begin(format!("building both programs ({})", self.profile));
        let folder = if self.profile == GIVEN {
            let recipe = Recipe::here(&self.profile)?;
            recipe.build()?;
            recipe.target_folder
        } else {
            // For tests, which have built them so already.
            let both = PROGRAMS.iter().flat_map(|program| ["-p", program]);
            cargo(
                &["build", "--quiet", "--profile", &self.profile].into_iter().chain(both).collect::<Vec<_>>(),
            )?;
            target_folder()
        };
        stage.done();
        Ok(folder)
    }

    fn pack(
        &self,
        cargo_deb: &Path,
        target_folder: &Path,
        program: &str,
        out: &Path,
    ) -> Result<PathBuf, Failure> {
        let mut pack = Command::new(cargo_deb);
        if self.profile != GIVEN {
            // These are for tests, and nobody loads them down.
            pack.arg("--fast");
        }
        pack.args(["--no-build", "--no-dbgsym", "--quiet", "--profile", &self.profile, "--package", program]);
        pack.args(["--deb-version", OWN_VERSION, "--output"]).arg(out);
        pack.env("CARGO_TARGET_DIR", target_folder).env("SOURCE_DATE_EPOCH", epoch()?.to_string());
        let said = printed(pack.current_dir(workspace()))?;
        let file = said.lines().last().map(PathBuf::from);
        file.filter(|file| file.exists()).ok_or_else(|| "cargo-deb does not say what it made".into())
    }
}

/// Manual pages, completions and a changelog as Debian has it, beside what cargo built.
fn write_documents(built: &Path, program: &str, package: &str) -> Result<(), Failure> {
    let folder = built.join("packaged").join(program);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let (pages, completions) = (folder.join("man"), folder.join("completions"));
    fs::create_dir_all(&pages)?;
    fs::create_dir_all(&completions)?;
    let binary = built.join(program);
    printed(Command::new(&binary).args(["man", "--dir"]).arg(&pages))?;
    let gzip = || {
        let mut gzip = Command::new("gzip");
        gzip.args(["--best", "--no-name", "--recursive"]);
        gzip
    };
    printed(gzip().arg(&pages))?;
    for shell in SHELLS {
        let completion = printed(Command::new(&binary).args(["completions", shell]))?;
        fs::write(completions.join(format!("{program}.{shell}")), completion)?;
    }
    let date = printed(Command::new("date").args(["-u", "-R", "-d", &format!("@{}", epoch()?)]))?;
    let changelog = format!(
        "{package} ({OWN_VERSION}) unstable; urgency=medium\n\n  * What changed is in changelog.gz.\n\n \
         -- onionscrape maintainers <onionscrape@users.noreply.github.com>  {}\n",
        date.trim()
    );
    let file = folder.join("changelog.Debian");
    fs::write(&file, changelog)?;
    printed(gzip().arg(file)).map(drop)
}

/// Has lintian look at a package; warnings are printed, errors are failures.
fn lint(package: &str, file: &Path) -> Result<(), Failure> {
    let stage = Stage::begin(format!("lintian {package}"));
    let mut lintian = Command::new("lintian");
    lintian.args(["--fail-on", "error", "--allow-root"]).arg(file).stdin(Stdio::null());
    if !lintian.status()?.success() {
        return Err(format!("lintian finds errors in {}", file.display()).into());
    }
    stage.done();
    Ok(())
}
