//! The bridge's configuration file.

mod exporter;
mod host_trust;
mod listen;
mod login;
mod ssh_address;
mod target;
mod transport;

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use onionscrape::address::{ListenAddress, Name};
use onionscrape::compression::CompressionSettings;
use onionscrape::config::{self, Mistakes, Period, Section, Size};
use onionscrape::files::{self, FileError, Stamp};
use onionscrape::http::Web;
use onionscrape::logs::LogSettings;
use onionscrape::tor::TorSettings;

use crate::bridge::CONTROL_SOCKET;
use crate::discovery::Via;
pub use exporter::{ExporterConfig, Way};
pub use host_trust::HostTrust;
use listen::TakenSurfaces;
pub use listen::{Listen, ListenSettings};
pub use login::LoginSettings;
pub use ssh_address::{Host, Proxy, ProxyKind, SshAddress};
pub use target::TargetConfig;
pub use transport::{Destination, Dialled, Entrance, Reverse, Transport};

/// Where the bridge tells of itself unless configured otherwise.
const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9822);

/// What the last bodies may take of memory unless configured otherwise, in bytes.
const DICTIONARIES: u64 = 64 << 20;

/// Everything the bridge is told.
#[derive(Clone, Debug)]
pub struct BridgeConfig {
    /// Keys, Tor's state and the control socket.
    pub state_directory: PathBuf,
    /// How Tor is used.
    pub tor: TorSettings,
    /// Where `/metrics` and its neighbours are served.
    pub admin: SocketAddr,
    /// True if whoever reaches `admin` may have the configuration read again.
    pub lifecycle: bool,
    /// What holds for the surfaces of all exporters.
    pub listen: ListenSettings,
    /// Where a forward proxy for Prometheus listens, if one does.
    pub proxy: Option<SocketAddr>,
    /// Where devices that come by themselves come to, if they may.
    pub reverse: Option<Entrance>,
    /// A file that discovery is written to, if one is, and the surface it names.
    pub sd_file: Option<(PathBuf, Via)>,
    /// Names, besides the usual local ones, that requests to any listener may use as Host.
    pub host_names: Vec<String>,
    /// TLS and users of the public listeners, in Prometheus' own format; plain HTTP without it.
    pub web_config_file: Option<PathBuf>,
    /// Bounds on every scrape.
    pub scrape: ScrapeLimits,
    /// Whether agents are asked for small answers.
    pub compression: CompressionSettings,
    /// True if the kernel is asked to fence the bridge in.
    pub sandbox: bool,
    /// What is worth a line.
    pub log: LogSettings,
    /// The devices: those of the file in its order, then those of the folder by their files' names.
    pub targets: Vec<TargetConfig>,
    /// A folder of files with further targets; default `targets.d` in the state directory.
    pub targets_dir: PathBuf,
    /// Where all this was read from.
    pub source: Source,
    /// What each file looked like just before it was read.
    pub seen: Vec<Stamp>,
}

/// Where a configuration is read from, to read it again.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// The command line's state directory, if it names one.
    pub state_directory: Option<PathBuf>,
    /// The command line's web configuration file, if it names one.
    pub web_config_file: Option<PathBuf>,
    /// True if the command line switches `POST /-/reload` on.
    pub lifecycle: bool,
}

impl Source {
    /// Reads the file and the files in its folder of targets.
    ///
    /// # Errors
    /// Every mistake in all of them.
    pub fn read(&self) -> Result<BridgeConfig, Mistakes> {
        let mut config = BridgeConfig::read(self.file.as_deref(), self.state_directory.clone())?;
        config.web_config_file = self.web_config_file.clone().or(config.web_config_file);
        config.lifecycle |= self.lifecycle;
        config.source = self.clone();
        Ok(config)
    }
}

