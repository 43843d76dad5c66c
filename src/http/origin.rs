//! Requests that a page of somebody else's has a browser send.

use hyper::header::{HeaderName, ORIGIN};
use hyper::{Method, Request, StatusCode};

use super::{Answer, HostNames};

/// Where a browser says that a request began (W3C Fetch Metadata); a page cannot change it.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses a request that would change something and comes from a page that is not the listener's.
///
/// Such a request has the listener's own Host, and the browser may add a password that it was once
/// given. Programs other than browsers send neither of the two fields. `tls` says whether the
/// connection is an encrypted one.
///
/// # Errors
/// The answer to give: 403.
pub fn own_pages_only<B>(request: &Request<B>, names: &HostNames, tls: bool) -> Result<(), Answer> {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(());
    }
    let scheme = if tls { "https://" } else { "http://" };
    let headers = request.headers();
    let origins_are_ours = headers.get_all(ORIGIN).iter().all(|origin| {
        let name = origin.to_str().ok().and_then(|origin| origin.strip_prefix(scheme));
        name.is_some_and(|name| names.has(name))
    });
    let sites_are_ours =
        headers.get_all(SEC_FETCH_SITE).iter().all(|site| site == "same-origin" || site == "none");
    if origins_are_ours && sites_are_ours {
        return Ok(());
    }
    Err(Answer::new(StatusCode::FORBIDDEN, "a page from elsewhere may not change anything here"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(method: Method, tls: bool, fields: &[(&str, &str)]) -> bool {
        let names = HostNames::of("127.0.0.1:9822".parse().expect("address"), &["mon.example".into()]);
        let mut request = Request::builder().method(method).uri("/-/reload");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        match own_pages_only(&request.body(()).expect("request"), &names, tls) {
            Ok(()) => true,
            Err(answer) => {
                assert_eq!(answer.status, StatusCode::FORBIDDEN);
                false
            }
        }
    }

    #[test]
    fn programs_and_own_pages_may_change_things() {
        assert!(allowed(Method::POST, false, &[]));
        for origin in ["http://127.0.0.1:9822", "http://LOCALHOST:9822", "http://mon.example:9822"] {
            assert!(allowed(Method::POST, false, &[("origin", origin)]), "{origin}");
        }
        assert!(allowed(Method::POST, true, &[("origin", "https://localhost:9822")]));
        for site in ["same-origin", "none"] {
            assert!(allowed(Method::DELETE, false, &[("sec-fetch-site", site)]), "{site}");
        }
    }

    #[test]
    fn pages_from_elsewhere_may_not() {
        for origin in [
            "https://evil.example",
            "http://localhost:9823",
            "http://localhost",
            "https://localhost:9822",
            "http://localhost:9822.evil.example",
            "http://evil.example/http://localhost:9822",
            "localhost:9822",
            "null",
            "",
        ] {
            for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
                assert!(!allowed(method, false, &[("origin", origin)]), "{origin}");
            }
            assert!(allowed(Method::GET, false, &[("origin", origin)]), "reading is for all: {origin}");
        }
        assert!(!allowed(Method::POST, true, &[("origin", "http://localhost:9822")]));
        for site in ["cross-site", "same-site", "Same-Origin", ""] {
            assert!(!allowed(Method::POST, false, &[("sec-fetch-site", site)]), "{site}");
        }
        let both = [("origin", "http://localhost:9822"), ("sec-fetch-site", "cross-site")];
        assert!(!allowed(Method::POST, false, &both));
        let two = [("origin", "http://localhost:9822"), ("origin", "http://evil.example")];
        assert!(!allowed(Method::POST, false, &two));
    }

    #[test]
    fn a_socket_that_browsers_cannot_reach_has_no_origin() {
        let post = |origin: Option<&str>| {
            let mut request = Request::post("/");
            if let Some(origin) = origin {
                request = request.header(ORIGIN, origin);
            }
            own_pages_only(&request.body(()).expect("request"), &HostNames::any(), false).is_ok()
        };
        assert!(post(None));
        assert!(!post(Some("http://localhost")));
    }
}
