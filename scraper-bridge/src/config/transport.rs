//! What carries a target's session: how the bridge gets to the device, or the device to the bridge.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use onionscrape::address::{Name, OnionAddress};
use onionscrape::config::Section;
use onionscrape::files::FileError;
use onionscrape::ssh::{LoginKey, UserKey};
use onionscrape::tor::ClientAuthKey;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{HostTrust, LoginSettings, Proxy, SshAddress, Taken};

/// The user at a device unless the configuration names one.
const DEFAULT_USER: &str = "scrape";
/// Keys of a target that the bridge dials.
const OF_DIALLED: [&str; 16] = [
    "address",
    "port",
    "client_auth_file",
    "proxy",
    "proxy_auth_file",
    "user",
    "host_key",
    "known_hosts",
    "host_ca",
    "host_principal",
    "trust_on_first_use",
    "key_file",
    "key_passphrase_file",
    "key_passphrase_env",
    "ssh_agent",
    "certificate_file",
];

/// What carries a target's session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// The bridge dials the device.
    Dialled(Dialled),
    /// The device comes to the bridge.
    Reverse(Reverse),
}

/// How the bridge gets to a device and speaks SSH with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialled {
    /// Where it is.
    pub to: Destination,
    /// The SSH user; an agent takes any, a device's own `sshd` does not. Default `scrape`.
    pub user: String,
    /// How its host key is known.
    pub host_key: HostTrust,
    /// The key to log in with; default `id_ed25519` in the state directory.
    pub login: LoginSettings,
}

/// Where a device is. There is one way to it, and no other is tried when that fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Behind an onion service.
    Onion {
        /// The service.
        address: OnionAddress,
        /// The service's port; default 22.
        port: u16,
        /// The key to read the service's descriptor with, where that is closed to strangers: a file
        /// as C tor has it in `ClientOnionAuthDir`.
        client_auth_file: Option<PathBuf>,
    },
    /// At a host and port.
    Tcp {
        /// The SSH server.
        address: SshAddress,
        /// What the connection goes through, if it goes through something.
        proxy: Option<Proxy>,
    },
}

/// How a device comes to the bridge by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reverse {
    /// The key that it logs in with, and no other target's device.
    pub authorized_key: UserKey,
    /// Where it comes to.
    pub entrance: Entrance,
}

/// Where devices that come by themselves come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entrance {
    /// Where the bridge listens for them, if it does.
    pub listen: Option<SocketAddr>,
    /// True if the bridge has an onion service for them.
    pub onion: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Onion,
    Tcp,
    Reverse,
}

/// What can stand as a target's address.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
enum Address {
    Onion(OnionAddress),
    Ssh(SshAddress),
}

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.contains("://") {
            return text.parse().map(Self::Ssh);
        }
        let onion = text.parse().map(Self::Onion);
        let is_near = text.to_ascii_lowercase().contains(".onion");
        onion.map_err(|why| if is_near { why } else { format!("{why}, and plain SSH is ssh://HOST:PORT") })
    }
}

impl Transport {
    /// `onion`, `tcp` or `reverse`.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Dialled(Dialled { to: Destination::Onion { .. }, .. }) => "onion",
            Self::Dialled(Dialled { to: Destination::Tcp { .. }, .. }) => "tcp",
            Self::Reverse(_) => "reverse",
        }
    }

    /// How the bridge dials the device, if it does.
    pub fn dialled(&self) -> Option<&Dialled> {
        match self {
            Self::Dialled(dialled) => Some(dialled),
            Self::Reverse(_) => None,
        }
    }

    /// True if the first host key that comes is believed.
    pub fn is_on_first_use(&self) -> bool {
        self.dialled().is_some_and(|dialled| dialled.host_key.is_on_first_use())
    }

    /// The device's onion address, if it has one.
    pub fn onion(&self) -> Option<&OnionAddress> {
        match &self.dialled()?.to {
            Destination::Onion { address, .. } => Some(address),
            Destination::Tcp { .. } => None,
        }
    }

    /// Reads the keys of a target that says it has this transport; `name` is the target's.
    pub(super) fn read(
        section: &mut Section<'_>,
        kind: Option<toml::Spanned<Kind>>,
        name: Option<&Name>,
        state_directory: &Path,
        taken: &mut Taken,
    ) -> Option<Self> {
        if is_reverse(kind.as_ref()) {
            for key in OF_DIALLED {
                if let Some(value) = section.spanned::<IgnoredAny>(key) {
                    let why = "is for devices that the bridge dials; this one comes by itself";
                    section.mistake(value.span(), format!("{key}: {why}"));
                }
            }
            return Reverse::read(section, name, taken).map(Self::Reverse);
        }
        if let Some(key) = section.spanned::<IgnoredAny>("authorized_key") {
            section.mistake(key.span(), "authorized_key: goes with transport = \"reverse\"");
        }
        Dialled::read(section, kind, name, state_directory).map(Self::Dialled)
    }
}

/// True if a target says that its device comes by itself.
pub(super) fn is_reverse(kind: Option<&toml::Spanned<Kind>>) -> bool {
    kind.is_some_and(|kind| *kind.get_ref() == Kind::Reverse)
}

