//! SSH keys on disk, and the pinned host key of a target.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use russh::keys::ssh_key::{Fingerprint, LineEnding, SshSig};
use russh::keys::{Algorithm, HashAlg, PrivateKey, PublicKey};
use serde::Deserialize;

use crate::files::{self, FileError};

/// What proofs about host keys to come are signed for, so that no other signature passes for one.
const NEXT_HOST_KEY: &str = "next-host-key@onionscrape";

/// A private key that was read from its file. `Debug` shows its fingerprint only.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyFile {
    key: Arc<PrivateKey>,
}

impl KeyFile {
    /// Reads the ed25519 key at `path`, or makes it if there is no file; its comment is `comment`.
    ///
    /// # Errors
    /// When the file is there but cannot be used; it is never replaced.
    pub fn open_or_make(path: &Path, comment: &str) -> Result<Self, FileError> {
        if let Some(key) = Self::open_if_there(path)? {
            return Ok(key);
        }
        let unusable = |error| FileError::new(path, format!("a new key could not be made: {error}"));
        let mut key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).map_err(unusable)?;
        key.set_comment(comment);
        let made = Self { key: Arc::new(key) };
        match made.write(path) {
            Ok(()) => Ok(made),
            // Another process was quicker; its key is the one.
            Err(error) => Self::open_if_there(path)?.ok_or(error),
        }
    }

    /// Writes the key to a private file that must not be there yet.
    ///
    /// # Errors
    /// When it is there, or cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), FileError> {
        let unusable = |error| FileError::new(path, format!("the key cannot be written down: {error}"));
        let text = self.key.to_openssh(LineEnding::LF).map_err(unusable)?;
        files::create_private(path, text.as_bytes())
    }

    /// Reads the private key at `path`.
    ///
    /// # Errors
    /// When there is no such file or it cannot be used.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        Self::open_if_there(path)?.ok_or_else(|| FileError::new(path, "no such file"))
    }

    /// Reads the private key at `path` to log in with; `passphrase` is asked only for a key that
    /// has one.
    ///
    /// # Errors
    /// When there is no such file, it cannot be used, or its passphrase is another.
    pub fn unlock(
        path: &Path,
        passphrase: impl FnOnce() -> Result<Passphrase, FileError>,
    ) -> Result<Self, FileError> {
        let text = files::read_private(path)?.ok_or_else(|| FileError::new(path, "no such file"))?;
        let mut key = decode(path, &text)?;
        if key.is_encrypted() {
            let passphrase = passphrase()?;
            key = key.decrypt(passphrase.as_bytes()).map_err(|_| {
                FileError::new(path, "is locked with another passphrase than the one that was given")
            })?;
        }
        match key.algorithm() {
            Algorithm::Ed25519 | Algorithm::Ecdsa { .. } => Ok(Self { key: Arc::new(key) }),
            Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256 => Err(FileError::new(
                path,
                "belongs to a security key; add it to an ssh-agent and write ssh_agent = true",
            )),
            _ => Err(FileError::new(path, "is of an old kind; make an ed25519 key with ssh-keygen")),
        }
    }

    fn open_if_there(path: &Path) -> Result<Option<Self>, FileError> {
        let Some(text) = files::read_private(path)? else { return Ok(None) };
        let key = decode(path, &text)?;
        if key.is_encrypted() {
            return Err(FileError::new(path, "has a passphrase; give a key without one"));
        }
        Ok(Some(Self { key: Arc::new(key) }))
    }

    /// A key that is in no file.
    pub fn of(key: Arc<PrivateKey>) -> Self {
        Self { key }
    }

    /// The key itself.
    pub fn private(&self) -> &Arc<PrivateKey> {
        &self.key
    }

    /// A proof that this key is there, and is to take the place of the one with the fingerprint
    /// `current`; `None` if it cannot sign.
    pub fn prove_next(&self, current: &str) -> Option<String> {
        let signature = self.key.sign(NEXT_HOST_KEY, HashAlg::Sha512, current.as_bytes()).ok()?;
        signature.to_pem(LineEnding::LF).ok()
    }

    /// The public half as `ssh-ed25519 AAAA… comment`.
    pub fn public_line(&self) -> String {
        // An ed25519 key can always be encoded; an empty line would be refused wherever it is pasted.
        self.key.public_key().to_openssh().unwrap_or_default()
    }

    /// The public half's fingerprint, `SHA256:…`.
    pub fn fingerprint(&self) -> String {
        self.key.public_key().fingerprint(HashAlg::Sha256).to_string()
    }
}

/// A passphrase; wiped from memory when it is dropped.
pub type Passphrase = zeroize::Zeroizing<String>;

fn decode(path: &Path, text: &str) -> Result<PrivateKey, FileError> {
    PrivateKey::from_openssh(text.as_bytes()).map_err(|_| {
        FileError::new(
            path,
            "is not an OpenSSH private key; restore it from a backup, or remove it to make a new one",
        )
    })
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyFile").field(&self.fingerprint()).finish()
    }
}

/// The one host key that a target may show: a fingerprint `SHA256:…`, or a whole public key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct HostKeyPin {
    fingerprint: Fingerprint,
    /// A fingerprint alone does not tell it.
    kind: Option<Algorithm>,
}

impl HostKeyPin {
    /// The pin of the key whose public half has this SHA-256.
    pub fn of_sha256(hash: [u8; 32]) -> Self {
        Self { fingerprint: Fingerprint::Sha256(hash), kind: None }
    }

    /// The SHA-256 of the pinned key's public half.
    pub fn sha256(&self) -> [u8; 32] {
        self.fingerprint.sha256().unwrap_or_default()
    }

