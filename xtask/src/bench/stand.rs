//! A bridge before more and more targets, and what it was seen to need.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use comfy_table::Table;

use super::bridge::{Bridge, Login, target};
use super::outcome::Outcome;
use super::page::{Page, table};
use super::{steady, usage};
use crate::Failure;
use crate::chain::get;
use crate::stage::Stage;

/// How often each target is scraped.
pub const INTERVAL: Duration = Duration::from_secs(15);
/// How long all targets may take to be connected.
const CONNECT_LIMIT: Duration = Duration::from_secs(900);
/// What is left out of the drift of descriptors: connections and channels come with the first scrapes.
pub const SETTLED: Duration = Duration::from_secs(45);

/// What a bridge with so many targets was seen to need.
pub struct Seen {
    /// How many.
    pub targets: usize,
    /// How long it took until all had a session.
    pub connected: Duration,
    /// Their scrapes.
    pub outcome: Outcome,
    /// Megabytes resident, at most.
    pub memory: f64,
    /// Processors that were busy, on average.
    pub cores: f64,
    /// Descriptors once it had settled, at the end, and at most.
    pub descriptors: [usize; 3],
}

/// Agents, a bridge, and a key that lets it in.
pub struct Stand<'a> {
    /// The bridge.
    pub bridge: Bridge,
    /// Where each agent is, and its host key's fingerprint.
    pub devices: &'a [(String, String)],
    /// What stands before where it is.
    pub scheme: &'static str,
    /// Whom the bridge logs in as.
    pub login: Login<'a>,
    /// Bytes that a body has at least.
    pub least: usize,
}

impl Stand<'_> {
    fn targets(&self, count: usize) -> String {
        let one = |(number, (address, key)): (usize, &(String, String))| {
            let address = format!("{}{address}", self.scheme);
            target(&format!("device{number:04}"), &address, key, self.login, [("app", None)])
        };
        self.devices.iter().take(count).enumerate().map(one).collect()
    }

    /// Scrapes so many of them for a while.
    ///
    /// # Errors
    /// When not all are connected in time, and when the bridge ends.
    pub fn watch(&self, count: usize, length: Duration, stage: &Stage) -> Result<Seen, Failure> {
        self.bridge.retarget(&self.targets(count))?;
        let began = Instant::now();
        loop {
            // A bridge that is busy dialling may be too slow to tell.
            let up = connected(self.bridge.admin).unwrap_or(0);
            self.is_there()?;
            stage.say(format!("{up} of {count} connected"));
            if up >= count {
                break;
            }
            if began.elapsed() > CONNECT_LIMIT {
                return Err(
                    format!("only {up} of {count} targets are connected after {CONNECT_LIMIT:?}").into()
                );
            }
            super::pause(Duration::from_millis(200))?;
        }
        let connected = began.elapsed();
        let addresses: Vec<_> = self.bridge.offered()?.into_values().collect();
        if addresses.len() != count {
            return Err(format!("{} of {count} targets are offered", addresses.len()).into());
        }
        let pid = self.bridge.process.pid();
        let (before, from) = (usage::cpu(&[pid]), Instant::now());
        let mut memory: f64 = 0.0;
        let mut descriptors = [0; 3];
        let outcome = steady::scrape(&addresses, self.least, (INTERVAL, length), |elapsed| {
            stage.say(format!(
                "{count} targets, {:.0} of {:.0} s",
                elapsed.as_secs_f64(),
                length.as_secs_f64()
            ));
            self.is_there()?;
            memory = memory.max(usage::memory(pid)?.resident);
            let open = usage::descriptors(pid)?;
            let [settled, last, most] = &mut descriptors;
            if elapsed < SETTLED || *settled == 0 {
                *settled = open;
            }
            (*last, *most) = (open, open.max(*most));
            Ok(())
        })?;
        let cores = usage::cpu(&[pid]).saturating_sub(before).as_secs_f64() / from.elapsed().as_secs_f64();
        Ok(Seen { targets: count, connected, outcome, memory, cores, descriptors })
    }

    /// Fails if the bridge has ended: what its log says last.
    fn is_there(&self) -> Result<(), Failure> {
        let bridge = &self.bridge.process;
        if bridge.is_running() {
            Ok(())
        } else {
            Err(format!("the bridge ended: {}", bridge.log_tail()).into())
        }
    }
}

/// Targets whose session is up, by the bridge's own metrics.
///
/// # Errors
/// When it does not say.
pub fn connected(admin: SocketAddr) -> Result<usize, Failure> {
    let metrics = get(&format!("http://{admin}/metrics"))?.1;
    let is_up = |line: &&str| line.starts_with("onionscrape_target_connected{") && line.ends_with(" 1");
    Ok(metrics.lines().filter(is_up).count())
}

