//! The one line that pairs a device with a bridge.
//!
//! `onionscrape1-` and then, in base32 (RFC 4648, section 6) without padding: the onion service's
//! public key, the SHA-256 of its SSH host key, the seed of the ed25519 key to enrol with, the
//! x25519 key to read its descriptor with, 32 bytes each; the end of its life in seconds since 1970,
//! 8 bytes, big-endian; and the first 4 bytes of the SHA-256 of all that.
//!
//! Both keys are worth something only until a bridge has enrolled: it puts keys of its own in their
//! place.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::BASE32_NOPAD;
use russh::keys::PrivateKey;
use russh::keys::ssh_key::private::Ed25519Keypair;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::address::OnionAddress;
use crate::ssh::HostKeyPin;
use crate::tor::ClientAuthKey;

/// What a ticket begins with, before its version.
const PREFIX: &str = "onionscrape";
/// The version written and read here.
const VERSION: &str = "1";
/// Bytes of the checksum.
const CHECKSUM: usize = 4;
/// Bytes in all.
const LENGTH: usize = 4 * 32 + 8 + CHECKSUM;
/// Letters after the prefix.
const LETTERS: usize = LENGTH / 5 * 8;

/// What a bridge needs to find a device, to know it, and to be let in once.
#[derive(Clone)]
pub struct Ticket {
    /// Where the device is.
    pub onion: OnionAddress,
    /// The only host key it may show.
    pub host_key: HostKeyPin,
    /// The end of the ticket's life, in whole seconds.
    pub expires: SystemTime,
    /// Finds the device while others must not.
    pub client_auth: ClientAuthKey,
    seed: Zeroizing<[u8; 32]>,
}

impl Ticket {
    /// A ticket with new secrets.
    pub fn new(onion: OnionAddress, host_key: HostKeyPin, expires: SystemTime) -> Self {
        let seed = Zeroizing::new(rand::random());
        let seconds = seconds_of(expires);
        let expires = UNIX_EPOCH + Duration::from_secs(seconds);
        Self { onion, host_key, expires, client_auth: ClientAuthKey::generate(), seed }
    }

    /// The key to enrol with.
    pub fn enrolment_key(&self) -> Arc<PrivateKey> {
        Arc::new(PrivateKey::from(Ed25519Keypair::from_seed(&self.seed)))
    }

    /// True if its life is over at `now`.
    pub fn has_expired(&self, now: SystemTime) -> bool {
        now >= self.expires
    }

    /// The ticket as it is printed; whoever reads it can enrol.
    pub fn unredacted(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(LENGTH));
        bytes.extend_from_slice(&self.onion.key());
        bytes.extend_from_slice(&self.host_key.sha256());
        bytes.extend_from_slice(&*self.seed);
        bytes.extend_from_slice(&*self.client_auth.secret());
        bytes.extend_from_slice(&seconds_of(self.expires).to_be_bytes());
        let checksum = checksum(&bytes);
        bytes.extend_from_slice(&checksum);
        let letters = Zeroizing::new(BASE32_NOPAD.encode(&bytes));
        Zeroizing::new(format!("{PREFIX}{VERSION}-{}", letters.to_ascii_lowercase()))
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("onion", &self.onion).finish_non_exhaustive()
    }
}

