//! Answers that a program gives itself.

use bytes::Bytes;
use hyper::ext::ReasonPhrase;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, PROXY_AUTHENTICATE, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response, StatusCode};

use super::{Body, full};

/// Longest reason phrase: what Prometheus' targets page shows without wrapping.
const MAX_REASON: usize = 80;

/// How passwords are asked for (RFC 7617, section 2).
const BASIC: &str = "Basic realm=\"onionscrape\", charset=\"UTF-8\"";

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
        // What these must say besides (RFC 9110, sections 15.5.2, 15.5.6 and 15.5.8).
        match answer.status {
            StatusCode::METHOD_NOT_ALLOWED => {
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            }
            StatusCode::UNAUTHORIZED => {
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(BASIC));
            }
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                response.headers_mut().insert(PROXY_AUTHENTICATE, HeaderValue::from_static(BASIC));
            }
            _ => {}
        }
        response
    }
}

/// Refuses a request that would change something; what is read only changes nothing.
///
/// # Errors
/// The answer to give: 405, with the methods that are allowed (RFC 9110, section 15.5.6).
pub fn only_reading<B>(request: &Request<B>) -> Result<(), Answer> {
    match *request.method() {
        Method::GET | Method::HEAD => Ok(()),
        _ => Err(Answer::new(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here")),
    }
}

/// A plain text response.
pub fn text(status: StatusCode, body: impl Into<String>) -> Response<Body> {
    let mut response = page("text/plain; charset=utf-8", body.into());
    *response.status_mut() = status;
    response
}

/// A page of our own, which a browser may show and do nothing else with.
pub fn page(content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert("x-frame-options", HeaderValue::from_static("deny"));
    headers.insert("content-security-policy", HeaderValue::from_static("default-src 'none'"));
    response
}

/// The page at `/` of a program's admin listener: what it is, and what else is there.
pub fn landing(program: &str, what: &str, version: &str) -> Response<Body> {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{program}</title><h1>{program}</h1>\
         <p>{what}, version {version}</p><ul><li><a href=\"/metrics\">metrics</a></li>\
         <li><a href=\"/-/healthy\">healthy</a></li><li><a href=\"/-/ready\">ready</a></li></ul></html>\n"
    );
    page("text/html; charset=utf-8", html)
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
