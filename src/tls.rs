//! TLS with exporters, as their client; and certificates in PEM.

mod fault;
mod settings;
mod verifier;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::warn;

use crate::files::{self, FileError, Followed, Stamp};
pub use fault::TlsFault;
pub use settings::TlsSettings;
use verifier::Verifier;

/// How long a handshake may take, from the first byte to the last.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Where systems keep their authorities, for people.
const SYSTEM: &str = "/etc/ssl/certs";

/// Speaks TLS with one exporter; clones share what they know. A file of authorities is read again when
/// it changes; one that cannot be used is warned of, and what it said before holds.
#[derive(Clone, Debug)]
pub struct TlsClient(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: TlsSettings,
    known: Mutex<Followed<Known>>,
}

/// What the files came to.
#[derive(Clone)]
struct Known(TlsConnector);

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").finish_non_exhaustive()
    }
}

impl TlsClient {
    /// With these settings; files are read by the first connection.
    pub fn new(settings: TlsSettings) -> Self {
        Self(Arc::new(Inner { settings, known: Mutex::default() }))
    }

    /// With these settings, whose files are read now.
    ///
    /// # Errors
    /// When a file of authorities cannot be read or has none, or the system has none.
    pub fn open(settings: TlsSettings) -> Result<Self, FileError> {
        let mut known = Followed::default();
        // Looked at before it is read, so that a change in between is seen the next time.
        let (stamps, read) = (settings.stamps(), settings.read_files()?);
        known.refresh(stamps, || Ok(read), |_| ());
        Ok(Self(Arc::new(Inner { settings, known: Mutex::new(known) })))
    }

    /// Reads the files now, so that what is wrong with them is known before the first connection.
    pub fn look(&self) {
        // It is warned of, and told whoever connects.
        let _ = self.connector();
    }

    /// Speaks TLS on a stream that leads to the exporter, for at most 10 s until that is settled.
    ///
    /// # Errors
    /// Why it cannot be.
    pub async fn connect<S>(&self, stream: S) -> Result<TlsStream<S>, TlsFault>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let connector = self.connector()?;
        let name = self.0.settings.server_name.clone();
        match timeout(HANDSHAKE, connector.connect(name, stream)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(TlsFault::of(&error)),
            Err(_) => Err(TlsFault::TimedOut),
        }
    }

    fn connector(&self) -> Result<TlsConnector, TlsFault> {
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        let settings = &self.0.settings;
        let holds = if known.last().is_some() { "; what it said before holds" } else { "" };
        let complain = |fault: &str| warn!("{fault}{holds}");
        known.refresh(settings.stamps(), || settings.read_files(), complain);
        known.last().map(|known| known.0.clone()).ok_or(match settings.ca_file {
            Some(_) => TlsFault::UnusableCaFile,
            None => TlsFault::NoAuthorities,
        })
    }
}

impl TlsSettings {
    fn stamps(&self) -> Vec<Stamp> {
        self.ca_file.as_deref().map(Stamp::take).into_iter().collect()
    }

    fn read_files(&self) -> Result<Known, FileError> {
        let provider = Arc::new(ring::default_provider());
        let place = self.ca_file.as_deref().unwrap_or(Path::new(SYSTEM));
        let unusable =
            |error: &dyn std::fmt::Display| FileError::new(place, format!("cannot be used: {error}"));
        let verifier = match (self.insecure_skip_verify, &self.ca_file) {
            (true, _) => Verifier::of_nothing(provider.clone()),
            (false, Some(file)) => {
                let listed = authorities(file)?;
                Verifier::new(listed, provider.clone()).map_err(|error| unusable(&error))?
            }
            (false, None) => {
                let system = rustls_native_certs::load_native_certs().certs;
                if system.is_empty() {
                    let what = "has no certificate authorities; install ca-certificates, or set ca_file";
                    return Err(FileError::new(place, what));
                }
                Verifier::new(system, provider.clone()).map_err(|error| unusable(&error))?
            }
        };
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| unusable(&error))?;
        let verifier = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = verifier.with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // A session that is resumed shows no certificate, so a changed one would go unseen.
        config.resumption = Resumption::disabled();
        Ok(Known(TlsConnector::from(Arc::new(config))))
    }
}

/// The certificates in a file, at least one.
fn authorities(file: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let text = files::read_public(file)?;
    certificates(text.as_bytes()).map_err(|what| FileError::new(file, what))
}

/// The certificates in PEM, at least one.
///
/// # Errors
/// What is wrong, to be put after the file's name.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| DAMAGED)?;
    if chain.is_empty() { Err("has no certificate in PEM".into()) } else { Ok(chain) }
}

/// That PEM cannot be read.
pub(crate) const DAMAGED: &str = "has PEM that is damaged";

/// What can be verified by these certificates.
///
/// # Errors
/// When one of them is none that verifies anything.
pub(crate) fn trusted(certificates: Vec<CertificateDer<'static>>) -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots
            .add(certificate)
            .map_err(|error| format!("has a certificate that nothing can be verified by: {error}"))?;
    }
    Ok(Arc::new(roots))
}

#[cfg(test)]
mod tests;
