use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::runtime::{Handle, Runtime};
use tokio::task::AbortHandle;

use crate::access::{self, Access};
use crate::line::Delay;
use crate::node::{Role, Running};
use crate::process::{self, Signal};
use crate::{Cut, Error, Node, Options, Progress, start};

/// A running network. Dropping it ends every process of it.
#[derive(Debug)]
pub struct Network {
    pub(crate) nodes: Vec<Running>,
    pub(crate) access: Access,
    pub(crate) delay: Delay,
    pub(crate) common: String,
    pub(crate) fragment: PathBuf,
    pub(crate) clients: usize,
    /// How many clients and services have been given a directory.
    pub(crate) peers: AtomicUsize,
    /// Carries the fronts. After the nodes, so that they go first.
    pub(crate) fronts: Fronts,
    /// Last, so that nobody writes to it any more.
    pub(crate) dir: Dir,
}

impl Network {
    /// Starts a network and waits until all of it works: every node is in the
    /// consensus of every authority with the flags it needs, and serves it.
    ///
    /// Takes 10 to 20 s on two cores. If a port was taken by somebody else
    /// meanwhile or a node missed the first vote, it is tried once more from the
    /// beginning. Every stage reached is told to `progress`.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] if tor is not installed, [`Error::Argument`] for options
    /// out of bounds, [`Error::Ended`] if a tor ended, [`Error::Late`] after a
    /// minute without the next stage, and what the system refuses.
    pub fn start(options: &Options, mut progress: impl FnMut(Progress)) -> Result<Self, Error> {
        options.check()?;
        for program in ["tor", "tor-gencert", "setpriv"] {
            process::find(program)?;
        }
        let begun = Instant::now();
        let mut tell = |stage: String| progress(Progress { elapsed: begun.elapsed(), stage });
        match start::network(options, &mut tell) {
            Err(error) if error.is_worth_a_retry() => {
                tell(format!("once more, because {error}"));
                start::network(options, &mut tell)
            }
            result => result,
        }
    }

    /// The file with arti's configuration for this network: TOML with the tables
    /// `tor_network`, `path_rules`, `address_filter` and `preemptive_circuits`.
    #[must_use]
    pub fn fragment(&self) -> &Path {
        &self.fragment
    }

    /// The directory that holds everything, with a `log` per node.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// All nodes, authorities first.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &Node> {
        self.nodes.iter().map(|running| &running.node)
    }

    /// The process id of a node's tor, unless it was killed.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchNode`].
    pub fn pid(&self, name: &str) -> Result<Option<u32>, Error> {
        self.node(name).map(Running::pid)
    }

    /// Kills a node (SIGKILL). Its connections are reset, and so are new ones.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchNode`].
    pub fn kill(&self, name: &str) -> Result<(), Error> {
        self.node(name).map(Running::kill)
    }

    /// Freezes a node (SIGSTOP): its connections stay and go silent.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchNode`]; [`Error::Argument`] if it was killed.
    pub fn stop(&self, name: &str) -> Result<(), Error> {
        self.node(name)?.signal(Signal::Stop)
    }

    /// Lets a stopped node go on.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchNode`]; [`Error::Argument`] if it was killed.
    pub fn resume(&self, name: &str) -> Result<(), Error> {
        self.node(name)?.signal(Signal::Continue)
    }

    /// Kills a node if it runs, starts it with the same keys and ports, and waits
    /// until it listens.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchNode`], [`Error::Ended`] if tor does not stay,
    /// [`Error::Late`] after 30 s.
    pub fn restart(&self, name: &str) -> Result<(), Error> {
        let node = self.node(name)?;
        node.kill();
        node.start()?;
        node.wait_until_up()
    }

    /// The source address that client `number`, from 1, has to connect from for
    /// [`cut`](Self::cut) to find it: 127.0.1.`number`. Relays connect from
    /// 127.0.0.1, and so does a client that does not choose.
    ///
    /// C tor's `OutboundBindAddress` does not count for connections to loopback;
    /// [`c_tor_client`](Self::c_tor_client) and [`hidden_service`](Self::hidden_service)
    /// go through a proxy that has the address.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] if the network was not started with so many clients.
    pub fn client_address(&self, number: usize) -> Result<IpAddr, Error> {
        let clients = self.clients;
        access::address(number).filter(|_| number <= clients).ok_or_else(|| {
            Error::Argument(format!("client {number} asked for; the network was started with {clients}"))
        })
    }

    /// Cuts a client off from every relay until it is [restored](Self::restore).
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a number that is not a client's.
    pub fn cut(&self, client: usize, cut: Cut) -> Result<(), Error> {
        self.access.cut(self.client_address(client)?, cut);
        Ok(())
    }

    /// Ends a client's cut. Harmless if there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a number that is not a client's.
    pub fn restore(&self, client: usize) -> Result<(), Error> {
        self.access.restore(self.client_address(client)?);
        Ok(())
    }

    /// Changes the one-way delay of all links, at most 10 s, for bytes sent from now on.
    pub fn set_delay(&self, delay: Duration) {
        self.delay.set(delay.min(Duration::from_secs(10)));
    }

    /// A fresh directory for a client or service.
    pub(crate) fn peer_dir(&self, kind: &str) -> PathBuf {
        let number = self.peers.fetch_add(1, Ordering::Relaxed) + 1;
        self.dir().join(format!("{kind}{number}"))
    }

    pub(crate) fn authorities(nodes: &[Running]) -> impl Iterator<Item = &Running> {
        nodes.iter().filter(|running| running.node.role == Role::Authority)
    }

    fn node(&self, name: &str) -> Result<&Running, Error> {
        self.nodes.iter().find(|running| running.node.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.nodes().map(|node| node.name.as_str()).collect();
            Error::NoSuchNode { name: name.to_owned(), known: known.join(", ") }
        })
    }
}

/// The directory of a network.
#[derive(Debug)]
pub(crate) enum Dir {
    /// Removed with the network.
    Temporary(TempDir),
    /// Stays.
    Named(PathBuf),
}

impl Dir {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Temporary(dir) => dir.path(),
            Self::Named(dir) => dir,
        }
    }
}

/// The runtime that carries the fronts. May be dropped anywhere.
#[derive(Debug)]
pub(crate) struct Fronts {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Fronts {
    pub(crate) fn new() -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("fronts")
            .enable_all()
            .build()
            .map_err(Error::system("start the fronts' threads"))?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    pub(crate) fn spawn(&self, work: impl Future<Output = io::Result<()>> + Send + 'static) -> AbortHandle {
        self.handle.spawn(work).abort_handle()
    }
}

impl Drop for Fronts {
    fn drop(&mut self) {
        // An ordinary drop would wait, which is not allowed in async code.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