impl Dialled {
    /// The key to log in with; the default one is made if there is none yet.
    ///
    /// # Errors
    /// When it cannot be used, or a named file is not there.
    pub fn key(&self, state_directory: &Path) -> Result<LoginKey, FileError> {
        self.login.key(state_directory)
    }

    /// The files with keys that are read once for the target, and again when one of them changes.
    pub fn key_files(&self, state_directory: &Path) -> Vec<PathBuf> {
        let mut files = self.login.files(state_directory);
        if let Destination::Onion { client_auth_file: Some(file), .. } = &self.to {
            files.push(file.clone());
        }
        files
    }

    fn read(
        section: &mut Section<'_>,
        kind: Option<toml::Spanned<Kind>>,
        name: Option<&Name>,
        state_directory: &Path,
    ) -> Option<Self> {
        let address = section.required_spanned::<Address>("address");
        let port = section.spanned::<u16>("port");
        let host_key = HostTrust::read(section, name, state_directory);
        let user = section.spanned::<String>("user");
        let client_auth_file = section.path_spanned("client_auth_file");
        let proxy = Proxy::read(section);
        let login = LoginSettings::read(section);
        if let Some(port) = port.as_ref().filter(|port| *port.get_ref() == 0) {
            section.mistake(port.span(), "port 0 cannot be dialled");
        }
        let address = address?.into_inner();
        let said = match &address {
            Address::Onion(_) => Kind::Onion,
            Address::Ssh(_) => Kind::Tcp,
        };
        if let Some(kind) = kind.filter(|kind| *kind.get_ref() != said) {
            section.mistake(kind.span(), "transport: is another than the address has; leave it out");
        }
        let (to, named) = match address {
            Address::Onion(address) => {
                if let Some((_, span)) = &proxy {
                    section.mistake(
                        span.clone(),
                        "proxy: goes with an address ssh://…; Tor is never gone around",
                    );
                }
                let port = port.map_or(22, toml::Spanned::into_inner);
                let client_auth_file = client_auth_file.map(toml::Spanned::into_inner);
                (Destination::Onion { address, port, client_auth_file }, None)
            }
            Address::Ssh(mut address) => {
                if let Some(port) = port {
                    section.mistake(port.span(), "port: write it into the address, as ssh://HOST:PORT");
                }
                if let Some(file) = client_auth_file {
                    section.mistake(file.span(), "client_auth_file: is for onion addresses");
                }
                let named = address.user.take();
                (Destination::Tcp { address, proxy: proxy.map(|(proxy, _)| proxy) }, named)
            }
        };
        if let (Some(user), Some(_)) = (&user, &named) {
            section.mistake(user.span(), "user: the address names one already; keep one of the two");
        }
        let user = user.map(toml::Spanned::into_inner).or(named);
        let user = user.unwrap_or_else(|| DEFAULT_USER.to_owned());
        Some(Self { to, user, host_key: host_key?, login })
    }
}

impl Destination {
    /// The host as a known_hosts file or a certificate has it: an onion address, a name or an IP
    /// address.
    pub fn host(&self) -> String {
        match self {
            Self::Onion { address, .. } => address.unredacted().to_owned(),
            Self::Tcp { address, .. } => address.host.to_string(),
        }
    }

    /// The SSH server's port.
    pub fn port(&self) -> u16 {
        match self {
            Self::Onion { port, .. } => *port,
            Self::Tcp { address, .. } => address.port,
        }
    }

    /// The key to read the onion service's descriptor with, if the configuration names one.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn client_auth(&self) -> Result<Option<ClientAuthKey>, FileError> {
        match self {
            Self::Onion { address, client_auth_file: Some(file), .. } => {
                ClientAuthKey::open(file, address).map(Some)
            }
            _ => Ok(None),
        }
    }
}

impl Entrance {
    pub(super) fn read(mut section: Section<'_>, taken: &mut Taken) -> Option<Self> {
        let onion = section.spanned::<bool>("onion");
        if let Some(off) = onion.as_ref().filter(|onion| !onion.get_ref() && !section.has("listen")) {
            section.mistake(off.span(), "nobody can come to [reverse] then; write listen, or remove it");
        }
        let onion = onion.is_some_and(toml::Spanned::into_inner);
        let listen = super::read_listen(section, taken);
        (onion || listen.is_some()).then_some(Self { listen, onion })
    }
}

impl Reverse {
    fn read(section: &mut Section<'_>, name: Option<&Name>, taken: &mut Taken) -> Option<Self> {
        let key = section.required_spanned::<UserKey>("authorized_key");
        if taken.reverse.is_none() {
            section.mistake_here(
                "transport = \"reverse\" needs a place to come to; write [reverse] with listen, or with onion = true, into bridge.toml",
            );
        }
        let key = key?;
        let of = name.map_or("another target", Name::as_str).to_owned();
        if let Some(other) = taken.authorized_keys.insert(key.get_ref().to_string(), of) {
            section.mistake(
                key.span(),
                format!(
                    "authorized_key: target {other} has this key already; each device needs one of its own"
                ),
            );
        }
        Some(Self { authorized_key: key.into_inner(), entrance: taken.reverse? })
    }
}
