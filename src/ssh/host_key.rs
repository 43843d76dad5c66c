//! Which host key is expected of a target, and what is wrong with another.

use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, PublicKeyOrCertificate};

use super::certificate::check_host_certificate;
use super::{BRIDGE_HOST_KEYS, HostKeyPin, KnownHost};

/// Why a host key is not accepted. `Display` is a reason phrase: ASCII, at most 80 letters, and
/// neither a key nor an address in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostKeyFault {
    /// Another key is known. Somebody else answers, or the device was set up anew.
    #[error("ssh host key mismatch")]
    Mismatch,
    /// The key, or the authority behind it, is known as revoked.
    #[error("ssh host key revoked")]
    Revoked,
    /// The known_hosts file says nothing of this host.
    #[error("ssh host key unknown: the known_hosts file has no line for the device")]
    Unknown,
    /// A bare key was shown where only a certificate counts.
    #[error("ssh host certificate missing: the device showed a bare key")]
    NoCertificate,
    /// The certificate is a user's.
    #[error("ssh host certificate is not one for hosts")]
    NotForHosts,
    /// The certificate comes from an authority that is not listed.
    #[error("ssh host certificate is from an authority that is not listed")]
    UnlistedAuthority,
    /// The authority's signature on the certificate is wrong, or of a kind that cannot be checked.
    #[error("ssh host certificate has a bad signature")]
    BadSignature,
    /// The certificate's time has not come, or this machine's clock is behind.
    #[error("ssh host certificate is not valid yet")]
    NotYetValid,
    /// The certificate's time is over, or this machine's clock is ahead.
    #[error("ssh host certificate expired")]
    Expired,
    /// The certificate does not name the host it should.
    #[error("ssh host certificate is for another host")]
    OtherHost,
    /// The certificate has a condition that is not understood.
    #[error("ssh host certificate has an unknown critical option")]
    CriticalOption,
    /// What is known of the host could not be read on this side; the log says why.
    #[error("ssh host key unknown: its file cannot be read, see the bridge's log")]
    Unreadable,
    /// The first key could not be recorded on this side; the log says why.
    #[error("ssh host key not recorded, see the bridge's log")]
    Unrecorded,
}

impl HostKeyFault {
    /// True if the far end is at fault, not a file on this side.
    pub fn is_the_hosts(self) -> bool {
        !matches!(self, Self::Unreadable | Self::Unrecorded)
    }
}

/// What a host may show to be let on.
#[derive(Clone, Debug)]
pub enum ExpectedHostKey {
    /// One of these keys.
    Pinned(Vec<HostKeyPin>),
    /// What a known_hosts file says of the host, which certificates know as `principal`.
    Known {
        /// What the file says.
        host: KnownHost,
        /// Whom a certificate must name.
        principal: String,
    },
    /// A certificate from one of these authorities.
    Certified {
        /// The authorities' keys.
        authorities: Vec<KeyData>,
        /// Whom the certificate must name.
        principal: String,
    },
    /// Any key: none was seen before.
    Anything,
}

impl ExpectedHostKey {
    /// Whether the host may show this; `now` is in seconds since 1970.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn check(&self, shown: &PublicKeyOrCertificate, now: u64) -> Result<(), HostKeyFault> {
        let key = shown.public_key();
        match self {
            Self::Anything => Ok(()),
            // The key in a certificate is the one that the host proved to have.
            Self::Pinned(pins) if pins.iter().any(|pin| pin.is(&key)) => Ok(()),
            Self::Pinned(_) => Err(HostKeyFault::Mismatch),
            Self::Certified { authorities, principal } => match shown.certificate() {
                Some(certificate) => check_host_certificate(certificate, authorities, principal, now),
                None => Err(HostKeyFault::NoCertificate),
            },
            Self::Known { host, principal } => {
                let signer = shown.certificate().map(|certificate| certificate.signature_key());
                if host.revoked.iter().any(|revoked| revoked == key.key_data() || Some(revoked) == signer) {
                    return Err(HostKeyFault::Revoked);
                }
                // As with ssh(1), a certificate of an unlisted authority counts as its bare key.
                if let Some(certificate) = shown.certificate()
                    && (host.authorities.contains(certificate.signature_key()) || host.keys.is_empty())
                {
                    if host.authorities.is_empty() {
                        return Err(HostKeyFault::Unknown);
                    }
                    return check_host_certificate(certificate, &host.authorities, principal, now);
                }
                match host.keys.as_slice() {
                    [] if host.authorities.is_empty() => Err(HostKeyFault::Unknown),
                    [] => Err(HostKeyFault::NoCertificate),
                    keys if keys.contains(key.key_data()) => Ok(()),
                    _ => Err(HostKeyFault::Mismatch),
                }
            }
        }
    }

    /// The kinds of host key to ask for, those known of the host first: a host with several keys
    /// must not be asked for one that nobody wrote down.
    pub fn kinds(&self) -> Vec<Algorithm> {
        let known: Vec<Algorithm> = match self {
            Self::Pinned(pins) => pins.iter().filter_map(HostKeyPin::kind).collect(),
            Self::Known { host, .. } => host.keys.iter().map(KeyData::algorithm).collect(),
            Self::Certified { .. } | Self::Anything => Vec::new(),
        };
        let (mut kinds, others): (Vec<_>, Vec<_>) =
            BRIDGE_HOST_KEYS.iter().cloned().partition(|kind| known.contains(kind));
        kinds.extend(others);
        kinds
    }

    /// True if the host shall be asked for a certificate.
    pub fn wants_certificate(&self) -> bool {
        match self {
            Self::Certified { .. } => true,
            Self::Known { host, .. } => !host.authorities.is_empty(),
            Self::Pinned(_) | Self::Anything => false,
        }
    }
}

#[cfg(test)]
mod tests;
