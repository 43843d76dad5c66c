//! The exporters of all targets as Prometheus' service discovery has them (HTTP SD, file SD): those of
//! targets that are down, too, so that `up` is 0 and alerts fire.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use onionscrape::files;
use onionscrape::pairing::{Inventory, Item, is_label};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::fleet::{Fleet, Offered};
use crate::offer::Listening;
use crate::surface::{path, proxy};

/// How often it is looked whether the file must be written anew.
const LOOK: Duration = Duration::from_secs(1);
/// Most labels of one exporter that are taken from a device, and the longest value in letters.
const MAX_LABELS: usize = 32;
const MAX_VALUE: usize = 200;
/// Labels that name a target here; neither a device nor a target's configuration sets them.
pub const OURS: [&str; 3] = ["instance", "job", "exporter"];

/// The surface that Prometheus is sent to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// A port for each exporter.
    #[default]
    Port,
    /// Paths on the admin listener.
    Path,
    /// A socket file for each exporter.
    Socket,
    /// The forward proxy, which `prometheus.yml` names as `proxy_url`.
    Proxy,
}

/// Where the bridge itself is.
#[derive(Clone, Debug)]
pub struct Place {
    /// The admin listener's host and port, as Prometheus knows it.
    pub admin: String,
    /// `http` or `https`.
    pub scheme: &'static str,
}

/// One exporter. (One group each, since labels belong to groups.)
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    targets: [String; 1],
    labels: BTreeMap<String, String>,
}

/// All exporters of all targets, in the order of the configuration. One that has not the surface that is
/// asked for is found by its path.
pub async fn groups(fleet: &Fleet, via: Via, place: &Place) -> Vec<Group> {
    let _settled = fleet.settled().await;
    let mut groups = Vec::new();
    for Offered { target, listening } in fleet.offered() {
        let name = &target.config.name;
        let inventory = target.inventory();
        for (exporter, place_of_its_own) in target.config.exporters.iter().zip(listening) {
            let own = "/metrics".to_owned();
            let (address, path, scheme) = match (via, &place_of_its_own) {
                (Via::Proxy, _) => (proxy::host(name, &exporter.name), exporter.path.clone(), "http"),
                (Via::Port, Listening::Port(address)) => (address.to_string(), own, place.scheme),
                (Via::Socket, Listening::Socket(_)) => (proxy::host(name, &exporter.name), own, "http"),
                // Every exporter has a path, whatever else it has not.
                _ => (place.admin.clone(), path::of(name, &exporter.name), place.scheme),
            };
            let mut labels = device_labels(inventory.as_deref(), exporter.name.as_str());
            labels.extend(target.config.labels.clone());
            for (label, value) in [
                ("instance", name.as_str()),
                ("exporter", exporter.name.as_str()),
                ("__metrics_path__", &path),
                ("__scheme__", scheme),
                ("__meta_onionscrape_target", name.as_str()),
                ("__meta_onionscrape_exporter", exporter.name.as_str()),
                ("__meta_onionscrape_transport", "onion"),
            ] {
                labels.insert(label.to_owned(), value.to_owned());
            }
            if let (Via::Socket, Listening::Socket(path)) = (via, &place_of_its_own) {
                labels.insert("__unix_socket__".to_owned(), path.display().to_string());
            }
            groups.push(Group { targets: [address], labels });
        }
    }
    groups
}

/// What Prometheus reads.
pub fn json(groups: &[Group]) -> String {
    // Strings can always be written as JSON.
    serde_json::to_string(groups).unwrap_or_default()
}

/// The labels that the device declares for an exporter, as far as it may.
fn device_labels(inventory: Option<&Inventory>, exporter: &str) -> BTreeMap<String, String> {
    let item = inventory.and_then(|all| all.exporters.iter().find(|item| item.name.as_str() == exporter));
    let labels = |item: &Item| {
        let allowed = |(name, value): &(&String, &String)| {
            is_label(name) && !OURS.contains(&name.as_str()) && value.chars().count() <= MAX_VALUE
        };
        let plain = |value: &str| value.chars().filter(|letter| !letter.is_control()).collect();
        let allowed = item.labels.iter().filter(allowed).take(MAX_LABELS);
        allowed.map(|(name, value)| (name.clone(), plain(value))).collect()
    };
    item.map(labels).unwrap_or_default()
}

/// Keeps a file for file SD, which other users may read.
pub struct SdFile {
    /// The file; its folder must be there.
    pub path: PathBuf,
    /// The surface.
    pub via: Via,
}

impl SdFile {
    /// Writes the file whenever something has changed, until `shutdown`.
    pub async fn keep(self, fleet: Arc<Fleet>, place: Place, shutdown: CancellationToken) {
        let mut written = None;
        let mut complaint = None;
        loop {
            let text = json(&groups(&fleet, self.via, &place).await);
            if written.as_ref() != Some(&text) {
                match write(self.path.clone(), text.clone()).await {
                    Ok(()) => (written, complaint) = (Some(text), None),
                    Err(why) if complaint.as_ref() == Some(&why) => {}
                    Err(why) => {
                        warn!("discovery: {why}");
                        complaint = Some(why);
                    }
                }
            }
            if shutdown.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_none() {
                return;
            }
        }
    }
}

async fn write(path: PathBuf, text: String) -> Result<(), String> {
    let writing = move || {
        let is_there = std::fs::read(&path).is_ok_and(|there| there == text.as_bytes());
        if is_there { Ok(()) } else { files::replace_public(&path, text.as_bytes()) }
    };
    let written = tokio::task::spawn_blocking(writing).await.map_err(|error| error.to_string())?;
    written.map_err(|fault| fault.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(given: &[(&str, &str)]) -> BTreeMap<String, String> {
        given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn inventory(labels: BTreeMap<String, String>) -> Inventory {
        let name = "node".parse().expect("name");
        let item = Item { name, path: "/metrics".into(), port: None, labels };
        Inventory { version: 1, device: None, exporters: vec![item], next_host_key: None, next_onion: None }
    }

    #[test]
    fn a_device_names_its_labels_and_nobody_elses() {
        let told = labels(&[
            ("room", "attic"),
            ("instance", "other"),
            ("job", "other"),
            ("exporter", "other"),
            ("__address__", "169.254.169.254:80"),
            ("__metrics_path__", "/secret"),
            ("1st", "no"),
            ("a-b", "no"),
            ("", "no"),
            ("lines", "a\nb\u{7}"),
        ]);
        let taken = device_labels(Some(&inventory(told)), "node");
        assert_eq!(taken, labels(&[("room", "attic"), ("lines", "ab")]));
        assert!(device_labels(None, "node").is_empty());
    }

    #[test]
    fn ten_thousand_labels_are_thirty_two() {
        let told = (0..10_000).map(|number| (format!("l{number}"), "x".to_owned())).collect();
        assert_eq!(device_labels(Some(&inventory(told)), "node").len(), MAX_LABELS);
        let long = labels(&[("long", &"x".repeat(MAX_VALUE + 1))]);
        assert!(device_labels(Some(&inventory(long)), "node").is_empty());
    }
}
