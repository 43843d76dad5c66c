//! TLS versions, cipher suites and curves by the names that Go has for them.

use rustls::crypto::{SupportedKxGroup, ring};
use rustls::version::{TLS12, TLS13};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};
use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

use super::named::Reader;

/// A version of TLS that rustls speaks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) enum Version {
    #[serde(rename = "TLS12")]
    Tls12,
    #[serde(rename = "TLS13")]
    Tls13,
}

/// The versions from `least` to `most`, which are 1.2 and 1.3 unless configured; at least one.
///
/// `None` after a mistake was noted.
pub(super) fn versions(
    least: Option<&Spanned<Version>>,
    most: Option<&Spanned<Version>>,
    reader: &mut Reader<'_>,
) -> Option<Vec<&'static SupportedProtocolVersion>> {
    let range =
        least.map_or(Version::Tls12, |least| least.value)..=most.map_or(Version::Tls13, |most| most.value);
    if range.is_empty() {
        let at = most.or(least).map_or(Location::UNKNOWN, |version| version.referenced);
        reader.note(at, "max_version is older than min_version");
        return None;
    }
    let known = [(Version::Tls12, &TLS12), (Version::Tls13, &TLS13)];
    Some(known.into_iter().filter(|(version, _)| range.contains(version)).map(|(_, of)| of).collect())
}

/// The suites in the order that is wanted. TLS 1.3 has its own three, which Go does not let anybody
/// choose from either.
///
/// `None` after a mistake was noted.
pub(super) fn suites(
    wanted: Option<&[Spanned<String>]>,
    reader: &mut Reader<'_>,
) -> Option<Vec<SupportedCipherSuite>> {
    let known = ring::default_provider().cipher_suites;
    let Some(wanted) = wanted else { return Some(known) };
    let named: Vec<_> = known.iter().map(|suite| (suite_name(suite), *suite)).collect();
    let chosen = choose(wanted, &named, "cipher suite", reader)?;
    let always = known.into_iter().filter(|suite| suite.tls13().is_some());
    Some(always.chain(chosen.into_iter().filter(|suite| suite.tls13().is_none())).collect())
}

/// The groups that keys are exchanged in, in the order that is wanted.
///
/// `None` after a mistake was noted.
pub(super) fn groups(
    wanted: Option<&[Spanned<String>]>,
    reader: &mut Reader<'_>,
) -> Option<Vec<&'static dyn SupportedKxGroup>> {
    let Some(wanted) = wanted else { return Some(ring::default_provider().kx_groups) };
    let named = [
        ("X25519".to_owned(), ring::kx_group::X25519),
        ("CurveP256".to_owned(), ring::kx_group::SECP256R1),
        ("CurveP384".to_owned(), ring::kx_group::SECP384R1),
    ];
    choose(wanted, &named, "curve", reader)
}

/// The suite's name in Go, which is IANA's.
fn suite_name(suite: &SupportedCipherSuite) -> String {
    suite.suite().as_str().unwrap_or_default().replacen("TLS13_", "TLS_", 1)
}

/// What the names stand for, in their order; an empty list leaves the choice to rustls.
fn choose<T: Copy>(
    wanted: &[Spanned<String>],
    known: &[(String, T)],
    what: &str,
    reader: &mut Reader<'_>,
) -> Option<Vec<T>> {
    if wanted.is_empty() {
        return Some(known.iter().map(|(_, value)| *value).collect());
    }
    let chosen: Vec<_> = wanted
        .iter()
        .map(|name| {
            let found = known.iter().find(|(known, _)| *known == name.value).map(|(_, value)| *value);
            if found.is_none() {
                let names: Vec<_> = known.iter().map(|(name, _)| name.as_str()).collect();
                let names = names.join(", ");
                reader.note(
                    name.referenced,
                    format!("no {what} here is named {:?}; there are {names}", name.value),
                );
            }
            found
        })
        .collect();
    chosen.into_iter().collect()
}
