//! The two packages from their making to their end: installed, started, upgraded, removed and purged.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tornet::process::forget_this_package;

use crate::checkout::repository;
use crate::machine::{Machine, PATIENCE};
use crate::place::outside_command;
use crate::world::World;

/// What came before, by its number at least.
const OLDER: &str = "Version: 0.0.1-1";

/// A program's package, and what is in it.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// The package, its unit and its user.
    pub name: &'static str,
    /// The configuration.
    pub config: &'static str,
    /// Says who it is, in a line that stays the same as long as its keys do.
    identity: &'static str,
}

pub const AGENT: Part =
    Part { name: "onionscrape-agent", config: "/etc/onionscrape/agent.toml", identity: "hostname" };
pub const BRIDGE: Part =
    Part { name: "onionscrape-bridge", config: "/etc/onionscrape/bridge.toml", identity: "key" };

/// Both packages as files.
#[derive(Debug)]
pub struct Packages(PathBuf);

impl Packages {
    /// Has `cargo xtask package` make them from the present source, in the profile of the tests; or takes
    /// those in the folder that `ONIONSCRAPE_PACKAGES` names, for a second run in less time.
    pub fn make(folder: &Path) -> Self {
        if let Some(made) = std::env::var_os("ONIONSCRAPE_PACKAGES") {
            return Self(made.into());
        }
        // Cargo may have to fetch what packages are made with.
        let mut make = outside_command(env!("CARGO"));
        forget_this_package(&mut make);
        make.args(["xtask", "package", "--profile", "release", "--out"]).arg(folder);
        let made = make.current_dir(repository("")).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&made.stdout);
        assert!(made.status.success(), "{said}{}", String::from_utf8_lossy(&made.stderr));
        assert_eq!(said.matches(", installed ").count(), 2, "the sizes are printed: {said}");
        Self(folder.to_owned())
    }

    /// The file of one.
    pub fn file(&self, part: Part) -> PathBuf {
        let files = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path());
        let is_it = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(part.name);
        let found: Vec<PathBuf> = files.filter(is_it).collect();
        let [file] = &found[..] else { panic!("not one {} in {:?}: {found:?}", part.name, self.0) };
        file.clone()
    }

    /// Puts one on a machine and returns where it is there.
    pub fn bring(&self, part: Part, machine: &Machine) -> String {
        bring(&self.file(part), machine)
    }

    /// Installs one, which must work without a question; returns what was said.
    pub fn install(&self, part: Part, machine: &Machine) -> String {
        machine.run(&["dpkg", "--install", &self.bring(part, machine)])
    }

    /// One with another line in the place of the one with the same field, and a default configuration that is not
    /// quite the present one; puts it on a machine and returns where it is there.
    fn bring_changed(&self, part: Part, line: &str, folder: &Path, machine: &Machine) -> String {
        let run = |program: &str, arguments: &[&Path]| {
            let done = Command::new(program).args(arguments).output().unwrap();
            assert!(done.status.success(), "{done:?}");
        };
        let (tree, changed) = (folder.join("tree"), folder.join("changed.deb"));
        run("dpkg-deb", &[Path::new("--raw-extract"), &self.file(part), &tree]);
        let control = tree.join("DEBIAN/control");
        let text = fs::read_to_string(&control).unwrap();
        let field = &line[..=line.find(':').unwrap()];
        let old = text.lines().find(|line| line.starts_with(field)).unwrap();
        fs::write(&control, text.replace(old, line)).unwrap();
        let config = tree.join(part.config.trim_start_matches('/'));
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, text + "# as it was\n").unwrap();
        // Nobody loads it down, so it need not be small.
        run("dpkg-deb", &[Path::new("-Znone"), Path::new("--build"), &tree, &changed]);
        bring(&changed, machine)
    }
}

fn bring(file: &Path, machine: &Machine) -> String {
    machine.put("/root/package.deb", fs::read(file).unwrap());
    "/root/package.deb".to_owned()
}

