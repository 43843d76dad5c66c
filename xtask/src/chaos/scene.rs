//! Everything that runs: the network, a device and a monitor at the ends of their cables, another device
//! to which nothing happens, and the original recipe for the first one.

use std::collections::HashSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tornet::{Network, Options, Role};

use super::cable::{self, WORLD};
use super::exporter::Exporter;
use super::held::Held;
use super::history::{History, Probe, Program, Way};
use super::place::{self, Place};
use super::prober::{self, Prober};
use super::recipe::Recipe;
use super::supervised::Supervised;
use super::watcher::{Watched, Watcher, metrics};
use crate::Failure;
use crate::build::Programs;
use crate::chain::{self, free_address};
use crate::stage::Stage;

/// Relays besides the authorities: so many that those of one purpose are not most of those of every other.
const RELAYS: usize = 24;
/// How long anything may take to come about at the beginning.
const PATIENCE: Duration = Duration::from_secs(240);
/// Good scrapes for so long are well enough to begin with.
const CALM: Duration = Duration::from_secs(5);

/// Who is on the scene besides the device that everything happens to.
#[derive(Clone, Copy, Debug)]
pub struct Cast {
    /// Whether the original recipe is there, too.
    pub recipe: bool,
    /// Devices to which nothing happens.
    pub beside: usize,
    /// Pause between two scrapes of each of those.
    pub beside_pause: Duration,
}

/// All of it; dropping it ends it.
pub struct Scene {
    /// What is seen.
    pub history: Arc<History>,
    /// Until when it was searched for what must never be.
    pub judged_until: Duration,
    /// How long scrapes of the other devices took while nothing happened; empty before that is asked for.
    pub calm: Vec<Duration>,
    _watchers: Vec<Watcher>,
    _probers: Vec<Prober>,
    /// The agent on the device that everything happens to, which is called `backpack`.
    pub agent: Supervised,
    /// Its state directory.
    pub agent_state: PathBuf,
    /// Its own pages.
    agent_admin: SocketAddr,
    /// The agents on devices to which nothing happens.
    pub shelves: Vec<Supervised>,
    /// The monitor's.
    pub bridge: Supervised,
    /// The bridge's own pages.
    bridge_admin: SocketAddr,
    /// Those of the agents on the other devices.
    shelf_admins: Vec<SocketAddr>,
    /// The original recipe, if it is to be compared with.
    pub recipe: Option<Recipe>,
    /// The exporter of `backpack`.
    pub exporter: Exporter,
    /// Where `backpack` is.
    pub device: Place,
    /// Where the bridge is.
    pub monitor: Place,
    /// What the device is known by.
    pub identity: String,
    /// The relays.
    pub network: Network,
    /// Logs, configurations and state.
    pub folder: PathBuf,
}

/// A device as it was set up.
struct Device {
    name: String,
    agent: Supervised,
    exporter: Exporter,
    identity: String,
    admin: SocketAddr,
    state: PathBuf,
    /// Where the bridge offers it, as a target without a session that stands by and as one with it.
    ports: [SocketAddr; 2],
}

/// What devices and the monitor are set up with.
struct Setting<'a> {
    programs: &'a Programs,
    folder: &'a Path,
    monitor: &'a Place,
    /// The `[tor]` section.
    tor: String,
    /// The bridge's key.
    key: String,
    epoch: Instant,
}

