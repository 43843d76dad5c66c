//! The built-in exporter: what the kernel tells of the device, under node_exporter's names.
//!
//! In reading order:
//! - `slot`: work that may hang, off the runtime's thread, and never twice at once;
//! - `system`: the kernel's files, read with bounds;
//! - `page`: metrics in the classic text format;
//! - the others: a collector each, or a few that belong together.

mod block;
mod filesystem;
mod kernel;
mod network;
mod page;
mod power_supply;
mod processor;
mod slot;
mod system;
mod temperature;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;
use tracing::debug;

use page::Page;
use slot::Slot;
use system::System;

/// How long one collector may take at most before the page goes without it.
const COLLECTOR_LIMIT: Duration = Duration::from_secs(2);

/// Why a collector has no numbers, or not all.
type Trouble = Box<dyn std::error::Error + Send + Sync>;

/// One part of the page, by node_exporter's name for it.
///
/// They run in this order: what reads memory of the kernel goes before what asks hardware or file
/// systems, so that what is late delays no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Collector {
    /// System load averages.
    Loadavg,
    /// Everything in `/proc/meminfo`.
    Meminfo,
    /// Time of each processor in each mode.
    Cpu,
    /// Boot time, context switches, forks, processes.
    Stat,
    /// The clock.
    Time,
    /// Name and version of the kernel.
    Uname,
    /// Name and version of the distribution.
    Os,
    /// Bytes, packets and errors of each network interface.
    Netdev,
    /// Reads and writes of each block device.
    Diskstats,
    /// Temperatures of each thermal zone.
    #[serde(rename = "thermal_zone")]
    ThermalZone,
    /// Temperatures of each hardware monitor.
    Hwmon,
    /// Batteries and mains.
    Powersupplyclass,
    /// Space on each local file system.
    Filesystem,
}

impl Collector {
    /// Every one.
    pub const ALL: [Self; 13] = [
        Self::Loadavg,
        Self::Meminfo,
        Self::Cpu,
        Self::Stat,
        Self::Time,
        Self::Uname,
        Self::Os,
        Self::Netdev,
        Self::Diskstats,
        Self::ThermalZone,
        Self::Hwmon,
        Self::Powersupplyclass,
        Self::Filesystem,
    ];

    /// Its value of the label `collector`, and its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loadavg => "loadavg",
            Self::Meminfo => "meminfo",
            Self::Cpu => "cpu",
            Self::Stat => "stat",
            Self::Time => "time",
            Self::Uname => "uname",
            Self::Os => "os",
            Self::Netdev => "netdev",
            Self::Diskstats => "diskstats",
            Self::ThermalZone => "thermal_zone",
            Self::Hwmon => "hwmon",
            Self::Powersupplyclass => "powersupplyclass",
            Self::Filesystem => "filesystem",
        }
    }

    fn collect(self, system: &System, page: &mut Page) -> Result<(), Trouble> {
        match self {
            Self::Loadavg => kernel::load(system, page),
            Self::Meminfo => kernel::memory(system, page),
            Self::Cpu => processor::times(system, page),
            Self::Stat => kernel::since_boot(system, page),
            Self::Time => kernel::clock(page),
            Self::Uname => kernel::name(page),
            Self::Os => kernel::distribution(system, page),
            Self::Netdev => network::interfaces(system, page),
            Self::Diskstats => block::devices(system, page),
            Self::ThermalZone => temperature::zones(system, page),
            Self::Hwmon => temperature::monitors(system, page),
            Self::Powersupplyclass => power_supply::all(system, page),
            Self::Filesystem => filesystem::mounted(system, page),
        }
    }
}

/// The built-in exporter; clones are the same one.
#[derive(Clone, Debug)]
pub struct Host(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    system: Arc<System>,
    collectors: Vec<(Collector, Slot)>,
}

/// What became of one collector.
struct Outcome {
    collector: Collector,
    complete: bool,
    took: Duration,
}

impl Host {
    /// The exporter of this machine, with these collectors.
    pub fn new(collectors: &BTreeSet<Collector>) -> Self {
        Self::under("/".into(), collectors)
    }

    /// The exporter of a machine whose `proc`, `sys` and `etc` are in the folder `root`.
    pub fn under(root: PathBuf, collectors: &BTreeSet<Collector>) -> Self {
        let collectors = collectors.iter().map(|collector| (*collector, Slot::default())).collect();
        Self(Arc::new(Inner { system: Arc::new(System::new(root)), collectors }))
    }

    /// All metrics in the classic text format 0.0.4, within half the time that is left until
    /// `deadline`; needs a tokio runtime.
    ///
    /// A collector that fails, or is late, is told of on the page; the others are not affected. One
    /// that hangs is left alone until it is done.
    pub async fn page(&self, deadline: Instant) -> String {
        let began = Instant::now();
        let until = began + deadline.saturating_duration_since(began) / 2;
        let mut text = String::new();
        let mut outcomes = Vec::new();
        for (collector, slot) in &self.0.collectors {
            let (collector, system, started) = (*collector, self.0.system.clone(), Instant::now());
            let work = move || collect(collector, &system);
            // Half of what is left at most, so that there is something left for those after it.
            let limit = (until.saturating_duration_since(started) / 2).min(COLLECTOR_LIMIT);
            let collected = slot.run(started + limit, work).await;
            let (part, complete) = collected.unwrap_or_else(|| {
                debug!(collector = collector.name(), "a collector is late");
                Default::default()
            });
            text.push_str(&part);
            outcomes.push(Outcome { collector, complete, took: started.elapsed() });
        }
        text + &told(&outcomes)
    }
}

/// Runs a collector to its end: what it wrote, and whether that is all.
fn collect(collector: Collector, system: &System) -> (String, bool) {
    let mut page = Page::default();
    let collected = collector.collect(system, &mut page);
    if let Err(error) = &collected {
        debug!(collector = collector.name(), %error, "a collector failed");
    }
    let (text, complete) = page.finish();
    (text, complete && collected.is_ok())
}

/// The metrics about the collectors themselves.
fn told(outcomes: &[Outcome]) -> String {
    let mut page = Page::default();
    let mut took = page
        .gauge("node_scrape_collector_duration_seconds", "node_exporter: Duration of a collector scrape.");
    for outcome in outcomes {
        took.sample(&[("collector", outcome.collector.name())], outcome.took.as_secs_f64());
    }
    let mut success =
        page.gauge("node_scrape_collector_success", "node_exporter: Whether a collector succeeded.");
    for outcome in outcomes {
        success.sample(&[("collector", outcome.collector.name())], u8::from(outcome.complete).into());
    }
    page.finish().0
}

#[cfg(test)]
mod tests;
