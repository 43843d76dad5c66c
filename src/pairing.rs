//! What an agent and a bridge say to each other when they pair, and what an agent tells of its
//! exporters and of keys to come: JSON over HTTP, under the name `agent`.

use std::collections::BTreeMap;

use hyper::header::HeaderName;
use serde::{Deserialize, Serialize};

use crate::address::Name;
use crate::ssh::UserKey;

/// The name under which an agent answers for itself; it lists it nowhere.
pub const OWN_NAME: &str = "agent";
/// Version of these forms.
pub const VERSION: u32 = 1;
/// Where a bridge sends an [`Enrolment`], with POST.
pub const ENROL_PATH: &str = "/enrol";
/// Where an [`Inventory`] is to be had.
pub const INVENTORY_PATH: &str = "/inventory";
/// Where a bridge confirms, with POST and the new key's fingerprint in `If-Match` (RFC 9110, section
/// 13.1.1), that it will know the device by [`Inventory::next_host_key`].
pub const NEXT_HOST_KEY_PATH: &str = "/next-host-key";
/// A header on whatever an agent answers. When its value changes, so has the inventory.
pub const REVISION: HeaderName = HeaderName::from_static("onionscrape-revision");
/// Largest body of either, in bytes.
pub const MAX_BODY: usize = 256 << 10;

/// What a bridge hands over in a session that a ticket let it into.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Enrolment {
    /// [`VERSION`].
    pub version: u32,
    /// The key it will log in with from now on.
    pub key: UserKey,
    /// The public half of the key it will read the descriptor with, `descriptor:x25519:…`.
    pub client_auth: String,
}

/// What an agent offers to whoever asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// [`VERSION`].
    pub version: u32,
    /// A name for the device: its host name, as far as that can be one.
    #[serde(default)]
    pub device: Option<Name>,
    /// The exporters that the asker may scrape.
    pub exporters: Vec<Item>,
    /// The host key that will take the place of the one that is shown now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_host_key: Option<NextHostKey>,
    /// The onion address that will take the place of the one that leads here now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_onion: Option<String>,
}

/// A host key to come. Without a proof a device could have another one's key accepted as its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextHostKey {
    /// `ssh-ed25519 AAAA…`.
    pub key: String,
    /// A signature with that key over the fingerprint of the present one (OpenSSH's PROTOCOL.sshsig).
    pub proof: String,
}

/// One exporter of an inventory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// How to ask for it.
    pub name: Name,
    /// The path of its metrics.
    pub path: String,
    /// The port that it has on the device, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Labels that the device declares for it.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// How often the device would have it scraped, such as `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scrape_interval: Option<String>,
    /// How long that may take; never without an interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scrape_timeout: Option<String>,
}

/// True for what can be a label's name (Prometheus data model: letters, digits and `_`); names that
/// begin with `__` are Prometheus' own.
pub fn is_label(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.starts_with("__")
        && !name.is_empty()
}
