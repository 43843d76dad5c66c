//! The agent's configuration file, or what holds without one.

mod exporter;
mod own_fields;
mod patterns;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use onionscrape::address::{ExporterAddress, ListenAddress, Name, is_loopback};
use onionscrape::compression::CompressionSettings;
use onionscrape::config::{self, Mistakes, Period, Section};
use onionscrape::files::{self, FileError, Stamp};
use onionscrape::logs::{Level, LogSettings};
use onionscrape::tls::TlsClient;
use onionscrape::tor::{Introductions, TorSettings};
use serde::Deserialize;

use crate::access::{AuthorizedKey, Sources};
pub use exporter::{ExporterConfig, Source};
pub use onionscrape::pairing::OWN_NAME;

/// What Tor may keep in a device's memory of what is on its way, in bytes, unless told otherwise: as little
/// as arti works with.
const MEMORY_LIMIT: u64 = 256 << 20;
/// What the last bodies may take of a device's memory unless configured otherwise, in bytes.
const DICTIONARIES: u64 = 16 << 20;
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
    /// What can be scraped, in the order of the file; the built-in one is last.
    pub exporters: Vec<ExporterConfig>,
    /// What is done to make answers small on their way to a bridge.
    pub compression: CompressionSettings,
    /// Where `/metrics` and its neighbours are served, if anywhere.
    pub admin: Option<SocketAddr>,
    /// True if the kernel is asked to fence the agent in.
    pub sandbox: bool,
    /// What is worth a line.
    pub log: LogSettings,
    /// Where all this was read from.
    pub origin: Origin,
    /// What the file looked like just before it was read.
    pub seen: Option<Stamp>,
}

/// Where a configuration is read from, to read it again.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// The command line's state directory, if it names one.
    pub state_directory: Option<PathBuf>,
    /// The command line's level of the log, if it names one.
    pub log_level: Option<Level>,
}

impl Origin {
    /// Reads the file, or takes the defaults where there is none. The command line has the last word.
    ///
    /// # Errors
    /// Every mistake in the file; or the state directory is a newer release's.
    pub fn read(&self) -> Result<AgentConfig, Mistakes> {
        // Looked at before it is read, so that a change in between is seen the next time.
        let seen = self.stamp();
        let build = |top: &mut Section<'_>| AgentConfig::build(top, self);
        let config = match &self.file {
            Some(file) => config::read(file, build),
            None => config::defaults(build),
        }?;
        files::known_state_version(&config.state_directory)?;
        Ok(AgentConfig { seen, ..config })
    }

    /// What the file looks like now.
    pub fn stamp(&self) -> Option<Stamp> {
        self.file.as_deref().map(Stamp::take)
    }

    /// Reads the file again for an agent whose state is in `running`: nothing can move that meanwhile.
    /// True if the file would.
    ///
    /// # Errors
    /// Every mistake in the file.
    pub fn read_again(&self, running: &Path) -> Result<(AgentConfig, bool), Mistakes> {
        let config = self.read()?;
        if config.state_directory == running {
            return Ok((config, false));
        }
        let here = Self { state_directory: Some(running.to_owned()), ..self.clone() };
        Ok((AgentConfig { origin: self.clone(), ..here.read()? }, true))
    }
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
    /// How much may be asked of it.
    pub introductions: Introductions,
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

impl AgentConfig {
    /// Reads the file, or takes the defaults where there is none.
    ///
    /// The command line's state directory, if given, has the last word.
    ///
    /// # Errors
    /// Every mistake in the file.
    pub fn read(path: Option<&Path>, state_dir: Option<PathBuf>) -> Result<Self, Mistakes> {
        Origin { file: path.map(Path::to_owned), state_directory: state_dir, log_level: None }.read()
    }

    /// Reads the files that exporters name, and says what is wrong with them, by exporter.
    pub fn file_faults(&self) -> Vec<(Name, FileError)> {
        let of = |exporter: &ExporterConfig| {
            let tls = exporter.tls.clone().and_then(|tls| TlsClient::open(tls).err());
            let faults = exporter.own_fields.faults().chain(tls);
            faults.map(|fault| (exporter.name.clone(), fault)).collect::<Vec<_>>()
        };
        self.exporters.iter().flat_map(of).collect()
    }

    /// What is allowed and should not be for long.
    pub fn warnings(&self) -> Vec<String> {
        let insecure =
            |exporter: &&ExporterConfig| exporter.tls.as_ref().is_some_and(|tls| tls.insecure_skip_verify);
        let said = |exporter: &ExporterConfig| {
            format!("exporter {} has insecure_skip_verify: its certificate is not looked at", exporter.name)
        };
        self.exporters.iter().filter(insecure).map(said).collect()
    }

    fn build(top: &mut Section<'_>, origin: &Origin) -> Option<Self> {
        let configured = top.path("state_dir");
        let state_directory = origin
            .state_directory
            .clone()
            .or(configured)
            .unwrap_or_else(|| onionscrape::files::default_state_directory("agent"));
        let tor = TorSettings::read(top.section("tor"), &state_directory);
        let tor = tor.map(|tor| tor.or_memory_limit(MEMORY_LIMIT));
        let mut sources = Sources::in_state(&state_directory);
        let onion = OnionSettings::read(top.section("onion"), &mut sources);
        let front = FrontConfig::read(top.section("ssh"), &mut sources);
        let admin = read_admin(top.section("admin"));
        let compression = CompressionSettings::read(top.section("compression"), DICTIONARIES);
        let sandbox = top.or("sandbox", true);
        let mut log = LogSettings::read(top.section("log"));
        log.level = origin.log_level.unwrap_or(log.level);
        let exporters = exporter::read_all(top)?;
        let origin = origin.clone();
        let (tor, seen) = (tor?, None);
        Some(Self {
            state_directory,
            tor,
            onion,
            sources,
            front,
            exporters,
            compression,
            admin,
            sandbox,
            log,
            origin,
            seen,
        })
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
        let default = Introductions::default();
        let per_second = rate.map_or(default.per_second, |rate| rate.into_inner());
        let given = burst.as_ref().map(|burst| *burst.get_ref());
        if let Some(burst) = burst.filter(|burst| *burst.get_ref() < per_second) {
            section.mistake(
                burst.span(),
                "introductions_burst: a burst is not smaller than what one second may have",
            );
        }
        Self {
            restricted_discovery: section.or("restricted_discovery", Restricted::Auto),
            introductions: Introductions {
                per_second,
                burst: given.unwrap_or_else(|| default.burst.max(per_second)),
            },
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

#[cfg(test)]
mod tests;
