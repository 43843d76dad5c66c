//! Every way to get a configuration right or wrong, in `tests/config`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use onionscrape::config::Mistakes;
use scraper_bridge::config::BridgeConfig;
use target_agent::config::AgentConfig;

use crate::checkout::{self, repository};
use crate::world::{World, run};

fn folder() -> PathBuf {
    repository("tests/config")
}

/// Reads a file as the program that its name begins with.
fn read(file: &Path, name: &str) -> Result<(), Mistakes> {
    match name.split('-').next() {
        Some("agent") => AgentConfig::read(Some(file), None).map(drop),
        Some("bridge") => BridgeConfig::read(Some(file), None).map(drop),
        _ => panic!("{name} is neither the agent's nor the bridge's"),
    }
}

fn files(kind: &str) -> Vec<(String, PathBuf)> {
    let mut files: Vec<_> = fs::read_dir(folder().join(kind))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), path))
        .collect();
    files.sort();
    files
}

pub async fn every_valid_file_loads(_: &World) {
    let files = files("valid");
    assert!(files.len() >= 11, "only {} files", files.len());
    for (name, file) in files {
        if let Err(mistakes) = read(&file, &name) {
            panic!("{mistakes}");
        }
    }
}

pub async fn every_invalid_file_is_explained(_: &World) {
    let files = files("invalid");
    assert!(files.len() >= 112, "only {} files", files.len());
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(folder().join("invalid"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for (name, file) in files {
        let mistakes = read(&file, &name).expect_err(&name).to_string();
        for line in mistakes.lines() {
            assert!(
                line.starts_with(file.to_str().unwrap()),
                "{name}: a mistake is one line with its file: {line}"
            );
        }
        // The folder is another on each machine.
        let text = mistakes.replace(&format!("{}/", folder().join("invalid").display()), "");
        settings.bind(|| insta::assert_snapshot!(name.clone(), text));
    }
    let missing = folder().join("agent-no-such-file.toml");
    let mistakes = read(&missing, "agent-no-such-file").unwrap_err().to_string();
    assert_eq!(
        mistakes,
        format!("{}: cannot be read: No such file or directory (os error 2)", missing.display())
    );
}

pub async fn every_example_in_the_documents_is_valid(world: &World) {
    let folder = world.folder();
    let mut seen = Vec::new();
    for page in ["README.md", "docs/configure.md", "docs/install.md", "docs/migrate.md"] {
        let text = checkout::read(page);
        for block in text.split("```toml\n").skip(1) {
            let text = block.split("```").next().unwrap();
            let name = text
                .lines()
                .next()
                .and_then(|line| line.strip_prefix("# "))
                .expect("the file's name comes first");
            let file = folder.join(name);
            fs::write(&file, text).unwrap();
            if let Err(mistakes) = read(&file, &name.replace('.', "-")) {
                panic!("{page}: {mistakes}");
            }
            seen.push((page, name.to_owned()));
        }
    }
    for page in ["README.md", "docs/configure.md"] {
        for name in ["agent.toml", "bridge.toml"] {
            assert!(seen.contains(&(page, name.to_owned())), "no example of {name} in {page}");
        }
    }
}

/// Who pairs first and takes the proxy's # away later has no port twice.
pub async fn what_the_package_has_ready_is_left_to_it(_: &World) {
    let help = String::from_utf8(run("scraper-bridge", &["add", "--help"]).stdout).unwrap();
    let (_, first) = help.split_once("free port from 127.0.0.1:").expect("where ports are looked for");
    let first: u16 = first.split_whitespace().next().unwrap().parse().unwrap();
    let text = checkout::read("deploy/debian/bridge/bridge.toml");
    let (ready, _) = text.split_once("#[[target]]").unwrap();
    let ready =
        ready.lines().filter_map(|line| line.strip_prefix("#listen = \"127.0.0.1:")?.strip_suffix('"'));
    let ready: Vec<u16> = ready.map(|port| port.parse().unwrap()).collect();
    assert_eq!(ready.len(), 2, "[admin] and [proxy]: {ready:?}");
    assert!(ready.iter().all(|port| *port < first), "{ready:?}, and targets from {first} on");
}

pub async fn check_says_so_and_by_its_exit_code(world: &World) {
    let state = world.folder();
    let check = |program: &str, file: &Path| {
        let (file, state) = (file.to_str().unwrap(), state.to_str().unwrap());
        run(program, &["check", "--config.file", file, "--state-dir", state])
    };
    for (name, file) in files("valid") {
        let checked = check(program_of(&name), &file);
        let said = String::from_utf8(checked.stdout).unwrap();
        assert!(checked.status.success() && checked.stderr.is_empty(), "{name}: {said}");
        assert!(said.starts_with(&format!("{}: OK", file.display())), "{name}: {said}");
    }
    for (name, file) in files("invalid") {
        let checked = check(program_of(&name), &file);
        let said = String::from_utf8(checked.stderr).unwrap();
        assert_eq!((checked.status.code(), checked.stdout.as_slice()), (Some(1), &b""[..]), "{name}: {said}");
        let mistakes = read(&file, &name).unwrap_err().to_string();
        let expected: Vec<_> =
            mistakes.lines().map(|line| format!("{}: {line}", program_of(&name))).collect();
        assert_eq!(said.lines().collect::<Vec<_>>(), expected, "{name}");
    }
    assert_eq!(fs::read_dir(&state).unwrap().count(), 0, "check changes nothing on disk");
}

/// A file that is named while the service runs is there from its next start on, which is not to wait for the file.
pub async fn what_systemd_is_to_hand_over_is_no_mistake(world: &World) {
    let folder = world.folder();
    let credentials = folder.join("credentials");
    let secret = credentials.join("secret");
    let web = folder.join("web.yml");
    let tls = format!("tls_server_config:\n  cert_file: {0}\n  key_file: {0}\n", secret.display());
    fs::write(&web, tls).unwrap();
    let basic = format!("{{ username = \"me\", password_file = {secret:?} }}");
    let exporter = "[[exporter]]\nname = \"app\"\naddress = \"127.0.0.1:9800\"\nbasic_auth = ";
    for (program, text) in [
        ("target-agent", format!("{exporter}{basic}\n")),
        ("scraper-bridge", format!("web_config_file = {web:?}\n")),
    ] {
        let file = folder.join(program);
        fs::write(&file, text).unwrap();
        let check = |handed_over: &Path| {
            let mut check = Command::new(checkout::program(program));
            check.arg("check").arg("--config.file").arg(&file).env("CREDENTIALS_DIRECTORY", handed_over);
            check.output().unwrap()
        };
        let checked = check(&credentials);
        let said = String::from_utf8(checked.stdout).unwrap();
        assert!(checked.status.success() && said.contains(": OK"), "{program}: {said}");
        let warned = format!("{} is not there; systemd puts it there", secret.display());
        let warnings: Vec<_> = said.lines().filter(|line| line.contains(": warning: ")).collect();
        let is_it = |line: &&str| line.replace(": is not", " is not").contains(&warned);
        assert!(!warnings.is_empty() && warnings.iter().all(is_it), "{program}: {said}");
        let elsewhere = check(&folder);
        assert_eq!(elsewhere.status.code(), Some(1), "{program}: {elsewhere:?}");
    }
}

fn program_of(name: &str) -> &'static str {
    if name.starts_with("agent") { "target-agent" } else { "scraper-bridge" }
}
