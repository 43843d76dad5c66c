//! The `process_…` metrics that every Prometheus client library has.

use std::fmt;

use procfs::WithCurrentSystemInfo as _;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Reads `/proc/self` at each scrape; leaves out what it cannot read.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Ok(process) = procfs::process::Process::myself() else { return Ok(()) };
        let mut gauge = |name: &str, help: &str, value: Option<f64>| -> fmt::Result {
            let Some(value) = value else { return Ok(()) };
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge_type(&gauge))?)
        };
        let stat = process.stat().ok();
        let ticks = procfs::ticks_per_second() as f64;
        let booted = procfs::boot_time_secs().ok();
        gauge(
            "process_resident_memory_bytes",
            "Resident memory size in bytes",
            stat.as_ref().map(|stat| stat.rss_bytes().get() as f64),
        )?;
        gauge(
            "process_virtual_memory_bytes",
            "Virtual memory size in bytes",
            stat.as_ref().map(|stat| stat.vsize as f64),
        )?;
        gauge(
            "process_open_fds",
            "Number of open file descriptors",
            process.fd_count().ok().map(|n| n as f64),
        )?;
        gauge("process_max_fds", "Maximum number of open file descriptors", max_fds(&process))?;
        gauge(
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds",
            stat.as_ref().zip(booted).map(|(stat, booted)| booted as f64 + stat.starttime as f64 / ticks),
        )?;
        if let Some(stat) = stat {
            let cpu = ConstCounter::new((stat.utime + stat.stime) as f64 / ticks);
            let help = "Total user and system CPU time spent in seconds";
            cpu.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, cpu.metric_type())?)?;
        }
        Ok(())
    }
}

fn gauge_type(gauge: &ConstGauge<f64>) -> prometheus_client::metrics::MetricType {
    use prometheus_client::encoding::EncodeMetric as _;
    gauge.metric_type()
}

fn max_fds(process: &procfs::process::Process) -> Option<f64> {
    match process.limits().ok()?.max_open_files.soft_limit {
        procfs::process::LimitValue::Value(limit) => Some(limit as f64),
        procfs::process::LimitValue::Unlimited => None,
    }
}
