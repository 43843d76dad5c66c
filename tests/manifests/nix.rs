//! Nix expressions: their syntax always; what the modules say where nixpkgs' `lib` is to be had.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use super::{files, read, repository, succeed};

/// Names the folder `lib` of nixpkgs, for who has it.
const LIB: &str = "ONIONSCRAPE_NIXPKGS_LIB";

/// Why there is no Nix here, if so.
pub fn is_possible() -> Result<(), String> {
    match Command::new("nix-instantiate").arg("--version").output() {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err("nix-instantiate is not here".into()),
    }
}

/// Why modules cannot be evaluated here, if so.
pub fn has_lib() -> Result<(), String> {
    is_possible()?;
    std::env::var_os(LIB).map(|_| ()).ok_or_else(|| format!("{LIB} does not name nixpkgs' lib"))
}

pub fn files_parse() {
    let parse = |file: PathBuf| {
        let mut command = nix();
        command.arg("--parse").arg(file);
        command
    };
    for file in files("deploy/nix", "nix") {
        succeed(&mut parse(file));
    }

    // It does look.
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.nix");
    let text = read("deploy/nix/service.nix");
    fs::write(&broken, text.replacen("};", "}", 1)).unwrap();
    assert!(!parse(broken).output().unwrap().status.success());
}

/// The unit is the same one as everywhere: the package brings it, and the modules say nothing that it says.
pub fn units_are_those_of_debian() {
    let package = read("deploy/nix/package.nix");
    assert!(package.contains("for unit in deploy/systemd/*.service"));
    let module = read("deploy/nix/service.nix");
    assert_eq!(module.matches("serviceConfig").count(), 1, "LoadCredential, and no line of the unit");
    for file in files("deploy/systemd", "service") {
        let unit = fs::read_to_string(&file).unwrap();
        for line in unit.lines().filter(|line| line.starts_with("Exec")) {
            let (what, program) = line.split_once('=').unwrap();
            let program = program.trim_start_matches(['-', '+', '!', '@', ':']);
            // What the package puts paths of the store in the place of, and the one program that NixOS has there.
            let is_known = ["/usr/bin/target-agent", "/usr/bin/scraper-bridge", "/bin/sh"]
                .iter()
                .any(|known| program == *known || program.starts_with(&format!("{known} ")));
            assert!(is_known, "{}: {what}={program} is nowhere on NixOS", file.display());
        }
        let name = file.file_stem().unwrap().to_str().unwrap();
        let configuration = format!("/etc/onionscrape/{}.toml", name.trim_start_matches("onionscrape-"));
        assert!(unit.contains(&configuration), "{} reads what the module writes", file.display());
        assert!(unit.contains(&format!("User={name}\n")), "{} runs as the module's user", file.display());
    }
}

pub fn modules_are_evaluated() {
    let lib = std::env::var(LIB).unwrap();
    let output = succeed(
        nix().args(["--eval", "--strict", "--json"]).arg(repository("deploy/nix/evaluate.nix")).args([
            "--arg",
            "lib",
            &format!("import {lib}"),
        ]),
    );
    let came: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(came["files"]["onionscrape/agent.toml"]["exporter"][0]["name"], "app", "{came}");
    let bridge = json!({"version": 1, "state_dir": "/var/lib/onionscrape-bridge"});
    assert_eq!(came["files"]["onionscrape/bridge.toml"], bridge);
    let agent = &came["services"]["onionscrape-agent"];
    assert_eq!(agent["credentials"], json!(["app.password:/run/secrets/app"]));
    assert_eq!(agent["restarts"], json!(["onionscrape-agent.toml"]), "a change of its settings");
    assert_eq!(agent["wantedBy"], json!(["multi-user.target"]));
    assert_eq!(came["users"]["onionscrape-bridge"], "onionscrape-bridge");
}

fn nix() -> Command {
    let mut nix = Command::new("nix-instantiate");
    // Nothing is built, so no store is needed.
    nix.args(["--store", "dummy://"]);
    nix
}
