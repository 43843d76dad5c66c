//! One device in the configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use onionscrape::address::Name;
use onionscrape::config::Section;
use onionscrape::files::FileError;
use onionscrape::pairing::is_label;
use onionscrape::schedule::Schedule;
use onionscrape::tls::TlsClient;

use super::exporter::Names;
use super::transport::{Kind, is_reverse};
use super::{ExporterConfig, Taken, Transport};
use crate::discovery::OURS;

/// One device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetConfig {
    /// Its name in metrics, paths and Prometheus.
    pub name: Name,
    /// What carries its session.
    pub transport: Transport,
    /// Labels that discovery gives its exporters; they win over the device's own.
    pub labels: BTreeMap<String, String>,
    /// How often discovery has its exporters scraped; it wins over what the device asks for.
    pub schedule: Option<Schedule>,
    /// True if a second session is kept beside the first.
    pub standby: bool,
    /// What can be scraped there; never empty.
    pub exporters: Vec<ExporterConfig>,
}

impl TargetConfig {
    /// The files with keys and authorities that are read once for the target, and again when one of them
    /// changes.
    pub fn key_files(&self, state_directory: &Path) -> Vec<PathBuf> {
        let dialled = self.transport.dialled();
        let mut files = dialled.map(|dialled| dialled.key_files(state_directory)).unwrap_or_default();
        let tls = self.exporters.iter().filter_map(|exporter| exporter.tls.as_ref());
        files.extend(tls.filter_map(|tls| tls.ca_file.clone()));
        files
    }

    /// What TLS is spoken with to each exporter, if it is.
    ///
    /// # Errors
    /// When a file of authorities cannot be used.
    pub fn tls(&self) -> Result<Vec<Option<TlsClient>>, FileError> {
        let tls = self.exporters.iter().map(|exporter| exporter.tls.clone());
        tls.map(|settings| settings.map(TlsClient::open).transpose()).collect()
    }

    pub(super) fn read(mut section: Section<'_>, state_directory: &Path, taken: &mut Taken) -> Option<Self> {
        let name = section.required_spanned::<Name>("name");
        if let Some(name) = &name
            && !taken.names.insert(name.get_ref().clone())
        {
            section.mistake(
                name.span(),
                format!("another target is named {:?} already", name.get_ref().as_str()),
            );
        }
        let of = name.as_ref().map(toml::Spanned::get_ref);
        let kind = section.spanned::<Kind>("transport");
        let is_reverse = is_reverse(kind.as_ref());
        let transport = Transport::read(&mut section, kind, of, state_directory, taken);
        let standby = section.spanned::<bool>("standby");
        if let Some(standby) = standby.as_ref().filter(|standby| is_reverse && *standby.get_ref()) {
            section.mistake(
                standby.span(),
                "standby: the device comes by itself, and would have to come twice; remove it",
            );
        }
        let standby = standby.map_or(taken.standby && !is_reverse, toml::Spanned::into_inner);
        let labels = read_labels(&mut section);
        let schedule = Schedule::read(&mut section);
        let mut names = Names::default();
        let exporters: Vec<_> = section
            .sections("exporter")
            .into_iter()
            .map(|exporter| ExporterConfig::read(exporter, is_reverse, &mut names, &mut taken.surfaces))
            .collect();
        if exporters.is_empty() {
            section
                .mistake_here("the target has no exporter; write [[target.exporter]] with name and listen");
        }
        Some(Self {
            name: name?.into_inner(),
            transport: transport?,
            labels,
            schedule,
            standby,
            exporters: exporters.into_iter().collect::<Option<_>>()?,
        })
    }
}

/// The labels of a target.
fn read_labels(section: &mut Section<'_>) -> BTreeMap<String, String> {
    let Some(labels) = section.spanned::<BTreeMap<String, String>>("labels") else {
        return BTreeMap::new();
    };
    for name in labels.get_ref().keys() {
        if !is_label(name) {
            let message = format!("labels: {name:?} cannot be a label's name in Prometheus");
            section.mistake(labels.span(), message);
        } else if OURS.contains(&name.as_str()) {
            let message = format!("labels: {name:?} is set by the bridge or by Prometheus");
            section.mistake(labels.span(), message);
        }
    }
    labels.into_inner()
}