/// The files in a folder of targets, sorted; none where there is no such folder.
///
/// # Errors
/// When it cannot be read to its end: a part of it would look as if the other targets were gone.
pub fn target_files(folder: &Path) -> Result<Vec<PathBuf>, FileError> {
    let unread = |error: io::Error| FileError::new(folder, format!("cannot be read: {error}"));
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(unread)?,
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut files = paths.collect::<io::Result<Vec<_>>>().map_err(unread)?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    Ok(files)
}

/// Bounds on a scrape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrapeLimits {
    /// For a request that does not say how long it will wait; default 10 s.
    pub timeout: Duration,
    /// For a request that says it will wait longer; default 2 min.
    pub max_timeout: Duration,
    /// Largest body, in bytes; default 64 MiB. A larger one is an error, never cut short.
    pub max_body: u64,
}

impl BridgeConfig {
    /// Reads the file, or takes the defaults where there is none.
    ///
    /// The command line's state directory, if given, has the last word.
    ///
    /// # Errors
    /// Every mistake in the file.
    pub fn read(file: Option<&Path>, state_directory: Option<PathBuf>) -> Result<Self, Mistakes> {
        let source = Source {
            file: file.map(Path::to_owned),
            state_directory,
            web_config_file: None,
            lifecycle: false,
        };
        let mut taken = Taken::default();
        // Looked at before they are read, so that a change in between is seen the next time.
        let mut seen: Vec<_> = file.map(Stamp::take).into_iter().collect();
        let build = |top: &mut Section<'_>| Self::build(top, source, &mut taken);
        let mut config = match file {
            Some(file) => config::read(file, build),
            None => config::defaults(build),
        }?;
        // Before the files in it are read, which may be a newer release's, too.
        files::known_state_version(&config.state_directory)?;
        let mut mistakes: Option<Mistakes> = None;
        let files = target_files(&config.targets_dir)?;
        seen.extend(files.iter().map(|file| Stamp::take(file)));
        config.seen = seen;
        for file in files {
            let state_directory = &config.state_directory;
            match config::read(&file, |top| read_targets(top, state_directory, &mut taken)) {
                Ok(targets) => config.targets.extend(targets),
                Err(more) => match &mut mistakes {
                    Some(mistakes) => mistakes.extend(more),
                    None => mistakes = Some(more),
                },
            }
        }
        mistakes.map_or(Ok(config), Err)
    }

    /// What the public listeners ask of those who connect.
    ///
    /// # Errors
    /// Every mistake in the web configuration file and in what it names.
    pub fn web(&self) -> Result<Web, Mistakes> {
        self.web_config_file.as_deref().map_or_else(|| Ok(Web::plain()), Web::open)
    }

    /// What is allowed and should not be for long.
    pub fn warnings(&self) -> Vec<String> {
        let of = |target: &TargetConfig| {
            let name = &target.name;
            let trust = "has trust_on_first_use: whoever answers first is believed";
            let insecure = |exporter: &&ExporterConfig| {
                exporter.tls.as_ref().is_some_and(|tls| tls.insecure_skip_verify)
            };
            let trusting = target.transport.is_on_first_use().then(|| format!("target {name} {trust}"));
            let skipping = target.exporters.iter().filter(insecure).map(|exporter| {
                let exporter = &exporter.name;
                format!("target {name}, exporter {exporter} has insecure_skip_verify: its certificate is not looked at")
            });
            trusting.into_iter().chain(skipping).collect::<Vec<_>>()
        };
        self.targets.iter().flat_map(of).collect()
    }

