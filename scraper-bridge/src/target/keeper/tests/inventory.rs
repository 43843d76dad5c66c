//! What a hostile device says of itself.

use target_agent::config::ExporterConfig as Offered;

use super::*;

/// A device that says this of its exporter.
fn device(labels: impl IntoIterator<Item = (String, String)>) -> Arc<Device> {
    let device = Device::new(Manner::Answer);
    let address = onionscrape::address::ExporterAddress::Tcp("127.0.0.1:1".parse().expect("address"));
    let mut offered = Offered::at("agent".parse().expect("name"), address);
    offered.labels = labels.into_iter().collect();
    device.pages.offer(&[offered]);
    device
}

fn refusals(rig: &Rig, reason: &str) -> String {
    rig.metric(&format!("onionscrape_inventory_refusals_total{{target=\"a\",reason=\"{reason}\"}}"))
}

/// Until the device was listened to.
async fn heard(rig: &Rig, target: &Target) {
    up(target).await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(rig.metric("onionscrape_target_connected{target=\"a\"}"), "1", "it is scraped all the same");
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_labels_and_one_named_address() {
    let rig = Rig::new(1);
    let many = (0..10_000).map(|number| (format!("l{number}"), String::new()));
    let device = device(many.chain([("__address__".to_owned(), "169.254.169.254:80".to_owned())]));
    let target = rig.target("a", &device);
    heard(&rig, &target).await;
    let inventory = target.inventory().expect("the rest is taken");
    let labels = &inventory.exporters[0].labels;
    assert!(labels.len() == 32 && !labels.contains_key("__address__"), "{labels:?}");
    assert_eq!(refusals(&rig, "too_many_labels"), "9968");
    assert_eq!(refusals(&rig, "label"), "1");
    assert_eq!(refusals(&rig, "too_large"), "0");
}

#[tokio::test(start_paused = true)]
async fn more_than_fits() {
    let rig = Rig::new(1);
    let device = device([("large".to_owned(), "x".repeat(1 << 20))]);
    let target = rig.target("a", &device);
    heard(&rig, &target).await;
    assert!(target.inventory().is_none());
    assert_eq!(refusals(&rig, "too_large"), "1");
}
