use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::access::Access;
use crate::front::{self, Link};
use crate::keys::{self, Identity};
use crate::line::Delay;
use crate::network::{Dir, Fronts};
use crate::node::{Role, Running};
use crate::ports::{self, Reserved};
use crate::process::Signal;
use crate::torrc::{self, SHARED_RANDOM_ROUNDS, VOTE_DELAY, VOTING_INTERVAL};
use crate::{Error, Network, Node, Options, directory, fragment, wait};

/// Marks a directory as one that a network may clear.
const MARK: &str = ".tornet";
/// The bound of each stage.
const LIMIT: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(50);
/// From the order to vote to the vote: for the authorities to read it.
const NOTICE: u64 = 2;
/// Seconds from the order to vote to the consensus, as the authorities are told.
const TO_THE_VOTE: u64 = NOTICE + 2 * VOTE_DELAY;

/// One attempt at starting a network.
///
/// The authorities start with their votes far away, and only when each of them
/// has every descriptor are they told to vote at once. So the first consensus is
/// complete, and nobody waits for the voting grid.
pub(crate) fn network(options: &Options, tell: &mut impl FnMut(String)) -> Result<Network, Error> {
    let dir = directory_for(options)?;
    let fronts = Fronts::new()?;
    let access = Access::new();
    let delay = Delay::new(options.delay);

    let plans = plans(options)?;
    let identities = identities(&plans, dir.path())?;
    tell(format!("keys of {} nodes made", plans.len()));

    let mut nodes = Vec::new();
    // Held until just before the node that listens there starts.
    let mut held = Vec::new();
    for (plan, identity) in plans.into_iter().zip(identities) {
        let node = Node {
            name: plan.name.clone(),
            role: plan.role,
            or_port: plan.public.addr(),
            dir_port: plan.dir_port.addr(),
            rsa_identity: identity.rsa.clone(),
            ed_identity: identity.ed25519.clone(),
        };
        let home = dir.path().join(&plan.name);
        nodes.push(Running::new(node, identity, plan.real.addr(), home));
        let link = Link { behind: plan.real.addr(), delay: delay.clone(), access: access.watch() };
        fronts.spawn(front::serve(plan.public.into_listener(), link));
        held.push([plan.real, plan.dir_port]);
    }
    let common = torrc::common(&Network::authorities(&nodes).collect::<Vec<_>>());
    let bandwidths = dir.path().join("bandwidths");
    write(&bandwidths, &bandwidths_text(&nodes))?;
    let wait = until_votes_can_be_far(unix_now());
    if wait > 0 {
        tell(format!("waiting {wait} s for the next shared random value"));
        thread::sleep(Duration::from_secs(wait));
    }
    let far = far_votes(unix_now());
    for node in &nodes {
        write(&node.torrc(), &torrc::node(node, &common, &bandwidths, far))?;
    }

    // Relays send their descriptors once, when they start: the authorities must listen.
    let mut held = held.into_iter();
    let authorities: Vec<&Running> = Network::authorities(&nodes).collect();
    for (node, ports) in authorities.iter().zip(&mut held) {
        ports.into_iter().for_each(Reserved::release);
        node.start()?;
    }
    for node in &authorities {
        node.wait_until_up()?;
    }
    tell(format!("{} authorities up", authorities.len()));
    for (node, ports) in nodes[authorities.len()..].iter().zip(held) {
        ports.into_iter().for_each(Reserved::release);
        node.start()?;
    }
    for node in &nodes {
        node.wait_until_up()?;
    }
    tell(format!("{} relays up", nodes.len() - authorities.len()));

    wait_for_descriptors(&nodes)?;
    tell(format!("{} descriptors at every authority", nodes.len()));
    vote(&authorities, &common, &bandwidths)?;
    wait_for_consensus(&nodes, &authorities)?;
    tell(format!("consensus: {0} of {0} nodes", nodes.len()));
    wait_for_caches(&nodes)?;

    let path = dir.path().join("arti.toml");
    write(&path, &fragment::text(&nodes))?;
    tell("ready".to_owned());
    Ok(Network {
        nodes,
        access,
        delay,
        common,
        fragment: path,
        clients: options.clients,
        peers: AtomicUsize::new(0),
        fronts,
        dir,
    })
}

/// A node before it has keys.
struct Plan {
    name: String,
    role: Role,
    public: Reserved,
    real: Reserved,
    dir_port: Reserved,
}

fn plans(options: &Options) -> Result<Vec<Plan>, Error> {
    let authorities = (1..=options.authorities).map(|n| (format!("auth{n}"), Role::Authority));
    let relays = (1..=options.relays).map(|n| (format!("relay{n}"), Role::Relay));
    authorities
        .chain(relays)
        .map(|(name, role)| {
            let reserve = || ports::reserve_at(options.address.into());
            let (public, real, dir_port) = (reserve()?, reserve()?, reserve()?);
            Ok(Plan { name, role, public, real, dir_port })
        })
        .collect()
}

/// Makes all keys, all at once.
fn identities(plans: &[Plan], dir: &Path) -> Result<Vec<Identity>, Error> {
    thread::scope(|scope| {
        let makers: Vec<_> = plans
            .iter()
            .map(|plan| {
                let data = dir.join(&plan.name).join("data");
                let authority = (plan.role == Role::Authority).then(|| plan.dir_port.addr());
                scope.spawn(move || keys::make(&data, &plan.name, authority))
            })
            .collect();
        let crashed = || Error::Argument("making keys crashed".to_owned());
        makers.into_iter().map(|maker| maker.join().unwrap_or_else(|_| Err(crashed()))).collect()
    })
}

