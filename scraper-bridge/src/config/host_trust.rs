//! How a target says which host key its device has.

use std::ops::Range;
use std::path::{Path, PathBuf};

use onionscrape::address::Name;
use onionscrape::config::Section;
use onionscrape::ssh::{Authorities, HostKeyPin};

/// How a device is known. There is exactly one way for each target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostTrust {
    /// `host_key`: by this one key.
    Pinned(HostKeyPin),
    /// `known_hosts`: by what an OpenSSH known_hosts file says of its address.
    KnownHosts {
        /// The file, read anew for each login.
        file: PathBuf,
        /// Whom its certificate must name; the address's host if there is none.
        principal: Option<String>,
    },
    /// `host_ca`: by a certificate from one of these authorities.
    Certified {
        /// The authorities' keys.
        authorities: Authorities,
        /// Whom the certificate must name; the address's host if there is none.
        principal: Option<String>,
    },
    /// `trust_on_first_use`: by the key that it showed first.
    FirstUse {
        /// Where that key is recorded.
        record: PathBuf,
    },
}

impl HostTrust {
    /// True if the first key that comes is believed.
    pub fn is_on_first_use(&self) -> bool {
        matches!(self, Self::FirstUse { .. })
    }

    /// Reads the keys of a target; `name` is the target's.
    pub(super) fn read(
        section: &mut Section<'_>,
        name: Option<&Name>,
        state_directory: &Path,
    ) -> Option<Self> {
        const WAYS: [&str; 3] = ["host_key", "known_hosts", "host_ca"];
        let written = WAYS.iter().any(|way| section.has(way));
        let host_key = section.spanned::<HostKeyPin>("host_key");
        let known_hosts = section.path_spanned("known_hosts");
        let host_ca = section.spanned::<Authorities>("host_ca");
        let first_use = section.spanned::<bool>("trust_on_first_use").filter(|first| *first.get_ref());
        let principal = section.spanned::<String>("host_principal");

        let mut ways: Vec<(&str, Range<usize>)> = [
            ("host_key", host_key.as_ref().map(toml::Spanned::span)),
            ("known_hosts", known_hosts.as_ref().map(toml::Spanned::span)),
            ("host_ca", host_ca.as_ref().map(toml::Spanned::span)),
            ("trust_on_first_use", first_use.as_ref().map(toml::Spanned::span)),
        ]
        .into_iter()
        .filter_map(|(way, span)| Some((way, span?)))
        .collect();
        ways.sort_by_key(|(_, span)| span.start);
        if let [(first, _), others @ ..] = ways.as_slice() {
            for (other, span) in others {
                section.mistake(
                    span.clone(),
                    format!("{other}: the device is known by {first} already; keep one of the two"),
                );
            }
        } else if !written {
            section.mistake_here(
                "the target says nothing of its device's host key; write host_key, known_hosts, host_ca or \
                 trust_on_first_use",
            );
        }
        if let Some(principal) = &principal {
            if known_hosts.is_none() && host_ca.is_none() {
                section.mistake(
                    principal.span(),
                    "host_principal: is for certificates, so it goes with host_ca or known_hosts",
                );
            } else if principal.get_ref().is_empty() {
                section.mistake(principal.span(), "host_principal: a certificate cannot name nobody");
            }
        }

        let principal = principal.map(toml::Spanned::into_inner);
        if let Some(pin) = host_key {
            Some(Self::Pinned(pin.into_inner()))
        } else if let Some(file) = known_hosts {
            Some(Self::KnownHosts { file: file.into_inner(), principal })
        } else if let Some(authorities) = host_ca {
            Some(Self::Certified { authorities: authorities.into_inner(), principal })
        } else {
            first_use?;
            Some(Self::FirstUse { record: state_directory.join("known_host_keys").join(name?.as_str()) })
        }
    }
}
