//! A fence of the kernel's (Landlock) around a program that speaks with the whole world: whoever gets the better
//! of it can write and execute less than its user may. It is there without systemd, too, and needs no rights.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, LandlockStatus, NetPort, PathBeneath,
    PathFd, RestrictionStatus, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError,
    RulesetStatus,
};
use rustix::io::Errno;
use tracing::{info, warn};

use crate::files::{FileError, StateDirectory, private_directory};
use crate::lifecycle::Failure;
use crate::tor::TorSettings;

/// What a kernel is asked for; an older one does what it knows.
const NEWEST: ABI = ABI::V5;

/// What a program goes on doing in it.
#[derive(Debug)]
pub struct Sandbox {
    /// Folders beneath which it writes, and what it does there.
    folders: Vec<(PathBuf, BitFlags<AccessFs>)>,
    /// True if it runs other programs: those are fenced in with it, and nobody knows where they listen.
    runs_others: bool,
    /// TCP ports to which it binds, if those are known ahead.
    binds: Option<Vec<u16>>,
}

impl Sandbox {
    /// For a program that writes its state and Tor's, in folders that are made if they are not there.
    ///
    /// # Errors
    /// When the state cannot be held, or a folder of Tor's cannot be made.
    pub fn around(state: &Path, tor: &TorSettings) -> Result<Self, FileError> {
        // Held for a moment, so that it is there and ours to write; who uses it holds it anew.
        drop(StateDirectory::hold(state)?);
        for folder in [&tor.state, &tor.cache].into_iter().filter(|folder| !folder.exists()) {
            private_directory(folder)?;
        }
        let sandbox = Self { folders: Vec::new(), runs_others: tor.may_run_programs(), binds: None };
        let sandbox = sandbox.writing_to(state).writing_to(&tor.state).writing_to(&tor.cache);
        // What those programs need is not known, but this is where everybody may write.
        Ok(if sandbox.runs_others { sandbox.writing_to(&std::env::temp_dir()) } else { sandbox })
    }

    /// The same, which writes beneath this folder, too.
    pub fn writing_to(self, folder: &Path) -> Self {
        self.with(folder, AccessFs::from_write(NEWEST))
    }

    /// The same, which makes sockets in this folder, and removes what is there.
    pub fn listening_in(self, folder: &Path) -> Self {
        self.with(folder, AccessFs::MakeSock | AccessFs::RemoveFile)
    }

    /// The same, which binds to these addresses' TCP ports only.
    pub fn binding_to(self, addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        let binds = Some(addresses.into_iter().map(|address| address.port()).collect());
        Self { binds, ..self }
    }

    fn with(mut self, folder: &Path, access: BitFlags<AccessFs>) -> Self {
        // The present folder has no name in a file's name alone.
        self.folders.push((std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()), access));
        self
    }

    /// Fences this thread in, with all threads and programs that it starts from now on, as far as the kernel
    /// can.
    pub fn enter(self) -> Entered {
        let missing = self.folders.iter().map(|(folder, _)| folder).filter(|folder| !folder.exists());
        Entered { missing: missing.cloned().collect(), status: self.restrict(), sandbox: self }
    }

    fn restrict(&self) -> Result<RestrictionStatus, RulesetError> {
        let execute = if self.runs_others { BitFlags::empty() } else { AccessFs::Execute.into() };
        let ports = self.binds.as_deref().filter(|_| !self.runs_others);
        // The first kernels with Landlock let nobody move a file to another folder, so there it is better
        // to go without.
        let ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::SoftRequirement)
            .handle_access(AccessFs::Refer)?
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_write(NEWEST) | execute)?;
        let ruleset = if ports.is_some() { ruleset.handle_access(AccessNet::BindTcp)? } else { ruleset };
        // Who starts a program gives it this to read from and to write to.
        let null = (PathBuf::from("/dev/null"), AccessFs::WriteFile.into());
        let folders = self.folders.iter().chain([&null]).filter_map(|(path, access)| {
            Some(Ok::<_, RulesetError>(PathBeneath::new(PathFd::new(path).ok()?, *access)))
        });
        let ports = ports.unwrap_or_default().iter();
        ruleset
            .create()?
            .add_rules(folders)?
            .add_rules(ports.map(|port| Ok::<_, RulesetError>(NetPort::new(*port, AccessNet::BindTcp))))?
            .restrict_self()
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Entered {
    sandbox: Sandbox,
    status: Result<RestrictionStatus, RulesetError>,
    /// Folders that were not there.
    missing: Vec<PathBuf>,
}

impl Entered {
    /// Says so in the log.
    pub fn tell(&self) {
        let Sandbox { folders, runs_others, .. } = &self.sandbox;
        match &self.status {
            Ok(RestrictionStatus { ruleset: RulesetStatus::NotEnforced, landlock, .. }) => {
                let why = match landlock {
                    LandlockStatus::NotEnabled => "it is switched off",
                    LandlockStatus::NotImplemented => {
                        "the kernel has none, or a filter of system calls denies it"
                    }
                    LandlockStatus::Available { .. } => "the kernel's cannot move files between folders",
                };
                return info!("not fenced in by Landlock: {why}");
            }
            Ok(status) => {
                let folders = folders.iter().map(|(folder, _)| folder.display().to_string());
                info!(
                    writes = %folders.collect::<Vec<_>>().join(", "),
                    executes = if *runs_others { "transports" } else { "nothing" },
                    whole = status.ruleset == RulesetStatus::FullyEnforced,
                    "fenced in by Landlock"
                );
            }
            Err(error) => {
                return warn!("not fenced in by Landlock: {error}; sandbox = false has this go without");
            }
        }
        for folder in &self.missing {
            let folder = folder.display();
            warn!("{folder} was not there, so nothing can be written to it; make it, and start again");
        }
    }

