//! The image, built and run by buildah, without a daemon: nothing is in it but the program and what it is
//! linked to, and a device is the same one in the next container, or there is no device.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use super::{program, repository, succeed};

/// The user and the group in the image.
const USER: u32 = 65532;
/// What whoever runs a container puts into it.
const PLACES: [&str; 7] = ["dev", "proc", "run", "sys", "etc/hostname", "etc/hosts", "etc/resolv.conf"];

/// Why no image can be made and run here, if so.
pub fn is_possible() -> Result<(), String> {
    if Command::new("buildah").arg("--version").output().is_err() {
        return Err("buildah is not here".into());
    }
    // As what runs in a container needs it.
    let inside = Command::new("unshare").args(["--mount", "true"]).output();
    match inside {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err("containers need root".into()),
    }
}

pub fn keys_stay_or_it_refuses() {
    for (kind, name, ask) in [("agent", "target-agent", "hostname"), ("bridge", "scraper-bridge", "key")] {
        let builder = Builder::new();
        builder.build(kind, name);
        let described = builder.describe();
        assert_eq!(described["User"], "65532:65532", "{described}");
        assert_eq!(described["Entrypoint"], Value::from(vec![format!("/{name}")]), "{described}");
        assert_eq!(described["Cmd"], Value::from(vec!["run"]), "{described}");
        let check = &described["Healthcheck"]["Test"];
        assert_eq!(
            *check,
            Value::from(vec!["CMD", &format!("/{name}"), "status", "--healthy"]),
            "{described}"
        );

        let before = builder.files();
        let own = ["etc", "etc/group", "etc/passwd", "state", name].map(str::to_owned);
        assert!(own.iter().all(|file| before.contains(file)), "{before:?}");
        let rest: Vec<_> = before.iter().filter(|file| !own.contains(file)).collect();
        assert!(rest.iter().all(|file| file.starts_with("lib")), "only libraries besides: {rest:?}");

        let refused = builder.run(None, &[name, ask]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains("is not on a volume"), "{refused:?}");

        // As Kubernetes gives a volume to a pod with an fsGroup.
        let volume = builder.folder.path().join("volume");
        fs::create_dir(&volume).unwrap();
        chown(&volume, Some(0), Some(USER)).unwrap();
        fs::set_permissions(&volume, fs::Permissions::from_mode(0o2775)).unwrap();
        let asked = || {
            let output = builder.run(Some(&volume), &[name, ask]);
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let first = asked();
        assert!(first.len() > 50, "{first}");
        assert_eq!(first, asked(), "the same after a restart");

        let silent = builder.run(Some(&volume), &[name, "status", "--healthy"]);
        assert_eq!(silent.status.code(), Some(1), "nothing runs: {silent:?}");
        // So the file system of the container itself may be read-only.
        let after = builder.files();
        let new: Vec<_> = after.difference(&before).filter(|file| !PLACES.contains(&file.as_str())).collect();
        assert!(new.is_empty(), "written elsewhere than on the volume: {new:?}");
    }
}

/// buildah, with images and containers in a folder of its own.
struct Builder {
    folder: tempfile::TempDir,
}

impl Builder {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// What every call begins with: storage that needs nothing of the kernel.
    fn words(&self) -> Vec<String> {
        let folder = |name: &str| self.folder.path().join(name).display().to_string();
        ["buildah", "--storage-driver", "vfs", "--root", &folder("root"), "--runroot", &folder("run")]
            .map(str::to_owned)
            .into()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let words = self.words();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(arguments);
        command
    }

    /// Makes the image, and a container from it.
    fn build(&self, kind: &str, name: &str) {
        let builder = format!("{} build --format docker --isolation chroot", self.words().join(" "));
        let mut build = Command::new(repository("deploy/container/build"));
        succeed(build.args([kind]).arg(program(name)).arg("tried").env("BUILDER", builder));
        succeed(&mut self.command(&["from", "--pull-never", "--name", "tried", "localhost/tried"]));
    }

    /// What the image says of itself.
    fn describe(&self) -> Value {
        let output = succeed(&mut self.command(&["inspect", "--type", "image", "localhost/tried"]));
        let all: Value = serde_json::from_slice(&output.stdout).unwrap();
        all["Docker"]["config"].clone()
    }

    fn run(&self, volume: Option<&Path>, arguments: &[&str]) -> Output {
        let mounted = volume.map(|volume| format!("--volume={}:/state:rw", volume.display()));
        let mut words = vec!["run", "--isolation", "chroot"];
        words.extend(mounted.as_deref());
        let program = format!("/{}", arguments[0]);
        words.extend(["tried", "--", &program]);
        words.extend(&arguments[1..]);
        self.command(&words).output().unwrap()
    }

    /// Every file and folder in the container.
    fn files(&self) -> BTreeSet<String> {
        let output = succeed(&mut self.command(&["mount", "tried"]));
        let root = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
        let mut found = BTreeSet::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                found.insert(path.strip_prefix(&root).unwrap().display().to_string());
                if path.is_dir() && !path.is_symlink() {
                    folders.push(path);
                }
            }
        }
        succeed(&mut self.command(&["umount", "tried"]));
        found
    }
}
