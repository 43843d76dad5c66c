//! The public key that a user logs in with.

use std::fmt;
use std::str::FromStr;

use russh::keys::{HashAlg, PublicKey};
use serde::{Deserialize, Serialize};

/// The kinds of key that an agent takes: ed25519, in a file or in a security key.
const KINDS: [&str; 2] = ["ssh-ed25519", "sk-ssh-ed25519@openssh.com"];
/// Beginnings of the names of other kinds of key.
const OTHER_KINDS: [&str; 4] = ["ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-"];

/// A public key that a user logs in with, written `ssh-ed25519 AAAA…`; a comment is not part of it.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserKey(PublicKey);

impl UserKey {
    /// The key without its comment.
    pub fn of(key: &PublicKey) -> Self {
        Self(PublicKey::from(key.key_data().clone()))
    }

    /// True if `word` names a kind of key, whether or not it is taken.
    pub fn is_kind(word: &str) -> bool {
        OTHER_KINDS.iter().any(|kind| word.starts_with(kind))
    }

    /// True if keys of this kind are taken.
    pub fn is_taken(kind: &str) -> bool {
        KINDS.contains(&kind)
    }

    /// The key itself.
    pub fn public(&self) -> &PublicKey {
        &self.0
    }

    /// The fingerprint, `SHA256:…`.
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint(HashAlg::Sha256).to_string()
    }
}

impl fmt::Display for UserKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A key of the kinds that are taken can always be encoded.
        f.write_str(&self.0.to_openssh().unwrap_or_default())
    }
}

impl fmt::Debug for UserKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UserKey").field(&self.fingerprint()).finish()
    }
}

impl FromStr for UserKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_ascii_whitespace();
        let kind = words.next().unwrap_or_default();
        if !KINDS.contains(&kind) {
            return Err(if Self::is_kind(kind) {
                format!("a key of the kind {kind} is not taken, only {}", KINDS.join(" and "))
            } else {
                format!("a public key begins with {}", KINDS.join(" or "))
            });
        }
        let base64 = words.next().unwrap_or_default();
        PublicKey::from_openssh(&format!("{kind} {base64}"))
            .map(|key| Self::of(&key))
            .map_err(|_| "the key is cut short or mistyped".into())
    }
}

impl TryFrom<String> for UserKey {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<UserKey> for String {
    fn from(key: UserKey) -> Self {
        key.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    #[test]
    fn a_key_is_the_same_whatever_its_comment() {
        let key: UserKey = KEY.parse().expect("key");
        assert_eq!(key.to_string(), KEY);
        assert_eq!(format!("{KEY}\thome computer").parse::<UserKey>().expect("key"), key);
        assert!(format!("{key:?}").contains(&key.fingerprint()));
    }

    #[test]
    fn other_kinds_and_broken_keys_are_named() {
        for (bad, said) in [
            ("", "begins with"),
            ("hello", "begins with"),
            ("ssh-rsa AAAA", "kind ssh-rsa is not taken"),
            ("ecdsa-sha2-nistp256 AAAA", "is not taken"),
            ("ssh-ed25519", "cut short"),
            ("ssh-ed25519 AAAA", "cut short"),
            ("sk-ssh-ed25519@openssh.com AAAA", "cut short"),
        ] {
            let error = bad.parse::<UserKey>().expect_err(bad);
            assert!(error.contains(said), "{bad}: {error}");
        }
    }
}
