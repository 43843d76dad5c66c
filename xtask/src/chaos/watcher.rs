//! Asks both programs every half second how they are and whether a host key was refused, and looks at their sockets.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use super::history::{History, Program, Told};
use super::place::Place;
use super::sockets::Sockets;
use crate::Failure;

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a program may take to say how it is; a stopped one does not.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whom to look at.
#[derive(Clone)]
pub struct Watched {
    /// Which program it is.
    pub program: Program,
    /// Its process at any time.
    pub pid: Arc<AtomicU32>,
    /// Its own pages.
    pub admin: SocketAddr,
    /// Where else it may listen.
    pub listening: Vec<SocketAddr>,
    /// Where it may connect to.
    pub peers: Arc<HashSet<SocketAddr>>,
}

/// Looks until it is dropped.
pub struct Watcher(Arc<AtomicBool>);

impl Watcher {
    /// Starts looking.
    ///
    /// # Errors
    /// When the program's place cannot be entered.
    pub fn start(place: &Place, watched: Watched, history: &Arc<History>) -> Result<Self, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, history) = (Arc::clone(&stop), Arc::clone(history));
        place.within(move || {
            std::thread::spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    // It had a moment to answer: what it says was so when it was asked.
                    let at = history.now();
                    let up = watched.says();
                    history.told(Told { program: watched.program, at, up });
                    for what in watched.strays().into_iter().chain(watched.refused_keys()) {
                        history.violation(what);
                    }
                    std::thread::sleep(PAUSE);
                }
            });
            Ok(())
        })?;
        Ok(Self(stop))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Watched {
    /// Whether it says that the way is there, in its status and in its metrics.
    fn says(&self) -> Option<[bool; 2]> {
        let metrics = || Some(page(self.admin, "/metrics")?.1);
        match self.program {
            Program::Agent => {
                let (code, _) = page(self.admin, "/-/ready")?;
                let counts =
                    metrics()?.lines().any(|line| line == "onionscrape_agent_state{state=\"reachable\"} 1");
                Some([code == 200, counts])
            }
            Program::Bridge => {
                let (_, text) = page(self.admin, "/api/v1/targets?target=backpack&scrapes=false")?;
                let overview: serde_json::Value = serde_json::from_str(&text).ok()?;
                let up = overview.pointer("/targets/0/up")?.as_bool()?;
                let counts = metrics()?
                    .lines()
                    .any(|line| line == "onionscrape_target_connected{target=\"backpack\"} 1");
                Some([up, counts])
            }
        }
    }

    /// Targets whose host key was refused, though it never changes here.
    fn refused_keys(&self) -> Vec<String> {
        if self.program == Program::Agent {
            return Vec::new();
        }
        // A bridge that was just killed shows none.
        let Some((_, metrics)) = page(self.admin, "/metrics") else { return Vec::new() };
        let refused = metrics.lines().filter(|line| {
            let value = line.strip_prefix("onionscrape_target_host_key_mismatch{");
            value.is_some_and(|value| !value.ends_with(" 0"))
        });
        refused.map(|line| format!("scraper-bridge takes a host key for another's: {line}")).collect()
    }

    /// Sockets that it must not have.
    fn strays(&self) -> Vec<String> {
        // A process that was just killed has none.
        let Ok(sockets) = Sockets::of(self.pid.load(Ordering::Relaxed)) else { return Vec::new() };
        let name = match self.program {
            Program::Agent => "target-agent",
            Program::Bridge => "scraper-bridge",
        };
        let mut strays = Vec::new();
        let own: Vec<_> = self.listening.iter().chain([&self.admin]).collect();
        for address in sockets.listening.iter().filter(|address| !own.contains(address)) {
            strays.push(format!("{name} listens at {address}"));
        }
        for [local, remote] in sockets.connected {
            if !own.contains(&&local) && !self.peers.contains(&remote) {
                strays.push(format!("{name} is connected with {remote}"));
            }
        }
        if sockets.datagrams > 0 {
            strays.push(format!("{name} has UDP sockets"));
        }
        strays
    }
}

/// What a program in its place counts, if it answers in time.
pub fn metrics(place: &Place, admin: SocketAddr) -> Option<String> {
    place.within(|| Ok(page(admin, "/metrics"))).ok()?.map(|(_, text)| text)
}

/// A page of a program that answers in time.
fn page(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .proxy(None)
        .build();
    let mut response =
        ureq::Agent::new_with_config(config).get(format!("http://{address}{path}")).call().ok()?;
    let status = response.status().as_u16();
    Some((status, response.body_mut().read_to_string().ok()?))
}
