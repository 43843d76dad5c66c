//! The bridge without Tor beside `ssh -L`: what the program itself costs.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;

use tempfile::TempDir;
use tornet::process::Process;
use tornet::sshd::{self, Sshd};

use super::bridge::{Bridge, Login, target};
use super::crowd::{Crowd, Kind};
use super::exporter::{Change, Exporter};
use super::outcome::Outcome;
use super::page::{Page, table};
use super::payer::{Payer, costs, show};
use super::rivals::{Forwarding, forward, ssh_to};
use super::sample::Ratio;
use super::sizes::Sizes;
use super::way::Source;
use super::wire::Connection;
use crate::Failure;
use crate::build::Programs;
use crate::chain;
use crate::stage::Stage;

/// The ways, in the order of the tables.
pub const WAYS: [&str; 4] = [
    "straight to the exporter",
    "ssh -L → sshd",
    "scraper-bridge, ssh:// → sshd",
    "scraper-bridge, ssh:// → agent",
];
/// The way that ours are compared with.
pub const SSH: usize = 1;
/// The same `sshd`, through the bridge.
pub const OURS: usize = 2;
/// Our two programs.
pub const AGENT: usize = 3;

/// `sshd`, `ssh -L`, a bridge and an agent, all without Tor.
pub struct Plain {
    bridge: Bridge,
    forwarding: Forwarding,
    sshd: Sshd,
    crowd: Crowd,
    /// For each way where node_exporter and a tiny exporter are.
    pub offered: [[SocketAddr; 2]; 4],
    _node_exporter: Process,
    _folder: TempDir,
}

impl Plain {
    /// Starts all of it, and waits until a scrape goes by each way.
    ///
    /// # Errors
    /// When a part of it does not start.
    pub fn start(programs: &Programs, crowd: &Path) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("onionscrape-bench-plain-").tempdir()?;
        let path = folder.path();
        let (node, node_exporter) = chain::node_exporter(path)?;
        let tiny = Exporter::start(Source::Tiny.least(), Change::Told)?.address;
        let exporters = [("node", node), ("tiny", tiny)];
        let sshd = sshd::start(&[])?;
        let known_hosts = path.join("known_hosts");
        let port = sshd.addr.port();
        std::fs::write(&known_hosts, format!("[127.0.0.1]:{port} {}\n", sshd.host_key_public))?;
        let mut ssh = ssh_to(&sshd, &known_hosts);
        ssh.args(["-p", &port.to_string()]);
        let forwarding = forward(ssh, "127.0.0.1", &[node, tiny], &path.join("ssh.log"))?;
        let key = std::fs::read_to_string(sshd.user_key.with_extension("pub"))?;
        let kind = Kind { program: crowd, tor: None, key: key.trim(), exporters: &exporters };
        let crowd = Crowd::start(&kind, &path.join("crowd"), 1, 1)?;
        let (agent, agent_key) = crowd.devices.first().ok_or("there is no agent")?;
        let login = Login { user: &sshd.user, key_file: &sshd.user_key };
        let at_sshd = exporters.map(|(name, address)| (name, Some(address)));
        let by_name = exporters.map(|(name, _)| (name, None));
        let targets = target("sshd", &format!("ssh://{}", sshd.addr), &sshd.host_key_public, login, at_sshd)
            + &target("agent", &format!("ssh://{agent}"), agent_key, login, by_name);
        let bridge = Bridge::start(programs, &path.join("bridge"), "", &targets)?;
        let offers = bridge.offered()?;
        let find = |target: &str, exporter: &str| -> Result<SocketAddr, Failure> {
            let found = offers.get(&(target.to_owned(), exporter.to_owned()));
            Ok(*found.ok_or("the bridge does not offer the exporter")?)
        };
        let offered = [
            [node, tiny],
            forwarding.local.clone().try_into().map_err(|_| "ssh forwards something else")?,
            [find("sshd", "node")?, find("sshd", "tiny")?],
            [find("agent", "node")?, find("agent", "tiny")?],
        ];
        let plain =
            Self { bridge, forwarding, sshd, crowd, offered, _node_exporter: node_exporter, _folder: folder };
        plain.kept()?;
        Ok(plain)
    }

    /// A connection by each way, over which a scrape of node_exporter has gone.
    fn kept(&self) -> Result<Vec<Connection>, Failure> {
        (0..WAYS.len()).map(|way| self.up(way)).collect()
    }

    /// The same by one of them.
    fn up(&self, way: usize) -> Result<Connection, Failure> {
        super::go_on()?;
        let mut connection = self.connect(way)?;
        connection.scrape().map_err(|error| format!("{}: {error}", WAYS[way]))?;
        Ok(connection)
    }

    /// A new connection to node_exporter.
    fn connect(&self, way: usize) -> Result<Connection, Failure> {
        Ok(Connection::tcp(self.offered[way][0])?.at_least(Source::Node.least()))
    }
}

