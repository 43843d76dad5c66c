//! The `[tor]` section, the same for both programs, and arti's configuration made from it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use arti_client::TorClientConfig;
use arti_client::config::{BridgeConfigBuilder, CfgPath, TorClientConfigBuilder};

use super::TorError;
use crate::config::Section;

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
}

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
        let settings = Self {
            state: section.path("state_dir").unwrap_or_else(|| state_directory.join("tor")),
            cache: section.path("cache_dir").unwrap_or_else(|| state_directory.join("cache")),
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

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}
