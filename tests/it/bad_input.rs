//! What a person can get wrong on disk: one line that says what and where, exit code 1, and
//! nothing changed.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::checkout::program;
use crate::world::{World, run};

/// The program ended with exit code 1 and one line on standard error that has all these words.
#[track_caller]
fn refused(output: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(output.stdout.is_empty());
    assert_eq!(said.trim().lines().count(), 1, "one line:\n{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is missing in: {said}");
    }
}

pub async fn files_and_folders(world: &World) {
    let folder = world.folder();
    let dir = |name: &str| folder.join(name).to_str().unwrap().to_owned();

    refused(
        &run("target-agent", &["check", "--config.file", &dir("none.toml")]),
        &["none.toml", "No such file"],
    );
    fs::write(folder.join("bad.toml"), "[tor\n").unwrap();
    refused(&run("scraper-bridge", &["run", "--config.file", &dir("bad.toml")]), &["bad.toml:1:"]);

    // A key that others can read.
    let loose = dir("loose");
    let made = run("scraper-bridge", &["key", "--state-dir", &loose]);
    assert!(made.status.success() && made.stdout.starts_with(b"ssh-ed25519 "));
    let key = Path::new(&loose).join("id_ed25519");
    let before = fs::read(&key).unwrap();
    fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    refused(&run("scraper-bridge", &["key", "--state-dir", &loose]), &["id_ed25519", "chmod 600"]);
    assert_eq!(fs::read(&key).unwrap(), before);

    // An empty key.
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    fs::write(&key, "").unwrap();
    refused(&run("scraper-bridge", &["key", "--state-dir", &loose]), &["id_ed25519", "is empty"]);
    assert_eq!(fs::read(&key).unwrap(), b"");

    // A state directory that others can enter, and one that is a file.
    fs::set_permissions(&loose, Permissions::from_mode(0o755)).unwrap();
    refused(&run("scraper-bridge", &["key", "--state-dir", &loose]), &["chmod 700"]);
    fs::write(folder.join("file"), "").unwrap();
    refused(&run("target-agent", &["hostname", "--state-dir", &dir("file")]), &["file"]);

    // A state directory that another process holds.
    let held = folder.join("held");
    let holding = onionscrape::files::StateDirectory::hold(&held).unwrap();
    for program in ["target-agent", "scraper-bridge"] {
        refused(&run(program, &["run", "--state-dir", held.to_str().unwrap()]), &["held", "another process"]);
    }
    drop(holding);

    // Disks that cannot be written: the kernel's own.
    for program in ["target-agent", "scraper-bridge"] {
        refused(&run(program, &["run", "--state-dir", "/proc/onionscrape"]), &["/proc/onionscrape"]);
    }
    // A bridge without a target writes nothing but its lock; one with a target needs a key, and Tor's state.
    let elsewhere = world.folder();
    let target = "[[target]]\nname = \"a\"\naddress = \"pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion\"\n\
        host_key = \"SHA256:uNiVztksCsDhcc0u9e8BrfJXVREF2P2hkKKrbSQGHqs\"\n\
        [[target.exporter]]\nname = \"node\"\n";
    let file = world.bridge_file(&elsewhere, "[tor]\n", target);
    read_only_and_full(&folder, &file);
}

/// A target's own key file must be there, whole and private; the bridge does not make it.
pub async fn a_targets_own_key(world: &World) {
    let folder = world.folder();
    let key = folder.join("key");
    let target = format!(
        "[[target]]\nname = \"a\"\naddress = \"pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion\"\n\
         host_key = \"SHA256:uNiVztksCsDhcc0u9e8BrfJXVREF2P2hkKKrbSQGHqs\"\nkey_file = {key:?}\n\
         [[target.exporter]]\nname = \"node\"\nlisten = \"127.0.0.1:0\"\n",
    );
    let file = world.bridge_file(&folder, "[tor]\n", &target);
    let start = || run("scraper-bridge", &["run", "--config.file", file.to_str().unwrap()]);
    refused(&start(), &["key", "no such file"]);
    fs::write(&key, "").unwrap();
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    refused(&start(), &["key", "is empty"]);
    fs::write(&key, "garbage").unwrap();
    refused(&start(), &["key", "is not an OpenSSH private key"]);
    fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    refused(&start(), &["key", "chmod 600"]);
    assert_eq!(fs::read(&key).unwrap(), b"garbage");
}

