//! Programs that the distribution brings.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::Failure;
use crate::stage::Stage;

/// A program, where it is, and the Debian package it comes in.
type Needed = (&'static str, &'static str);

/// What the demonstration runs.
pub const DEMO: &[Needed] =
    &[("tor", "tor"), ("prometheus", "prometheus"), ("prometheus-node-exporter", "prometheus-node-exporter")];
/// What the benchmark runs.
pub const BENCH: &[Needed] = &[
    ("tor", "tor"),
    ("prometheus-node-exporter", "prometheus-node-exporter"),
    ("sshd", "openssh-server"),
    ("ssh", "openssh-client"),
    ("socat", "socat"),
    ("ss", "iproute2"),
];
/// What the tests run.
pub const TESTS: &[Needed] = &[
    ("tor", "tor"),
    ("prometheus", "prometheus"),
    ("promtool", "prometheus"),
    ("prometheus-node-exporter", "prometheus-node-exporter"),
    ("sshd", "openssh-server"),
    ("ssh", "openssh-client"),
    ("socat", "socat"),
    ("obfs4proxy", "obfs4proxy"),
    ("chromium", "chromium"),
    ("nix-instantiate", "nix-bin"),
    ("buildah", "buildah"),
    ("mmdebstrap", "mmdebstrap"),
    ("dpkg-shlibdeps", "dpkg-dev"),
    ("lintian", "lintian"),
    ("ansible-playbook", "ansible-core"),
    ("ip", "iproute2"),
];

/// What packages are made with.
pub const PACKAGE: &[Needed] = &[("dpkg-shlibdeps", "dpkg-dev"), ("lintian", "lintian")];

/// What the chaos suite runs.
pub const CHAOS: &[Needed] = &[
    ("tor", "tor"),
    ("sshd", "openssh-server"),
    ("ssh", "openssh-client"),
    ("socat", "socat"),
    ("autossh", "autossh"),
    ("ip", "iproute2"),
    ("ss", "iproute2"),
    ("faketime", "faketime"),
];

/// Makes sure that the programs are there, installing their packages as root.
///
/// # Errors
/// When they are missing and cannot be installed: says what to type.
pub fn ensure(needed: &[Needed]) -> Result<(), Failure> {
    let mut missing: Vec<&str> =
        needed.iter().filter(|(program, _)| !is_there(program)).map(|(_, package)| *package).collect();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    let line = format!("apt-get install --no-install-recommends {}", missing.join(" "));
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    if !is_root || !is_there("apt-get") {
        return Err(format!("programs are missing; type: sudo {line}").into());
    }
    let stage = Stage::begin(format!("installing {}", missing.join(", ")));
    let update = apt(&["update"]);
    let install = apt(&[&["install", "--yes", "--no-install-recommends"], missing.as_slice()].concat());
    // A package list that could not be renewed may still be good enough.
    install.map_err(|error| match update {
        Ok(()) => format!("{line}: {error}"),
        Err(update) => format!("{line}: {error} (apt-get update: {update})"),
    })?;
    stage.done();
    Ok(())
}

fn apt(arguments: &[&str]) -> Result<(), Failure> {
    let output = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Daemons that packages would start are of no use here and would take ports.
        .env("RUNLEVEL", "1")
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let said = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it failed without a word");
    Err(said.to_owned().into())
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // sshd stands in a folder that a user's PATH may lack.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.into_iter().any(|folder| Path::new(&folder).join(program).is_file())
}
