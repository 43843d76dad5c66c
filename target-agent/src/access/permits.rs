//! Which channels a key may open.

use std::net::IpAddr;
use std::str::FromStr;

use onionscrape::address::Name;

/// The port under which exporters are asked for by name.
pub const NAME_PORT: u16 = 80;

/// Which channels a key may open: all that lead to an exporter, or only some of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Permits {
    /// Every one.
    #[default]
    All,
    /// Only these.
    Only(Vec<Permit>),
}

/// A destination as it stands in `permitopen="HOST:PORT"` (sshd(8), "AUTHORIZED_KEYS FILE FORMAT").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    host: String,
    /// `None` for `*`.
    port: Option<u16>,
}

impl Permits {
    /// The exporters with these names, and the agent itself, which says what there is.
    pub fn of_exporters<'a>(names: impl Iterator<Item = &'a Name>) -> Self {
        let by_name = |name: &str| Permit { host: name.to_owned(), port: Some(NAME_PORT) };
        let exporters = names.map(|name| by_name(name.as_str()));
        Self::Only(exporters.chain([by_name(crate::config::OWN_NAME)]).collect())
    }

    /// Adds one destination to those that are permitted.
    pub fn add(&mut self, permit: Permit) {
        match self {
            Self::All => *self = Self::Only(vec![permit]),
            Self::Only(permits) => permits.push(permit),
        }
    }

    /// True if a channel to `host` and `port` may be opened. Names are compared letter by letter,
    /// literal addresses as addresses; nothing is looked up.
    pub fn allows(&self, host: &str, port: u32) -> bool {
        let Self::Only(permits) = self else { return true };
        permits.iter().any(|permit| {
            let same_host = match (permit.host.parse::<IpAddr>(), host.parse::<IpAddr>()) {
                (Ok(permitted), Ok(asked)) => permitted == asked,
                _ => permit.host == host,
            };
            same_host && permit.port.is_none_or(|permitted| u32::from(permitted) == port)
        })
    }

    /// True if the exporter with this name may be asked for by it.
    pub fn allows_exporter(&self, name: &Name) -> bool {
        self.allows(name.as_str(), NAME_PORT.into())
    }

    /// The permitted destinations as a person reads them.
    pub fn shown(&self) -> String {
        match self {
            Self::All => "all".into(),
            Self::Only(permits) => permits
                .iter()
                .filter(|permit| permit.host != crate::config::OWN_NAME)
                .map(|permit| match permit.port {
                    Some(NAME_PORT) => permit.host.clone(),
                    Some(port) => format!("{}:{port}", permit.host),
                    None => format!("{}:*", permit.host),
                })
                .collect::<Vec<_>>()
                .join(", "),
        }
    }
}

impl FromStr for Permit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("permitopen=\"{text}\" is not HOST:PORT");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() || host.contains(['*', '?']) {
            return Err(format!("permitopen=\"{text}\" needs a host; only the port may be *"));
        }
        let port = match port {
            "*" => None,
            port => Some(port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?),
        };
        Ok(Self { host: host.to_owned(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(permits: &[&str]) -> Permits {
        Permits::Only(permits.iter().map(|permit| permit.parse().expect("permit")).collect())
    }

    #[test]
    fn what_is_compared_is_compared_as_it_is() {
        let permits = only(&["127.0.0.1:9100", "[::1]:*", "node:80"]);
        for (host, port) in [("127.0.0.1", 9100), ("::1", 1), ("0:0:0:0:0:0:0:1", 22), ("node", 80)] {
            assert!(permits.allows(host, port), "{host}:{port}");
        }
        let other = [("127.0.0.1", 9101), ("127.1", 9100), ("::ffff:127.0.0.1", 9100), ("node", 81)];
        for (host, port) in other.into_iter().chain([("Node", 80), ("node.", 80), ("", 80), ("node", 65_616)])
        {
            assert!(!permits.allows(host, port), "{host}:{port}");
        }
        assert!(Permits::All.allows("anything", 1));
        assert!(!Permits::Only(Vec::new()).allows("node", 80));
    }

    #[test]
    fn exporters_are_permitted_by_name_and_with_them_the_agent() {
        let names = ["node".parse::<Name>().expect("name"), "app".parse().expect("name")];
        let permits = Permits::of_exporters(names.iter());
        assert!(permits.allows("node", 80) && permits.allows("app", 80) && permits.allows("agent", 80));
        assert!(!permits.allows("other", 80) && !permits.allows("127.0.0.1", 9100));
        assert_eq!(permits.shown(), "node, app");
    }

    #[test]
    fn bad_destinations() {
        for bad in ["", "node", "node:", ":80", "node:0", "node:65536", "node:x", "*:80", "no*e:80"] {
            assert!(bad.parse::<Permit>().is_err(), "{bad:?}");
        }
    }
}
