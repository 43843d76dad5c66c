//! Everything that is measured over Tor, running: the network, exporters, and all the ways to them.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tornet::Network;
use tornet::process::Process;

use super::bridge::{self, Bridge, Login, Offered, target};
use super::exporter::{Change, Exporter};
use super::rivals::{Forwarding, Rivals};
use super::way::{Source, Way};
use super::wire::Connection;
use crate::Failure;
use crate::build::Programs;
use crate::chain::{self, Chain};
use crate::stage::Stage;

/// All of it. Dropping it ends every process.
pub struct Ground {
    /// Our two programs, paired.
    pub chain: Chain,
    /// Our bridge, with the recipe's device for a target.
    pub migrating: Bridge,
    /// The others.
    pub rivals: Rivals,
    /// The network.
    pub network: Network,
    /// The programs' files.
    pub programs: Programs,
    /// node_exporter itself.
    pub node: SocketAddr,
    made: Vec<Exporter>,
    ours: Offered,
    migrated: Offered,
    words: AtomicUsize,
    _node_exporter: Process,
    _folder: TempDir,
}

impl Ground {
    /// Starts everything.
    ///
    /// # Errors
    /// When a part of it does not start.
    pub fn start(programs: Programs) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("onionscrape-bench-").tempdir()?;
        let path = folder.path();
        let stage = Stage::begin("private Tor network: 3 authorities, 6 relays");
        let network = Network::start(&tornet::Options::default(), |step| stage.say(step.to_string()))?;
        stage.done();
        let (node, node_exporter) = chain::node_exporter(path)?;
        let start = |source: &Source| Exporter::start(source.least(), Change::Told);
        let made = Source::ALL[1..].iter().map(start).collect::<Result<Vec<_>, _>>()?;
        let exporters: Vec<_> = std::iter::once(node).chain(made.iter().map(|made| made.address)).collect();
        let stage = Stage::begin("rivals: C tor, socat, ssh, sshd");
        let rivals = Rivals::start(&network, path, exporters.clone())?;
        stage.done();
        let named: Vec<_> =
            Source::ALL.iter().map(|source| source.name()).zip(exporters.iter().copied()).collect();
        let chain = Chain::start(&programs, path, Some(network.fragment()), &named)?;
        let stage = Stage::begin("scraper-bridge before the rivals' device");
        let tor = tor_section(&network);
        let migrating =
            Bridge::start(&programs, &path.join("migrating"), &tor, &recipe_target(&rivals, &exporters))?;
        stage.done();
        let (ours, migrated) = (bridge::offered(chain.bridge_admin)?, migrating.offered()?);
        Ok(Self {
            chain,
            migrating,
            rivals,
            network,
            programs,
            node,
            made,
            ours,
            migrated,
            words: AtomicUsize::new(0),
            _node_exporter: node_exporter,
            _folder: folder,
        })
    }

    /// The `[tor]` section for programs on the network.
    pub fn tor_section(&self) -> String {
        tor_section(&self.network)
    }

    /// A word that was not used before: streams through C tor with another one have other circuits.
    pub fn word(&self) -> String {
        format!("circuit{}", self.words.fetch_add(1, Ordering::Relaxed))
    }

    /// New circuits for every way; connections over them that are kept show whether they are up.
    ///
    /// # Errors
    /// When one of them does not come about.
    pub fn circuit(&self) -> Result<Circuit<'_>, Failure> {
        let word = self.word();
        let forwarding = self.rivals.forward(&word)?;
        self.redial(Way::Ours)?;
        self.redial(Way::OurBridge)?;
        Ok(Circuit { ground: self, forwarding, word })
    }

    /// Has one of our bridges dial anew.
    ///
    /// # Errors
    /// When it does not.
    pub fn redial(&self, way: Way) -> Result<(), Failure> {
        match way {
            Way::OurBridge => self.migrating.redial(TARGET),
            _ => bridge::redial(&self.chain.control, TARGET),
        }
    }

    /// Where one of our bridges offers an exporter.
    ///
    /// # Errors
    /// When it does not.
    pub fn offered(&self, way: Way, source: Source) -> Result<SocketAddr, Failure> {
        let offered = if way == Way::OurBridge { &self.migrated } else { &self.ours };
        let found = offered.get(&(TARGET.to_owned(), source.name().to_owned()));
        Ok(*found.ok_or("the bridge does not offer the exporter")?)
    }

    /// The ports at which relays take connections.
    pub fn relay_ports(&self) -> HashSet<u16> {
        self.network.nodes().map(|node| node.or_port.port()).collect()
    }

    /// Has an exporter's values change, 5 % of them; node_exporter's change by themselves.
    pub fn change(&self, source: Source) {
        if let Some(made) = (source as usize).checked_sub(1).and_then(|at| self.made.get(at)) {
            made.change();
        }
    }

    /// Sets the delay of each link, one way.
    pub fn delay(&self, ms: u64) {
        self.network.set_delay(Duration::from_millis(ms));
    }
}

/// Circuits of every way that are used for a while.
pub struct Circuit<'a> {
    ground: &'a Ground,
    /// The recipe's `ssh`.
    pub forwarding: Forwarding,
    word: String,
}

impl Circuit<'_> {
    /// A new connection, as Prometheus would make one.
    ///
    /// # Errors
    /// When it does not come about.
    pub fn connect(&self, way: Way, source: Source) -> Result<Connection, Failure> {
        let connection = match way {
            Way::Recipe => {
                Connection::tcp(*self.forwarding.local.get(source as usize).ok_or("no such exporter")?)?
            }
            Way::Socks => {
                let stream = self.ground.rivals.through_socks(&self.word, source as u16)?;
                stream.set_read_timeout(Some(Duration::from_secs(120)))?;
                Connection::new(stream, "exporter")
            }
            way => Connection::tcp(self.ground.offered(way, source)?)?,
        };
        Ok(connection.at_least(source.least()))
    }

    /// A connection over which a scrape has gone.
    ///
    /// # Errors
    /// When it does not come about.
    pub fn up(&self, way: Way, source: Source) -> Result<Connection, Failure> {
        super::go_on()?;
        let scraped = || -> Result<Connection, Failure> {
            let mut connection = self.connect(way, source)?;
            connection.scrape()?;
            Ok(connection)
        };
        scraped().map_err(|error| format!("{}: {error}", way.title()).into())
    }

    /// A connection by each way, in the order of [`Way::ALL`], over which a scrape has gone.
    ///
    /// # Errors
    /// When one of them does not come about.
    pub fn kept(&self, source: Source) -> Result<Vec<Connection>, Failure> {
        Way::ALL.into_iter().map(|way| self.up(way, source)).collect()
    }
}

/// What our bridges call the device.
const TARGET: &str = "backpack";

fn tor_section(network: &Network) -> String {
    format!("[tor]\ninclude = {:?}\n", network.fragment())
}

/// The recipe's device as a target of ours.
fn recipe_target(rivals: &Rivals, exporters: &[SocketAddr]) -> String {
    let onion = rivals.with_ssh.hostname();
    let named = Source::ALL.iter().map(|source| source.name()).zip(exporters.iter().copied().map(Some));
    let login = Login { user: &rivals.sshd.user, key_file: &rivals.sshd.user_key };
    target(TARGET, onion, &rivals.sshd.host_key_public, login, named)
}