/// Without measured bandwidths C tor takes one relay for first and last hop.
fn bandwidths_text(nodes: &[Running]) -> String {
    let lines = nodes.iter().map(|running| {
        format!("node_id=${} bw=1000 nick={}\n", running.node.rsa_identity, running.node.name)
    });
    format!("{}\n{}", unix_now(), lines.collect::<String>())
}

fn wait_for_descriptors(nodes: &[Running]) -> Result<(), Error> {
    let names: Vec<&str> = nodes.iter().map(|running| running.node.name.as_str()).collect();
    wait::until("the upload of descriptors", LIMIT, POLL, |missing| {
        for authority in Network::authorities(nodes) {
            let absent = directory::without_descriptor(authority.node.dir_port, &names);
            if !absent.is_empty() {
                nodes.iter().try_for_each(Running::check)?;
                *missing = format!("{} has none of {}", authority.node.name, absent.join(", "));
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
}

/// Where in the voting grid votes fall until every descriptor is there.
///
/// Not in the next run of the protocol for shared random values (srv-spec), which has 24 rounds: authorities that
/// expect its first vote next make its value at once, whoever goes by the first consensus takes it for the run
/// before, and whoever goes by the second does not. Their hash rings differ, so that services are not found.
fn far_votes(now: u64) -> u64 {
    if is_last_round(now) { VOTING_INTERVAL - 1 } else { (now + VOTING_INTERVAL / 2) % VOTING_INTERVAL }
}

/// Seconds until there is time enough before those.
fn until_votes_can_be_far(now: u64) -> u64 {
    let left = VOTING_INTERVAL - now % VOTING_INTERVAL;
    if is_last_round(now) && left <= LIMIT.as_secs() + TO_THE_VOTE { left } else { 0 }
}

fn is_last_round(now: u64) -> bool {
    now / VOTING_INTERVAL % SHARED_RANDOM_ROUNDS == SHARED_RANDOM_ROUNDS - 1
}

/// Moves the voting grid so that votes are due as soon as they can be.
fn vote(authorities: &[&Running], common: &str, bandwidths: &Path) -> Result<(), Error> {
    let offset = (unix_now() + TO_THE_VOTE) % VOTING_INTERVAL;
    for node in authorities {
        write(&node.torrc(), &torrc::node(node, common, bandwidths, offset))?;
    }
    authorities.iter().try_for_each(|node| node.signal(Signal::Hangup))
}

fn wait_for_consensus(nodes: &[Running], authorities: &[&Running]) -> Result<(), Error> {
    let wanted: Vec<(&str, Role)> =
        nodes.iter().map(|running| (running.node.name.as_str(), running.node.role)).collect();
    wait::until("the first consensus", LIMIT, POLL, |missing| {
        for authority in authorities {
            let Some(consensus) = directory::consensus(authority.node.dir_port, &wanted) else {
                nodes.iter().try_for_each(Running::check)?;
                *missing = format!("{} has none", authority.node.name);
                return Ok(None);
            };
            if !consensus.missing.is_empty() {
                return Err(Error::Consensus(format!(
                    "{} of {} nodes at {}: {}",
                    consensus.complete,
                    wanted.len(),
                    authority.node.name,
                    consensus.missing.join(", ")
                )));
            }
        }
        Ok(Some(()))
    })
}

/// Waits until every node serves the consensus and its microdescriptors, since clients ask any of them.
fn wait_for_caches(nodes: &[Running]) -> Result<(), Error> {
    // By now they ask rarely. This makes them forget how often they asked in vain.
    nodes.iter().try_for_each(|running| running.signal(Signal::Hangup))?;
    wait::until("the spread of the consensus", LIMIT, POLL, |missing| {
        for running in nodes {
            if !directory::is_cached(running.node.dir_port) {
                running.check()?;
                *missing = format!("{} lacks some of it", running.node.name);
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
}

fn directory_for(options: &Options) -> Result<Dir, Error> {
    let Some(path) = &options.dir else {
        let dir = tempfile::Builder::new().prefix("tornet-").tempdir();
        return dir.map(Dir::Temporary).map_err(Error::system("make a temporary directory"));
    };
    fs::create_dir_all(path).map_err(Error::file("make", path))?;
    // tor runs elsewhere than we do.
    let path = path.canonicalize().map_err(Error::file("find", path))?;
    let mark = path.join(MARK);
    let entries: Vec<_> = fs::read_dir(&path)
        .and_then(Iterator::collect::<std::io::Result<_>>)
        .map_err(Error::file("read", &path))?;
    if !entries.is_empty() && !mark.exists() {
        let text = format!("{} holds other things: name an empty directory", path.display());
        return Err(Error::Argument(text));
    }
    for entry in entries.iter().filter(|entry| entry.path() != mark) {
        let path = entry.path();
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(Error::file("remove", &path))?;
    }
    write(&mark, "A private Tor network; the next one started here replaces it.\n")?;
    Ok(Dir::Named(path))
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(Error::file("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn votes_are_far_and_of_no_other_run() {
        let run = |time| time / VOTING_INTERVAL / SHARED_RANDOM_ROUNDS;
        for second in (0..VOTING_INTERVAL * (SHARED_RANDOM_ROUNDS + 1)).step_by(7) {
            let now = second + until_votes_can_be_far(second);
            let away = (far_votes(now) + VOTING_INTERVAL - now % VOTING_INTERVAL) % VOTING_INTERVAL;
            assert!(away >= LIMIT.as_secs(), "{away} s after {now}");
            assert_eq!(run(now + away), run(now), "after {now}");
            let ordered_last = now + LIMIT.as_secs() + TO_THE_VOTE;
            assert_eq!(run(ordered_last), run(now), "after {now}");
        }
    }
}
