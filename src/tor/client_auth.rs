//! Client authorisation: the keys with which an invited client reads a descriptor that is closed to
//! everybody else (rend-spec-v3, section "Client authorization").

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use serde::Deserialize;
use tor_hsclient::{HsClientSecretKeys, HsClientSecretKeysBuilder};
use tor_hscrypto::pk::{HsClientDescEncKey, HsClientDescEncKeypair, HsClientDescEncSecretKey};
use tor_llcrypto::pk::curve25519::StaticSecret;
use zeroize::Zeroizing;

use crate::address::OnionAddress;
use crate::files::{self, FileError};

/// A client's key for one onion service. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct ClientAuthKey(Zeroizing<[u8; 32]>);

impl ClientAuthKey {
    /// A new key.
    pub fn generate() -> Self {
        Self::of_secret(rand::random())
    }

    /// The key with this x25519 secret.
    pub fn of_secret(secret: [u8; 32]) -> Self {
        Self(Zeroizing::new(secret))
    }

    /// The x25519 secret.
    pub fn secret(&self) -> Zeroizing<[u8; 32]> {
        self.0.clone()
    }

    /// What the onion service must know of it.
    pub fn public(&self) -> ClientAuthPublicKey {
        ClientAuthPublicKey(HsClientDescEncKey::from(&HsClientDescEncSecretKey::from(StaticSecret::from(
            *self.0,
        ))))
    }

    /// Reads the key for `onion` from a file in C tor's format, a line
    /// `ONION:descriptor:x25519:SECRET` with the address's 56 letters (tor(1), `ClientOnionAuthDir`).
    ///
    /// # Errors
    /// When the file cannot be read, is not private, or holds no such line.
    pub fn open(path: &Path, onion: &OnionAddress) -> Result<Self, FileError> {
        let text = files::read_private(path)?.ok_or_else(|| FileError::new(path, "no such file"))?;
        let form = || FileError::new(path, "is not a line ONION:descriptor:x25519:KEY, as C tor has it");
        let (address, secret) = text.trim().split_once(":descriptor:x25519:").ok_or_else(form)?;
        if format!("{}.onion", address.to_ascii_lowercase()) != onion.unredacted() {
            return Err(FileError::new(path, "is for another onion address"));
        }
        let upper = Zeroizing::new(secret.to_ascii_uppercase());
        let bytes = Zeroizing::new(BASE32_NOPAD.decode(upper.as_bytes()).map_err(|_| form())?);
        Ok(Self::of_secret(bytes.as_slice().try_into().map_err(|_| form())?))
    }

    /// The key for `onion` as [`open`](Self::open) reads it.
    pub fn private_line(&self, onion: &OnionAddress) -> Zeroizing<String> {
        let letters = onion.unredacted().trim_end_matches(".onion");
        let secret = Zeroizing::new(BASE32_NOPAD.encode(&*self.0));
        Zeroizing::new(format!("{letters}:descriptor:x25519:{}\n", *secret))
    }

    pub(super) fn for_arti(&self) -> HsClientSecretKeys {
        let secret = HsClientDescEncSecretKey::from(StaticSecret::from(*self.0));
        let mut keys = HsClientSecretKeysBuilder::default();
        keys.ks_hsc_desc_enc(HsClientDescEncKeypair::from_secret_key(secret));
        // With all keys given as values there is nothing that could be refused.
        keys.build().unwrap_or_else(|_| HsClientSecretKeys::none())
    }
}

impl fmt::Debug for ClientAuthKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientAuthKey").finish_non_exhaustive()
    }
}

/// The public half of a client's key, written `descriptor:x25519:KEY` as C tor writes it in
/// `authorized_clients` (tor(1), section "CLIENT AUTHORIZATION").
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ClientAuthPublicKey(HsClientDescEncKey);

impl ClientAuthPublicKey {
    /// The key as arti has it.
    pub fn for_arti(&self) -> HsClientDescEncKey {
        self.0.clone()
    }
}

impl fmt::Display for ClientAuthPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ClientAuthPublicKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |_| {
            "a client authorisation key is written descriptor:x25519: and 52 letters a to z, 2 to 7"
                .to_owned()
        };
        text.trim().parse().map(Self).map_err(wrong)
    }
}

impl TryFrom<String> for ClientAuthPublicKey {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONION: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";

    #[test]
    fn a_key_is_read_as_c_tor_writes_it() {
        let onion: OnionAddress = ONION.parse().expect("onion");
        let key = ClientAuthKey::generate();
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("a.auth_private");
        files::create_private(&path, key.private_line(&onion).as_bytes()).expect("written");
        let read = ClientAuthKey::open(&path, &onion).expect("read");
        assert_eq!(read.public(), key.public());
        assert_eq!(key.public().to_string().parse::<ClientAuthPublicKey>().expect("public"), key.public());
        let other: OnionAddress = OnionAddress::of_key(other_key()).expect("onion");
        let error = ClientAuthKey::open(&path, &other).expect_err("another address").to_string();
        assert!(error.contains("another onion address"), "{error}");
    }

    /// The public key of some other onion service: a point of the curve.
    fn other_key() -> [u8; 32] {
        *russh::keys::PrivateKey::from(russh::keys::ssh_key::private::Ed25519Keypair::from_seed(&[7; 32]))
            .public_key()
            .key_data()
            .ed25519()
            .expect("ed25519")
            .as_ref()
    }

    #[test]
    fn wrong_lines_are_refused() {
        for bad in ["", "descriptor:x25519:", "descriptor:x25519:AAAA", "x25519:AAAA", "descriptor:ed25519:A"]
        {
            assert!(bad.parse::<ClientAuthPublicKey>().is_err(), "{bad:?}");
        }
        assert!(!format!("{:?}", ClientAuthKey::of_secret([65; 32])).contains("65"));
    }
}
