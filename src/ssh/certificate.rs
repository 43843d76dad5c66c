//! OpenSSH certificates (OpenSSH's PROTOCOL.certkeys): whose they are, and until when.

use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Certificate, PublicKey};
use serde::Deserialize;

use super::HostKeyFault;

/// The public keys of certificate authorities: one as `ssh-ed25519 AAAA…`, or a list of them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "OneOrMany")]
pub struct Authorities(Vec<KeyData>);

impl Authorities {
    /// The keys; never empty.
    pub fn keys(&self) -> &[KeyData] {
        &self.0
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a public key such as ssh-ed25519 AAAA…, or a list of them")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl TryFrom<OneOrMany> for Authorities {
    type Error = String;

    fn try_from(lines: OneOrMany) -> Result<Self, String> {
        let lines = match lines {
            OneOrMany::One(line) => vec![line],
            OneOrMany::Many(lines) => lines,
        };
        if lines.is_empty() {
            return Err("no authority is listed, so no host would be let on".into());
        }
        let key = |line: &String| {
            let key = PublicKey::from_openssh(line.trim())
                .map_err(|_| "an authority is written as ssh-ed25519 AAAA…, the whole line".to_owned())?;
            let key = key.key_data().clone();
            if key.is_rsa() || key.is_dsa() || key.is_certificate() {
                return Err("an authority's key must be ed25519 or ECDSA".to_owned());
            }
            Ok(key)
        };
        lines.iter().map(key).collect::<Result<_, _>>().map(Self)
    }
}

/// Whether a certificate proves that its key is the host `principal`'s, at `now` in seconds since 1970.
///
/// Critical options are conditions, and none is defined for hosts, so any is refused. A
/// certificate that names nobody would be good for every host; it is refused too.
///
/// # Errors
/// Says what is wrong with it.
pub(super) fn check_host_certificate(
    certificate: &Certificate,
    authorities: &[KeyData],
    principal: &str,
    now: u64,
) -> Result<(), HostKeyFault> {
    if certificate.cert_type() != CertType::Host {
        return Err(HostKeyFault::NotForHosts);
    }
    if !authorities.contains(certificate.signature_key()) {
        return Err(HostKeyFault::UnlistedAuthority);
    }
    certificate.verify_signature().map_err(|_| HostKeyFault::BadSignature)?;
    if now < certificate.valid_after() {
        return Err(HostKeyFault::NotYetValid);
    }
    if now >= certificate.valid_before() {
        return Err(HostKeyFault::Expired);
    }
    if !certificate.valid_principals().iter().any(|named| named.eq_ignore_ascii_case(principal)) {
        return Err(HostKeyFault::OtherHost);
    }
    if !certificate.critical_options().is_empty() {
        return Err(HostKeyFault::CriticalOption);
    }
    Ok(())
}
