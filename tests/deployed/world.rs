//! What all tests share. Each part is there from the first test on that needs it.

use std::fs;
use std::sync::OnceLock;

use tempfile::TempDir;
use tornet::{Network, Options};

use crate::machine::Machine;
use crate::place::WORLD;
use crate::tree::Tree;

/// The network and the folder that machines share.
pub struct World {
    folder: TempDir,
    network: OnceLock<Network>,
}

impl World {
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("onionscrape-deployed-").tempdir().unwrap();
        Self { folder, network: OnceLock::new() }
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

    /// Has programs of a machine use the private network, by `[tor] include = "PATH"`.
    pub fn give_network(&self, machine: &Machine, path: &str) {
        machine.put(path, fs::read(self.network().fragment()).unwrap());
    }
}
