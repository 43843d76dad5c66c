//! Hosts that are reached by plain TCP, and the proxies that the way to them goes through.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;

use hyper::Uri;
use onionscrape::config::Section;
use serde::Deserialize;

/// A host by its name, in lower case, or by its IP address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// To be looked up, by the bridge or by a proxy.
    Name(String),
    /// To be connected to.
    Ip(IpAddr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}

/// `ssh://host.example`, `ssh://pi@[2001:db8::1]:2222`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshAddress {
    /// The host.
    pub host: Host,
    /// The port; 22 if none is written.
    pub port: u16,
    /// The user that is written before the host.
    pub(super) user: Option<String>,
}

/// What a connection to a host goes through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// How it is spoken to.
    pub kind: ProxyKind,
    /// Where it is.
    pub host: Host,
    /// Its port.
    pub port: u16,
    /// A file with `user:password` in it, which is read anew for each connection.
    pub auth_file: Option<PathBuf>,
}

/// How a proxy is spoken to. Either is told the host's name, and looks it up itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyKind {
    /// SOCKS5 (RFC 1928).
    Socks5,
    /// HTTP's CONNECT (RFC 9110, section 9.3.6).
    Http,
}

impl FromStr for SshAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (url, user) = Url::parse(text, "ssh://HOST:PORT")?;
        if url.scheme != "ssh" {
            return Err("an address that is not an onion address is written as ssh://HOST:PORT".into());
        }
        if user.as_ref().is_some_and(|user| user.contains(':')) {
            return Err("a password cannot stand here, and is not used; the bridge logs in with a key".into());
        }
        Ok(Self { host: url.host, port: url.port.unwrap_or(22), user })
    }
}

impl Proxy {
    /// Reads the keys of a target; with the place of the first.
    pub(super) fn read(section: &mut Section<'_>) -> Option<(Self, Range<usize>)> {
        let proxy = section.spanned::<ProxyUrl>("proxy");
        let auth_file = section.path_spanned("proxy_auth_file");
        let Some(proxy) = proxy else {
            if let Some(file) = auth_file {
                section.mistake(file.span(), "proxy_auth_file: name the proxy with proxy as well");
            }
            return None;
        };
        let span = proxy.span();
        let ProxyUrl { kind, host, port } = proxy.into_inner();
        let auth_file = auth_file.map(toml::Spanned::into_inner);
        Some((Self { kind, host, port, auth_file }, span))
    }
}

/// `socks5://127.0.0.1:1080` or `http://proxy:3128`.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct ProxyUrl {
    kind: ProxyKind,
    host: Host,
    port: u16,
}

impl TryFrom<String> for ProxyUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (url, user) = Url::parse(&text, "socks5://HOST:PORT")?;
        let (kind, port) = match url.scheme.as_str() {
            // The name of either says who looks the host up; here it is always the proxy.
            "socks5" | "socks5h" => (ProxyKind::Socks5, 1080),
            "http" => (ProxyKind::Http, 80),
            _ => return Err("a proxy is written as socks5://HOST:PORT or http://HOST:PORT".into()),
        };
        if user.is_some() {
            return Err("write user:password into a file, and name it with proxy_auth_file".into());
        }
        Ok(Self { kind, host: url.host, port: url.port.unwrap_or(port) })
    }
}

/// The parts of a URL that has no path.
struct Url {
    scheme: String,
    host: Host,
    port: Option<u16>,
}

impl Url {
    /// The URL and what stands before its host. `form` is how it should look.
    fn parse(text: &str, form: &str) -> Result<(Self, Option<String>), String> {
        let odd = || format!("is not of the form {form}");
        let uri: Uri = text.parse().map_err(|_| odd())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(odd()) };
        if uri.path().len() > 1 || uri.query().is_some() {
            return Err("ends after the port; there is no path".into());
        }
        let (user, place) = match authority.as_str().rsplit_once('@') {
            Some((user, place)) => (Some(user.to_owned()), place),
            None => (None, authority.as_str()),
        };
        if user.as_ref().is_some_and(|user| user.is_empty() || user.contains('%')) {
            return Err("the user before the @ cannot be understood; write it with the key user".into());
        }
        let host = host(authority.host())?;
        let port = match authority.port_u16() {
            Some(0) => return Err("port 0 cannot be dialled".into()),
            None if place.len() != authority.host().len() => {
                return Err("the port is not one from 1 to 65535".into());
            }
            port => port,
        };
        Ok((Self { scheme: scheme.to_ascii_lowercase(), host, port }, user))
    }
}

