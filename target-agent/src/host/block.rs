//! What was read from and written to each block device.

use procfs::{DiskStat, DiskStats, FromBufRead as _};

use super::Trouble;
use super::page::Page;
use super::system::System;

/// Bytes in a sector of `/proc/diskstats`, whatever the device's own sectors have.
const SECTOR: f64 = 512.0;
/// `/proc/diskstats` counts milliseconds.
const MILLISECOND: f64 = 1e-3;

/// What is counted, by node_exporter's names: name, help, number, and what one of it is.
type Count = (&'static str, &'static str, fn(&DiskStat) -> Option<u64>, f64);

const COUNTERS: [Count; 16] = [
    (
        "discard_time_seconds_total",
        "This is the total number of seconds spent by all discards.",
        |disk| disk.time_discarding,
        MILLISECOND,
    ),
    (
        "discarded_sectors_total",
        "The total number of sectors discarded successfully.",
        |disk| disk.sectors_discarded,
        1.0,
    ),
    (
        "discards_completed_total",
        "The total number of discards completed successfully.",
        |disk| disk.discards,
        1.0,
    ),
    ("discards_merged_total", "The total number of discards merged.", |disk| disk.discards_merged, 1.0),
    (
        "flush_requests_time_seconds_total",
        "This is the total number of seconds spent by all flush requests.",
        |disk| disk.time_flushing,
        MILLISECOND,
    ),
    (
        "flush_requests_total",
        "The total number of flush requests completed successfully",
        |disk| disk.flushes,
        1.0,
    ),
    (
        "io_time_seconds_total",
        "Total seconds spent doing I/Os.",
        |disk| Some(disk.time_in_progress),
        MILLISECOND,
    ),
    (
        "io_time_weighted_seconds_total",
        "The weighted # of seconds spent doing I/Os.",
        |disk| Some(disk.weighted_time_in_progress),
        MILLISECOND,
    ),
    (
        "read_bytes_total",
        "The total number of bytes read successfully.",
        |disk| Some(disk.sectors_read),
        SECTOR,
    ),
    (
        "read_time_seconds_total",
        "The total number of seconds spent by all reads.",
        |disk| Some(disk.time_reading),
        MILLISECOND,
    ),
    (
        "reads_completed_total",
        "The total number of reads completed successfully.",
        |disk| Some(disk.reads),
        1.0,
    ),
    ("reads_merged_total", "The total number of reads merged.", |disk| Some(disk.merged), 1.0),
    (
        "write_time_seconds_total",
        "This is the total number of seconds spent by all writes.",
        |disk| Some(disk.time_writing),
        MILLISECOND,
    ),
    (
        "writes_completed_total",
        "The total number of writes completed successfully.",
        |disk| Some(disk.writes),
        1.0,
    ),
    ("writes_merged_total", "The number of writes merged.", |disk| Some(disk.writes_merged), 1.0),
    (
        "written_bytes_total",
        "The total number of bytes written successfully.",
        |disk| Some(disk.sectors_written),
        SECTOR,
    ),
];

/// Everything in `/proc/diskstats` but memory, loops, floppies and partitions.
pub(super) fn devices(system: &System, page: &mut Page) -> Result<(), Trouble> {
    let disks = DiskStats::from_buf_read(system.text("proc/diskstats")?.as_bytes())?.0;
    let disks: Vec<_> = disks.into_iter().filter(|disk| is_whole(&disk.name)).collect();
    for (what, help, count, unit) in COUNTERS {
        let name = format!("node_disk_{what}");
        let mut family = page.counter(&name, help);
        for disk in &disks {
            if let Some(count) = count(disk) {
                family.sample(&[("device", &disk.name)], in_unit(count, unit));
            }
        }
    }
    let mut now = page.gauge("node_disk_io_now", "The number of I/Os currently in progress.");
    for disk in &disks {
        now.sample(&[("device", &disk.name)], disk.in_progress as f64);
    }
    Ok(())
}

/// Divided rather than multiplied where it can be: 1234 ms are 1.234 s then, not 1.2340000000000002.
fn in_unit(count: u64, unit: f64) -> f64 {
    if unit < 1.0 { count as f64 / (1.0 / unit) } else { count as f64 * unit }
}

/// False for what node_exporter leaves out: `ram0`, `zram0`, `loop0`, `fd0`, `sda1`, `nvme0n1p1`.
fn is_whole(name: &str) -> bool {
    let kind = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    if kind == name {
        return true;
    }
    let is_partition = ["h", "s", "v", "xv"].iter().any(|bus| {
        let disk = kind.strip_prefix(bus).and_then(|rest| rest.strip_prefix('d'));
        disk.is_some_and(|letter| letter.len() == 1 && letter.bytes().all(|b| b.is_ascii_lowercase()))
    });
    let is_nvme_partition = kind
        .strip_prefix("nvme")
        .and_then(|rest| rest.strip_suffix('p'))
        .and_then(|rest| rest.split_once('n'))
        .is_some_and(|(controller, space)| {
            [controller, space].iter().all(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        });
    !(["ram", "zram", "loop", "fd"].contains(&kind) || is_partition || is_nvme_partition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_whole_and_partitions_are_not() {
        for whole in
            ["sda", "sdaa", "sdaa1", "vdb", "nvme0n1", "mmcblk0", "mmcblk0p1", "dm-0", "md127", "sr0"]
        {
            assert!(is_whole(whole), "{whole}");
        }
        for part in ["sda1", "hdb12", "vda3", "xvda1", "nvme0n1p2", "ram0", "zram0", "loop7", "fd0"] {
            assert!(!is_whole(part), "{part}");
        }
        assert_eq!(in_unit(1234, MILLISECOND), 1.234);
        assert_eq!(in_unit(3, SECTOR), 1536.0);
    }
}
