//! One device in the configuration.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use onionscrape::address::{Name, OnionAddress};
use onionscrape::config::Section;
use onionscrape::files::FileError;
use onionscrape::pairing::is_label;
use onionscrape::schedule::Schedule;
use onionscrape::ssh::LoginKey;
use onionscrape::tls::TlsClient;
use onionscrape::tor::ClientAuthKey;

use super::{ExporterConfig, HostTrust, LoginSettings, Taken};
use crate::discovery::OURS;

/// One device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetConfig {
    /// Its name in metrics, paths and Prometheus.
    pub name: Name,
    /// Where it is.
    pub onion: OnionAddress,
    /// The onion service's port; default 22.
    pub port: u16,
    /// How its host key is known.
    pub host_key: HostTrust,
    /// The SSH user; an agent takes any, a device's own `sshd` does not. Default `scrape`.
    pub user: String,
    /// The key to read the onion service's descriptor with, where that is closed to strangers: a
    /// file as C tor has it in `ClientOnionAuthDir`.
    pub client_auth_file: Option<PathBuf>,
    /// The key to log in with; default `id_ed25519` in the state directory.
    pub login: LoginSettings,
    /// Labels that discovery gives its exporters; they win over the device's own.
    pub labels: BTreeMap<String, String>,
    /// How often discovery has its exporters scraped; it wins over what the device asks for.
    pub schedule: Option<Schedule>,
    /// What can be scraped there; never empty.
    pub exporters: Vec<ExporterConfig>,
}

impl TargetConfig {
    /// The key to log in with; the default one is made if there is none yet.
    ///
    /// # Errors
    /// When it cannot be used, or a named file is not there.
    pub fn key(&self, state_directory: &Path) -> Result<LoginKey, FileError> {
        self.login.key(state_directory)
    }

    /// The files with keys and authorities that are read once for the target, and again when one of them
    /// changes.
    pub fn key_files(&self, state_directory: &Path) -> Vec<PathBuf> {
        let mut files = self.login.files(state_directory);
        files.extend(self.client_auth_file.clone());
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

    /// The key to read the descriptor with, if the configuration names one.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn client_auth(&self) -> Result<Option<ClientAuthKey>, FileError> {
        self.client_auth_file.as_ref().map(|file| ClientAuthKey::open(file, &self.onion)).transpose()
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
        let onion = section.required::<OnionAddress>("address");
        let port = section.spanned::<u16>("port");
        if let Some(port) = port.as_ref().filter(|port| *port.get_ref() == 0) {
            section.mistake(port.span(), "port 0 cannot be dialled");
        }
        let host_key =
            HostTrust::read(&mut section, name.as_ref().map(toml::Spanned::get_ref), state_directory);
        let user = section.or("user", "scrape".to_owned());
        let client_auth_file = section.path("client_auth_file");
        let login = LoginSettings::read(&mut section);
        let labels = read_labels(&mut section);
        let schedule = Schedule::read(&mut section);
        let mut names = HashSet::new();
        let exporters: Vec<_> = section
            .sections("exporter")
            .into_iter()
            .map(|exporter| ExporterConfig::read(exporter, &mut names, &mut taken.surfaces))
            .collect();
        if exporters.is_empty() {
            section
                .mistake_here("the target has no exporter; write [[target.exporter]] with name and listen");
        }
        Some(Self {
            name: name?.into_inner(),
            onion: onion?,
            port: port.map_or(22, toml::Spanned::into_inner),
            host_key: host_key?,
            user,
            client_auth_file,
            login,
            labels,
            schedule,
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