    /// True if `key` is the pinned one.
    pub fn is(&self, key: &PublicKey) -> bool {
        key.fingerprint(HashAlg::Sha256) == self.fingerprint
    }

    /// The pin of the whole key in `line`, if `proof` shows that it is to take the place of the key with
    /// the fingerprint `current`.
    pub fn of_next(line: &str, proof: &str, current: &str) -> Option<Self> {
        let key = PublicKey::from_openssh(line).ok()?;
        let proof = SshSig::from_pem(proof).ok()?;
        key.verify(NEXT_HOST_KEY, current.as_bytes(), &proof).ok()?;
        line.parse().ok()
    }

    /// The kind of key, if the whole key was given.
    pub fn kind(&self) -> Option<Algorithm> {
        self.kind.clone()
    }
}

/// The fingerprint.
impl fmt::Display for HostKeyPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fingerprint.fmt(f)
    }
}

impl FromStr for HostKeyPin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.starts_with("SHA256:") {
            let fingerprint = text.parse().map_err(|_| "the fingerprint is cut short or mistyped")?;
            return Ok(Self { fingerprint, kind: None });
        }
        PublicKey::from_openssh(text)
            .map(|key| Self { fingerprint: key.fingerprint(HashAlg::Sha256), kind: Some(key.algorithm()) })
            .map_err(|_| "a host key is written as SHA256:… or as ssh-ed25519 AAAA…".into())
    }
}

impl TryFrom<String> for HostKeyPin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_pins_match_it() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("key");
        let made = KeyFile::open_or_make(&path, "host").expect("made");
        let read = KeyFile::open_or_make(&path, "other").expect("read");
        assert_eq!(made.public_line(), read.public_line());
        assert!(made.public_line().ends_with(" host"));
        for text in [made.fingerprint(), made.public_line()] {
            assert!(text.parse::<HostKeyPin>().expect("pin").is(made.private().public_key()));
        }
        let other = KeyFile::open_or_make(&folder.path().join("other"), "").expect("made");
        assert!(!made.fingerprint().parse::<HostKeyPin>().expect("pin").is(other.private().public_key()));
    }

    #[test]
    fn only_the_key_itself_proves_that_it_is_to_come() {
        let folder = tempfile::tempdir().expect("folder");
        let key = |name: &str| KeyFile::open_or_make(&folder.path().join(name), name).expect("key");
        let (old, next, other) = (key("old"), key("next"), key("other"));
        let (current, line) = (old.fingerprint(), next.public_line());
        let proof = next.prove_next(&current).expect("signed");
        assert!(
            HostKeyPin::of_next(&line, &proof, &current).expect("proved").is(next.private().public_key())
        );
        assert!(HostKeyPin::of_next(&line, &proof, &other.fingerprint()).is_none(), "of another device");
        let borrowed = other.prove_next(&current).expect("signed");
        assert!(HostKeyPin::of_next(&line, &borrowed, &current).is_none(), "by another key");
        let elsewhere = next.private().sign("file", HashAlg::Sha512, current.as_bytes()).expect("signed");
        let elsewhere = elsewhere.to_pem(LineEnding::LF).expect("PEM");
        assert!(HostKeyPin::of_next(&line, &elsewhere, &current).is_none(), "for another purpose");
        for garbage in ["", "-----BEGIN SSH SIGNATURE-----", &proof[..proof.len() / 2]] {
            assert!(HostKeyPin::of_next(&line, garbage, &current).is_none());
        }
    }

    #[test]
    fn a_damaged_key_is_never_replaced() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("key");
        files::create_private(&path, b"garbage").expect("made");
        assert!(KeyFile::open_or_make(&path, "").is_err());
        assert_eq!(std::fs::read(&path).expect("there"), b"garbage");
    }

    #[test]
    fn pins_cut_short_are_refused() {
        for bad in ["", "SHA256:", "SHA256:abc", "ssh-ed25519", "ssh-ed25519 AAAA", "MD5:00:11"] {
            assert!(bad.parse::<HostKeyPin>().is_err(), "{bad:?} was accepted");
        }
    }

    /// A security key's signature is over more than the message (OpenSSH's PROTOCOL.u2f); this one is
    /// made without the device.
    #[test]
    fn security_keys_are_read_and_their_signatures_checked() {
        use russh::keys::signature::{Signer as _, Verifier as _};
        use russh::keys::ssh_key::public::{KeyData, SkEd25519};
        use russh::keys::ssh_key::sha2::{Digest as _, Sha256};
        use russh::keys::ssh_key::{Signature, public::Ed25519PublicKey};

        let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).expect("key");
        let public: Ed25519PublicKey = *key.public_key().key_data().ed25519().expect("ed25519");
        let security_key = PublicKey::from(KeyData::SkEd25519(SkEd25519::new(public, "ssh:")));
        let line = security_key.to_openssh().expect("line");
        assert!(line.starts_with("sk-ssh-ed25519@openssh.com AAAA"), "{line}");
        let read = PublicKey::from_openssh(line.trim()).expect("read");
        assert_eq!(read.key_data(), security_key.key_data());
        assert!(line.parse::<HostKeyPin>().expect("pin").is(&read));

        // Touched, the seventh signature.
        let flags_and_counter = [1, 0, 0, 0, 7];
        let signed = [&Sha256::digest("ssh:")[..], &flags_and_counter, &Sha256::digest("message")].concat();
        let signature: Signature = key.try_sign(&signed).expect("signed");
        let bytes = [signature.as_bytes(), &flags_and_counter].concat();
        let signature = Signature::new(Algorithm::SkEd25519, bytes).expect("signature");
        assert!(read.key_data().verify(b"message", &signature).is_ok());
        assert!(read.key_data().verify(b"another", &signature).is_err());
    }
}
