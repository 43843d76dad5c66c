//! What an agent and a bridge say to each other when they pair, and what an agent tells of its
//! exporters: JSON over HTTP, under the name `agent`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::address::Name;
use crate::ssh::UserKey;

/// Version of these forms.
pub const VERSION: u32 = 1;
/// Where a bridge sends an [`Enrolment`], with POST.
pub const ENROL_PATH: &str = "/enrol";
/// Where an [`Inventory`] is to be had.
pub const INVENTORY_PATH: &str = "/inventory";
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
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Inventory {
    /// [`VERSION`].
    pub version: u32,
    /// A name for the device: its host name, as far as that can be one.
    #[serde(default)]
    pub device: Option<Name>,
    /// The exporters that the asker may scrape.
    pub exporters: Vec<Item>,
}

/// One exporter of an inventory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Item {
    /// How to ask for it.
    pub name: Name,
    /// The path of its metrics.
    pub path: String,
    /// Labels that the device declares for it.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}
