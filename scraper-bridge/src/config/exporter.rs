//! One exporter of a device in the configuration.

use std::collections::HashSet;
use std::net::SocketAddr;

use onionscrape::address::{ExporterAddress, ListenAddress, Name};
use onionscrape::config::Section;
use onionscrape::http::is_path;

/// One metrics endpoint of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExporterConfig {
    /// Its name; an agent knows it by this name.
    pub name: Name,
    /// The local address that Prometheus scrapes.
    pub listen: SocketAddr,
    /// How the far end is asked for it.
    pub way: Way,
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
        listen: &mut HashSet<SocketAddr>,
    ) -> Option<Self> {
        let name = section.required_spanned::<Name>("name");
        if let Some(name) = &name
            && !names.insert(name.get_ref().clone())
        {
            let text = name.get_ref().as_str();
            section.mistake(name.span(), format!("the target has another exporter named {text:?} already"));
        }
        let address = section.required_spanned::<ListenAddress>("listen");
        if let Some(address) = &address {
            let ListenAddress(wanted) = *address.get_ref();
            if wanted.port() != 0 && !listen.insert(wanted) {
                section.mistake(address.span(), format!("{wanted} is listened on already"));
            }
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
        let path = section.spanned::<String>("path");
        if let Some(path) = path.as_ref().filter(|path| !is_path(path.get_ref())) {
            section.mistake(path.span(), "path: a path begins with / and has no spaces, ? or #");
        }
        Some(Self {
            name: name?.into_inner(),
            listen: address?.into_inner().0,
            way,
            path: path.map_or_else(|| "/metrics".to_owned(), toml::Spanned::into_inner),
        })
    }
}
