//! What both ends of an SSH session share: algorithms, keys, and a channel as a byte stream.

mod channel;
mod cut;
mod keys;
mod user_key;

use std::borrow::Cow;

use russh::keys::{Algorithm, EcdsaCurve};
use russh::{Preferred, cipher, compression, kex, mac};

pub use channel::ChannelStream;
pub use cut::CutStream;
pub use keys::{HostKeyPin, KeyFile};
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

/// Host keys of an agent: ed25519 only.
pub const AGENT_HOST_KEYS: &[Algorithm] = &[Algorithm::Ed25519];
/// Host keys a bridge takes, since a device's own `sshd` may have no ed25519 key.
pub const BRIDGE_HOST_KEYS: &[Algorithm] = &[
    Algorithm::Ed25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
];
