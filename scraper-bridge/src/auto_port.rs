//! Ports for `listen = "auto"`: an exporter is given one once, and finds it again after every start.
//!
//! What was given stands in a file in the state directory. A port stays an exporter's as long as that
//! is configured, and longer while there are others: a scrape must not find one device where it
//! looks for another.

use std::collections::{BTreeMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use onionscrape::address::Name;
use onionscrape::files::{self, FileError};
use onionscrape::lifecycle::Failure;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::config::{BridgeConfig, Listen, TargetConfig};

/// The file in the state directory.
const FILE: &str = "auto_ports.toml";
/// What stands at its head.
const HEAD: &str = "# Written by scraper-bridge: the ports of exporters with listen = \"auto\".\n";
const REMEDY: &str = "restore it from a backup, or remove it to have all ports given out anew";

/// The ports that were given.
pub struct AutoPorts {
    file: PathBuf,
    range: RangeInclusive<u16>,
    /// Addresses of listeners that are not an exporter's, and what they are.
    ours: Vec<(SocketAddr, &'static str)>,
    /// By `TARGET/EXPORTER`; `None` until the file was read.
    given: Option<BTreeMap<String, u16>>,
}

/// Ports as they are to be given. Nothing is changed before [`AutoPorts::commit`]: what else is to be had
/// may still fail.
pub struct PortPlan(BTreeMap<String, u16>);

impl PortPlan {
    /// The address that an exporter is given, if it is.
    pub fn of(&self, target: &Name, exporter: &Name) -> Option<SocketAddr> {
        self.0.get(&key(target, exporter)).map(|port| local(*port))
    }
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Written {
    ports: BTreeMap<String, u16>,
}

impl AutoPorts {
    /// Those of a bridge with this configuration. Nothing is read before a port is wanted.
    pub fn new(config: &BridgeConfig) -> Self {
        let proxy = config.proxy.map(|address| (address, "proxy"));
        let reverse = config.reverse.and_then(|entrance| entrance.listen).map(|address| (address, "reverse"));
        Self {
            file: config.state_directory.join(FILE),
            range: config.listen.auto_ports.clone(),
            ours: [(config.admin, "admin")].into_iter().chain(proxy).chain(reverse).collect(),
            given: None,
        }
    }

    /// A port for every exporter of these targets that wants one, what it has if it has one. Ports in
    /// `held` are about to become free.
    ///
    /// # Errors
    /// When all ports of the range are given, one that was given is now somebody else's by
    /// configuration, or the file is damaged.
    pub fn plan(&mut self, targets: &[TargetConfig], held: &HashSet<u16>) -> Result<PortPlan, Failure> {
        let is_free = |port| TcpListener::bind(local(port)).is_ok();
        self.plan_by(targets, |port| held.contains(&port), is_free)
    }

    fn plan_by(
        &mut self,
        targets: &[TargetConfig],
        is_held: impl Fn(u16) -> bool,
        is_free: impl Fn(u16) -> bool,
    ) -> Result<PortPlan, Failure> {
        let wanted = wanted(targets);
        if wanted.is_empty() {
            return Ok(PortPlan(self.given.clone().unwrap_or_default()));
        }
        let written = match self.given.take() {
            Some(given) => given,
            None => self.read()?,
        };
        let planned = self.planned(&written, &wanted, &self.by_hand(targets), is_held, is_free);
        self.given = Some(written);
        planned.map(PortPlan)
    }

    /// Gives the ports as planned; on disk when this returns.
    ///
    /// # Errors
    /// When the file cannot be written; nothing is changed then.
    pub fn commit(&mut self, PortPlan(now): PortPlan) -> Result<(), Failure> {
        // Where nobody wanted a port nothing was read, and nothing is to be written.
        if let Some(given) = &self.given
            && *given != now
        {
            self.write(&now)?;
            self.given = Some(now);
        }
        Ok(())
    }

    /// What is to be given, from what was.
    fn planned(
        &self,
        written: &BTreeMap<String, u16>,
        wanted: &[String],
        by_hand: &[(u16, String)],
        is_held: impl Fn(u16) -> bool,
        is_free: impl Fn(u16) -> bool,
    ) -> Result<BTreeMap<String, u16>, Failure> {
        let mut now = written.clone();
        now.retain(|_, port| self.range.contains(port));
        for (key, port) in now.iter().filter(|(key, _)| wanted.contains(key)) {
            if let Some((_, who)) = by_hand.iter().find(|(taken, _)| taken == port) {
                return Err(Failure(format!(
                    "{who}: port {port} was given to {key}, which has listen = \"auto\"; choose another"
                )));
            }
        }
        let is_by_hand = |port: u16| by_hand.iter().any(|(taken, _)| *taken == port);
        for key in wanted {
            if now.contains_key(key) {
                continue;
            }
            let given: HashSet<u16> = now.values().copied().collect();
            let never_given =
                self.range.clone().find(|port| !given.contains(port) && !is_by_hand(*port) && is_free(*port));
            let of_nobody = || {
                now.iter()
                    .filter(|(key, port)| !wanted.contains(key) && !is_by_hand(**port))
                    .filter(|(_, port)| is_held(**port) || is_free(**port))
                    .min_by_key(|(_, port)| **port)
                    .map(|(key, port)| (key.clone(), *port))
            };
            let port = match never_given {
                Some(port) => port,
                None => match of_nobody() {
                    Some((gone, port)) => {
                        now.remove(&gone);
                        port
                    }
                    None => {
                        return Err(Failure(format!(
                            "{key}: no port of {}-{} is left for listen = \"auto\"; widen auto_ports in [listen]",
                            self.range.start(),
                            self.range.end()
                        )));
                    }
                },
            };
            if let Some(before) = written.get(key) {
                warn!(exporter = %key, before, port, "its port is not in auto_ports any more, so it has another");
            }
            now.insert(key.clone(), port);
        }
        Ok(now)
    }

    /// Ports that listeners on the same address were given by the configuration, and which.
    fn by_hand(&self, targets: &[TargetConfig]) -> Vec<(u16, String)> {
        let ours = self.ours.iter().map(|(address, what)| (*address, (*what).to_owned()));
        let exporters = targets.iter().flat_map(|target| {
            target.exporters.iter().filter_map(|exporter| match exporter.listen {
                Listen::Address(address) => Some((address, key(&target.name, &exporter.name))),
                _ => None,
            })
        });
        let is_local =
            |address: &SocketAddr| address.ip() == Ipv4Addr::LOCALHOST || address.ip().is_unspecified();
        ours.chain(exporters)
            .filter(|(address, _)| is_local(address))
            .map(|(address, who)| (address.port(), who))
            .collect()
    }

    fn read(&self) -> Result<BTreeMap<String, u16>, FileError> {
        let Some(text) = files::read_private(&self.file)? else { return Ok(BTreeMap::new()) };
        let damaged = |what: &str| FileError::new(&self.file, format!("is damaged: {what}; {REMEDY}"));
        let Written { ports } =
            toml::from_str(&text).map_err(|error| damaged(error.message().lines().next().unwrap_or("")))?;
        let mut seen = HashSet::new();
        for (key, port) in &ports {
            let names = key.split_once('/').map(|(target, exporter)| [target, exporter]);
            if !names.is_some_and(|names| names.iter().all(|name| name.parse::<Name>().is_ok())) {
                return Err(damaged(&format!("{key:?} is not TARGET/EXPORTER")));
            }
            if *port == 0 || !seen.insert(*port) {
                return Err(damaged(&format!("port {port} is given twice or no port")));
            }
        }
        Ok(ports)
    }

    fn write(&self, ports: &BTreeMap<String, u16>) -> Result<(), Failure> {
        let text = toml::to_string(&Written { ports: ports.clone() }).map_err(Failure::of)?;
        Ok(files::replace_private(&self.file, (HEAD.to_owned() + &text).as_bytes())?)
    }
}

/// The exporters that want a port, in the order of the configuration.
fn wanted(targets: &[TargetConfig]) -> Vec<String> {
    let of = |target: &TargetConfig| {
        let auto = target.exporters.iter().filter(|exporter| exporter.listen == Listen::Auto);
        auto.map(|exporter| key(&target.name, &exporter.name)).collect::<Vec<_>>()
    };
    targets.iter().flat_map(of).collect()
}

fn key(target: &Name, exporter: &Name) -> String {
    format!("{target}/{exporter}")
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests;
