//! What the kernel knows of itself and of memory.

use std::time::{SystemTime, UNIX_EPOCH};

use procfs::{FromBufReadSI as _, KernelStats, current_system_info};

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

/// When the kernel started, and what it counted since then.
pub(super) fn since_boot(system: &System, page: &mut Page) -> Result<(), Trouble> {
    let text = system.text("proc/stat")?;
    let stats = KernelStats::from_buf_read(text.as_bytes(), current_system_info())?;
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
