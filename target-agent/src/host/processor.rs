//! Time of each processor in each mode.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use procfs::{CpuTime, FromBufReadSI as _, KernelStats, current_system_info, ticks_per_second};

use super::Trouble;
use super::page::Page;
use super::system::System;

/// By so many seconds a processor's idle time goes back only if the processor was switched off in between and counts
/// from the start.
const SWITCHED_OFF: u64 = 3;

/// A mode that a processor's time is told apart in, and how much there was of it.
type Mode = (&'static str, fn(&CpuTime) -> Option<u64>);

const MODES: [Mode; 8] = [
    ("idle", |time| Some(time.idle)),
    ("iowait", |time| time.iowait),
    ("irq", |time| time.irq),
    ("nice", |time| Some(time.nice)),
    ("softirq", |time| time.softirq),
    ("steal", |time| time.steal),
    ("system", |time| Some(time.system)),
    ("user", |time| Some(time.user)),
];
const GUEST_MODES: [Mode; 2] = [("nice", |time| time.guest_nice), ("user", |time| time.guest)];

/// The times that were told of each processor, by its number; where some are off, those have gaps.
///
/// Some of those that the kernel tells step back now and then (proc_stat(5), iowait), which Prometheus would take for a counter
/// that began anew; as in node_exporter they do not here.
#[derive(Debug, Default)]
pub(super) struct Told(Mutex<HashMap<String, Times>>);

/// Ticks in each of [`MODES`], and in each of [`GUEST_MODES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Times([Option<u64>; 8], [Option<u64>; 2]);

impl Times {
    fn of(time: &CpuTime) -> Self {
        Self(MODES.map(|(_, ticks)| ticks(time)), GUEST_MODES.map(|(_, ticks)| ticks(time)))
    }

    /// These, or what was told `before` of what has stepped back since.
    fn after(self, before: Self) -> Self {
        let Self([idle, ..], _) = self;
        let Self([idle_before, ..], _) = before;
        let back = idle_before.unwrap_or_default().saturating_sub(idle.unwrap_or_default());
        if back >= SWITCHED_OFF * ticks_per_second() {
            return self;
        }
        let (mut modes, mut guests) = (self.0, self.1);
        for (now, then) in modes.iter_mut().zip(before.0).chain(guests.iter_mut().zip(before.1)) {
            *now = then.max(*now);
        }
        Self(modes, guests)
    }
}

/// Tells the times of all processors that are on.
pub(super) fn times(system: &System, page: &mut Page) -> Result<(), Trouble> {
    let text = system.text("proc/stat")?;
    let numbers = text.lines().filter_map(|line| line.strip_prefix("cpu")?.split_once(' '));
    let numbers = numbers.filter(|(number, _)| !number.is_empty()).map(|(number, _)| number.to_owned());
    let stats = KernelStats::from_buf_read(text.as_bytes(), current_system_info())?;
    let mut told = system.processors.0.lock().unwrap_or_else(PoisonError::into_inner);
    let now = numbers.zip(&stats.cpu_time).map(|(number, time)| {
        let time = Times::of(time);
        let time = told.get(&number).map_or(time, |before| time.after(*before));
        (number, time)
    });
    let now: Vec<_> = now.collect();
    // Those that are off now are forgotten.
    *told = now.iter().cloned().collect();
    drop(told);
    let second = ticks_per_second() as f64;
    let mut guest =
        page.counter("node_cpu_guest_seconds_total", "Seconds the CPUs spent in guests (VMs) for each mode.");
    for (number, Times(_, time)) in &now {
        for ((mode, _), ticks) in GUEST_MODES.iter().zip(time) {
            if let Some(ticks) = ticks {
                guest.sample(&[("cpu", number), ("mode", mode)], *ticks as f64 / second);
            }
        }
    }
    let mut seconds = page.counter("node_cpu_seconds_total", "Seconds the CPUs spent in each mode.");
    for (number, Times(time, _)) in &now {
        for ((mode, _), ticks) in MODES.iter().zip(time) {
            if let Some(ticks) = ticks {
                seconds.sample(&[("cpu", number), ("mode", mode)], *ticks as f64 / second);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_steps_back_only_where_a_processor_began_anew() {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::create_dir(folder.path().join("proc")).expect("folder");
        let system = System::new(folder.path().into());
        let told = |stat: &str| {
            std::fs::write(
                folder.path().join("proc/stat"),
                format!("cpu  0 0 0 0\n{stat}ctxt 5\nbtime 6\nprocesses 7\n"),
            )
            .expect("written");
            let mut page = Page::default();
            times(&system, &mut page).expect("told");
            page.finish().0
        };
        let has = |page: &str, cpu: u8, mode: &str, seconds: f64| {
            let line = format!("node_cpu_seconds_total{{cpu=\"{cpu}\",mode=\"{mode}\"}} {seconds}\n");
            assert!(page.contains(&line), "{line}{page}");
        };
        told("cpu0 1000 0 300 5000 700\ncpu1 100 0 0 9000 0\n");
        let page = told("cpu0 1100 0 299 4900 650\ncpu1 100 0 0 9100 0\n");
        for (mode, seconds) in [("user", 11.0), ("system", 3.0), ("idle", 50.0), ("iowait", 7.0)] {
            has(&page, 0, mode, seconds);
        }
        has(&page, 1, "idle", 91.0);
        let page = told("cpu0 3 0 1 20 1\n");
        has(&page, 0, "idle", 0.2);
        has(&page, 0, "user", 0.03);
        let page = told("cpu0 3 0 1 20 1\ncpu1 100 0 0 9050 0\n");
        has(&page, 1, "idle", 90.5);
    }
}
