//! Answers that a program gives itself.

use hyper::ext::ReasonPhrase;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

use super::{Body, full};

/// Longest reason phrase: what Prometheus' targets page shows without wrapping.
const MAX_REASON: usize = 80;

/// An answer with a status and one line that says why.
///
/// The line is the reason phrase, which Prometheus shows verbatim on its targets page, and the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// Why; ASCII, no line breaks, and it names no address.
    pub reason: String,
}

impl Answer {
    /// An answer with `status`, because of `reason`.
    pub fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into() }
    }
}

impl From<Answer> for Response<Body> {
    fn from(answer: Answer) -> Self {
        let mut response = text(answer.status, format!("{}\n", answer.reason));
        // RFC 9112, section 4: a reason phrase has visible ASCII, spaces and tabs.
        let phrase: String = answer
            .reason
            .chars()
            .map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' })
            .take(MAX_REASON)
            .collect();
        if let Ok(phrase) = ReasonPhrase::try_from(phrase.into_bytes()) {
            response.extensions_mut().insert(phrase);
        }
        response
    }
}

/// A plain text response.
pub fn text(status: StatusCode, body: impl Into<String>) -> Response<Body> {
    let mut response = Response::new(full(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_phrase_is_short_ascii() {
        let answer = Answer::new(StatusCode::BAD_GATEWAY, format!("ä\r\nx{}", "y".repeat(100)));
        let response = Response::from(answer);
        let phrase = response.extensions().get::<ReasonPhrase>().expect("phrase");
        assert_eq!(phrase.as_bytes().len(), MAX_REASON);
        assert!(phrase.as_bytes().starts_with(b"???xy"));
    }
}
