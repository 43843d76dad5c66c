//! What passed through each network interface.

use procfs::FromBufRead as _;
use procfs::net::{DeviceStatus, InterfaceDeviceStatus};

use super::Trouble;
use super::page::Page;
use super::system::System;

/// What is counted, by node_exporter's name for it.
type Count = (&'static str, fn(&DeviceStatus) -> u64);

const COUNTERS: [Count; 16] = [
    ("receive_bytes", |device| device.recv_bytes),
    ("receive_compressed", |device| device.recv_compressed),
    ("receive_drop", |device| device.recv_drop),
    ("receive_errs", |device| device.recv_errs),
    ("receive_fifo", |device| device.recv_fifo),
    ("receive_frame", |device| device.recv_frame),
    ("receive_multicast", |device| device.recv_multicast),
    ("receive_packets", |device| device.recv_packets),
    ("transmit_bytes", |device| device.sent_bytes),
    ("transmit_carrier", |device| device.sent_carrier),
    ("transmit_colls", |device| device.sent_colls),
    ("transmit_compressed", |device| device.sent_compressed),
    ("transmit_drop", |device| device.sent_drop),
    ("transmit_errs", |device| device.sent_errs),
    ("transmit_fifo", |device| device.sent_fifo),
    ("transmit_packets", |device| device.sent_packets),
];

/// Everything in `/proc/net/dev`.
pub(super) fn interfaces(system: &System, page: &mut Page) -> Result<(), Trouble> {
    let text = system.text("proc/net/dev")?;
    let mut devices: Vec<_> =
        InterfaceDeviceStatus::from_buf_read(text.as_bytes())?.0.into_values().collect();
    devices.sort_by(|one, other| one.name.cmp(&other.name));
    for (what, count) in COUNTERS {
        let help = format!("Network device statistic {what}.");
        let name = format!("node_network_{what}_total");
        let mut family = page.counter(&name, &help);
        for device in &devices {
            family.sample(&[("device", &device.name)], count(device) as f64);
        }
    }
    Ok(())
}
