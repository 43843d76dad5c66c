//! The names under which a listener answers.

use std::collections::HashSet;
use std::net::SocketAddr;

use hyper::header::HOST;
use hyper::{Request, StatusCode};

use super::Answer;

/// The names and addresses that a request may use for a listener.
///
/// A web page can make a browser on this machine send requests to a local port under a name of its
/// own (DNS rebinding); such a request carries that name as its Host, and is refused.
#[derive(Clone, Debug)]
pub struct HostNames {
    /// `None` accepts every name: for a Unix socket, which browsers cannot reach.
    names: Option<HashSet<String>>,
}

impl HostNames {
    /// The names of a TCP listener: its address, and for a loopback or wildcard address the usual
    /// local ones; always with its port, and also without it if that is HTTP's or HTTPS' own.
    pub fn of(address: SocketAddr, more: &[String]) -> Self {
        let port = address.port();
        let mut hosts: Vec<String> = more.iter().map(|name| name.to_ascii_lowercase()).collect();
        hosts.push(SocketAddr::new(address.ip(), 0).to_string().trim_end_matches(":0").to_owned());
        if address.ip().is_loopback() || address.ip().is_unspecified() {
            hosts.extend(["127.0.0.1", "[::1]", "localhost"].map(str::to_owned));
        }
        let mut names: HashSet<String> = hosts.iter().map(|host| format!("{host}:{port}")).collect();
        // Which of the two is spoken may change while the listener is open. A name without a port is
        // ours in either case, and nobody uses it for the other.
        if port == 80 || port == 443 {
            names.extend(hosts);
        }
        Self { names: Some(names) }
    }

    /// Every name.
    pub fn any() -> Self {
        Self { names: None }
    }

    /// True for a name of this listener, with its port as a URL would have it.
    pub(super) fn has(&self, name: &str) -> bool {
        self.names.as_ref().is_some_and(|names| names.contains(&name.to_ascii_lowercase()))
    }

    /// Refuses a request that was meant for somebody else.
    ///
    /// # Errors
    /// The answer to give: 400 without a Host, 421 with a wrong one (RFC 9110, section 15.5.20).
    pub fn check<B>(&self, request: &Request<B>) -> Result<(), Answer> {
        if self.names.is_none() {
            return Ok(());
        }
        let mut hosts = request.headers().get_all(HOST).iter();
        let named = match (request.uri().authority(), hosts.next(), hosts.next()) {
            (_, _, Some(_)) => None,
            (Some(authority), _, None) => Some(authority.as_str()),
            (None, Some(host), None) => host.to_str().ok(),
            (None, None, None) => None,
        };
        match named {
            None => Err(Answer::new(StatusCode::BAD_REQUEST, "one Host header is needed")),
            Some(name) if self.has(name) => Ok(()),
            Some(_) => Err(Answer::new(
                StatusCode::MISDIRECTED_REQUEST,
                "not this listener's name; add the Host to host_names if it is yours",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(names: &HostNames, uri: &str, host: &[&str]) -> Option<StatusCode> {
        let mut request = Request::builder().uri(uri);
        for host in host {
            request = request.header(HOST, *host);
        }
        names.check(&request.body(()).expect("request")).err().map(|answer| answer.status)
    }

    #[test]
    fn only_own_names_are_answered() {
        let names = HostNames::of("127.0.0.1:9100".parse().expect("address"), &["Mon.example".into()]);
        for host in ["127.0.0.1:9100", "LOCALHOST:9100", "[::1]:9100", "mon.example:9100"] {
            assert_eq!(status(&names, "/metrics", &[host]), None, "{host}");
        }
        for host in ["evil.example", "127.0.0.1", "127.0.0.1:9101", "localhost.evil:9100", "mon.example"] {
            assert_eq!(status(&names, "/", &[host]), Some(StatusCode::MISDIRECTED_REQUEST), "{host}");
        }
        assert_eq!(status(&names, "/", &[]), Some(StatusCode::BAD_REQUEST));
        assert_eq!(status(&names, "/", &["localhost:9100", "evil"]), Some(StatusCode::BAD_REQUEST));
        let absolute = "http://169.254.169.254/latest";
        assert_eq!(status(&names, absolute, &["localhost:9100"]), Some(StatusCode::MISDIRECTED_REQUEST));
        assert_eq!(status(&HostNames::any(), "/", &[]), None);
    }

    #[test]
    fn a_listener_on_a_real_address_is_not_local() {
        for address in ["192.0.2.1:80", "192.0.2.1:443"] {
            let names = HostNames::of(address.parse().expect("address"), &[]);
            assert_eq!(status(&names, "/", &["192.0.2.1"]), None);
            assert_eq!(status(&names, "/", &["localhost"]), Some(StatusCode::MISDIRECTED_REQUEST));
        }
    }
}
