//! TLS in the configuration of an exporter: `tls`, `server_name`, `ca_file`, `insecure_skip_verify`.

use std::path::PathBuf;

use rustls::pki_types::ServerName;
use serde::Deserialize;

use crate::config::Section;

/// How TLS is spoken with an exporter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// The name that its certificate must be for.
    pub server_name: ServerName<'static>,
    /// A file of authorities in PEM, or with the exporter's own certificate; those of the system
    /// without it.
    pub ca_file: Option<PathBuf>,
    /// True if any certificate is taken.
    pub insecure_skip_verify: bool,
}

impl TlsSettings {
    /// Reads the four keys of a section; `None` if TLS is not spoken, or after a mistake was noted.
    /// Without `server_name` the certificate must be for `host`.
    pub fn read(section: &mut Section<'_>, host: &str) -> Option<Self> {
        let tls = section.or("tls", false);
        let name = section.spanned::<Name>("server_name");
        let ca_file = section.path_spanned("ca_file");
        let insecure = section.spanned::<bool>("insecure_skip_verify");
        if !tls {
            let given = [
                ("server_name", name.map(|name| name.span())),
                ("ca_file", ca_file.map(|file| file.span())),
                ("insecure_skip_verify", insecure.map(|insecure| insecure.span())),
            ];
            for (key, at) in given {
                if let Some(at) = at {
                    section.mistake(at, format!("{key} has no meaning without tls = true"));
                }
            }
            return None;
        }
        let insecure = insecure.is_some_and(|insecure| insecure.into_inner());
        if let Some(file) = ca_file.as_ref().filter(|_| insecure) {
            let message =
                "ca_file has no meaning with insecure_skip_verify, which takes any certificate; remove one";
            section.mistake(file.span(), message);
        }
        let server_name = match name {
            Some(name) => name.into_inner().0,
            None => ServerName::try_from(host.to_owned()).ok()?,
        };
        let ca_file = ca_file.map(|file| file.into_inner());
        Some(Self { server_name, ca_file, insecure_skip_verify: insecure })
    }
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Name(ServerName<'static>);

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = format!("{text:?} is neither a DNS name nor an IP address");
        ServerName::try_from(text).map(Self).map_err(|_| wrong)
    }
}
