//! The exporters of all targets as Prometheus' service discovery has them (HTTP SD, file SD): those of
//! targets that are down, too, so that `up` is 0 and alerts fire.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use onionscrape::files;
use onionscrape::schedule::{Schedule, prometheus};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::fleet::{Fleet, Offered};
use crate::offer::Listening;
use crate::surface::{path, proxy};

/// How often it is looked whether the file must be written anew.
const LOOK: Duration = Duration::from_secs(1);
/// Labels that name a target here; neither a device nor a target's configuration sets them.
pub const OURS: [&str; 3] = ["instance", "job", "exporter"];
/// What stands before the names of a device's labels for relabelling.
const META_LABEL: &str = "__meta_onionscrape_label_";

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
                // All addresses are none that Prometheus could ask, but for its own machine.
                (Via::Port, Listening::Port(address)) if !address.ip().is_unspecified() => {
                    (address.to_string(), own, place.scheme)
                }
                // A Prometheus that does not know of sockets looks the host up. Nobody has this one
                // (RFC 6761, section 6.4).
                (Via::Socket, Listening::Socket(_)) => {
                    (format!("{}.invalid", proxy::host(name, &exporter.name)), own, "http")
                }
                // Every exporter has a path, whatever else it has not.
                _ => (place.admin.clone(), path::of(name, &exporter.name), place.scheme),
            };
            let item =
                inventory.iter().flat_map(|all| &all.exporters).find(|item| item.name == exporter.name);
            let mut labels = item.map(|item| of_device(&item.labels)).unwrap_or_default();
            labels.extend(target.config.labels.clone());
            let asked = || {
                let item = item?;
                Schedule::asked(item.scrape_interval.as_deref(), item.scrape_timeout.as_deref()).ok()?
            };
            if let Some(Schedule { interval, timeout }) = target.config.schedule.or_else(asked) {
                // Always both: Prometheus drops a target whose timeout, which its job may have set, is
                // longer than its interval.
                let timeout = timeout.unwrap_or(fleet.limits().timeout).min(interval);
                labels.insert("__scrape_interval__".to_owned(), prometheus(interval));
                labels.insert("__scrape_timeout__".to_owned(), prometheus(timeout));
            }
            for (label, value) in [
                ("instance", name.as_str()),
                ("exporter", exporter.name.as_str()),
                ("__metrics_path__", &path),
                ("__scheme__", scheme),
                ("__meta_onionscrape_target", name.as_str()),
                ("__meta_onionscrape_exporter", exporter.name.as_str()),
                ("__meta_onionscrape_transport", target.config.transport.label()),
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

/// A device's labels, and the same for relabelling, whatever the target's own say.
fn of_device(labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let meta = labels.iter().map(|(name, value)| (format!("{META_LABEL}{name}"), value.clone()));
    labels.clone().into_iter().chain(meta).collect()
}

/// What Prometheus reads.
pub fn json(groups: &[Group]) -> String {
    // Strings can always be written as JSON.
    serde_json::to_string(groups).unwrap_or_default()
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

    #[test]
    fn labels_of_a_device_can_be_relabelled() {
        let labels = of_device(&BTreeMap::from([("room".into(), "attic".into())]));
        let pair = |name: &str| (name.to_owned(), "attic".to_owned());
        assert_eq!(labels, BTreeMap::from([pair("room"), pair("__meta_onionscrape_label_room")]));
    }
}
