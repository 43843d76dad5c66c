//! The device's onion services: what arti calls them, and their keys.
//!
//! Names of arti's types go no further than this module.

pub mod keystore;
mod name;

use std::path::PathBuf;

use onionscrape::address::OnionAddress;
use onionscrape::lifecycle::Failure;
use onionscrape::tor::{OnionKey, TorSettings};

pub use name::ServiceName;

/// The address of this onion service, made if it has none yet.
///
/// # Errors
/// As [`OnionKey::address`].
pub fn address(settings: &TorSettings, name: ServiceName) -> Result<OnionAddress, Failure> {
    key(settings, name).address()
}

/// Where arti keeps the service's key.
pub(crate) fn key_path(settings: &TorSettings, name: ServiceName) -> PathBuf {
    key(settings, name).path()
}

fn key(settings: &TorSettings, name: ServiceName) -> OnionKey<'_> {
    OnionKey::of(settings, name.text())
}
