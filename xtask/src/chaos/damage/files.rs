//! One file of a device's or a monitor's is damaged, and the program that owns it is asked who it is.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::{Outcome, copy_whole, damage};
use crate::Failure;
use crate::build::Programs;
use crate::stage::Stage;

/// A file, the program that reads it, and what that is asked.
struct Case {
    program: PathBuf,
    /// Its folder, whole, and the file in it.
    whole: PathBuf,
    file: &'static str,
    arguments: &'static [&'static str],
    /// What it prints of who it is when all is well, if it does.
    identity: Option<Vec<String>>,
}

/// Words that are longer say who somebody is; a fingerprint is the shortest of them.
const SHORTEST: usize = 40;

/// Damages files so many times, each time another one in another way.
pub fn run(what: &str, programs: &Programs, folder: &Path, times: usize) -> Result<Outcome, Failure> {
    let stage = Stage::begin(format!("{times} {what}"));
    let (device, monitor) = (folder.join("device"), folder.join("monitor"));
    let cases = cases(programs, &device, &monitor)?;
    let (mut refused, mut unharmed) = (0, 0);
    let mut violations = Vec::new();
    for number in 0..times {
        let case = &cases[number % cases.len()];
        let copy = folder.join("copy");
        copy_whole(&case.whole, &copy)?;
        let file = copy.join(case.file);
        let damage = damage(&file, number / cases.len(), number)?;
        let before = fs::read(&file)?;
        let output = ask(case, &copy)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let mut broken = |words: &str| {
            violations.push(format!("{}, {damage}: {words}: {}", case.file, said.trim()));
        };
        if output.status.code().is_none_or(|code| code > 2) || said.contains("panicked") {
            broken("it crashed");
        }
        if output.status.success() {
            unharmed += 1;
            if case.identity.as_ref().is_some_and(|identity| *identity != who(&output.stdout)) {
                broken("another identity");
            }
        } else {
            refused += 1;
            if !said.contains(case.file.rsplit('/').next().unwrap_or(case.file)) {
                broken("the error does not name the file");
            }
        }
        if fs::read(&file)? != before {
            broken("it was replaced");
        }
    }
    stage.done();
    let line = format!(
        "{times} {what}: {refused} refused with the file's name, {unharmed} without effect on who it is, {} wrong",
        violations.len()
    );
    Ok(Outcome { line, violations })
}

/// The addresses, keys and fingerprints in what a program prints. The comment of a key is none of these: who changes a
/// letter of it changes nobody.
fn who(printed: &[u8]) -> Vec<String> {
    let printed = String::from_utf8_lossy(printed);
    let words = printed.split(|letter: char| letter.is_whitespace() || letter == '"');
    words.filter(|word| word.len() > SHORTEST).map(str::to_owned).collect()
}

fn cases(programs: &Programs, device: &Path, monitor: &Path) -> Result<Vec<Case>, Failure> {
    for folder in [device, monitor] {
        fs::create_dir_all(folder.join("state"))?;
        fs::set_permissions(folder.join("state"), fs::Permissions::from_mode(0o700))?;
    }
    fs::write(
        monitor.join("config.toml"),
        "state_dir = \"state\"\n\n[admin]\nlisten = \"127.0.0.1:9822\"\n\n[listen]\nauto_ports = \"20000-20999\"\n",
    )?;
    let key = ask_whole(&programs.bridge, monitor, &["key"])?;
    let key = String::from_utf8(key)?.trim().to_owned();
    fs::write(device.join("state/authorized_keys"), format!("{key}\n"))?;
    fs::write(
        device.join("config.toml"),
        "state_dir = \"state\"\n\n[[exporter]]\nname = \"node\"\naddress = \"127.0.0.1:9100\"\n\n\
         [onion]\nintroductions_per_second = 10\n\n[log]\nlevel = \"info\"\n",
    )?;
    let identity: serde_json::Value =
        serde_json::from_slice(&ask_whole(&programs.agent, device, &["hostname", "--json"])?)?;
    ask_whole(&programs.agent, device, &["ticket", "--name", "prometheus"])?;
    fs::create_dir_all(monitor.join("state/targets.d"))?;
    fs::write(
        monitor.join("state/targets.d/backpack.toml"),
        format!(
            "[[target]]\nname = \"backpack\"\naddress = {}\nhost_key = {}\n\n[[target.exporter]]\nname = \"node\"\nlisten = \"127.0.0.1:9101\"\n",
            identity["hostname"], identity["host_key_fingerprint"]
        ),
    )?;
    let files: [(bool, &str, &[&str], bool); 8] = [
        (true, "state/ssh_host_ed25519_key", &["hostname", "--json"], true),
        (
            true,
            "state/tor/keystore/hss/agent/ks_hs_id.ed25519_expanded_private",
            &["hostname", "--json"],
            true,
        ),
        (true, "state/bridges/prometheus.toml", &["hostname", "--json"], true),
        (true, "state/authorized_keys", &["check"], false),
        (true, "config.toml", &["check"], false),
        (false, "state/id_ed25519", &["key"], true),
        (false, "state/targets.d/backpack.toml", &["check"], false),
        (false, "config.toml", &["check"], false),
    ];
    let case = |(of_device, file, arguments, is_who): (bool, &'static str, &'static [&'static str], bool)| {
        let (program, whole) =
            if of_device { (&programs.agent, device) } else { (&programs.bridge, monitor) };
        let identity = ask_whole(program, whole, arguments)
            .map_err(|error| format!("{file}, undamaged, {arguments:?}: {error}"))?;
        let identity = is_who.then(|| who(&identity));
        Ok(Case { program: program.clone(), whole: whole.to_owned(), file, arguments, identity })
    };
    files.into_iter().map(case).collect()
}

fn ask(case: &Case, folder: &Path) -> Result<Output, Failure> {
    Ok(command(&case.program, folder, case.arguments).output()?)
}

fn ask_whole(program: &Path, folder: &Path, arguments: &[&str]) -> Result<Vec<u8>, Failure> {
    let output = command(program, folder, arguments).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned().into());
    }
    Ok(output.stdout)
}

fn command(program: &Path, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).args(["--config.file", "config.toml"]).current_dir(folder);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_says_nothing_of_who_somebody_is() {
        let key = "AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
        let line = |key: &str, comment: &str| format!("{{\"host_key\":\"ssh-ed25519 {key} {comment}\"}}\n");
        assert_eq!(who(line(key, "agent").as_bytes()), [key]);
        assert_eq!(who(line(key, "agemt").as_bytes()), who(line(key, "agent").as_bytes()));
        assert_ne!(who(line(&key.replace('L', "M"), "agent").as_bytes()), [key]);
    }
}