/// What dpkg refuses, and why it says so.
pub fn what_does_not_fit_is_refused(world: &World) {
    let machine = world.machine("unfit");
    let refused = |line: &str| {
        let file = world.packages().bring_changed(AGENT, line, &world.folder(), &machine);
        let refused = machine.output(&["dpkg", "--install", &file]);
        assert!(!refused.status.success(), "{line} is installed: {refused:?}");
        String::from_utf8_lossy(&refused.stderr).into_owned()
    };
    let said = refused("Architecture: s390x");
    assert!(said.contains("does not match system"), "{said}");
    let said = refused("Depends: libc6 (>= 99)");
    assert!(said.contains("depends on libc6 (>= 99)"), "{said}");
    let state = machine.run(&["dpkg-query", "--show", "--showformat=${Status}", AGENT.name]);
    assert!(!state.contains("ok installed"), "{state}");
    assert_eq!(machine.sh("systemctl is-active onionscrape-agent || true").trim(), "inactive");
}

/// What belongs beside a program: for shells, for systemd, and to be read.
pub fn have_what_belongs_to_them(world: &World) {
    for (part, program, example) in
        [(AGENT, "target-agent", "password.toml"), (BRIDGE, "scraper-bridge", "prometheus/http_sd.yml")]
    {
        let (name, file) = (part.name, world.packages().file(part));
        let listed = Command::new("dpkg-deb").arg("--contents").arg(file).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        for path in [
            format!("share/bash-completion/completions/{program}"),
            format!("share/zsh/vendor-completions/_{program}"),
            format!("share/fish/vendor_completions.d/{program}.fish"),
            format!("lib/sysusers.d/{name}.conf"),
            format!("lib/tmpfiles.d/{name}.conf"),
            format!("share/doc/{name}/copyright"),
            format!("share/doc/{name}/changelog.gz"),
            format!("share/doc/{name}/changelog.Debian.gz"),
            format!("share/doc/{name}/examples/{example}"),
        ] {
            assert!(listed.contains(&format!(" ./usr/{path}\n")), "{path} is not among\n{listed}");
        }
    }
}

