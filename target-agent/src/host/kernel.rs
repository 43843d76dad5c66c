//! What the kernel knows of itself, processors and memory.

use std::time::{SystemTime, UNIX_EPOCH};

use procfs::{CpuTime, FromBufReadSI as _, KernelStats, current_system_info, ticks_per_second};

use super::Trouble;
use super::page::Page;
use super::system::System;

/// Load averages over 1, 5 and 15 minutes.
pub(super) fn load(system: &System, page: &mut Page) -> Result<(), Trouble> {
    let text = system.text("proc/loadavg")?;
    let mut averages = text.split_whitespace();
    for (name, help) in [
        ("node_load1", "1m load average."),
        ("node_load5", "5m load average."),
        ("node_load15", "15m load average."),
    ] {
        let average: f64 = averages.next().ok_or("proc/loadavg: an average is missing")?.parse()?;
        page.gauge(name, help).sample(&[], average);
    }
    Ok(())
}

/// Every line of `/proc/meminfo`: procfs knows those of some kernels only.
pub(super) fn memory(system: &System, page: &mut Page) -> Result<(), Trouble> {
    for line in system.text("proc/meminfo")?.lines() {
        let (field, value) = line.split_once(':').ok_or("proc/meminfo: a line without a colon")?;
        let mut value = value.split_whitespace();
        let amount: f64 = value.next().ok_or("proc/meminfo: a line without a value")?.parse()?;
        // Active(anon) becomes Active_anon.
        let mut field = field.trim_end_matches(')').replace('(', "_");
        if !field.bytes().all(|letter| letter.is_ascii_alphanumeric() || letter == b'_') {
            return Err("proc/meminfo: a field whose name cannot be a metric's".into());
        }
        let amount = match value.next() {
            Some("kB") => {
                field.push_str("_bytes");
                amount * 1024.0
            }
            _ => amount,
        };
        let help = format!("Memory information field {field}.");
        page.gauge(&format!("node_memory_{field}"), &help).sample(&[], amount);
    }
    Ok(())
}

/// `/proc/stat`, and the numbers of the processors in it: with some switched off, they have gaps.
fn kernel_stats(system: &System) -> Result<(KernelStats, Vec<String>), Trouble> {
    let text = system.text("proc/stat")?;
    let numbers = text.lines().filter_map(|line| line.strip_prefix("cpu")?.split_once(' '));
    let numbers = numbers.filter(|(number, _)| !number.is_empty()).map(|(number, _)| number.to_owned());
    Ok((KernelStats::from_buf_read(text.as_bytes(), current_system_info())?, numbers.collect()))
}

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

/// Time of each processor in each mode.
pub(super) fn processors(system: &System, page: &mut Page) -> Result<(), Trouble> {
    let (stats, numbers) = kernel_stats(system)?;
    let second = ticks_per_second() as f64;
    let each = || numbers.iter().zip(&stats.cpu_time);
    let mut guest =
        page.counter("node_cpu_guest_seconds_total", "Seconds the CPUs spent in guests (VMs) for each mode.");
    for (number, time) in each() {
        for (mode, ticks) in [("nice", time.guest_nice), ("user", time.guest)] {
            if let Some(ticks) = ticks {
                guest.sample(&[("cpu", number), ("mode", mode)], ticks as f64 / second);
            }
        }
    }
    let mut seconds = page.counter("node_cpu_seconds_total", "Seconds the CPUs spent in each mode.");
    for (number, time) in each() {
        for (mode, ticks) in MODES {
            if let Some(ticks) = ticks(time) {
                seconds.sample(&[("cpu", number), ("mode", mode)], ticks as f64 / second);
            }
        }
    }
    Ok(())
}

/// When the kernel started, and what it counted since then.
pub(super) fn since_boot(system: &System, page: &mut Page) -> Result<(), Trouble> {
    let (stats, _) = kernel_stats(system)?;
    page.gauge("node_boot_time_seconds", "Node boot time, in unixtime.").sample(&[], stats.btime as f64);
    page.counter("node_context_switches_total", "Total number of context switches.")
        .sample(&[], stats.ctxt as f64);
    page.counter("node_forks_total", "Total number of forks.").sample(&[], stats.processes as f64);
    if let Some(running) = stats.procs_running {
        page.gauge("node_procs_running", "Number of processes in runnable state.")
            .sample(&[], running.into());
    }
    if let Some(blocked) = stats.procs_blocked {
        page.gauge("node_procs_blocked", "Number of processes blocked waiting for I/O to complete.")
            .sample(&[], blocked.into());
    }
    Ok(())
}

/// What time it is here.
pub(super) fn clock(page: &mut Page) -> Result<(), Trouble> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    page.gauge("node_time_seconds", "System time in seconds since epoch (1970).")
        .sample(&[], now.as_secs_f64());
    Ok(())
}

/// What `uname` says.
pub(super) fn name(page: &mut Page) -> Result<(), Trouble> {
    let uname = rustix::system::uname();
    let values = [
        ("domainname", uname.domainname()),
        ("machine", uname.machine()),
        ("nodename", uname.nodename()),
        ("release", uname.release()),
        ("sysname", uname.sysname()),
        ("version", uname.version()),
    ]
    .map(|(label, value)| (label, value.to_string_lossy()));
    let labels: Vec<_> = values.iter().map(|(label, value)| (*label, value.as_ref())).collect();
    page.gauge("node_uname_info", "Labeled system information as provided by the uname system call.")
        .sample(&labels, 1.0);
    Ok(())
}

/// The fields of os-release(5) that are labels.
const OS_FIELDS: [&str; 12] = [
    "build_id",
    "id",
    "id_like",
    "image_id",
    "image_version",
    "name",
    "pretty_name",
    "variant",
    "variant_id",
    "version",
    "version_codename",
    "version_id",
];

/// What os-release(5) says; there need not be one.
pub(super) fn distribution(system: &System, page: &mut Page) -> Result<(), Trouble> {
    let Ok(text) = system.text("etc/os-release").or_else(|_| system.text("usr/lib/os-release")) else {
        return Ok(());
    };
    let value_of = |field: &str| {
        let mut assignments = text.lines().filter_map(|line| line.split_once('='));
        let last = assignments.rfind(|(name, _)| name.eq_ignore_ascii_case(field));
        last.map_or_else(String::new, |(_, value)| unquoted(value.trim()))
    };
    let values = OS_FIELDS.map(|field| (field, value_of(field)));
    let labels: Vec<_> = values.iter().map(|(label, value)| (*label, value.as_str())).collect();
    let help = "A metric with a constant '1' value labeled by build_id, id, id_like, image_id, image_version, \
                name, pretty_name, variant, variant_id, version, version_codename, version_id.";
    page.gauge("node_os_info", help).sample(&labels, 1.0);
    Ok(())
}

/// A value as the shell would take it: without its quotes, and without backslashes before letters
/// that a shell would take for something else.
fn unquoted(value: &str) -> String {
    for quote in ['"', '\''] {
        if let Some(inner) = value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            let mut letters = inner.chars();
            let next = |letters: &mut std::str::Chars<'_>| match letters.next() {
                Some('\\') if quote == '"' => letters.next(),
                other => other,
            };
            return std::iter::from_fn(|| next(&mut letters)).collect();
        }
    }
    value.to_owned()
}
