//! The key that an onion service is known by, in arti's keystore.

use std::path::PathBuf;

use arti_client::KeystoreSelector;
use safelog::DisplayRedacted as _;

use super::plain_config;
use crate::address::OnionAddress;
use crate::files::{FileError, sync_directory};
use crate::lifecycle::Failure;
use crate::tor::{TorClient, TorSettings, one_line};

/// The key of one onion service of this program, be it there or not.
#[derive(Clone, Debug)]
pub struct OnionKey<'a> {
    settings: &'a TorSettings,
    name: String,
}

impl<'a> OnionKey<'a> {
    /// The key of the service that arti knows by this name.
    pub fn of(settings: &'a TorSettings, name: impl Into<String>) -> Self {
        Self { settings, name: name.into() }
    }

    /// The service's address; the key is made if there is none yet.
    ///
    /// The key is on disk when this returns, since an address that was told to anybody must not be lost
    /// to a power cut.
    ///
    /// # Errors
    /// When there is a key that cannot be used; it is not replaced.
    pub fn address(&self) -> Result<OnionAddress, Failure> {
        let config = self.settings.arti()?;
        let service =
            TorClient::create_onion_service(&config, plain_config(&self.name)?).map_err(|error| {
                let state = self.settings.state.display();
                Failure(format!("{state}: Tor's state cannot be used: {}", one_line(&error)))
            })?;
        let made = service.generate_identity_key(KeystoreSelector::Primary);
        let id = match (made, service.onion_address()) {
            (Ok(id), _) => id,
            // Another process made it between arti's look and arti's writing; its key is the one.
            (Err(_), Some(id)) => id,
            (Err(error), None) => return Err(self.unusable(&one_line(&error))),
        };
        let address = id.display_unredacted().to_string().parse().map_err(Failure)?;
        self.sync()?;
        Ok(address)
    }

    /// Where arti keeps it.
    pub fn path(&self) -> PathBuf {
        self.folder().join("ks_hs_id.ed25519_expanded_private")
    }

    /// Where arti keeps all keys of the service.
    pub fn folder(&self) -> PathBuf {
        self.settings.state.join("keystore/hss").join(&self.name)
    }

    /// Syncs its file and every folder on the way to it; arti syncs nothing itself.
    ///
    /// # Errors
    /// When one of them cannot be.
    pub fn sync(&self) -> Result<(), FileError> {
        let key = self.path();
        let upwards = key.ancestors().take_while(|path| path.starts_with(&self.settings.state));
        upwards.chain(self.settings.state.parent()).try_for_each(sync_directory)
    }

    /// Says for people why it cannot be used, or made.
    pub fn unusable(&self, error: &str) -> Failure {
        let path = self.path();
        if path.symlink_metadata().is_ok() {
            let what = format!(
                "is not a usable onion service key ({error}); restore it from a backup, or remove it to get a new address"
            );
            FileError::new(&path, what).into()
        } else {
            FileError::new(&path, format!("cannot be made: {error}")).into()
        }
    }
}
