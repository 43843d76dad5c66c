//! The `[tor]` section, the same for both programs, and arti's configuration made from it.

use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use arti_client::TorClientConfig;
use arti_client::config::{BridgeConfigBuilder, CfgPath, TorClientConfigBuilder};
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::TorError;
use crate::config::{Section, Size};

/// How a program uses Tor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TorSettings {
    /// Keys, guards and what else must survive a restart.
    pub state: PathBuf,
    /// Directory documents, which can be fetched again.
    pub cache: PathBuf,
    /// A file in arti's own configuration format, for what this section has no key for: a private
    /// network, most of all.
    include: Option<PathBuf>,
    /// Bridge lines, as Tor Browser takes them.
    bridges: Vec<String>,
    /// Programs that carry bridges' transports.
    transports: Vec<Transport>,
    /// The local address that connections to relays come from.
    pub(super) outbound_bind_address: Option<IpAddr>,
    /// What arti may keep in memory of what is on its way, in bytes; by itself it decides by the machine.
    memory_limit: Option<u64>,
    /// True if power is worth more than seconds.
    low_power: bool,
}

/// Arti does not work with less.
const LEAST_MEMORY: u64 = 256 << 20;
/// A folder that is never written to a disk.
const IN_MEMORY: &str = "/dev/shm";

/// A pluggable transport: a program and the protocols it speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Transport {
    protocols: Vec<String>,
    path: PathBuf,
}

impl TorSettings {
    /// Reads the section; folders default to `tor` and `cache` in `state_directory`.
    pub fn read(mut section: Section<'_>, state_directory: &Path) -> Option<Self> {
        let mut well = true;
        let bridges = section.spanned::<Vec<String>>("bridges");
        if let Some(bridges) = &bridges {
            for line in bridges.get_ref() {
                if let Err(error) = line.parse::<BridgeConfigBuilder>() {
                    section.mistake(bridges.span(), format!("bridges: a line is not understood: {error}"));
                    well = false;
                }
            }
        }
        let transports: Vec<_> = section
            .sections("transport")
            .into_iter()
            .map(|mut transport| {
                let protocols = transport.required("protocols");
                let path = transport.required_path("path");
                Some(Transport { protocols: protocols?, path: path? })
            })
            .collect();
        if !transports.is_empty() && !cfg!(feature = "pt-client") {
            section.mistake_here("this program was built without pluggable transports (feature pt-client)");
            well = false;
        }
        let include = section.path_spanned("include");
        if let Some(include) = &include
            && let Err(error) = included(include.get_ref())
        {
            section.mistake(include.span(), format!("include: {error}"));
            well = false;
        }
        let memory_limit = section.spanned::<Size>("memory_limit");
        if let Some(limit) = memory_limit.as_ref().filter(|limit| limit.get_ref().0 < LEAST_MEMORY) {
            section.mistake(limit.span(), "memory_limit: Tor needs 256MiB or more");
        }
        let cache = section.path_spanned("cache_dir");
        let in_memory = section.spanned::<bool>("cache_in_memory");
        if let (Some(cache), Some(in_memory)) = (&cache, &in_memory)
            && *in_memory.get_ref()
        {
            section.mistake(cache.span(), "cache_dir: has no meaning with cache_in_memory; remove one");
        }
        let cache = match (in_memory.map(toml::Spanned::into_inner), cache) {
            (Some(true), _) => cache_in_memory(state_directory),
            (_, Some(cache)) => cache.into_inner(),
            (_, None) => state_directory.join("cache"),
        };
        let settings = Self {
            state: section.path("state_dir").unwrap_or_else(|| state_directory.join("tor")),
            cache,
            memory_limit: memory_limit.map(|limit| limit.into_inner().0),
            low_power: section.or("low_power", false),
            include: include.map(toml::Spanned::into_inner),
            bridges: bridges.map(toml::Spanned::into_inner).unwrap_or_default(),
            transports: transports.into_iter().collect::<Option<_>>()?,
            outbound_bind_address: section.optional("outbound_bind_address"),
        };
        if well && let Err(error) = settings.arti() {
            section.mistake_here(error.to_string());
            well = false;
        }
        well.then_some(settings)
    }

    /// The same with a bound on memory, in bytes, where the configuration has none.
    pub fn or_memory_limit(self, limit: u64) -> Self {
        Self { memory_limit: self.memory_limit.or(Some(limit)), ..self }
    }

