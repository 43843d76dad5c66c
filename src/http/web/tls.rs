//! The section `tls_server_config`, as far as rustls can do what it says.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{Error, RootCertStore, ServerConfig};
use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

use super::choices::{Version, groups, suites, versions};
use super::client::{AllowedNames, AnyCertificate};
use super::named::Reader;
use crate::tls::{DAMAGED, certificates};

/// The section as it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsSection {
    cert: Option<Spanned<String>>,
    key: Option<Spanned<String>>,
    client_ca: Option<Spanned<String>>,
    cert_file: Option<Spanned<String>>,
    key_file: Option<Spanned<String>>,
    client_auth_type: Option<Spanned<ClientAuth>>,
    client_ca_file: Option<Spanned<String>>,
    client_allowed_sans: Option<Spanned<Vec<String>>>,
    min_version: Option<Spanned<Version>>,
    max_version: Option<Spanned<Version>>,
    cipher_suites: Option<Vec<Spanned<String>>>,
    curve_preferences: Option<Vec<Spanned<String>>>,
    prefer_server_cipher_suites: Option<bool>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
enum ClientAuth {
    #[default]
    NoClientCert,
    RequestClientCert,
    #[serde(alias = "RequireClientCert")]
    RequireAnyClientCert,
    VerifyClientCertIfGiven,
    RequireAndVerifyClientCert,
}

/// What rustls makes of the section.
pub(super) struct Tls {
    pub(super) config: ServerConfig,
    /// True if nobody gets in without a certificate that was verified.
    pub(super) asks_for_certificate: bool,
    /// True if nobody gets in whose certificate has not one of some names.
    pub(super) asks_for_name: bool,
}

impl TlsSection {
    /// Reads what the section names. `None` only after a mistake was noted; `at` is the section's place.
    pub(super) fn configure(&self, at: Location, reader: &mut Reader<'_>) -> Option<Tls> {
        let certificate =
            reader.required_pem(at, ("cert_file", &self.cert_file), ("cert", &self.cert), certificates);
        let key = reader.required_pem(at, ("key_file", &self.key_file), ("key", &self.key), private_key);
        let versions = versions(self.min_version.as_ref(), self.max_version.as_ref(), reader);
        let suites = suites(self.cipher_suites.as_deref(), reader);
        let groups = groups(self.curve_preferences.as_deref(), reader);
        let verifier = self.verifier(reader)?;
        let (certificate, key) = (certificate?, key?);
        let provider =
            CryptoProvider { cipher_suites: suites?, kx_groups: groups?, ..ring::default_provider() };
        let config = ServerConfig::builder_with_provider(provider.into()).with_protocol_versions(&versions?);
        let Ok(config) = config else {
            reader.note(at, "tls_server_config leaves no cipher suite or curve for its TLS versions");
            return None;
        };
        let asks_for_certificate = self.client_auth() == ClientAuth::RequireAndVerifyClientCert;
        let config = match verifier {
            Some(verifier) => config.with_client_cert_verifier(verifier),
            None => config.with_no_client_auth(),
        };
        let mut config = match config.with_single_cert(certificate.value, key.value) {
            Ok(config) => config,
            Err(Error::InconsistentKeys(_)) => {
                reader.note(key.at, format!("{} does not belong to {}", key.shown, certificate.shown));
                return None;
            }
            Err(error) => {
                reader.note(key.at, format!("{} and {}: {error}", certificate.shown, key.shown));
                return None;
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.ignore_client_order = self.prefer_server_cipher_suites.unwrap_or(true);
        Some(Tls { config, asks_for_certificate, asks_for_name: self.client_allowed_sans.is_some() })
    }

    fn client_auth(&self) -> ClientAuth {
        self.client_auth_type.as_ref().map_or_else(ClientAuth::default, |kind| kind.value)
    }

    /// `Some(None)` if no certificate is asked for, `None` after a mistake.
    fn verifier(&self, reader: &mut Reader<'_>) -> Option<Option<Arc<dyn ClientCertVerifier>>> {
        let provider = Arc::new(ring::default_provider());
        let roots =
            reader.pem(("client_ca_file", &self.client_ca_file), ("client_ca", &self.client_ca), trusted);
        let kind = self.client_auth();
        let authority = [&self.client_ca_file, &self.client_ca].into_iter().flatten().next();
        let verified: Result<Arc<dyn ClientCertVerifier>, _> = match kind {
            ClientAuth::NoClientCert => {
                let given = authority.map(|given| given.referenced);
                if let Some(at) = given {
                    reader.note(at, "certificates are not asked for without client_auth_type");
                }
                if let Some(names) = &self.client_allowed_sans {
                    reader.note(names.referenced, REQUIRES);
                }
                return Some(None);
            }
            ClientAuth::RequestClientCert | ClientAuth::RequireAnyClientCert => {
                let mandatory = kind == ClientAuth::RequireAnyClientCert;
                Ok(Arc::new(AnyCertificate { mandatory, provider }))
            }
            ClientAuth::VerifyClientCertIfGiven | ClientAuth::RequireAndVerifyClientCert => {
                if authority.is_none() {
                    let at = self.client_auth_type.as_ref().map_or(Location::UNKNOWN, |kind| kind.referenced);
                    reader.note(at, "client certificates cannot be verified without client_ca_file");
                }
                let roots = roots.as_ref()?.value.clone();
                let builder = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let builder = match kind {
                    ClientAuth::VerifyClientCertIfGiven => builder.allow_unauthenticated(),
                    _ => builder,
                };
                builder.build().map(|verifier| verifier as _)
            }
        };
        let verifier = match verified {
            Ok(verifier) => verifier,
            Err(error) => {
                let at = authority.map_or(Location::UNKNOWN, |given| given.referenced);
                reader.note(at, format!("client certificates cannot be verified: {error}"));
                return None;
            }
        };
        let Some(names) = &self.client_allowed_sans else { return Some(Some(verifier)) };
        if !verifier.client_auth_mandatory() {
            reader.note(names.referenced, REQUIRES);
            return None;
        }
        Some(Some(Arc::new(AllowedNames { inner: verifier, allowed: names.value.clone() })))
    }
}

const REQUIRES: &str =
    "client_allowed_sans needs client_auth_type RequireAndVerifyClientCert or RequireAnyClientCert";

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        pem::Error::NoItemsFound => "has no private key in PEM, or an encrypted one".into(),
        _ => DAMAGED.into(),
    })
}

fn trusted(pem: &[u8]) -> Result<Arc<RootCertStore>, String> {
    crate::tls::trusted(certificates(pem)?)
}
