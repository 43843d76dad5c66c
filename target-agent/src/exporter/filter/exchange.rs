//! What a request must ask for, and an answer must be, so that it can be filtered.

use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue,
    IF_RANGE, RANGE,
};
use hyper::http::response::Parts;
use hyper::{HeaderMap, StatusCode};

use crate::exporter::ExporterFailure;

/// The formats that can be filtered.
const TEXTS: [&str; 2] = ["text/plain", "application/openmetrics-text"];

/// Changes a request's header fields so that they ask for a whole text, as it is.
pub(in crate::exporter) fn ask_for_text(headers: &mut HeaderMap) {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let texts: Vec<_> = accepted.flat_map(|value| value.split(',')).map(str::trim).filter(is_text).collect();
    // What is made of parts of a header is good in a header.
    let texts = HeaderValue::try_from(texts.join(",")).ok().filter(|texts| !texts.is_empty());
    headers.insert(ACCEPT, texts.unwrap_or(HeaderValue::from_static("text/plain;version=0.0.4")));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    // A part of a text can begin in the middle of a line.
    headers.remove(RANGE);
    headers.remove(IF_RANGE);
}

/// True for a text format, as it stands in `Accept` or `Content-Type`.
fn is_text(media: &&str) -> bool {
    let kind = media.split(';').next().unwrap_or_default().trim();
    TEXTS.iter().any(|text| kind.eq_ignore_ascii_case(text))
}

/// True if an answer's body has metrics, and prepares its head for their being filtered; any other
/// answer says why there are none.
///
/// # Errors
/// When there are metrics that cannot be filtered.
pub(in crate::exporter) fn has_metrics(head: &mut Parts) -> Result<bool, ExporterFailure> {
    if !head.status.is_success() {
        return Ok(false);
    }
    let whole = head.status != StatusCode::PARTIAL_CONTENT;
    let identity = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"identity");
    let as_it_is = head.headers.get_all(CONTENT_ENCODING).iter().all(identity);
    // An exporter that does not say what it sends most often sends text; what is not, shows.
    let types = head.headers.get_all(CONTENT_TYPE);
    let text = types.iter().all(|kind| kind.to_str().is_ok_and(|kind| is_text(&kind)));
    if !(whole && as_it_is && text) {
        return Err(ExporterFailure::Unfilterable);
    }
    head.headers.remove(CONTENT_LENGTH);
    head.headers.remove(ACCEPT_RANGES);
    Ok(true)
}