    fn build(top: &mut Section<'_>, source: Source, taken: &mut Taken) -> Option<Self> {
        let configured = top.path("state_dir");
        let state_directory =
            source.state_directory.clone().or(configured).unwrap_or_else(default_state_directory);
        let targets_dir = top.path("targets_dir").unwrap_or_else(|| state_directory.join("targets.d"));
        let tor = TorSettings::read(top.section("tor"), &state_directory);
        let mut admin = top.section("admin");
        let admin_listen = admin.or("listen", ListenAddress(DEFAULT_ADMIN)).0;
        let lifecycle = admin.or("lifecycle", false);
        drop(admin);
        // The first one is free.
        let _ = taken.surfaces.take(&Listen::Address(admin_listen));
        let _ = taken.surfaces.take(&Listen::Unix(state_directory.join(CONTROL_SOCKET)));
        let listen = ListenSettings::read(top.section("listen"));
        let mut discovery = top.section("discovery");
        let via = discovery.or("via", Via::Port);
        let sd_file = discovery.path("file").map(|file| (file, via));
        drop(discovery);
        let proxy = read_listen(top.section("proxy"), taken);
        taken.reverse = Entrance::read(top.section("reverse"), taken);
        taken.standby = top.or("standby", false);
        let host_names = top.or("host_names", Vec::new());
        let web_config_file = top.path("web_config_file");
        let scrape = ScrapeLimits::read(top.section("scrape"));
        let compression = CompressionSettings::read(top.section("compression"), DICTIONARIES);
        let sandbox = top.or("sandbox", true);
        let log = LogSettings::read(top.section("log"));
        let targets = read_targets(top, &state_directory, taken);
        Some(Self {
            state_directory,
            tor: tor?,
            admin: admin_listen,
            lifecycle,
            listen,
            proxy,
            reverse: taken.reverse,
            sd_file,
            host_names,
            web_config_file,
            scrape,
            compression,
            sandbox,
            log,
            targets: targets?,
            targets_dir,
            source,
            seen: Vec::new(),
        })
    }
}

/// The address in a section that says where to listen, if it does.
fn read_listen(mut section: Section<'_>, taken: &mut Taken) -> Option<SocketAddr> {
    let listen = section.spanned::<ListenAddress>("listen")?;
    let ListenAddress(address) = *listen.get_ref();
    if let Err(message) = taken.surfaces.take(&Listen::Address(address)) {
        section.mistake(listen.span(), message);
    }
    Some(address)
}

/// The `[[target]]` tables of a file.
fn read_targets(
    top: &mut Section<'_>,
    state_directory: &Path,
    taken: &mut Taken,
) -> Option<Vec<TargetConfig>> {
    let targets: Vec<_> = top
        .sections("target")
        .into_iter()
        .map(|target| TargetConfig::read(target, state_directory, taken))
        .collect();
    targets.into_iter().collect()
}

/// What only one target or exporter may have, and what holds for all that do not say otherwise.
#[derive(Default)]
struct Taken {
    names: HashSet<Name>,
    surfaces: TakenSurfaces,
    /// Keys of devices that come by themselves, each with its target.
    authorized_keys: HashMap<String, String>,
    /// Where those come to.
    reverse: Option<Entrance>,
    /// Whether a second session is kept.
    standby: bool,
}

impl ScrapeLimits {
    fn read(mut section: Section<'_>) -> Self {
        let timeout = section.spanned::<Period>("timeout");
        let max_timeout = section.spanned::<Period>("max_timeout");
        let max_body = section.spanned::<Size>("max_body");
        for period in [&timeout, &max_timeout].into_iter().flatten() {
            if period.get_ref().0.is_zero() {
                section.mistake(period.span(), "nothing can be scraped within no time");
            }
        }
        if let Some(size) = max_body.as_ref().filter(|size| size.get_ref().0 == 0) {
            section.mistake(size.span(), "max_body: every body would be too large");
        }
        Self {
            timeout: timeout.map_or(Duration::from_secs(10), |period| period.into_inner().0),
            max_timeout: max_timeout.map_or(Duration::from_secs(120), |period| period.into_inner().0),
            max_body: max_body.map_or(64 << 20, |size| size.into_inner().0),
        }
    }
}

/// The key that a bridge logs in with unless a target names another.
pub fn default_key_file(state_directory: &Path) -> PathBuf {
    state_directory.join("id_ed25519")
}

fn default_state_directory() -> PathBuf {
    onionscrape::files::default_state_directory("bridge")
}
