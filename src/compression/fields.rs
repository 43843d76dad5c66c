//! The header fields by which the two ends agree on how a body travels.

use data_encoding::BASE64;
use hyper::HeaderMap;
use hyper::header::{ACCEPT_ENCODING, HeaderName, HeaderValue};

use super::Digest;

/// What the asker has, as a byte sequence of structured fields.
pub const AVAILABLE_DICTIONARY: HeaderName = HeaderName::from_static("available-dictionary");
/// That an answer may be a dictionary for later ones.
pub const USE_AS_DICTIONARY: HeaderName = HeaderName::from_static("use-as-dictionary");

/// A way to make a body small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    /// By itself.
    Zstd,
    /// Against another body.
    Dcz,
}

impl Coding {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Zstd, Self::Dcz];

    /// Its name in HTTP, and in labels of metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Dcz => "dcz",
        }
    }

    /// The one that a `Content-Encoding` names, if it is the only one there.
    pub fn of(encoding: &HeaderValue) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|coding| encoding.as_bytes().eq_ignore_ascii_case(coding.name().as_bytes()))
    }
}

/// What an asker takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Zstandard.
    pub zstd: bool,
    /// The same with a dictionary; which one it has, if it has one.
    pub dcz: Option<Option<Digest>>,
}

impl Accepted {
    /// What these fields of a request say.
    pub fn of(headers: &HeaderMap) -> Self {
        let accepts = |coding: Coding| quality(headers, coding.name()).is_some_and(|quality| quality > 0.0);
        let dcz = accepts(Coding::Dcz).then(|| {
            let mut all = headers.get_all(AVAILABLE_DICTIONARY).iter();
            // With two of them none can be told to be the one.
            all.next().filter(|_| all.next().is_none()).and_then(digest)
        });
        Self { zstd: accepts(Coding::Zstd), dcz }
    }
}

/// True unless these fields of a request refuse a body as it is (RFC 9110, section 12.5.3).
pub fn is_identity_allowed(headers: &HeaderMap) -> bool {
    quality(headers, "identity").or_else(|| quality(headers, "*")).is_none_or(|quality| quality > 0.0)
}

/// The value of [`AVAILABLE_DICTIONARY`] for who has this one.
pub fn available(digest: Digest) -> Option<HeaderValue> {
    HeaderValue::try_from(format!(":{}:", BASE64.encode(&digest.0))).ok()
}

/// The value of [`USE_AS_DICTIONARY`] for answers at this path.
pub fn use_as(path: &str) -> Option<HeaderValue> {
    // A path has neither quotes nor backslashes in it, unless somebody wants to be misunderstood.
    let plain = !path.contains(['"', '\\']);
    plain.then(|| HeaderValue::try_from(format!("match=\"{path}\"")).ok()).flatten()
}

/// True if these fields of an answer allow it to be a dictionary for the same path.
pub fn can_be_used(headers: &HeaderMap, path: &str) -> bool {
    // Our own agent says so and nothing else; a type or an id would ask for more than is understood here.
    headers.get(USE_AS_DICTIONARY).is_some_and(|said| use_as(path).as_ref() == Some(said))
}

/// How much an asker wants a coding, if it names that.
fn quality(headers: &HeaderMap, coding: &str) -> Option<f32> {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).find_map(|item| {
        let mut parts = item.split(';').map(str::trim);
        if !parts.next().is_some_and(|name| name.eq_ignore_ascii_case(coding)) {
            return None;
        }
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        // A weight that is none is no wish for it.
        Some(weight.map_or(1.0, |weight| weight.trim().parse().unwrap_or(0.0)))
    })
}

fn digest(value: &HeaderValue) -> Option<Digest> {
    let sequence = value.to_str().ok()?.trim().strip_prefix(':')?.strip_suffix(':')?;
    let bytes = BASE64.decode(sequence.as_bytes()).ok()?;
    Some(Digest(bytes.try_into().ok()?))
}