    /// A failure to start, which says so if the fence, where one was entered, may be why.
    pub fn explain(entered: Option<&Self>, failure: Failure) -> Failure {
        let status = entered.and_then(|entered| entered.status.as_ref().ok());
        let is_fenced = status.is_some_and(|status| status.ruleset != RulesetStatus::NotEnforced);
        // Whatever failed has become words by now, and these are the system's for what a fence denies.
        let denied = io::Error::from(Errno::ACCESS).to_string();
        if is_fenced && failure.0.contains(&denied) {
            let why = "if this user may, it is the program's own fence (Landlock) that denies it: try sandbox = false";
            Failure(format!("{failure}; {why} at the top of the configuration"))
        } else {
            failure
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::ErrorKind;
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::process::Command;
    use std::thread;

    use super::*;

    fn sandbox(own: &Path) -> Sandbox {
        Sandbox { folders: Vec::new(), runs_others: false, binds: None }.writing_to(own)
    }

    /// Has `act` done in a sandbox, which only its own thread is in, where the kernel can do all of it.
    fn within(sandbox: &Sandbox, act: impl FnOnce() + Send) {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let status = sandbox.restrict().expect("entered");
                let is_whole = status.ruleset == RulesetStatus::FullyEnforced;
                assert_eq!(is_whole, knows_all(status.landlock), "it does what it can");
                if is_whole {
                    act();
                }
            });
            inside.join().expect("it ended well");
        });
    }

    fn knows_all(landlock: LandlockStatus) -> bool {
        matches!(landlock, LandlockStatus::Available { effective_abi, .. } if effective_abi >= NEWEST)
    }

    fn denied<T>(done: std::io::Result<T>) -> bool {
        done.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
    }

    #[test]
    fn it_writes_in_its_own_folders_and_nowhere_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let [own, other] = ["own", "other"].map(|name| folder.path().join(name));
        for folder in [own.join("next"), other.clone()] {
            fs::create_dir_all(folder).expect("made");
        }
        let [file, socket] = ["key", "socket"].map(|name| other.join(name));
        fs::write(&file, "secret").expect("written");
        within(&sandbox(&own), || {
            fs::write(own.join("next/state"), "own").expect("its own");
            fs::rename(own.join("next/state"), own.join("state")).expect("its own");
            assert!(denied(fs::write(&file, "changed")));
            assert!(denied(fs::remove_file(&file)));
            assert!(denied(fs::write(other.join("new"), "")));
            assert!(denied(UnixListener::bind(&socket)));
            assert_eq!(fs::read_to_string(&file).expect("it may read"), "secret");
        });
        within(&sandbox(&own).listening_in(&other), || {
            UnixListener::bind(&socket).expect("here");
            fs::remove_file(&socket).expect("and away again");
            assert!(denied(fs::write(&file, "changed")));
        });
        assert_eq!(fs::read_to_string(&file).expect("still there"), "secret");
    }

    #[test]
    fn it_executes_nothing_unless_it_has_to() {
        let own = tempfile::tempdir().expect("a folder");
        let runs = || Command::new("true").status();
        within(&sandbox(own.path()), || assert!(denied(runs())));
        let running = Sandbox { runs_others: true, ..sandbox(own.path()) };
        within(&running, || assert!(runs().expect("ran").success()));
    }

    #[test]
    fn a_failure_that_it_may_be_the_reason_of_says_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let [own, other] = ["own", "other"].map(|name| folder.path().join(name));
        for folder in [&own, &other] {
            fs::create_dir(folder).expect("made");
        }
        let told = |entered: &Entered, tried: io::Result<()>| {
            Entered::explain(Some(entered), Failure::of(tried.expect_err("it fails")))
                .0
                .contains("sandbox = false")
        };
        thread::scope(|scope| {
            scope.spawn(|| {
                let entered = sandbox(&own).enter();
                assert!(!told(&entered, fs::write(own.join("none/state"), "")), "a folder that is not there");
                let written = fs::write(other.join("state"), "");
                assert!(written.is_ok() || told(&entered, written));
            });
        });
    }

    #[test]
    fn it_binds_to_the_ports_that_it_named_and_to_no_other() {
        let own = tempfile::tempdir().expect("a folder");
        let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
        within(&sandbox(own.path()).binding_to([free]), || {
            assert!(denied(TcpListener::bind("127.0.0.1:0")));
            TcpListener::bind(free).expect("that is where");
        });
        within(&sandbox(own.path()), || drop(TcpListener::bind("127.0.0.1:0").expect("nothing was said")));
    }
}
