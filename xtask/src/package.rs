//! Debian packages of both programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use crate::build::{cargo, cargo_tool, target_folder, workspace};
use crate::stage::Stage;
use crate::{Failure, packages};

/// The release of cargo-deb that is used.
const VERSION: &str = "3.8.0";
/// What the packages are numbered with.
const OWN_VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "-1");
/// A program and the package it comes in.
const PROGRAMS: [(&str, &str); 2] =
    [("target-agent", "onionscrape-agent"), ("scraper-bridge", "onionscrape-bridge")];
/// Shells with completions, and how these files are named where they are made.
const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

/// Options of `cargo xtask package`.
#[derive(clap::Args)]
pub struct Package {
    /// The profile to build with: `dist` is small and slow to build, `release` what the tests have built
    #[arg(long, default_value = "dist")]
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
        let stage = Stage::begin(format!("building both programs ({})", self.profile));
        cargo(&["build", "--quiet", "--profile", &self.profile, "-p", PROGRAMS[0].0, "-p", PROGRAMS[1].0])?;
        stage.done();
        let out = workspace().join(&self.out);
        fs::create_dir_all(&out)?;
        for (program, package) in PROGRAMS {
            let stage = Stage::begin(format!("packing {package}"));
            self.write_documents(program, package)?;
            let file = self.pack(&cargo_deb, program, &out)?;
            stage.done();
            lint(package, &file)?;
            let installed = text(Command::new("dpkg-deb").arg("--field").arg(&file).arg("Installed-Size"))?;
            let kib: f64 = installed.trim().parse()?;
            let packed = fs::metadata(&file)?.len() as f64 / f64::from(1 << 20);
            println!("{}: {packed:.1} MiB, installed {:.1} MiB", file.display(), kib / 1024.0);
        }
        Ok(())
    }

    /// Manual pages, completions and a changelog as Debian has it, beside what cargo built.
    fn write_documents(&self, program: &str, package: &str) -> Result<(), Failure> {
        let built = target_folder().join(&self.profile);
        let folder = built.join("packaged").join(program);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        let (pages, completions) = (folder.join("man"), folder.join("completions"));
        fs::create_dir_all(&pages)?;
        fs::create_dir_all(&completions)?;
        let binary = built.join(program);
        text(Command::new(&binary).args(["man", "--dir"]).arg(&pages))?;
        let mut compress = Command::new("gzip");
        compress.args(["--best", "--no-name", "--recursive"]).arg(&pages);
        text(&mut compress)?;
        for shell in SHELLS {
            let completion = text(Command::new(&binary).args(["completions", shell]))?;
            fs::write(completions.join(format!("{program}.{shell}")), completion)?;
        }
        // The last change's date, so that the same source makes the same package.
        let date = match env::var("SOURCE_DATE_EPOCH") {
            Ok(seconds) => text(Command::new("date").args(["-u", "-R", "-d", &format!("@{seconds}")])),
            Err(_) => text(Command::new("git").args(["log", "-1", "--format=%cD"]).current_dir(workspace())),
        };
        let changelog = format!(
            "{package} ({OWN_VERSION}) unstable; urgency=medium\n\n  * What changed is in changelog.gz.\n\n \
             -- onionscrape maintainers <onionscrape@users.noreply.github.com>  {}\n",
            date?.trim()
        );
        let file = folder.join("changelog.Debian");
        fs::write(&file, changelog)?;
        text(Command::new("gzip").args(["--best", "--no-name"]).arg(file)).map(drop)
    }

    fn pack(&self, cargo_deb: &Path, program: &str, out: &Path) -> Result<PathBuf, Failure> {
        let mut pack = Command::new(cargo_deb);
        if self.profile != "dist" {
            // These are for tests, and nobody loads them down.
            pack.arg("--fast");
        }
        pack.args(["--no-build", "--no-dbgsym", "--quiet", "--profile", &self.profile, "--package", program]);
        pack.args(["--deb-version", OWN_VERSION, "--output"]).arg(out);
        let printed = text(pack.current_dir(workspace()))?;
        let file = printed.lines().last().map(PathBuf::from);
        file.filter(|file| file.exists()).ok_or_else(|| "cargo-deb does not say what it made".into())
    }
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

/// What a command prints, which must succeed; what it complains of is passed on.
fn text(command: &mut Command) -> Result<String, Failure> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{} failed: {}", command.get_program().display(), output.status).into())
}
