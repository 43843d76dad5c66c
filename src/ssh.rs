//! What both ends of an SSH session share: algorithms, keys, and a channel as a byte stream; and how
//! a bridge knows a host and logs in.

mod certificate;
mod channel;
mod cut;
mod host_key;
mod host_pattern;
#[cfg(test)]
mod keygen;
mod keys;
mod known_hosts;
mod login_key;
mod server;
mod user_key;

use std::borrow::Cow;

use russh::keys::{Algorithm, EcdsaCurve};
use russh::{Preferred, cipher, compression, kex, mac};

pub use certificate::Authorities;
pub use channel::ChannelStream;
pub use cut::{CutStream, Pulse};
pub use host_key::{ExpectedHostKey, HostKeyFault};
pub use keys::{HostKeyPin, KeyFile, Passphrase};
pub use known_hosts::{BadLine, KnownHost, KnownHosts};
pub use login_key::{CertificateFile, LoginKey, PassphraseSource, SshAgentSocket};
pub use server::{Keepalive, goodbye, server_config};
pub use user_key::UserKey;

/// Bytes in one SSH packet at most. Larger ones would only wait longer for Tor's 498-byte cells.
pub const MAX_PACKET: u32 = 32_768;
/// Bytes in flight to us on one channel (RFC 4254, section 5.2).
pub const WINDOW: u32 = 2 << 20;

/// The algorithms both programs offer: post-quantum hybrid key exchange first, strict key
/// exchange, ciphers with authentication built in, no compression.
///
/// `host_keys` are the kinds of host key that are taken, best first.
pub fn algorithms(host_keys: &'static [Algorithm]) -> Preferred {
    const KEY_EXCHANGE: &[kex::Name] = &[
        kex::MLKEM768X25519_SHA256,
        kex::CURVE25519,
        kex::CURVE25519_PRE_RFC_8731,
        kex::EXTENSION_SUPPORT_AS_CLIENT,
        kex::EXTENSION_SUPPORT_AS_SERVER,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
    ];
    Preferred {
        kex: Cow::Borrowed(KEY_EXCHANGE),
        key: Cow::Borrowed(host_keys),
        host_key_certificates: Cow::Borrowed(&[]),
        cipher: Cow::Borrowed(&[cipher::CHACHA20_POLY1305, cipher::AES_256_GCM, cipher::AES_128_GCM]),
        // Never used with these ciphers, but a peer that negotiates the list separately wants one.
        mac: Cow::Borrowed(&[mac::HMAC_SHA512_ETM, mac::HMAC_SHA256_ETM]),
        compression: Cow::Borrowed(&[compression::NONE]),
    }
}

/// Host keys of our own servers: ed25519 only.
pub const AGENT_HOST_KEYS: &[Algorithm] = &[Algorithm::Ed25519];
/// Host keys a bridge takes, since a device's own `sshd` may have no ed25519 key.
pub const BRIDGE_HOST_KEYS: &[Algorithm] = &[
    Algorithm::Ed25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn names<T: AsRef<str>>(list: &[T]) -> Vec<&str> {
        list.iter().map(AsRef::as_ref).collect()
    }

    /// Whatever a new release of russh may add to its own lists, this is all that is offered.
    #[test]
    fn nothing_weak_is_offered() {
        let offered = algorithms(BRIDGE_HOST_KEYS);
        assert_eq!(
            names(&offered.kex),
            [
                "mlkem768x25519-sha256",
                "curve25519-sha256",
                "curve25519-sha256@libssh.org",
                "ext-info-c",
                "ext-info-s",
                "kex-strict-c-v00@openssh.com",
                "kex-strict-s-v00@openssh.com",
            ]
        );
        assert_eq!(
            names(&offered.cipher),
            ["chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com", "aes128-gcm@openssh.com"]
        );
        assert_eq!(names(&offered.mac), ["hmac-sha2-512-etm@openssh.com", "hmac-sha2-256-etm@openssh.com"]);
        assert_eq!(names(&offered.compression), ["none"]);
        assert_eq!(
            offered.key.iter().map(Algorithm::as_str).collect::<Vec<_>>(),
            ["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"]
        );
        assert!(offered.host_key_certificates.is_empty(), "certificates are asked for by target");
        assert_eq!(algorithms(AGENT_HOST_KEYS).key.as_ref(), [Algorithm::Ed25519]);
    }
}
