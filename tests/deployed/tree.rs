//! Debian's files, as many machines begin with them.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

use sha2::{Digest as _, Sha256};

use crate::place::outside_command;

/// The release that machines run unless a test says otherwise.
const RELEASE: &str = "bookworm";
/// The one after it, whose systemd can do more.
pub const NEWER: &str = "trixie";
/// What every machine has besides Debian's smallest system.
const ALWAYS: &[&str] = &["systemd", "systemd-sysv", "dbus", "iproute2"];

/// A tree that is never written to; machines have what they change on top of it.
#[derive(Clone, Debug)]
pub struct Tree {
    /// Where it is.
    pub path: PathBuf,
}

impl Tree {
    /// The smallest system that boots, with these packages of Debian's; made once, and kept beside what cargo
    /// builds.
    pub fn with(packages: &[&str]) -> Self {
        Self::make(RELEASE, packages, &[])
    }

    /// The same of this release.
    pub fn of(release: &str, packages: &[&str]) -> Self {
        Self::make(release, packages, &[])
    }

    /// The same, with further packages that can be installed there without a network.
    pub fn stocked(packages: &[&str], stock: &[&str]) -> Self {
        Self::make(RELEASE, packages, stock)
    }

    fn make(release: &str, packages: &[&str], stock: &[&str]) -> Self {
        let packages = [ALWAYS, packages].concat().join(",");
        let stock = stock.join(" ");
        // With this file: a tree that is made in another way is another one.
        let digest = Sha256::digest(format!("{packages} {stock} {}", include_str!("tree.rs")));
        let name = format!("{release}-{}", data_encoding::HEXLOWER.encode(&digest[..6]));
        // …/target/release/deps/deployed-0123 stands beside …/target/machines.
        let folder = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().join("machines");
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(&name);
        // By other tests of this binary and by other runs of it.
        let _alone = onionscrape::files::alone(&folder.join(format!("{name}.lock"))).unwrap();
        if !path.exists() {
            let part = folder.join(format!("{name}.part"));
            let _ = fs::remove_dir_all(&part);
            let started = Instant::now();
            let mut make = outside_command("mmdebstrap");
            make.args(["--quiet", "--mode=root", "--variant=minbase", "--aptopt=Acquire::Retries \"3\""]);
            make.arg(format!("--include={packages}")).arg(release).arg(&part);
            // Of the three ways to name a mirror this is the one that can be set by a machine of tests.
            make.arg(std::env::var("ONIONSCRAPE_MIRROR").unwrap_or("http://deb.debian.org/debian".into()));
            if !stock.is_empty() {
                let apt =
                    "APT_CONFIG=\"$MMDEBSTRAP_APT_CONFIG\" apt-get --quiet --yes --no-install-recommends";
                make.arg("--skip=cleanup/apt");
                make.arg(format!("--customize-hook={apt} clean && {apt} --download-only install {stock}"));
            }
            let made = make.stdin(Stdio::null()).output().unwrap();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            fs::rename(&part, &path).unwrap();
            eprintln!("made {} in {} s", path.display(), started.elapsed().as_secs());
        }
        Self { path }
    }
}
