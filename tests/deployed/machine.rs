//! A machine in a folder: Debian's files in namespaces, with systemd as the first process.

use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tornet::process::{self, Process};

use crate::place::CONTROL_GROUPS;
use crate::tree::Tree;

/// How long a machine may take to boot or to answer.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// Pause between two looks at it.
const PAUSE: Duration = Duration::from_millis(50);
/// Boots a machine.
const BOOT: &str = include_str!("boot.sh");

/// A running machine; dropping it switches it off, and nothing of it is left.
pub struct Machine {
    /// Its host name.
    pub name: String,
    /// Its address, as seen from the world and from other machines' cables.
    pub address: Ipv4Addr,
    control_group: PathBuf,
    /// Holds the namespaces; its child is the machine's first process.
    holder: Option<Process>,
    init: u32,
    /// What differs from the tree.
    folder: TempDir,
}

impl Machine {
    /// Boots one, and waits until it has started everything.
    pub fn boot(name: &str, tree: &Tree) -> Self {
        static NUMBER: AtomicU8 = AtomicU8::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = tempfile::Builder::new().prefix("onionscrape-machine-").tempdir().unwrap();
        // Services' users go through it.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for part in ["upper", "work", "root"] {
            fs::create_dir(folder.path().join(part)).unwrap();
        }
        let script = folder.path().join("boot.sh");
        fs::write(&script, BOOT).unwrap();
        let control_group =
            Path::new(CONTROL_GROUPS).join(format!("onionscrape.{}.{number}", std::process::id()));
        fs::create_dir(&control_group).unwrap();
        let mut command = Command::new("sh");
        command.arg("-c").arg(
            "echo $$ > \"$0/cgroup.procs\" && exec unshare --cgroup --pid --mount --net --uts --ipc \
             --fork --kill-child sh \"$@\"",
        );
        command.arg(&control_group).arg(script).arg(name).arg(&tree.path).arg(folder.path());
        let holder = process::spawn(&command, &folder.path().join("console")).unwrap();
        let child = |pid: u32| fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok();
        let init = wait_for("a first process", || child(holder.pid())?.trim().parse().ok());
        let address = Ipv4Addr::new(10, 77, number, 2);
        let name = name.to_owned();
        let machine = Self { name, address, control_group, holder: Some(holder), init, folder };
        machine.lay_cable(number);
        let up = ["running", "degraded"];
        let state = wait_for(&format!("{}'s systemd", machine.name), || {
            let said = machine.output(&["systemctl", "is-system-running"]).stdout;
            let said = String::from_utf8_lossy(&said).trim().to_owned();
            (up.contains(&said.as_str()) || !machine.is_on()).then_some(said)
        });
        let failed = |machine: &Self| machine.run(&["systemctl", "--failed", "--plain", "--no-legend"]);
        assert_eq!(state, "running", "{}\n{}", machine.console(), failed(&machine));
        machine
    }

    /// Runs a command as root in it, which must succeed; returns what it printed.
    pub fn run(&self, command: &[&str]) -> String {
        let output = self.output(command);
        let (said, complained) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}: {command:?}: {}\n{said}{complained}", self.name, output.status);
        said.into_owned()
    }

    /// Runs a script of the shell's, which must succeed; returns what it printed.
    pub fn sh(&self, script: &str) -> String {
        self.run(&["sh", "-ec", script])
    }

    /// Runs a command to its end, however that is.
    pub fn output(&self, command: &[&str]) -> Output {
        self.output_with(command, "")
    }

    /// The same, with something on its standard input.
    pub fn output_with(&self, command: &[&str], input: &str) -> Output {
        let mut child = self.command(command);
        child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child.spawn().unwrap();
        // What does not read its input is judged by what it does.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// A command in it, to be started by the caller. It ends with the machine.
    pub fn command(&self, command: &[&str]) -> Command {
        let mut inside = Command::new("nsenter");
        inside.arg("--target").arg(self.init.to_string());
        inside.args(["--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--root", "--wdns=/", "--"]);
        inside.args(["env", "-i", "HOME=/root", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"]);
        inside.arg("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").args(command);
        inside
    }

    /// A file of it, as it is reached from here.
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.init))
    }

    /// Writes a file that everybody may read, and the folders above it.
    pub fn put(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Waits until a script of the shell's succeeds; says what it said last if it does not.
    pub fn wait_until(&self, what: &str, patience: Duration, script: &str) {
        let started = Instant::now();
        loop {
            let output = self.output(&["sh", "-ec", script]);
            if output.status.success() {
                return;
            }
            assert!(started.elapsed() < patience, "{}: not in time: {what}: {output:?}", self.name);
            sleep(PAUSE * 4);
        }
    }

    /// What was logged by a unit.
    pub fn journal(&self, unit: &str) -> String {
        self.run(&["journalctl", "--no-pager", "--output=cat", "--unit", unit])
    }

    fn is_on(&self) -> bool {
        self.holder.as_ref().is_some_and(Process::is_running)
    }

    fn console(&self) -> String {
        self.holder.as_ref().map(Process::log_text).unwrap_or_default()
    }

    /// `eth0` in it, and an interface in the world through which everything goes.
    fn lay_cable(&self, number: u8) {
        let world = Ipv4Addr::new(10, 77, number, 1);
        let (init, here) = (self.init, self.address);
        let inside = format!("nsenter --target {init} --net ip");
        let script = format!(
            "ip link add machine{number} type veth peer name eth0 netns {init}\n\
             ip addr add {world}/24 dev machine{number}\nip link set machine{number} up\n\
             {inside} link set lo up\n{inside} link set eth0 up\n\
             {inside} addr add {here}/24 dev eth0\n{inside} route add default via {world}\n"
        );
        process::run(Command::new("sh").args(["-ec", &script]), "").unwrap();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}'s console:\n{}", self.name, self.console());
            let logged = self.output(&["journalctl", "--no-pager", "--lines=60"]).stdout;
            eprintln!("{}'s journal:\n{}", self.name, String::from_utf8_lossy(&logged));
        }
        // Everything in its process namespace goes with the first process.
        drop(self.holder.take());
        let started = Instant::now();
        while remove_groups(&self.control_group).is_err() && started.elapsed() < PATIENCE {
            sleep(PAUSE);
        }
        let _ = self.folder;
    }
}

/// Waits until there is a value.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "not in time: {what}");
        sleep(PAUSE);
    }
}

/// Removes a control group and those in it, which is possible when nothing runs in them.
fn remove_groups(group: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(group)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_groups(&path)?;
        }
    }
    fs::remove_dir(group)
}
