//! The agent's configuration file, or what holds without one.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use onionscrape::address::{ExporterAddress, ListenAddress, Name, is_loopback};
use onionscrape::config::{self, Mistakes, Period, Section};
use onionscrape::http::is_path;
use onionscrape::logs::LogSettings;
use onionscrape::pairing::is_label;
use onionscrape::tor::TorSettings;
use serde::Deserialize;

use crate::access::{AuthorizedKey, Sources};

/// Where node_exporter listens.
const NODE_EXPORTER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9100);
/// The name under which the agent answers for itself.
pub const OWN_NAME: &str = "agent";
/// What an introduction point passes on unless configured otherwise: a few bridges that all dial
/// anew at once, several times over.
const INTRODUCTIONS_PER_SECOND: u32 = 10;
const INTRODUCTIONS_BURST: u32 = 60;
/// How long a peer may take to log in unless configured otherwise.
const LOGIN_GRACE: Duration = Duration::from_secs(60);

/// Everything the agent is told.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// Keys and Tor's state.
    pub state_directory: PathBuf,
    /// How Tor is used.
    pub tor: TorSettings,
    /// Who can find the onion service, and how much they may ask of it.
    pub onion: OnionSettings,
    /// Where it is written down who may come in.
    pub sources: Sources,
    /// What answers on the onion service's port 22.
    pub front: FrontConfig,
    /// What can be scraped, in the order of the file.
    pub exporters: Vec<ExporterConfig>,
    /// Where `/metrics` and its neighbours are served, if anywhere.
    pub admin: Option<SocketAddr>,
    /// What is worth a line.
    pub log: LogSettings,
}

/// What answers on the onion service's port 22.
#[derive(Clone, Debug)]
pub enum FrontConfig {
    /// The agent's own SSH server.
    Ssh(SshSettings),
    /// The device's own `sshd`; bytes are passed to it.
    Forward(ExporterAddress),
}

/// Who can find the onion service, and how much they may ask of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnionSettings {
    /// Whether only invited clients can read the descriptor.
    pub restricted_discovery: Restricted,
    /// Clients that each introduction point passes on in a second, in the long run.
    pub introductions_per_second: u32,
    /// Clients that each introduction point passes on at once after a quiet time.
    pub introductions_burst: u32,
}

/// Whether only invited clients can read the descriptor (Tor's client authorisation).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Restricted {
    /// As soon as a bridge is paired by ticket, or there is a client's file.
    #[default]
    Auto,
    /// Always; while nobody is invited, nobody can.
    On,
    /// Never: everybody who knows the address can.
    Off,
}

/// Bounds on the agent's own SSH server.
#[derive(Clone, Debug)]
pub struct SshSettings {
    /// How long a peer may take to log in.
    pub login_grace: Duration,
}

/// One metrics endpoint of this device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExporterConfig {
    /// How bridges ask for it.
    pub name: Name,
    /// Where it listens.
    pub address: ExporterAddress,
    /// The path of its metrics.
    pub path: String,
    /// Labels that the inventory declares for it.
    pub labels: BTreeMap<String, String>,
}

impl AgentConfig {
    /// Reads the file, or takes the defaults where there is none.
    ///
    /// The command line's state directory, if given, has the last word.
    ///
    /// # Errors
    /// Every mistake in the file.
    pub fn read(path: Option<&Path>, state_dir: Option<PathBuf>) -> Result<Self, Mistakes> {
        let build = |top: &mut Section<'_>| Self::build(top, state_dir);
        match path {
            Some(path) => config::read(path, build),
            None => config::defaults(build),
        }
    }

    fn build(top: &mut Section<'_>, state_dir: Option<PathBuf>) -> Option<Self> {
        let configured = top.path("state_dir");
        let state_directory =
            state_dir.or(configured).unwrap_or_else(|| onionscrape::files::default_state_directory("agent"));
        let tor = TorSettings::read(top.section("tor"), &state_directory);
        let mut sources = Sources::in_state(&state_directory);
        let onion = OnionSettings::read(top.section("onion"), &mut sources);
        let front = FrontConfig::read(top.section("ssh"), &mut sources);
        let admin = read_admin(top.section("admin"));
        let log = LogSettings::read(top.section("log"));
        let mut names = HashSet::new();
        let exporters: Vec<_> = top
            .sections("exporter")
            .into_iter()
            .map(|exporter| ExporterConfig::read(exporter, &mut names))
            .collect();
        let mut exporters = exporters.into_iter().collect::<Option<Vec<_>>>()?;
        if exporters.is_empty() {
            exporters.extend(ExporterConfig::node());
        }
        Some(Self { state_directory, tor: tor?, onion, sources, front, exporters, admin, log })
    }
}