/// Steps on the way to `most`: 1, 10, 100…, and itself.
fn steps(most: usize) -> BTreeSet<usize> {
    let powers = std::iter::successors(Some(1), |step| Some(step * 10));
    powers.take_while(|step| *step < most).chain([most]).collect()
}

/// Watches more and more of them for a short while, and as many as are wanted for so many minutes. What fails with
/// more than one is noted, and ends it: what was seen of fewer stands.
///
/// # Errors
/// What fails with a single one, and when all of it is to stop.
pub fn grow(
    page: &mut Page,
    (most, short, minutes): (usize, Duration, f64),
    what: &str,
    mut watch: impl FnMut(usize, Duration, &Stage) -> Result<Seen, Failure>,
) -> Result<Vec<Seen>, Failure> {
    let mut all = Vec::new();
    for count in steps(most) {
        // What follows takes longer, and may be stopped.
        if !all.is_empty() {
            println!("{}\n", rows(&all));
        }
        let length = if count == most { Duration::from_secs_f64(minutes * 60.0) } else { short };
        let stage = Stage::begin(format!("{what}: {count} targets for {:.0} s", length.as_secs_f64()));
        match watch(count, length, &stage) {
            Ok(seen) => all.push(seen),
            Err(error) => {
                super::go_on()?;
                if all.is_empty() {
                    return Err(error);
                }
                page.cut_short(format!("{what}, {count} targets: {error}"));
                break;
            }
        }
        stage.done();
    }
    Ok(all)
}

/// What was seen, as a table.
pub fn rows(seen: &[Seen]) -> Table {
    let mut table = table(&[
        "targets",
        "s until all are connected",
        "scrapes",
        "good",
        "p50",
        "p95",
        "p99 or max of fewer than 100",
        "MB resident",
        "kB for each further one",
        "cores",
        "descriptors",
        "errors",
    ]);
    for (at, one) in seen.iter().enumerate() {
        let further = at.checked_sub(1).and_then(|before| seen.get(before)).map(|before| {
            (one.memory - before.memory) * 1000.0 / one.targets.saturating_sub(before.targets) as f64
        });
        let times = &one.outcome.times;
        let scrapes = times.len() + one.outcome.bad.values().sum::<usize>();
        let mut cells = vec![one.targets.to_string(), format!("{:.1}", one.connected.as_secs_f64())];
        cells.extend([scrapes.to_string(), format!("{:.3} %", one.outcome.good() * 100.0)]);
        cells.extend([50.0, 95.0, times.tail().0].map(|p| format!("{:.1}", times.percentile(p))));
        cells.push(format!("{:.1}", one.memory));
        cells.push(further.map_or(String::new(), |further| format!("{further:.0}")));
        cells.push(format!("{:.3}", one.cores));
        cells.push(one.descriptors.map(|count| count.to_string()).join(", "));
        cells.push(one.outcome.complaints());
        table.add_row(cells);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_end_with_the_most() {
        assert_eq!(steps(1000).into_iter().collect::<Vec<_>>(), [1, 10, 100, 1000]);
        assert_eq!(steps(200).into_iter().collect::<Vec<_>>(), [1, 10, 100, 200]);
        assert_eq!(steps(1).into_iter().collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn what_was_seen_of_fewer_stands_when_more_fail() {
        let seen = |targets| Seen {
            targets,
            connected: Duration::ZERO,
            outcome: Outcome::new(),
            memory: 20.0,
            cores: 0.1,
            descriptors: [9; 3],
        };
        let up_to = |most: usize, page: &mut Page| {
            grow(page, (200, Duration::ZERO, 1.0), "onions", |count, _, _| {
                if count > most {
                    Err(format!("{most} of {count} are connected").into())
                } else {
                    Ok(seen(count))
                }
            })
        };
        let mut page = Page::default();
        let some = up_to(150, &mut page).expect("some");
        assert_eq!(some.iter().map(|one| one.targets).collect::<Vec<_>>(), [1, 10, 100]);
        assert!(page.is_cut_short);
        assert_eq!(page.failures, ["onions, 200 targets: 150 of 200 are connected"]);
        let mut page = Page::default();
        assert!(up_to(200, &mut page).is_ok_and(|all| all.len() == 4));
        assert!(!page.is_cut_short && page.failures.is_empty());
        assert!(up_to(0, &mut page).is_err(), "nothing was seen");
    }
}
