//! The image, built and run by buildah, without a daemon: nothing is in it but the program and what it is
//! linked to, and a device is the same one in the next container, or there is no device.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;
use tornet::process::{self, Process};

use super::{program, repository, succeed};

/// The user and the group in the image.
const USER: u32 = 65532;
/// How long a program may take to answer after its start.
const PATIENCE: Duration = Duration::from_secs(60);
/// Has a command run without any network but its own loopback, and end with whoever started it.
const OFFLINE: [&str; 8] =
    ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c"];
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

        let healthy = || builder.run(Some(&volume), &[name, "status", "--healthy"]);
        let silent = healthy();
        assert_eq!(silent.status.code(), Some(1), "nothing runs: {silent:?}");
        // What the image does by itself, and how it is asked whether it is well: Tor has no part in that.
        let running = builder.start(&volume, &[name, "run"]);
        let started = Instant::now();
        while healthy().status.code() != Some(0) {
            assert!(running.is_running() && started.elapsed() < PATIENCE, "{}", running.log_text());
        }
        drop(running);
        let owner = |path: &Path| fs::symlink_metadata(path).unwrap().uid();
        let strange: Vec<_> = below(&volume).into_iter().filter(|path| owner(path) != USER).collect();
        assert!(strange.is_empty() && !below(&volume).is_empty(), "somebody else's: {strange:?}");
        // A new volume begins with this folder.
        assert_eq!(builder.mounted(|root| owner(&root.join("state"))), USER);
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
        self.inside(volume, arguments).output().unwrap()
    }

    /// Has it run until what is returned is dropped.
    fn start(&self, volume: &Path, arguments: &[&str]) -> Process {
        let inside = self.inside(Some(volume), arguments);
        let mut offline = Command::new(OFFLINE[0]);
        offline.args(&OFFLINE[1..]).arg("ip link set lo up && exec \"$0\" \"$@\"");
        offline.arg(inside.get_program()).args(inside.get_args());
        process::spawn(&offline, &self.folder.path().join("log")).unwrap()
    }

    fn inside(&self, volume: Option<&Path>, arguments: &[&str]) -> Command {
        let mounted = volume.map(|volume| format!("--volume={}:/state:rw", volume.display()));
        let mut words = vec!["run", "--isolation", "chroot"];
        words.extend(mounted.as_deref());
        let program = format!("/{}", arguments[0]);
        words.extend(["tried", "--", &program]);
        words.extend(&arguments[1..]);
        self.command(&words)
    }

    /// Every file and folder in the container.
    fn files(&self) -> BTreeSet<String> {
        self.mounted(|root| {
            let paths = below(root).into_iter();
            paths.map(|path| path.strip_prefix(root).unwrap().display().to_string()).collect()
        })
    }

    /// Looks at the container from outside.
    fn mounted<T>(&self, look: impl FnOnce(&Path) -> T) -> T {
        let output = succeed(&mut self.command(&["mount", "tried"]));
        let seen = look(Path::new(String::from_utf8(output.stdout).unwrap().trim()));
        succeed(&mut self.command(&["umount", "tried"]));
        seen
    }
}

/// Every file and folder in a folder, at any depth.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path.clone());
            }
            found.push(path);
        }
    }
    found
}