    /// True if power is worth more than seconds.
    pub fn low_power(&self) -> bool {
        self.low_power
    }

    /// True if a program may be started that carries the connections to relays.
    pub fn may_run_programs(&self) -> bool {
        self.through_transports() || self.include.as_deref().is_some_and(has_transports)
    }

    /// True if connections to relays are given a local address, for which their sockets are bound.
    pub fn binds_connections(&self) -> bool {
        self.outbound_bind_address.is_some()
    }

    /// True if a transport carries the connections to relays.
    pub fn through_transports(&self) -> bool {
        !self.transports.is_empty()
    }

    /// Arti's configuration.
    ///
    /// # Errors
    /// When the included file cannot be read, or arti refuses the whole.
    pub fn arti(&self) -> Result<TorClientConfig, TorError> {
        let mut builder = match &self.include {
            Some(path) => included(path)?,
            None => TorClientConfigBuilder::default(),
        };
        builder
            .storage()
            .state_dir(CfgPath::new_literal(&self.state))
            .cache_dir(CfgPath::new_literal(&self.cache));
        // Circuits to exits are never wanted; building them ahead costs traffic and logs failures.
        builder.preemptive_circuits().set_initial_predicted_ports(Vec::new());
        // A dial has a deadline of its own and is begun again with fresh circuits; arti's six
        // attempts could hold on to a dead introduction point for minutes.
        builder.circuit_timing().hs_intro_rend_attempts(2);
        // After a device changed its introduction points, arti would not ask the same directory
        // again for 15 minutes.
        builder.circuit_timing().hs_dir_requery_interval(Duration::from_secs(60));
        if let Some(limit) = self.memory_limit {
            builder.system().memory().max(usize::try_from(limit).unwrap_or(usize::MAX));
        }
        if self.low_power {
            let reduced =
                "reduced".parse().map_err(|_| TorError("arti does not know reduced padding".into()))?;
            builder.channel().padding(reduced);
        }
        for line in &self.bridges {
            let bridge = line.parse::<BridgeConfigBuilder>().map_err(|e| TorError(e.to_string()))?;
            builder.bridges().bridges().push(bridge);
        }
        #[cfg(feature = "pt-client")]
        for transport in &self.transports {
            let mut managed = arti_client::config::pt::TransportConfigBuilder::default();
            let protocols: Result<Vec<_>, _> = transport.protocols.iter().map(|p| p.parse()).collect();
            let protocols =
                protocols.map_err(|_| TorError("a transport protocol has an impossible name".into()))?;
            managed.protocols(protocols).path(CfgPath::new_literal(&transport.path)).run_on_startup(true);
            builder.bridges().transports().push(managed);
        }
        builder.build().map_err(|error| TorError(format!("the Tor configuration is refused: {error}")))
    }
}

/// A folder for the cache of a program with this state. It is the same after a restart of the program, and
/// arti takes no other user's.
fn cache_in_memory(state_directory: &Path) -> PathBuf {
    let digest = Sha256::digest(state_directory.as_os_str().as_bytes());
    let name = HEXLOWER.encode(&digest[..8]);
    Path::new(IN_MEMORY).join(format!("onionscrape-{}-{name}", rustix::process::getuid().as_raw()))
}

/// Reads a file in arti's configuration format.
fn included(path: &Path) -> Result<TorClientConfigBuilder, TorError> {
    let failed = |what: String| TorError(format!("{}: {what}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| failed(format!("cannot be read: {error}")))?;
    let document = toml::Deserializer::parse(&text).map_err(|error| failed(one_line(&error.to_string())))?;
    let mut unknown = Vec::new();
    let builder = serde_ignored::deserialize(document, |key| unknown.push(key.to_string()))
        .map_err(|error| failed(one_line(&error.to_string())))?;
    match unknown.first() {
        Some(key) => Err(failed(format!("arti does not know the key {key}"))),
        None => Ok(builder),
    }
}

/// True if a file in arti's format has transports, as far as that can be seen.
fn has_transports(path: &Path) -> bool {
    let table = std::fs::read_to_string(path).ok().and_then(|text| text.parse::<toml::Table>().ok());
    table.is_none_or(|table| table.get("bridges").is_some_and(|bridges| bridges.get("transports").is_some()))
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}
