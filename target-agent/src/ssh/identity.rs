//! What a peer showed to log in, and what that is good for.

use std::time::SystemTime;

use onionscrape::ssh::UserKey;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Certificate, HashAlg};

use crate::access::{Admitted, Authority, Entry, Guests};

/// The extension without which OpenSSH opens no forwarded channel (PROTOCOL.certkeys).
const FORWARDING: &str = "permit-port-forwarding";

/// What a peer showed to log in. It is looked up again at every channel, since keys are withdrawn
/// and certificates end.
#[derive(Clone)]
pub(super) enum Shown {
    Key(UserKey),
    Certificate { user: String, certificate: Box<Certificate> },
}

impl Shown {
    /// What it is good for at `now`.
    pub(super) fn admitted(&self, guests: &Guests, now: SystemTime) -> Admitted {
        match self {
            Self::Key(key) => guests.admits(key, now),
            Self::Certificate { user, certificate } => {
                // An authority may stand in several lines, each for other names.
                let counts = |(entry, authority): &(&Entry, &Authority)| {
                    is_signed_by(certificate, entry, now) && is_good(certificate, user, authority)
                };
                match guests.authorities(now).find(counts) {
                    Some((entry, _)) => Admitted::As(name_of(certificate, entry), entry.permits.clone()),
                    None => Admitted::No,
                }
            }
        }
    }

    /// True if it ends by itself, without any file being changed.
    pub(super) fn has_an_end(&self) -> bool {
        matches!(self, Self::Certificate { .. })
    }

    /// The fingerprint of the key that signed.
    pub(super) fn fingerprint(&self) -> String {
        match self {
            Self::Key(key) => key.fingerprint(),
            Self::Certificate { certificate, .. } => {
                certificate.public_key().fingerprint(HashAlg::Sha256).to_string()
            }
        }
    }

    /// The public half of a ticket's key, if that was shown.
    pub(super) fn key(&self) -> Option<&UserKey> {
        match self {
            Self::Key(key) => Some(key),
            Self::Certificate { .. } => None,
        }
    }
}

/// True if the authority signed it and it is valid at `now`.
fn is_signed_by(certificate: &Certificate, entry: &Entry, now: SystemTime) -> bool {
    let authority = entry.key.public().fingerprint(HashAlg::Sha256);
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    certificate.validate_at(since.as_secs(), [&authority]).is_ok()
}

/// True if it is a user's, has a name that counts, and asks for nothing that cannot be honoured.
///
/// The rules are those of OpenSSH (PROTOCOL.certkeys): without a name it is good for nobody, and a
/// critical option that is not known makes it void.
fn is_good(certificate: &Certificate, user: &str, authority: &Authority) -> bool {
    let names = certificate.valid_principals();
    let named = if authority.principals.is_empty() {
        names.iter().any(|name| name == user)
    } else {
        names.iter().any(|name| authority.principals.contains(name))
    };
    // A forced command takes away what the agent gives to nobody. A source address cannot be
    // checked behind an onion service, and all other options are not known.
    let honoured = certificate.critical_options().iter().all(|(name, _)| name == "force-command");
    let forwarding = certificate.extensions().iter().any(|(name, _)| name == FORWARDING);
    let kind = UserKey::is_taken(certificate.public_key().algorithm().as_str());
    certificate.cert_type() == CertType::User && kind && named && honoured && forwarding
}

/// The certificate's own name for people, as far as it can be logged.
fn name_of(certificate: &Certificate, entry: &Entry) -> String {
    let id: String =
        certificate.key_id().chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(64).collect();
    if id.is_empty() { format!("a certificate of {}", entry.name) } else { format!("certificate {id}") }
}
