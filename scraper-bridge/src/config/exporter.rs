//! One exporter of a device in the configuration.

use std::collections::HashSet;
use std::net::SocketAddr;

use onionscrape::address::{ExporterAddress, Name};
use onionscrape::config::Section;
use onionscrape::http::is_path;
use onionscrape::tls::TlsSettings;

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
}

impl ExporterConfig {
    pub(super) fn read(
        mut section: Section<'_>,
        names: &mut HashSet<Name>,
        taken: &mut TakenSurfaces,
    ) -> Option<Self> {
        let name = section.required_spanned::<Name>("name");
        if let Some(name) = &name
            && !names.insert(name.get_ref().clone())
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
        let way = match section.spanned::<ExporterAddress>("address") {
            None => Way::Name,
            Some(address) => {
                let span = address.span();
                match address.into_inner() {
                    ExporterAddress::Tcp(address) => Way::Address(address),
                    ExporterAddress::Unix(_) => {
                        section.mistake(
                            span,
                            "a Unix socket is reached by name through an agent; leave address out",
                        );
                        return None;
                    }
                }
            }
        };
        let tls = read_tls(&mut section, &way);
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
            way,
            tls,
            path: path.map_or_else(|| "/metrics".to_owned(), toml::Spanned::into_inner),
        })
    }
}

/// TLS is for exporters with an address: one by name speaks HTTP with the agent.
fn read_tls(section: &mut Section<'_>, way: &Way) -> Option<TlsSettings> {
    let Way::Address(address) = way else {
        for key in ["tls", "server_name", "ca_file", "insecure_skip_verify"] {
            if let Some(given) = section.spanned::<toml::Value>(key) {
                let message = format!(
                    "{key} is for an exporter with an address; the agent speaks TLS with others, see its [[exporter]]"
                );
                section.mistake(given.span(), message);
            }
        }
        return None;
    };
    TlsSettings::read(section, &address.ip().to_string())
}
