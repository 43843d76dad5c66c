//! What a device's answer can do in a browser: nothing but be looked at.

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

/// Fields by which an answer has a power over a browser that it should not have: a device's page would
/// be one of the bridge's own otherwise, since it comes from the bridge's address.
const POWERS: [&str; 7] = [
    "set-cookie",
    "service-worker-allowed",
    "clear-site-data",
    "alt-svc",
    "refresh",
    "link",
    "access-control-allow-origin",
];
/// Fields that have a browser show an answer and do nothing else with it.
const HARMLESS: [(&str, &str); 2] =
    [("content-security-policy", "sandbox; default-src 'none'"), ("x-content-type-options", "nosniff")];

/// Takes from an answer what it should not be able to do.
pub(super) fn make_harmless(headers: &mut HeaderMap) {
    for name in POWERS {
        headers.remove(name);
    }
    for (name, value) in HARMLESS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
}
