//! Names and addresses as people write them: refused early, with a reason, when they cannot be right.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use safelog::DisplayRedacted as _;
use serde::{Deserialize, Serialize};
use tor_hscrypto::pk::{HsId, HsIdKey, HsIdParseError};

/// Letters of a version 3 onion address before `.onion` (rend-spec-v3, "Encoding onion addresses").
const ONION_LETTERS: usize = 56;
/// Longest name of a target or an exporter: what fits one DNS label.
const NAME_LETTERS: usize = 63;

/// A version 3 onion address, checked, in lower case.
///
/// It is as good as a key to whoever wants to find the device, so `Display` and `Debug` show only
/// its last letters; [`unredacted`](Self::unredacted) is for what the user asked to see.
#[derive(Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct OnionAddress(String);

impl OnionAddress {
    /// The whole address, `….onion`.
    pub fn unredacted(&self) -> &str {
        &self.0
    }

    /// The onion service's public key, which the address is made of.
    pub fn key(&self) -> [u8; 32] {
        // Every address was checked when it was made.
        HsId::from_str(&self.0).map_or([0; 32], |id| *id.as_ref())
    }

    /// The address of the onion service with this public key; `None` if there is no such key.
    pub fn of_key(key: [u8; 32]) -> Option<Self> {
        let id = HsId::from(key);
        HsIdKey::try_from(id).ok()?;
        Some(Self(id.display_unredacted().to_string()))
    }
}

impl fmt::Display for OnionAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "…{}", &self.0[ONION_LETTERS - 3..])
    }
}

impl fmt::Debug for OnionAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for OnionAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.chars().any(char::is_whitespace) {
            return Err("the onion address has spaces in it".into());
        }
        let folded = text.to_ascii_lowercase();
        let Some(letters) = folded.strip_suffix(".onion") else {
            return Err("an onion address ends in .onion".into());
        };
        match letters.len() {
            ONION_LETTERS => {}
            16 => {
                return Err("a 16-letter onion address is of version 2, which Tor no longer \
                            serves; version 3 has 56 letters"
                    .into());
            }
            n => {
                return Err(format!("an onion address has 56 letters before .onion, this one has {n}"));
            }
        }
        match HsId::from_str(&folded) {
            Ok(_) => Ok(Self(folded)),
            Err(HsIdParseError::WrongChecksum) => {
                Err("the onion address has a wrong checksum: a letter is mistyped".into())
            }
            Err(HsIdParseError::UnsupportedVersion(version)) => {
                Err(format!("the onion address is of version {version}, not 3"))
            }
            Err(_) => Err("the onion address has a letter other than a to z and 2 to 7".into()),
        }
    }
}

impl TryFrom<String> for OnionAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// The name of a target or an exporter: `a` to `z`, digits, `-` and `_`, at most 63 letters.
///
/// It appears in metrics labels, file names and URLs, so it has no other letters; no dots,
/// because `exporter.target` is a way to name both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub struct Name(String);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if text.is_empty() || text.len() > NAME_LETTERS {
            return Err(format!("a name has 1 to {NAME_LETTERS} letters"));
        }
        if !text.chars().all(allowed) || text.starts_with(['-', '_']) {
            return Err("a name has only a to z, 0 to 9, - and _, and begins with a letter or digit".into());
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Where an exporter listens on the device: a literal loopback address and port, or a Unix socket.
///
/// Host names are refused, since looking one up would be a DNS request and could lead elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub enum ExporterAddress {
    /// `127.0.0.1:9100` or `[::1]:9100`; the address is a loopback one and the port is not 0.
    Tcp(SocketAddr),
    /// `unix:/run/exporter.sock`; the path is absolute.
    Unix(PathBuf),
}

impl fmt::Display for ExporterAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for ExporterAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            return if path.is_absolute() {
                Ok(Self::Unix(path))
            } else {
                Err("the path after unix: must be absolute".into())
            };
        }
        let address = literal_socket_address(text)?;
        if !is_loopback(address.ip()) {
            return Err(format!(
                "{} is not a loopback address; only 127.0.0.1 or [::1] can stand here",
                address.ip()
            ));
        }
        if address.port() == 0 {
            return Err("port 0 cannot be an exporter's port".into());
        }
        Ok(Self::Tcp(address))
    }
}

impl TryFrom<String> for ExporterAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// A local address to listen on; port 0 lets the kernel choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct ListenAddress(pub SocketAddr);

impl TryFrom<String> for ListenAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        literal_socket_address(&text).map(Self)
    }
}

/// A text that people and programs may see who are not to know onion addresses, which the text may quote:
/// what could be the letters of one is left out.
pub fn without_onions(text: &str) -> String {
    let is_letter = |c: char| c.is_ascii_alphabetic() || ('2'..='7').contains(&c);
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let (letters, others) = rest.split_at(rest.find(|c| !is_letter(c)).unwrap_or(rest.len()));
        shown += if letters.len() < ONION_LETTERS { letters } else { "…" };
        let (others, more) = others.split_at(others.find(is_letter).unwrap_or(others.len()));
        shown += others;
        rest = more;
    }
    shown
}

/// True for `127.0.0.0/8` and `::1`, and for nothing that merely maps to them.
pub fn is_loopback(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip == std::net::Ipv6Addr::LOCALHOST,
    }
}

fn literal_socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        if text.to_ascii_lowercase().contains(".onion") {
            // It is as good as a key, and what is wrong with a configuration is shown to many.
            return "a literal IP address must stand here, not an onion address; write 127.0.0.1:PORT".into();
        }
        let host = text.rsplit_once(':').map_or(text, |(host, _)| host);
        let named = host.parse::<IpAddr>().is_err() && host.contains(|c: char| c.is_ascii_alphabetic());
        if named && !host.starts_with('[') {
            format!("a literal IP address must stand here, not the host name {host:?}; write 127.0.0.1:PORT")
        } else {
            format!("{text:?} is not an address and port such as 127.0.0.1:9100")
        }
    })
}

#[cfg(test)]
mod tests;