impl Scene {
    /// Starts everything and waits until every way has had a good scrape.
    ///
    /// # Errors
    /// When a part of it does not come about.
    pub fn start(programs: &Programs, folder: &Path, cast: Cast) -> Result<Self, Failure> {
        let history = Arc::new(History::new());
        let network = network(folder)?;
        let [device, monitor] =
            [("device", 1), ("monitor", 2)].map(|(name, number)| place(name, number, folder));
        let (device, monitor) = (device?, monitor?);
        let tor = format!("[tor]\ninclude = {:?}\n\n", network.fragment().display());
        let state = format!("state_dir = {:?}\n\n{tor}", folder.join("bridge-state"));
        let file = folder.join("bridge.toml");
        fs::write(&file, &state)?;
        let key = chain::output(&programs.bridge, &["key"], &file, "")?;
        let setting = Setting { programs, folder, monitor: &monitor, tor, key, epoch: history.epoch() };
        let backpack = setting.device("backpack", &device)?;
        let shelves = (1..=cast.beside).map(|number| setting.device(&format!("shelf{number}"), &Place::Here));
        let shelves = shelves.collect::<Result<Vec<_>, _>>()?;

        let admin = monitor.within(free_address)?;
        let targets = [&backpack]
            .into_iter()
            .chain(&shelves)
            .map(|device| device.target(false))
            .chain([backpack.target(true)]);
        let targets = targets.collect::<Result<String, _>>()?;
        fs::write(&file, format!("{state}[admin]\nlisten = \"{admin}\"\n\n{targets}"))?;
        let bridge = Supervised::start(programs.bridge.clone(), file, folder.join("bridge.log"), &monitor)?;
        let recipe = match cast.recipe {
            true => Some(Recipe::start(&network, [&device, &monitor], backpack.exporter.address, folder)?),
            false => None,
        };

        let relays: Arc<HashSet<_>> = Arc::new(network.nodes().map(|node| node.or_port).collect());
        let of_agent = relays.iter().copied().chain([backpack.exporter.address]).collect();
        let agent_watched = Watched {
            program: Program::Agent,
            pid: backpack.agent.pids(),
            admin: backpack.admin,
            listening: Vec::new(),
            peers: Arc::new(of_agent),
        };
        let bridge_watched = Watched {
            program: Program::Bridge,
            pid: bridge.pids(),
            admin,
            listening: shelves.iter().map(|shelf| shelf.ports[0]).chain(backpack.ports).collect(),
            peers: relays,
        };
        let watchers = vec![
            Watcher::start(&device, agent_watched, &history)?,
            Watcher::start(&monitor, bridge_watched, &history)?,
        ];
        let ask = |way, target: &str, address, pause| {
            Prober::start(&monitor, way, target, address, pause, &history)
        };
        let mut probers = vec![
            ask(Way::Ours, "backpack", backpack.ports[0], prober::PAUSE)?,
            ask(Way::Standby, "backpack", backpack.ports[1], prober::PAUSE)?,
        ];
        for shelf in &shelves {
            probers.push(ask(Way::Beside, &shelf.name, shelf.ports[0], cast.beside_pause)?);
        }
        if let Some(recipe) = &recipe {
            probers.push(ask(Way::Recipe, "backpack", recipe.listen, prober::PAUSE)?);
        }
        let scene = Self {
            history,
            judged_until: Duration::ZERO,
            calm: Vec::new(),
            _watchers: watchers,
            _probers: probers,
            agent: backpack.agent,
            agent_admin: backpack.admin,
            agent_state: backpack.state,
            shelf_admins: shelves.iter().map(|shelf| shelf.admin).collect(),
            shelves: shelves.into_iter().map(|shelf| shelf.agent).collect(),
            bridge,
            bridge_admin: admin,
            recipe,
            exporter: backpack.exporter,
            device,
            monitor,
            identity: backpack.identity,
            network,
            folder: folder.to_owned(),
        };
        let stage = Stage::begin("first scrapes on every way");
        scene.wait_until_well(&scene.ways(), CALM.max(cast.beside_pause * 2), PATIENCE)?;
        stage.done();
        Ok(scene)
    }

    /// The ways that are asked.
    pub fn ways(&self) -> Vec<Way> {
        let mut ways = vec![Way::Ours, Way::Standby];
        ways.extend((!self.shelves.is_empty()).then_some(Way::Beside));
        ways.extend(self.recipe.as_ref().map(|_| Way::Recipe));
        ways
    }

    /// Those of them that our programs are.
    pub fn our_ways(&self) -> Vec<Way> {
        self.ways().into_iter().filter(|way| *way != Way::Recipe).collect()
    }

    /// Those of these ways that have not had good scrapes alone for `calm`.
    pub fn unwell(&self, ways: &[Way], calm: Duration) -> Vec<Way> {
        let since = self.history.now().saturating_sub(calm);
        let is_unwell = |way: &Way| {
            let probes = self.history.probes(*way, since);
            probes.is_empty() || !probes.iter().all(Probe::is_good)
        };
        ways.iter().copied().filter(is_unwell).collect()
    }

    /// Waits until each of these ways has had good scrapes alone for `calm`.
    ///
    /// # Errors
    /// After `limit`: which has not.
    pub fn wait_until_well(&self, ways: &[Way], calm: Duration, limit: Duration) -> Result<(), Failure> {
        let started = Instant::now();
        std::thread::sleep(calm);
        loop {
            let unwell = self.unwell(ways, calm);
            if unwell.is_empty() {
                return Ok(());
            }
            if started.elapsed() > limit {
                return Err(format!("{unwell:?} are not well after {limit:?}").into());
            }
            std::thread::sleep(prober::PAUSE);
        }
    }