/// What people do to packages, in their order. On Debian 12 only; that they install and start on the next one is seen
/// elsewhere.
pub fn from_installation_to_purge(world: &World) {
    let machine = world.machine("lifecycle");
    for part in [AGENT, BRIDGE] {
        let Part { name, config, identity } = part;
        let value =
            |property: &str| machine.run(&["systemctl", "show", "--value", "--property", property, name]);
        let who = || machine.run(&[name, identity]);
        let older = world.packages().bring_changed(part, OLDER, &world.folder(), &machine);
        machine.run(&["dpkg", "--install", &older]);
        // Ready without a network: there is none beyond the world.
        assert_eq!(value("ActiveState").trim(), "active", "{}", machine.journal(name));
        assert_eq!(value("UnitFileState").trim(), "enabled");
        machine.wait_until(
            "it says how it is",
            PATIENCE,
            &format!("systemctl show -P StatusText {name} | grep -q ."),
        );
        let key = who();
        assert!(key.contains(".onion") || key.contains("ssh-ed25519"), "{key}");
        let state = format!("/var/lib/{name}");
        let modes = format!("stat --format='%a %U' {state}; stat --format=%a {config}");
        assert_eq!(machine.sh(&modes), format!("700 {name}\n644\n"));
        let loose = format!("find {state} -type f -perm /077 | grep . || true");
        assert_eq!(machine.sh(&loose), "", "others can read what is private");
        let main = value("MainPID");
        let user = machine.sh(&format!("stat --format=%U /proc/{}", main.trim()));
        assert_eq!(user.trim(), name, "it runs as its own user");

        // The configuration says where more is to be read, and there it is.
        let documents = format!("/usr/share/doc/{name}");
        assert!(machine.sh(&format!("cat {config}")).contains(&format!("{documents}/README.md, ")));
        machine.sh(&format!(
            "cd {documents}; test -s README.md; test -s docs/configure.md; test -s docs/operate.md"
        ));

        // An upgrade keeps what was written into the configuration, and the keys, and runs what is new.
        machine.sh(&format!(
            "echo '# mine' >> {config}; echo 'ARGS=\"--log.level=warn\"' > /etc/default/{name}"
        ));
        // Both the writer and the package have changed the configuration, so dpkg asks whose is to count; whoever
        // is not there to answer keeps what is there, and has the package's beside it.
        let newer = world.packages().bring(part, &machine);
        let asked = machine.output(&["dpkg", "--install", &newer]);
        let said = String::from_utf8_lossy(&asked.stderr);
        assert!(!asked.status.success() && said.contains("conffile prompt"), "{asked:?}");
        machine.run(&["dpkg", "--force-confold", "--install", &newer]);
        machine.sh(&format!("test -s {config}.dpkg-dist; rm {config}.dpkg-dist"));
        let version = machine.run(&["dpkg-query", "--show", "--showformat=${Version}", name]);
        assert!(!OLDER.contains(&version), "{version}");
        assert_eq!(machine.sh(&format!("tail -n 1 {config}")), "# mine\n");
        assert_eq!(value("ActiveState").trim(), "active", "{}", machine.journal(name));
        assert_ne!(value("MainPID"), main, "the new one runs");
        let arguments = machine.sh(&format!("tr '\\0' ' ' < /proc/{}/cmdline", value("MainPID").trim()));
        assert!(arguments.contains("--log.level=warn"), "{arguments}");
        assert_eq!(who(), key);

        // Removing it ends it and leaves the keys, which it finds again, with the configuration: that of the
        // package has not changed since, so nobody is asked.
        let said = machine.run(&["dpkg", "--remove", name]);
        assert!(said.contains(&format!("keys and state stay in {state}")), "{said}");
        assert_eq!(machine.sh(&format!("systemctl is-active {name} || true")).trim(), "inactive");
        world.packages().install(part, &machine);
        assert_eq!(machine.sh(&format!("grep '^# mine' {config}")), "# mine\n");
        assert_eq!(who(), key);
        assert_eq!(value("ActiveState").trim(), "active", "{}", machine.journal(name));

        // Purging takes the keys along, and says so.
        let said = machine.run(&["dpkg", "--purge", name]);
        assert!(said.contains(&format!("removing {state} with all keys in it")), "{said}");
        let left = format!(
            "find / -xdev -path '*{name}*' -not -path '/root/*' -not -path '/var/log/*' -not -path '/tmp/*'; ls {config} 2>&1 || true"
        );
        let left = machine.sh(&left);
        assert!(left.lines().count() == 1 && left.contains("No such file"), "what is left: {left}");
    }
    assert_eq!(machine.sh("ls -d /etc/onionscrape 2>&1 || true").matches("No such file").count(), 1);
}

/// A tree that is filled before it boots, and one that has no systemd at all: the user and the folder are there, and
/// a first start by hand works.
pub fn without_a_systemd_that_runs(world: &World) {
    let machine = world.machine("unbooted");
    for (part, hide) in [(AGENT, ""), (BRIDGE, "rm /usr/bin/systemd-sysusers;")] {
        let Part { name, config, identity } = part;
        let file = world.packages().bring(part, &machine);
        // Who asks whether systemd runs looks for a folder in there.
        let asleep = format!("mount -t tmpfs tmpfs /run/systemd; {hide} dpkg --install {file} >&2");
        let by_hand = format!(
            "{asleep}; {name} {identity}; stat --format='%a %U %G' /var/lib/{name};
             {name} run & until [ -e /var/lib/{name}/control.sock ]; do kill -0 $!; sleep 0.2; done;
             {name} status --healthy; kill $!; wait $!"
        );
        let said = machine.run(&["unshare", "--mount", "sh", "-ec", &by_hand]);
        assert!(said.contains(&format!("\n700 {name} {name}\n")), "{said}");
        let key = machine.run(&[name, identity]);
        assert!(said.starts_with(&key), "{said}");
        assert_eq!(machine.sh(&format!("systemctl is-active {name} || true")).trim(), "inactive");
        assert!(machine.path(config).exists());
    }
}
