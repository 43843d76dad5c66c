//! What of a message's head goes on to the next hop.

use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HeaderName, TRANSFER_ENCODING};

/// Header fields between two neighbours only (RFC 9110, section 7.6.1, and what is in use).
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Removes the header fields that are meant for us alone; all others stay as they are.
///
/// A length beside chunked framing goes too: it is not the body's (RFC 9112, section 6.3), and who
/// believed it would take a part for the whole.
pub fn end_to_end(headers: &mut HeaderMap) {
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// True for a field that is between two neighbours only.
pub fn is_hop_by_hop(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(&name.as_str())
}

/// True for the path of a URL and nothing more: no query, no fragment, no spaces.
pub fn is_path(text: &str) -> bool {
    let uri = text.parse::<hyper::Uri>();
    text.starts_with('/') && !text.contains(['?', '#']) && uri.is_ok_and(|uri| uri.path() == text)
}

/// Nobody waits for longer.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// What Prometheus says it will wait for this scrape, at most a day; `None` if it says nothing sensible.
pub fn timeout_header(headers: &HeaderMap) -> Option<Duration> {
    let seconds: f64 =
        headers.get("x-prometheus-scrape-timeout-seconds")?.to_str().ok()?.trim().parse().ok()?;
    let timeout = Duration::try_from_secs_f64(seconds).ok()?;
    // So that a time can be made of it.
    (timeout > Duration::ZERO).then(|| timeout.min(LONGEST_TIMEOUT))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn neighbours_fields_are_dropped() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("accept", "text/plain"),
            ("content-encoding", "gzip"),
            ("transfer-encoding", "chunked"),
            ("content-length", "4"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        end_to_end(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "content-encoding"]);
    }

    #[test]
    fn only_sensible_timeouts_count() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-prometheus-scrape-timeout-seconds", HeaderValue::from_static(text));
            timeout_header(&headers)
        };
        assert_eq!(of("10"), Some(Duration::from_secs(10)));
        assert_eq!(of("0.5"), Some(Duration::from_millis(500)));
        for odd in ["", "NaN", "inf", "-1", "0", "1e308", "ten"] {
            assert_eq!(of(odd), None, "{odd}");
        }
        assert_eq!(timeout_header(&HeaderMap::new()), None);
    }
}