    /// What the device is known by now.
    ///
    /// # Errors
    /// When the agent's program cannot say.
    pub fn identity_now(&self) -> Result<String, Failure> {
        Ok(self.agent.ask(&["hostname", "--json"])?.trim().to_owned())
    }

    /// What the agent counts on the device that everything happens to; `None` if it does not say.
    pub fn agent_metrics(&self) -> Option<String> {
        metrics(&self.device, self.agent_admin)
    }

    /// How often the bridge has dialled the device that everything happens to, as the target without a
    /// session that stands by and as the one with it; `None` if it does not say.
    pub fn dials(&self) -> Option<[u64; 2]> {
        let text = metrics(&self.monitor, self.bridge_admin)?;
        let count = |target| {
            let name = format!("onionscrape_target_connects_total{{target=\"{target}\"}} ");
            text.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok())
        };
        Some([count("backpack")?, count("backpack-standby")?])
    }

    /// What the bridge holds, the agent that everything happens to, and the first of the others.
    ///
    /// # Errors
    /// When one of them is gone or does not answer.
    pub fn held(&self) -> Result<[Held; 3], Failure> {
        let (shelf, admin) = self.shelves.first().zip(self.shelf_admins.first()).ok_or("no other device")?;
        Ok([
            Held::by(self.bridge.pid(), &self.monitor, self.bridge_admin)?,
            Held::by(self.agent.pid(), &self.device, self.agent_admin)?,
            Held::by(shelf.pid(), &Place::Here, *admin)?,
        ])
    }

    /// Names of relays, without authorities: those are on no path.
    pub fn relays(&self) -> Vec<String> {
        let relays = self.network.nodes().filter(|node| node.role == Role::Relay);
        relays.map(|node| node.name.clone()).collect()
    }
}

impl Setting<'_> {
    /// A device with an exporter and an agent, which has been started.
    fn device(&self, name: &str, place: &Place) -> Result<Device, Failure> {
        let exporter = Exporter::start(name, place, self.epoch)?;
        let state = self.folder.join(format!("{name}-state"));
        let file = self.folder.join(format!("{name}.toml"));
        let admin = place.within(free_address)?;
        let text = format!(
            "state_dir = {state:?}\n\n{}[admin]\nlisten = \"{admin}\"\n\n[ssh]\nkeys = [{:?}]\n\n\
             [[exporter]]\nname = \"chaos\"\naddress = \"{}\"\n",
            self.tor, self.key, exporter.address,
        );
        fs::write(&file, text)?;
        let agent = &self.programs.agent;
        let identity = chain::output(agent, &["hostname", "--json"], &file, "")?;
        let log = self.folder.join(format!("{name}.log"));
        let agent = Supervised::start(agent.clone(), file, log, place)?;
        let port = || self.monitor.within(free_address);
        let ports = [port()?, port()?];
        Ok(Device { name: name.to_owned(), agent, exporter, identity, admin, state, ports })
    }
}

impl Device {
    /// What the bridge is told of it, with a session that stands by or without.
    fn target(&self, standby: bool) -> Result<String, Failure> {
        let identity: serde_json::Value = serde_json::from_str(&self.identity)?;
        let (more, port) = match standby {
            true => ("-standby", self.ports[1]),
            false => ("", self.ports[0]),
        };
        Ok(format!(
            "[[target]]\nname = \"{}{more}\"\naddress = {}\nhost_key = {}\nstandby = {standby}\n\n\
             [[target.exporter]]\nname = \"chaos\"\nlisten = \"{port}\"\n\n",
            self.name, identity["hostname"], identity["host_key_fingerprint"],
        ))
    }
}

/// Starts a network that can be reached from every place.
fn network(folder: &Path) -> Result<Network, Failure> {
    let mut options = Options { relays: RELAYS, dir: Some(folder.join("tor")), ..Options::default() };
    if place::is_inside() {
        cable::make_world()?;
        options.address = WORLD;
    }
    let stage = Stage::begin("private Tor network");
    let network = Network::start(&options, |step| stage.say(step.to_string()))?;
    stage.done();
    Ok(network)
}

fn place(name: &str, number: u8, folder: &Path) -> Result<Place, Failure> {
    match place::is_inside() {
        true => Place::apart(name, number, &folder.join(format!("{name}.holder.log"))),
        false => Ok(Place::Here),
    }
}