impl OnionSettings {
    fn read(mut section: Section<'_>, sources: &mut Sources) -> Self {
        if let Some(folder) = section.path("authorized_clients") {
            sources.authorized_clients = folder;
        }
        let rate = section.spanned::<u32>("introductions_per_second");
        let burst = section.spanned::<u32>("introductions_burst");
        for limit in [&rate, &burst].into_iter().flatten() {
            // The bounds of the protocol (proposal 305, EST_INTRO_DOS_EXT).
            if *limit.get_ref() == 0 || *limit.get_ref() > i32::MAX as u32 {
                section.mistake(
                    limit.span(),
                    "the limit must be 1 to 2147483647; nobody would get in otherwise",
                );
            }
        }
        let rate = rate.map_or(INTRODUCTIONS_PER_SECOND, |rate| rate.into_inner());
        let given = burst.as_ref().map(|burst| *burst.get_ref());
        if let Some(burst) = burst.filter(|burst| *burst.get_ref() < rate) {
            section.mistake(
                burst.span(),
                "introductions_burst: a burst is not smaller than what one second may have",
            );
        }
        Self {
            restricted_discovery: section.or("restricted_discovery", Restricted::Auto),
            introductions_per_second: rate,
            introductions_burst: given.unwrap_or_else(|| INTRODUCTIONS_BURST.max(rate)),
        }
    }
}

impl FrontConfig {
    fn read(mut section: Section<'_>, sources: &mut Sources) -> Self {
        let forward = section.spanned::<ExporterAddress>("forward");
        let keys = section.spanned::<Vec<AuthorizedKey>>("keys");
        let file = section.path("authorized_keys");
        let login_grace = section.spanned::<Period>("login_grace");
        if let Some(grace) = login_grace.as_ref().filter(|grace| grace.get_ref().0.is_zero()) {
            section.mistake(grace.span(), "login_grace: nobody can log in within no time");
        }
        let Some(forward) = forward else {
            sources.inline = keys.map_or_else(Vec::new, |keys| keys.into_inner());
            if let Some(file) = file {
                sources.authorized_keys = file;
            }
            let login_grace = login_grace.map_or(LOGIN_GRACE, |grace| grace.into_inner().0);
            return Self::Ssh(SshSettings { login_grace });
        };
        for (key, there) in [
            ("keys", keys.is_some()),
            ("authorized_keys", file.is_some()),
            ("login_grace", login_grace.is_some()),
        ] {
            if there {
                let message = format!(
                    "forward: the device's own sshd decides who may log in, so {key} has no meaning; remove one"
                );
                section.mistake(forward.span(), message);
            }
        }
        Self::Forward(forward.into_inner())
    }
}

fn read_admin(mut section: Section<'_>) -> Option<SocketAddr> {
    let listen = section.spanned::<ListenAddress>("listen")?;
    let ListenAddress(address) = *listen.get_ref();
    if !is_loopback(address.ip()) {
        let ip = address.ip();
        let message = format!("listen: {ip} is not a loopback address; the agent opens no port to a network");
        section.mistake(listen.span(), message);
    }
    Some(address)
}

impl ExporterConfig {
    /// The exporter that a device has when nobody says otherwise.
    fn node() -> Option<Self> {
        Some(Self {
            name: "node".parse().ok()?,
            address: ExporterAddress::Tcp(NODE_EXPORTER),
            path: "/metrics".to_owned(),
            labels: BTreeMap::new(),
        })
    }

    fn read(mut section: Section<'_>, names: &mut HashSet<Name>) -> Option<Self> {
        let name = section.required_spanned::<Name>("name");
        if let Some(name) = &name {
            let text = name.get_ref().as_str();
            if text == OWN_NAME {
                let message = "the name \"agent\" is the agent's own; choose another for this exporter";
                section.mistake(name.span(), message);
            } else if !names.insert(name.get_ref().clone()) {
                section.mistake(name.span(), format!("another exporter is named {text:?} already"));
            }
        }
        let address = section.required::<ExporterAddress>("address");
        let path = section.spanned::<String>("path");
        if let Some(path) = path.as_ref().filter(|path| !is_path(path.get_ref())) {
            section.mistake(path.span(), "path: a path begins with / and has no spaces, ? or #");
        }
        let labels = section.spanned::<BTreeMap<String, String>>("labels");
        for name in labels.iter().flat_map(|labels| labels.get_ref().keys()) {
            if let (false, Some(labels)) = (is_label(name), &labels) {
                let message = format!("labels: {name:?} cannot be a label's name in Prometheus");
                section.mistake(labels.span(), message);
            }
        }
        Some(Self {
            name: name?.into_inner(),
            address: address?,
            path: path.map_or_else(|| "/metrics".to_owned(), |path| path.into_inner()),
            labels: labels.map_or_else(BTreeMap::new, |labels| labels.into_inner()),
        })
    }
}

#[cfg(test)]
mod tests;
