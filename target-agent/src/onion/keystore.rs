//! The onion service's key itself, for taking it over from C tor and for keeping a copy.

use onionscrape::files::FileError;
use onionscrape::lifecycle::Failure;
use onionscrape::tor::TorSettings;
use tor_hscrypto::pk::HsIdKeypair;
use tor_hsservice::{HsIdKeypairSpecifier, HsNickname};
use tor_keymgr::{ArtiNativeKeystore, KeyMgr, KeyMgrBuilder, KeystoreSelector};
use tor_llcrypto::pk::ed25519::ExpandedKeypair;
use zeroize::Zeroizing;

use super::{ServiceName, key, key_path};

/// An onion service's secret key in its expanded form: a scalar and a hash prefix, 32 bytes each
/// (rend-spec-v3, appendix "Tor ed25519 key format").
pub type SecretKey = Zeroizing<[u8; 64]>;

/// The service's key that is in the agent's state, if there is one.
///
/// # Errors
/// When there is one that cannot be used.
pub fn read(settings: &TorSettings, name: ServiceName) -> Result<Option<SecretKey>, Failure> {
    if key_path(settings, name).symlink_metadata().is_err() {
        return Ok(None);
    }
    let unusable = |error: tor_keymgr::Error| key(settings, name).unusable(&error.to_string());
    let key = keys(settings)?.get::<HsIdKeypair>(&specifier(name)?).map_err(unusable)?;
    let bytes = |key: HsIdKeypair| Zeroizing::new(ExpandedKeypair::from(key).to_secret_key_bytes());
    Ok(key.map(bytes))
}

/// Puts a key into the agent's state, where there is none yet. It is on disk when this returns.
///
/// # Errors
/// When there is one, or it cannot be written.
pub fn insert(settings: &TorSettings, name: ServiceName, secret: &SecretKey) -> Result<(), Failure> {
    let pair = ExpandedKeypair::from_secret_key_bytes(**secret)
        .ok_or_else(|| Failure("the key is not one of an onion service".into()))?;
    let inserted =
        keys(settings)?.insert(HsIdKeypair::from(pair), &specifier(name)?, KeystoreSelector::Primary, false);
    inserted.map_err(|error| key(settings, name).unusable(&error.to_string()))?;
    Ok(key(settings, name).sync()?)
}

/// Removes the service's keys from the agent's state.
///
/// # Errors
/// When they are there and cannot be removed.
pub fn remove(settings: &TorSettings, name: ServiceName) -> Result<(), Failure> {
    let folder = key(settings, name).folder();
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(FileError::new(&folder, format!("cannot be removed: {error}")).into())
        }
        _ => Ok(()),
    }
}

/// Where arti keeps keys, as arti itself opens it.
fn keys(settings: &TorSettings) -> Result<KeyMgr, Failure> {
    let folder = settings.state.join("keystore");
    let config = settings.arti()?;
    let cannot = |error: String| Failure(format!("{}: cannot be used: {error}", folder.display()));
    let store = ArtiNativeKeystore::from_path_and_mistrust(&folder, config.fs_mistrust())
        .map_err(|error| cannot(error.to_string()))?;
    KeyMgrBuilder::default().primary_store(Box::new(store)).build().map_err(|error| cannot(error.to_string()))
}

fn specifier(name: ServiceName) -> Result<HsIdKeypairSpecifier, Failure> {
    let name = HsNickname::new(name.text()).map_err(|error| Failure(error.to_string()))?;
    Ok(HsIdKeypairSpecifier::new(name))
}
