//! One exporter of a device in the configuration.

use std::collections::HashSet;
use std::net::SocketAddr;

use onionscrape::address::{ExporterAddress, Name};
use onionscrape::config::Section;
use onionscrape::http::is_path;
use onionscrape::tls::TlsSettings;
use serde::de::IgnoredAny;

use super::Listen;
use super::listen::TakenSurfaces;

/// One metrics endpoint of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExporterConfig {
    /// Its name; an agent knows it by this name.
    pub name: Name,
    /// Where Prometheus scrapes it, besides by path and proxy.
    pub listen: Listen,
    /// How the far end is asked for it.
    pub way: Way,
    /// How TLS is spoken with it, inside the channel; plain HTTP without it.
    pub tls: Option<TlsSettings>,
    /// The path of its metrics on the device; default `/metrics`.
    pub path: String,
}

/// The kind of channel that leads to an exporter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// By name, to an agent: HTTP with the agent, which asks the exporter.
    Name,
    /// By address, to an ordinary `sshd` (or an agent): HTTP with the exporter itself.
    Address(SocketAddr),
    /// By the port that the device forwards to it (`ssh -R`): HTTP with the exporter itself.
    Forwarded(u16),
}

/// What only one exporter of a target may have.
#[derive(Default)]
pub(super) struct Names {
    names: HashSet<Name>,
    ports: HashSet<u16>,
}

impl ExporterConfig {
    pub(super) fn read(
        mut section: Section<'_>,
        is_reverse: bool,
        names: &mut Names,
        taken: &mut TakenSurfaces,
    ) -> Option<Self> {
        let name = section.required_spanned::<Name>("name");
        if let Some(name) = &name
            && !names.names.insert(name.get_ref().clone())
        {
            let text = name.get_ref().as_str();
            section.mistake(name.span(), format!("the target has another exporter named {text:?} already"));
        }
        let asked_for = section.has("listen");
        let listen = section.spanned::<Listen>("listen");
        if let Some(listen) = &listen
            && let Err(message) = taken.take(listen.get_ref())
        {
            section.mistake(listen.span(), message);
        }
        let way =
            if is_reverse { read_forwarded(&mut section, &mut names.ports) } else { read_way(&mut section) };
        let tls = read_tls(&mut section, way.as_ref());
        let path = section.spanned::<String>("path");
        if let Some(path) = path.as_ref().filter(|path| !is_path(path.get_ref())) {
            section.mistake(path.span(), "path: a path begins with / and has no spaces, ? or #");
        }
        Some(Self {
            name: name?.into_inner(),
            listen: match listen {
                Some(listen) => listen.into_inner(),
                // What was written and is wrong was noted.
                None if asked_for => return None,
                None => Listen::Nowhere,
            },
            way: way?,
            tls,
            path: path.map_or_else(|| "/metrics".to_owned(), toml::Spanned::into_inner),
        })
    }
}

/// TLS is for exporters with an address or a port: one by name speaks HTTP with the agent.
fn read_tls(section: &mut Section<'_>, way: Option<&Way>) -> Option<TlsSettings> {
    match way {
        Some(Way::Address(address)) => return TlsSettings::read(section, &address.ip().to_string()),
        // Only the device knows where its port leads; most often that is to itself. If there is no way,
        // what is wrong with it was noted.
        Some(Way::Forwarded(_)) | None => return TlsSettings::read(section, "localhost"),
        Some(Way::Name) => {}
    }
    let why = "for an exporter with an address; the agent speaks TLS with others, see its [[exporter]]";
    for key in ["tls", "server_name", "ca_file", "insecure_skip_verify"] {
        if let Some(given) = section.spanned::<toml::Value>(key) {
            section.mistake(given.span(), format!("{key} is {why}"));
        }
    }
    None
}

/// The way to an exporter of a device that the bridge dials.
fn read_way(section: &mut Section<'_>) -> Option<Way> {
    if let Some(port) = section.spanned::<IgnoredAny>("port") {
        section.mistake(port.span(), "port: is for targets with transport = \"reverse\"; write address");
    }
    let Some(address) = section.spanned::<ExporterAddress>("address") else { return Some(Way::Name) };
    let span = address.span();
    match address.into_inner() {
        ExporterAddress::Tcp(address) => Some(Way::Address(address)),
        ExporterAddress::Unix(_) => {
            section.mistake(span, "a Unix socket is reached by name through an agent; leave address out");
            None
        }
    }
}

/// The way to an exporter of a device that comes by itself.
fn read_forwarded(section: &mut Section<'_>, ports: &mut HashSet<u16>) -> Option<Way> {
    if let Some(address) = section.spanned::<IgnoredAny>("address") {
        section.mistake(
            address.span(),
            "address: the device says itself where its port leads (ssh -R PORT:HOST:PORT); write port",
        );
    }
    let port = section.required_spanned::<u16>("port")?;
    if *port.get_ref() == 0 {
        section.mistake(port.span(), "port: 0 is not one port; write the one of ssh -R");
    } else if !ports.insert(*port.get_ref()) {
        section.mistake(port.span(), "port: another exporter of the target has it already");
    }
    Some(Way::Forwarded(port.into_inner()))
}