/// Mounts need root in a namespace of its own; where that cannot be had there is nothing to see.
fn read_only_and_full(folder: &Path, bridge_file: &Path) {
    let mount = |options: &str, name: &str, act: &str| {
        let script = format!(
            "mount -t tmpfs -o {options} tmpfs {0} && if echo {options} | grep -q size; then \
             head -c 4096 /dev/zero > {0}/fill; fi; exec {1} {act} --state-dir {0}/state",
            folder.display(),
            program(name).display(),
        );
        std::process::Command::new("unshare")
            .args(["--mount", "--map-root-user", "sh", "-c", &script])
            .output()
    };
    let can = std::process::Command::new("unshare")
        .args(["--mount", "--map-root-user", "mount", "-t", "tmpfs", "tmpfs", "/mnt"])
        .output();
    if !can.is_ok_and(|output| output.status.success()) {
        eprintln!("no mount namespaces here: read-only and full disks are not tried");
        return;
    }
    let run = format!("run --config.file {}", bridge_file.display());
    for (program, act) in [("target-agent", "hostname"), ("scraper-bridge", "key"), ("scraper-bridge", &run)]
    {
        refused(&mount("ro,mode=700", program, act).unwrap(), &["read-only"]);
        // The kernel, SQLite and we have a word each for it.
        let output = mount("size=4k,mode=700", program, act).unwrap();
        refused(&output, &["/state"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("No space left") || said.contains("disk is full"), "{said}");
    }
}

pub async fn ports_in_use(world: &World) {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let folder = world.folder();
    // Nothing is served without these; a port of an exporter's own can come later.
    for (what, listeners) in [
        ("admin", format!("[admin]\nlisten = \"{address}\"\n")),
        ("proxy", format!("[admin]\nlisten = \"127.0.0.1:0\"\n[proxy]\nlisten = \"{address}\"\n")),
    ] {
        let file = folder.join("bridge.toml");
        fs::write(&file, format!("state_dir = {:?}\n{listeners}", folder.join("bridge"))).unwrap();
        refused(
            &run("scraper-bridge", &["run", "--config.file", file.to_str().unwrap()]),
            &[&address.to_string(), what, "ss -ltnp"],
        );
    }

    let text = format!("[admin]\nlisten = \"{address}\"\n");
    let agent = folder.join("agent.toml");
    fs::write(&agent, text).unwrap();
    let state = folder.join("agent");
    let arguments = ["run", "--config.file", agent.to_str().unwrap(), "--state-dir", state.to_str().unwrap()];
    refused(&run("target-agent", &arguments), &[&address.to_string(), "admin"]);
}

pub async fn standard_output_that_takes_nothing(world: &World) {
    let state = world.folder().join("state");
    let state = state.to_str().unwrap();
    for name in ["target-agent", "scraper-bridge"] {
        for command in ["check", "man"] {
            let printed_to = |stdout: Stdio| {
                Command::new(program(name))
                    .args([command, "--state-dir", state])
                    .stdout(stdout)
                    .output()
                    .unwrap()
            };
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let unread = printed_to(writer.into());
            assert!(
                unread.status.code() == Some(141) && unread.stderr.is_empty(),
                "{name} {command}: {unread:?}"
            );
            let full = printed_to(fs::File::create("/dev/full").unwrap().into());
            refused(&full, &["standard output", "No space left on device"]);
        }
    }
}

pub async fn programs_need_nothing_but_libc(_: &World) {
    for name in ["target-agent", "scraper-bridge"] {
        let ldd = Command::new("ldd").arg(program(name)).output().unwrap();
        let libraries = String::from_utf8(ldd.stdout).unwrap();
        for line in libraries.lines() {
            let library = line.split_whitespace().next().unwrap();
            let usual = ["linux-vdso", "libc.so", "libm.so", "libgcc_s", "/lib"]
                .iter()
                .any(|of| library.starts_with(of));
            assert!(usual, "{name} links {library}");
        }
    }
}
