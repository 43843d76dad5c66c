//! What all tests share. Each part is there from the first test on that needs it.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;
use tornet::{Network, Options};

use crate::machine::Machine;
use crate::packages::Packages;
use crate::place::WORLD;
use crate::tree::{NEWER, Tree};

/// The network and the folder that machines share.
pub struct World {
    folder: TempDir,
    network: OnceLock<Network>,
    packages: OnceLock<Packages>,
    counter: AtomicUsize,
}

impl World {
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("onionscrape-deployed-").tempdir().unwrap();
        let (network, packages) = (OnceLock::new(), OnceLock::new());
        Self { folder, network, packages, counter: AtomicUsize::new(0) }
    }

    /// Runs a test to its end.
    pub fn run(&self, test: impl FnOnce(&Self)) {
        test(self);
    }

    /// A folder of a test's own.
    pub fn folder(&self) -> PathBuf {
        let path = self.folder.path().join(self.counter.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir(&path).unwrap();
        path
    }

    /// Both packages, made from the present source.
    pub fn packages(&self) -> &Packages {
        self.packages.get_or_init(|| Packages::make(&self.folder()))
    }

    /// A private Tor network that every machine reaches.
    pub fn network(&self) -> &Network {
        let options = || Options {
            address: WORLD,
            relays: 8,
            dir: Some(self.folder.path().join("tor")),
            ..Options::default()
        };
        self.network.get_or_init(|| Network::start(&options(), |_| {}).unwrap())
    }

    /// A machine with nothing but Debian's smallest system.
    pub fn machine(&self, name: &str) -> Machine {
        Machine::boot(name, &Tree::with(&[]))
    }

    /// The same of Debian's next release, whose systemd can do more.
    pub fn newer_machine(&self, name: &str) -> Machine {
        Machine::boot(name, &Tree::of(NEWER, &[]))
    }

    /// Has programs of a machine use the private network, by `[tor] include = "PATH"`.
    pub fn give_network(&self, machine: &Machine, path: &str) {
        machine.put(path, fs::read(self.network().fragment()).unwrap());
    }
}
