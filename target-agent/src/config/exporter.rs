//! What can be scraped: `[[exporter]]` and `[host]`.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use onionscrape::address::{ExporterAddress, Name};
use onionscrape::config::Section;
use onionscrape::http::is_path;
use onionscrape::pairing::is_label;
use onionscrape::schedule::Schedule;
use onionscrape::tls::TlsSettings;

use super::{OWN_NAME, own_fields, patterns};
use crate::exporter::{MetricFilter, OwnFields};
use crate::host::Collector;

/// Where node_exporter listens.
const NODE_EXPORTER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9100);
/// The name of the built-in exporter.
const HOST_NAME: &str = "host";
/// Where an exporter has its metrics unless configured otherwise.
const METRICS_PATH: &str = "/metrics";

/// One metrics endpoint of this device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExporterConfig {
    /// How bridges ask for it.
    pub name: Name,
    /// Where its metrics come from.
    pub source: Source,
    /// How TLS is spoken with it; plain HTTP without it.
    pub tls: Option<TlsSettings>,
    /// The path of its metrics.
    pub path: String,
    /// Labels that the inventory declares for it.
    pub labels: BTreeMap<String, String>,
    /// How often the inventory asks for it to be scraped; as Prometheus has it without this.
    pub schedule: Option<Schedule>,
    /// Which of its metrics travel; all without it.
    pub filter: Option<Arc<MetricFilter>>,
    /// Header fields that it is asked with, which bridges do not know.
    pub own_fields: OwnFields,
}

/// Where an exporter's metrics come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// From what listens there.
    Address(ExporterAddress),
    /// From the agent itself, by these collectors.
    BuiltIn(BTreeSet<Collector>),
}

/// Every exporter of a configuration; `node` where none is listed.
pub(super) fn read_all(top: &mut Section<'_>) -> Option<Vec<ExporterConfig>> {
    let host = ExporterConfig::read_host(top.section("host"));
    let mut names = HashSet::new();
    let listed: Vec<_> = top
        .sections("exporter")
        .into_iter()
        .map(|exporter| ExporterConfig::read(exporter, host.is_some(), &mut names))
        .collect();
    let mut exporters = listed.into_iter().collect::<Option<Vec<_>>>()?;
    if exporters.is_empty() {
        exporters.extend(ExporterConfig::node());
    }
    exporters.extend(host);
    Some(exporters)
}

impl ExporterConfig {
    /// An exporter at this address with nothing out of the ordinary.
    pub fn at(name: Name, address: ExporterAddress) -> Self {
        let (source, path) = (Source::Address(address), METRICS_PATH.to_owned());
        let own_fields = OwnFields::default();
        Self {
            name,
            source,
            tls: None,
            path,
            labels: BTreeMap::new(),
            schedule: None,
            filter: None,
            own_fields,
        }
    }

    /// True if whoever may scrape it may have all that listens at this address.
    pub fn listens_openly_at(&self, address: SocketAddr) -> bool {
        self.filter.is_none() && self.source == Source::Address(ExporterAddress::Tcp(address))
    }

    /// The exporter that a device has when nobody says otherwise.
    pub(super) fn node() -> Option<Self> {
        Some(Self::at("node".parse().ok()?, ExporterAddress::Tcp(NODE_EXPORTER)))
    }

    /// The built-in exporter, unless it is switched off.
    fn read_host(mut section: Section<'_>) -> Option<Self> {
        let enabled = section.or("enabled", true);
        let collectors = section.spanned::<BTreeSet<Collector>>("collectors");
        if let Some(none) = collectors.as_ref().filter(|collectors| collectors.get_ref().is_empty()) {
            section.mistake(none.span(), "collectors: there is nothing left; write enabled = false");
        }
        let collectors = collectors.map_or_else(|| Collector::ALL.into(), |some| some.into_inner());
        let (labels, filter) = (read_labels(&mut section), read_filter(&mut section));
        let schedule = Schedule::read(&mut section);
        let (name, source) = (HOST_NAME.parse().ok()?, Source::BuiltIn(collectors));
        let own_fields = OwnFields::default();
        enabled.then(|| Self {
            name,
            source,
            tls: None,
            path: METRICS_PATH.to_owned(),
            labels,
            schedule,
            filter,
            own_fields,
        })
    }

    fn read(mut section: Section<'_>, has_host: bool, names: &mut HashSet<Name>) -> Option<Self> {
        let name = section.required_spanned::<Name>("name");
        if let Some(name) = &name {
            let text = name.get_ref().as_str();
            if text == OWN_NAME {
                let message = "the name \"agent\" is the agent's own; choose another for this exporter";
                section.mistake(name.span(), message);
            } else if text == HOST_NAME && has_host {
                let message = "the name \"host\" is the built-in exporter's; choose another for this one, \
                               or switch the built-in one off with enabled = false in [host]";
                section.mistake(name.span(), message);
            } else if !names.insert(name.get_ref().clone()) {
                section.mistake(name.span(), format!("another exporter is named {text:?} already"));
            }
        }
        let address = section.required::<ExporterAddress>("address");
        let host = match &address {
            Some(ExporterAddress::Tcp(address)) => address.ip().to_string(),
            Some(ExporterAddress::Unix(_)) | None => "localhost".to_owned(),
        };
        let tls = TlsSettings::read(&mut section, &host);
        let path = section.spanned::<String>("path");
        if let Some(path) = path.as_ref().filter(|path| !is_path(path.get_ref())) {
            section.mistake(path.span(), "path: a path begins with / and has no spaces, ? or #");
        }
        let (labels, filter) = (read_labels(&mut section), read_filter(&mut section));
        let schedule = Schedule::read(&mut section);
        let own_fields = own_fields::read(&mut section);
        Some(Self {
            name: name?.into_inner(),
            source: Source::Address(address?),
            tls,
            path: path.map_or_else(|| METRICS_PATH.to_owned(), |path| path.into_inner()),
            labels,
            schedule,
            filter,
            own_fields,
        })
    }
}

fn read_labels(section: &mut Section<'_>) -> BTreeMap<String, String> {
    let Some(labels) = section.spanned::<BTreeMap<String, String>>("labels") else { return BTreeMap::new() };
    for name in labels.get_ref().keys().filter(|name| !is_label(name)) {
        let message = format!("labels: {name:?} cannot be a label's name in Prometheus");
        section.mistake(labels.span(), message);
    }
    labels.into_inner()
}

fn read_filter(section: &mut Section<'_>) -> Option<Arc<MetricFilter>> {
    let (keep, drop) = (patterns::read(section, "keep"), patterns::read(section, "drop"));
    MetricFilter::new(keep, drop).map(Arc::new)
}