impl FromStr for Ticket {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim().to_ascii_lowercase();
        let text = Zeroizing::new(text);
        let no_ticket = || format!("this is not a ticket: a ticket begins with {PREFIX}{VERSION}-");
        let (version, letters) =
            text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')).ok_or_else(no_ticket)?;
        if version != VERSION {
            return Err(if !version.is_empty() && version.bytes().all(|digit| digit.is_ascii_digit()) {
                format!(
                    "the ticket is of version {version}, this program knows version {VERSION} only; use a release that fits the other end's"
                )
            } else {
                no_ticket()
            });
        }
        if letters.len() != LETTERS {
            let how = if letters.len() < LETTERS { "cut short" } else { "too long" };
            return Err(format!(
                "the ticket is {how}: it has {} letters after {PREFIX}{VERSION}-, not {LETTERS}",
                letters.chars().count()
            ));
        }
        let mistyped = || "the ticket is mistyped: its checksum does not fit".to_owned();
        let bytes = BASE32_NOPAD.decode(letters.to_ascii_uppercase().as_bytes()).map_err(|_| mistyped())?;
        let bytes = Zeroizing::new(bytes);
        let (content, sum) = bytes.split_at(LENGTH - CHECKSUM);
        if sum != checksum(content) {
            return Err(mistyped());
        }
        let part = |index: usize| {
            let mut part = Zeroizing::new([0; 32]);
            part.copy_from_slice(&content[index * 32..][..32]);
            part
        };
        let seconds = content[4 * 32..].iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        Ok(Self {
            onion: OnionAddress::of_key(*part(0)).ok_or_else(mistyped)?,
            host_key: HostKeyPin::of_sha256(*part(1)),
            seed: part(2),
            client_auth: ClientAuthKey::of_secret(*part(3)),
            expires: UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).ok_or_else(mistyped)?,
        })
    }
}

fn checksum(content: &[u8]) -> [u8; CHECKSUM] {
    let digest = Sha256::digest(content);
    std::array::from_fn(|index| digest[index])
}

fn seconds_of(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> Ticket {
        let onion = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion".parse().expect("onion");
        let host_key = "SHA256:uNiVztksCsDhcc0u9e8BrfJXVREF2P2hkKKrbSQGHqs".parse().expect("pin");
        Ticket::new(onion, host_key, UNIX_EPOCH + Duration::from_secs(1_795_000_000))
    }

    fn error(text: &str) -> String {
        text.parse::<Ticket>().expect_err(text)
    }

    #[test]
    fn what_is_printed_is_read_again() {
        let ticket = ticket();
        let text = ticket.unredacted();
        assert_eq!(text.len(), "onionscrape1-".len() + 224);
        // A QR code is printed in upper case, and a pasted line ends with a line break.
        for form in [text.to_string(), text.to_uppercase(), format!("  {}\n", *text)] {
            let read: Ticket = form.parse().expect("read");
            assert_eq!(read.onion, ticket.onion);
            assert_eq!(read.host_key, ticket.host_key);
            assert_eq!(read.expires, ticket.expires);
            assert_eq!(read.client_auth.public(), ticket.client_auth.public());
            assert_eq!(read.enrolment_key().public_key(), ticket.enrolment_key().public_key());
        }
        assert!(!ticket.has_expired(ticket.expires - Duration::from_secs(1)));
        assert!(ticket.has_expired(ticket.expires));
        assert_ne!(*self::ticket().unredacted(), *text, "secrets are new each time");
    }

    #[test]
    fn every_fault_has_its_line() {
        let text = ticket().unredacted();
        assert!(error("").starts_with("this is not a ticket"));
        assert!(error("ssh-ed25519 AAAA").starts_with("this is not a ticket"));
        assert!(error("onionscrape-x").starts_with("this is not a ticket"));
        assert!(error(&text.replacen('1', "2", 1)).starts_with("the ticket is of version 2"));
        assert!(error(&text[..100]).contains("cut short: it has 87 letters"));
        assert!(error(&format!("{}a", *text)).contains("too long"));
        // Any one letter changed, and any two neighbours swapped, is noticed.
        let begin = "onionscrape1-".len();
        for at in begin..text.len() {
            let mut letters = text.as_bytes().to_vec();
            letters[at] = if letters[at] == b'a' { b'b' } else { b'a' };
            let changed = String::from_utf8(letters).expect("ascii");
            assert_eq!(error(&changed), "the ticket is mistyped: its checksum does not fit", "at {at}");
        }
        assert!(error(&text.replacen(|c: char| c.is_ascii_digit() && c != '1', "0", 1)).contains("mistyped"));
        assert!(error(&format!("onionscrape1-{}", "é".repeat(112))).contains("mistyped"));
    }

    #[test]
    fn nothing_secret_is_shown_by_accident() {
        let ticket = ticket();
        let shown = format!("{ticket:?}");
        assert!(shown.len() < 60 && !shown.contains(&ticket.unredacted()[20..30]), "{shown}");
    }
}
