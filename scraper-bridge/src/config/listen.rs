//! Where Prometheus reaches an exporter: `listen` of an exporter, and the section `[listen]`.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use onionscrape::address::ListenAddress;
use onionscrape::config::Section;
use onionscrape::http::{MAX_SOCKET_PATH, SocketAccess};
use serde::Deserialize;

/// Ports for `listen = "auto"` unless configured otherwise: below those that the kernel gives out.
const AUTO_PORTS: RangeInclusive<u16> = 20000..=20999;
/// Most ports in the range, so that the file of those that were given has a bound.
const MAX_AUTO_PORTS: u16 = 5000;
/// The mode of socket files unless configured otherwise.
const SOCKET_MODE: u32 = 0o660;

/// A surface of an exporter's own.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Listen {
    /// An address; port 0 lets the kernel choose.
    Address(SocketAddr),
    /// A port of 127.0.0.1 from the range, the same one after every start.
    Auto,
    /// A socket file: an absolute path of at most 107 bytes.
    Unix(PathBuf),
    /// None: paths and the proxy lead to it.
    Nowhere,
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let Some(path) = text.strip_prefix("unix:") else {
            return ListenAddress::try_from(text).map(|ListenAddress(address)| Self::Address(address));
        };
        let file = PathBuf::from(path);
        if !file.is_absolute() || file.file_name().is_none() || path.ends_with('/') {
            return Err("after unix: stands the absolute path of a socket file".into());
        }
        if path.len() > MAX_SOCKET_PATH {
            let long = path.len();
            return Err(format!("the path of a socket has at most {MAX_SOCKET_PATH} bytes, this one {long}"));
        }
        Ok(Self::Unix(file))
    }
}

/// What holds for all exporters: the section `[listen]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenSettings {
    /// Ports for `listen = "auto"`.
    pub auto_ports: RangeInclusive<u16>,
    /// Who may connect to socket files.
    pub sockets: SocketAccess,
}

impl ListenSettings {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let auto_ports = section.or("auto_ports", PortRange(AUTO_PORTS)).0;
        let mode = section.or("socket_mode", SocketMode(SOCKET_MODE)).0;
        let group = section.optional::<Group>("socket_group").map(|Group(number)| number);
        Self { auto_ports, sockets: SocketAccess { mode, group } }
    }
}

/// What only one listener may have.
#[derive(Default)]
pub(super) struct TakenSurfaces {
    addresses: HashSet<SocketAddr>,
    files: HashSet<PathBuf>,
}

impl TakenSurfaces {
    /// Takes an address or a file.
    ///
    /// # Errors
    /// When another listener has it; with words for a person.
    pub(super) fn take(&mut self, listen: &Listen) -> Result<(), String> {
        let (is_free, shown) = match listen {
            Listen::Address(address) => {
                (address.port() == 0 || self.addresses.insert(*address), address.to_string())
            }
            Listen::Unix(path) => (self.files.insert(path.clone()), format!("unix:{}", path.display())),
            Listen::Auto | Listen::Nowhere => return Ok(()),
        };
        if is_free { Ok(()) } else { Err(format!("{shown} is listened on already")) }
    }
}

/// `20000-20999`.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct PortRange(RangeInclusive<u16>);

impl TryFrom<String> for PortRange {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let ends = text.split_once('-').and_then(|(first, last)| {
            Some((first.trim().parse::<u16>().ok()?, last.trim().parse::<u16>().ok()?))
        });
        match ends {
            Some((first, last)) if first <= last && last - first >= MAX_AUTO_PORTS => {
                Err(format!("a range has at most {MAX_AUTO_PORTS} ports"))
            }
            Some((first, last)) if 0 < first && first <= last => Ok(Self(first..=last)),
            _ => Err(format!("{text:?} is not a range of ports such as 20000-20999")),
        }
    }
}

/// `0660`.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct SocketMode(u32);