/// One scrape after the other, and what it costs.
///
/// # Errors
/// When a way cannot be had any more; a scrape that fails is counted.
pub fn measure(page: &mut Page, sizes: &Sizes, programs: &Programs, crowd: &Path) -> Result<(), Failure> {
    let plain = Plain::start(programs, crowd)?;
    let stage = Stage::begin(format!("without Tor: {} scrapes each", sizes.plain));
    let mut outcomes = [const { [const { Outcome::new() }; 4] }; 2];
    let mut kept = plain.kept()?;
    for round in 0..sizes.plain {
        if round % 10 == 0 {
            outcomes.iter_mut().flatten().for_each(Outcome::next_group);
            stage.say(format!("{round} of {}", sizes.plain));
        }
        super::go_on()?;
        for way in (0..WAYS.len()).map(|way| (way + round) % WAYS.len()) {
            if outcomes[0][way].time(|| kept[way].scrape()).is_none() {
                kept[way] = plain.up(way)?;
            }
            outcomes[1][way].time(|| plain.connect(way)?.scrape());
        }
    }
    stage.done();
    page.section(
        "Without Tor: a scrape of node_exporter",
        "`ssh://` in the bridge beside `ssh -L`, to the same `sshd`; and to an agent's SSH server, which listens by \
         TCP for this measurement only. Spreads are by runs of ten scrapes.",
    );
    for (title, outcomes) in ["kept-alive connection", "new connection"].into_iter().zip(&outcomes) {
        let mut table = table(&[title, "p50", "p99", "p50 / ssh -L", "p99 / ssh -L"]);
        for (name, outcome) in WAYS.iter().zip(outcomes) {
            page.scrapes(&format!("without Tor, {title}, {name}"), outcome);
            let own = &outcome.times;
            let mut cells = vec![(*name).to_owned()];
            cells.extend([50.0, 99.0].map(|p| format!("{:.2}", own.percentile(p))));
            cells.extend([50.0, 99.0].map(|p| Ratio::of(own, &outcomes[SSH].times, p).to_string()));
            table.add_row(cells);
        }
        page.table(&table);
    }
    let stage = Stage::begin(format!("without Tor: cost of {} scrapes each", sizes.blocks * sizes.block));
    let mut payers = payers(&plain, kept)?;
    let costs = costs(&mut payers, (sizes.blocks, sizes.block, sizes.apart), &stage)?;
    stage.done();
    page.line(
        "What it costs: processors, of scrapes one right after the other; the rest is of scrapes 15 s apart, each \
         until a little after the answer, processors on average. `in` and `out` are what TCP carried for the monitor from and to the \
         device: SSH's packets, which is what travels inside Tor's cells otherwise.",
    );
    show(page, &payers, &costs);
    if let [ssh, .., agent] = costs.as_slice() {
        let gzip = ssh.body as f64;
        let found = agent.received.percentile(50.0);
        page.goal(
            "what Tor's cells would carry of an answer of node_exporter, 15 s after the last: SSH's packets, \
             agent → bridge, counted without Tor",
            format!("≤ 1/7 of gzip's {gzip:.0} B"),
            format!("{found:.0} B"),
            found <= gzip / 7.0,
        );
    }
    Ok(())
}

fn payers(plain: &Plain, kept: Vec<Connection>) -> Result<Vec<Payer<'_>>, Failure> {
    let port = |address: &str| -> Result<u16, Failure> { Ok(address.parse::<SocketAddr>()?.port()) };
    let (ssh, bridge) = (plain.forwarding.ssh.pid(), plain.bridge.process.pid());
    let sshd = (plain.sshd.process().pid(), plain.sshd.addr.port());
    let agent = plain.crowd.devices.first().ok_or("there is no agent")?;
    let agent = (plain.crowd.pids().first().copied().ok_or("there is no agent")?, port(&agent.0)?);
    let programs = [
        (vec![("ssh", ssh), ("sshd", sshd.0)], (ssh, sshd.1)),
        (vec![("scraper-bridge", bridge), ("sshd", sshd.0)], (bridge, sshd.1)),
        (vec![("scraper-bridge", bridge), ("agent", agent.0)], (bridge, agent.1)),
    ];
    let ways = kept.into_iter().enumerate().skip(SSH).zip(programs);
    let payers = ways.map(|((way, connection), (programs, (pid, port)))| Payer {
        title: WAYS[way],
        connection,
        again: Box::new(move || plain.up(way)),
        programs,
        carrier: (pid, HashSet::from([port])),
    });
    Ok(payers.collect())
}