fn host(text: &str) -> Result<Host, String> {
    if let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        let ip: Ipv6Addr = inner.parse().map_err(|_| "what stands in brackets is not an IPv6 address")?;
        return Ok(Host::Ip(ip.into()));
    }
    if let Ok(ip) = text.parse() {
        return Ok(Host::Ip(IpAddr::V4(ip)));
    }
    let name = text.to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    if name.ends_with(".onion") {
        return Err("an onion address stands alone, without ssh://; it must not be looked up".into());
    }
    let is_label = |label: &str| {
        let allowed = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'-' || letter == b'_';
        (1..=63).contains(&label.len()) && !label.starts_with('-') && label.bytes().all(allowed)
    };
    // What ends in a number is an IP address to some, and to others a name.
    let last = name.rsplit('.').next().unwrap_or_default();
    if name.len() > 253 || !name.split('.').all(is_label) || last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("the host is neither a name nor an IP address".into());
    }
    Ok(Host::Name(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_users_and_ports() {
        for (text, host, port, user) in [
            ("ssh://Device.Example", "device.example", 22, None),
            ("ssh://device.example:2222", "device.example", 2222, None),
            ("ssh://device.example./", "device.example", 22, None),
            ("ssh://pi@192.0.2.7:22", "192.0.2.7", 22, Some("pi")),
            ("ssh://pi@[2001:DB8::1]:22", "2001:db8::1", 22, Some("pi")),
        ] {
            let address: SshAddress = text.parse().expect(text);
            assert_eq!((address.host.to_string().as_str(), address.port), (host, port), "{text}");
            assert_eq!(address.user.as_deref(), user, "{text}");
        }
        let onion = "ssh://pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";
        for (text, said) in [
            (onion, "stands alone"),
            ("ssh://", "is not of the form"),
            ("ssh://host:0", "port 0"),
            ("ssh://host:", "1 to 65535"),
            ("ssh://host:65536", "1 to 65535"),
            ("ssh://host/path", "no path"),
            ("ssh://host?a", "no path"),
            ("ssh://pi:secret@host", "password"),
            ("ssh://@host", "before the @"),
            ("ssh://%41@host", "before the @"),
            ("ssh://127.1", "neither"),
            ("ssh://2130706433", "neither"),
            ("ssh://-o.example", "neither"),
            ("ssh://[::1", "is not of the form"),
            ("ssh:host", "is not of the form"),
        ] {
            let error = text.parse::<SshAddress>().expect_err(text);
            assert!(error.contains(said) && !error.contains("secret"), "{text}: {error}");
        }
    }

    #[test]
    fn proxies() {
        for (text, kind, port) in [
            ("socks5://127.0.0.1", ProxyKind::Socks5, 1080),
            ("socks5h://proxy.example:9050", ProxyKind::Socks5, 9050),
            ("http://[::1]:3128", ProxyKind::Http, 3128),
        ] {
            let proxy = ProxyUrl::try_from(text.to_owned()).map_err(|error| format!("{text}: {error}"));
            let proxy = proxy.expect("good");
            assert_eq!((proxy.kind, proxy.port), (kind, port), "{text}");
        }
        for (text, said) in [
            ("socks4://127.0.0.1:1080", "is written as"),
            ("https://proxy:443", "is written as"),
            ("127.0.0.1:1080", "is not of the form"),
            ("http://me:secret@proxy:3128", "proxy_auth_file"),
        ] {
            let error = ProxyUrl::try_from(text.to_owned()).err().expect(text);
            assert!(error.contains(said) && !error.contains("secret"), "{text}: {error}");
        }
    }
}