impl TryFrom<String> for SocketMode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mode = u32::from_str_radix(&text, 8).ok();
        mode.filter(|mode| *mode <= 0o777 && text.len() >= 3)
            .map(Self)
            .ok_or_else(|| format!("{text:?} is not a mode in octal digits such as 0660"))
    }
}

/// A group's name, or its number.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Group(u32);

impl TryFrom<String> for Group {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if let Ok(number) = text.parse() {
            return Ok(Self(number));
        }
        match pwd_grp::getgrnam(&text) {
            Ok(Some(group)) => Ok(Self(group.gid)),
            Ok(None) => Err(format!("this system has no group {text:?}")),
            Err(error) => Err(format!("the group {text:?} cannot be looked up: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(text: &str) -> Result<Listen, String> {
        Listen::try_from(text.to_owned())
    }

    #[test]
    fn every_kind_of_surface_is_known() {
        assert_eq!(listen("auto"), Ok(Listen::Auto));
        assert_eq!(listen("[::1]:9100"), Ok(Listen::Address("[::1]:9100".parse().expect("address"))));
        assert_eq!(listen("unix:/run/a.sock"), Ok(Listen::Unix("/run/a.sock".into())));
        let longest = format!("unix:/{}", "x".repeat(MAX_SOCKET_PATH - 1));
        assert!(listen(&longest).is_ok());
        for bad in
            ["Auto", "", "unix:", "unix:a.sock", "unix:/", "unix:/run/", "unix:/..", "9100", &(longest + "x")]
        {
            assert!(listen(bad).is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn ranges_modes_and_groups() {
        let range = |text: &str| PortRange::try_from(text.to_owned()).map(|PortRange(range)| range).ok();
        assert_eq!(range("20000-20999"), Some(20000..=20999));
        assert_eq!(range("1 - 1"), Some(1..=1));
        for bad in ["", "20000", "2-1", "0-9", "1-65536", "-1", "1-2-3", "a-b", "1-5001"] {
            assert_eq!(range(bad), None, "{bad}");
        }
        let mode = |text: &str| SocketMode::try_from(text.to_owned()).map(|SocketMode(mode)| mode).ok();
        assert_eq!((mode("0660"), mode("600")), (Some(0o660), Some(0o600)));
        for bad in ["", "8", "rw", "6", "0999", "01000", "-660"] {
            assert_eq!(mode(bad), None, "{bad}");
        }
        let group = |text: &str| Group::try_from(text.to_owned()).map(|Group(number)| number);
        assert_eq!((group("root"), group("105")), (Ok(0), Ok(105)));
        assert_eq!(group("no such group"), Err("this system has no group \"no such group\"".into()));
    }

    #[test]
    fn the_bridges_own_socket_is_not_an_exporters() {
        let folder = tempfile::tempdir().expect("folder");
        let own = folder.path().join(crate::bridge::CONTROL_SOCKET);
        let text = format!(
            "state_dir = {:?}\n[[target]]\nname = \"a\"\n[[target.exporter]]\nname = \"node\"\nlisten = \"unix:{}\"\n",
            folder.path(),
            own.display()
        );
        let file = folder.path().join("bridge.toml");
        std::fs::write(&file, text).expect("written");
        let mistakes = crate::config::BridgeConfig::read(Some(&file), None).expect_err("taken").to_string();
        assert!(mistakes.contains(&format!("unix:{} is listened on already", own.display())), "{mistakes}");
    }

    #[test]
    fn one_listener_for_each_place() {
        let mut taken = TakenSurfaces::default();
        for (text, is_free) in [
            ("127.0.0.1:9100", true),
            ("127.0.0.1:9100", false),
            ("127.0.0.1:0", true),
            ("127.0.0.1:0", true),
            ("unix:/run/a.sock", true),
            ("unix:/run/a.sock", false),
            ("auto", true),
            ("auto", true),
        ] {
            assert_eq!(taken.take(&listen(text).expect("right")).is_ok(), is_free, "{text}");
        }
    }
}
