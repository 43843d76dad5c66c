//! A fence of the kernel's (Landlock) around a program that speaks with the whole world: whoever gets the better
//! of it can write nowhere but where it writes, and can start nothing. It is there without systemd, too, and
//! needs no rights.

use std::net::SocketAddr;
use std::path::PathBuf;

use landlock::{
    ABI, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, NetPort, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError, RulesetStatus, path_beneath_rules,
};
use tracing::{debug, info, warn};

use crate::files::private_directory;
use crate::tor::TorSettings;

/// What a kernel is asked for; an older one does what it knows.
const NEWEST: ABI = ABI::V5;

/// What a program goes on doing in it.
#[derive(Debug)]
pub struct Sandbox {
    /// Folders beneath which it writes.
    writes: Vec<PathBuf>,
    /// True if it runs other programs: those are fenced in with it, and nobody knows where they listen.
    runs_others: bool,
    /// TCP ports on which it listens, if those are known ahead.
    listens: Option<Vec<u16>>,
    /// True if it may make and remove sockets anywhere.
    makes_sockets: bool,
}

impl Sandbox {
    /// For a program that writes its state and Tor's, and nothing else. Folders of those that are not there yet
    /// are made.
    pub fn around(state: PathBuf, tor: &TorSettings) -> Self {
        let writes = vec![state, tor.state.clone(), tor.cache.clone()];
        for folder in &writes {
            // Who needs the folder says better what is wrong with it.
            let _ = private_directory(folder);
        }
        Self { writes, runs_others: tor.may_run_programs(), listens: None, makes_sockets: false }
    }

    /// The same, which listens on these addresses only.
    pub fn listening_on(self, addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        let listens = Some(addresses.into_iter().map(|address| address.port()).collect());
        Self { listens, ..self }
    }

    /// The same, which writes in this folder, too.
    pub fn writing_to(mut self, folder: PathBuf) -> Self {
        self.writes.push(folder);
        self
    }

    /// The same, which may listen on Unix sockets anywhere.
    pub fn making_sockets(self) -> Self {
        Self { makes_sockets: true, ..self }
    }

    /// Fences this thread in, with all threads and programs that it starts from now on, as far as the kernel
    /// can; says in the log what came of it.
    pub fn enter(&self) {
        match self.restrict() {
            Ok(RulesetStatus::NotEnforced) => debug!("this kernel has no Landlock; going on without"),
            Ok(status) => {
                let writes: Vec<_> = self.writes.iter().map(|folder| folder.display().to_string()).collect();
                info!(
                    writes = %writes.join(", "),
                    runs = if self.runs_others { "transports" } else { "nothing" },
                    whole = status == RulesetStatus::FullyEnforced,
                    "fenced in by Landlock"
                );
            }
            Err(error) => warn!("not fenced in by Landlock: {error}; sandbox = false has this go without"),
        }
    }

    fn restrict(&self) -> Result<RulesetStatus, RulesetError> {
        let mut files = AccessFs::from_write(NEWEST);
        if self.makes_sockets {
            files.remove(AccessFs::MakeSock | AccessFs::RemoveFile);
        }
        if !self.runs_others {
            files |= AccessFs::Execute;
        }
        let ports = self.listens.as_deref().filter(|_| !self.runs_others);
        let net = ports.map_or_else(BitFlags::empty, |_| AccessNet::BindTcp.into());
        let mut ruleset =
            Ruleset::default().set_compatibility(CompatLevel::BestEffort).handle_access(files)?;
        if !net.is_empty() {
            ruleset = ruleset.handle_access(net)?;
        }
        let temporary = std::env::temp_dir();
        let folders = self.writes.iter().chain([&temporary]);
        // Who starts a program gives it this to read from and to write to.
        let null = path_beneath_rules(["/dev/null"], AccessFs::WriteFile);
        let ports = ports.unwrap_or_default().iter();
        let entered = ruleset
            .create()?
            .add_rules(path_beneath_rules(folders, files & AccessFs::from_write(NEWEST)))?
            .add_rules(null)?
            .add_rules(ports.map(|port| Ok::<_, RulesetError>(NetPort::new(*port, AccessNet::BindTcp))))?
            .restrict_self()?;
        Ok(entered.ruleset)
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::process::Command;
    use std::{fs, thread};

    use super::*;

    fn sandbox(own: &std::path::Path) -> Sandbox {
        let writes = vec![own.to_owned()];
        Sandbox { writes, runs_others: false, listens: None, makes_sockets: false }
    }

    /// What `act` gives in a sandbox, which only its own thread is in; nothing where there is no Landlock.
    fn within<T: Send>(sandbox: &Sandbox, act: impl FnOnce() -> T + Send) -> Option<T> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| match sandbox.restrict().expect("entered") {
                RulesetStatus::NotEnforced => None,
                _ => Some(act()),
            });
            inside.join().expect("it ended")
        })
    }

    /// A folder that is not beneath the one for temporary files.
    fn elsewhere() -> tempfile::TempDir {
        tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a folder")
    }

    fn denied<T>(done: std::io::Result<T>) -> bool {
        done.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
    }

    #[test]
    fn it_writes_in_its_own_folders_and_nowhere_else() {
        let (own, other) = (elsewhere(), elsewhere());
        let file = other.path().join("key");
        fs::write(&file, "secret").expect("written");
        let socket = other.path().join("socket");
        within(&sandbox(own.path()), || {
            fs::write(own.path().join("state"), "own").expect("its own");
            fs::rename(own.path().join("state"), own.path().join("moved")).expect("its own");
            assert!(denied(fs::write(&file, "changed")));
            assert!(denied(fs::remove_file(&file)));
            assert!(denied(fs::write(other.path().join("new"), "")));
            assert!(denied(UnixListener::bind(&socket)));
            assert_eq!(fs::read_to_string(&file).expect("it may read"), "secret");
        });
        within(&sandbox(own.path()).making_sockets(), || {
            UnixListener::bind(&socket).expect("anywhere");
            fs::remove_file(&socket).expect("and away again");
            assert!(denied(fs::write(&file, "changed")));
        });
        assert_eq!(fs::read_to_string(&file).expect("still there"), "secret");
    }

    #[test]
    fn it_starts_programs_only_if_it_has_to() {
        let own = elsewhere();
        let runs = || Command::new("true").status();
        within(&sandbox(own.path()), || assert!(denied(runs())));
        within(&Sandbox { runs_others: true, ..sandbox(own.path()) }, || {
            assert!(runs().expect("ran").success())
        });
    }

    #[test]
    fn it_listens_where_it_said_and_nowhere_else() {
        let own = elsewhere();
        let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
        within(&sandbox(own.path()).listening_on([free]), || {
            assert!(denied(TcpListener::bind("127.0.0.1:0")));
            TcpListener::bind(free).expect("that is where");
        });
        within(&sandbox(own.path()), || TcpListener::bind("127.0.0.1:0").expect("nothing was said"));
    }
}
