//! Dialling one onion service.

use std::sync::Arc;
use std::time::Duration;

use arti_client::{ErrorKind, HasKind as _};
use futures::channel::mpsc;
use tokio_util::sync::DropGuard;
use tor_circmgr::isolation::StreamIsolation;
use tor_hsclient::{ConnError, HsClientConnector, HsClientSecretKeys};
use tor_hscrypto::pk::HsId;
use tor_netdir::Timeliness;
use tor_proto::client::stream::StreamParameters;
use tracing::debug;

use super::client::{Client, Runtime};
use super::{ClientAuthKey, Tor, TorError, TorStream, one_line};
use crate::address::OnionAddress;

/// How long the far end of a circuit may take to take a stream.
const STREAM_LIMIT: Duration = Duration::from_secs(15);

/// The part of a dial through Tor that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DialStage {
    /// Tor itself is not ready.
    Bootstrap,
    /// The onion service's descriptor could not be had.
    Descriptor,
    /// No circuit to the service came about.
    Rendezvous,
    /// The service did not take a stream on the circuit.
    Stream,
}

/// Why a dial failed; says nothing of the address.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct DialError {
    /// Where it failed.
    pub stage: DialStage,
    /// True if the service is there, and closed to the key that was given or to those without one.
    pub closed: bool,
    what: &'static str,
}

/// Dials one onion service, over circuits that nothing else uses.
///
/// It remembers the service's descriptor and circuit, so a second dial is quick. For the same
/// reason it must be thrown away after a failed dial, or a stream that died: arti does not notice a
/// dead circuit and would hand it out again for many minutes.
pub struct Connector {
    client: Client,
    connector: HsClientConnector<Runtime>,
    onion: OnionAddress,
    service: HsId,
    /// One value for all dials: to arti, the same keys in another value are other keys.
    keys: HsClientSecretKeys,
    /// Held so that arti's housekeeping for this connector ends with it.
    _housekeeping: mpsc::Sender<()>,
    /// The same for its dials: one that nobody waits for any more would go on, and keep its circuit.
    _tasks: DropGuard,
}

impl Connector {
    /// A connector that knows nothing of the service yet. `key` reads the descriptor of a service
    /// that is closed to strangers; one that is open can be read with any.
    ///
    /// # Errors
    /// When arti refuses; it does only if it is broken.
    pub fn new(tor: &Tor, onion: &OnionAddress, key: Option<&ClientAuthKey>) -> Result<Self, TorError> {
        let refused = |error: String| TorError(format!("Tor cannot dial: {error}"));
        let service = onion.unredacted().parse().map_err(|_| refused("the onion address is wrong".into()))?;
        let client = tor.client().ok_or_else(|| refused("it is being started anew".into()))?;
        let pool = client.arti.hs_circ_pool().map_err(|error| refused(one_line(&error)))?;
        let (housekeeping, prompts) = mpsc::channel(0);
        let (runtime, guard) = client.runtime();
        let connector = HsClientConnector::new(runtime, pool, &*client.config, Box::pin(prompts))
            .map_err(|error| refused(one_line(&error)))?;
        let keys = key.map_or_else(HsClientSecretKeys::none, ClientAuthKey::for_arti);
        let onion = onion.clone();
        Ok(Self { client, connector, onion, service, keys, _housekeeping: housekeeping, _tasks: guard })
    }

    /// Opens a stream to `port` of the service. The caller sets the time it may take in all.
    ///
    /// # Errors
    /// Names the stage that failed.
    pub async fn dial(&self, port: u16) -> Result<TorStream, DialError> {
        tokio::select! {
            dialled = self.dial_with(port) => dialled,
            // It would hold on to a client that is to end.
            () = self.client.over.cancelled() => Err(not_ready()),
        }
    }

    async fn dial_with(&self, port: u16) -> Result<TorStream, DialError> {
        let directory = self.client.arti.dirmgr().map_err(|_| not_ready())?;
        let network: Arc<_> = directory.netdir(Timeliness::Timely).map_err(|_| not_ready())?;
        let tunnel = self
            .connector
            .get_or_launch_tunnel(&network, self.service, self.keys.clone(), StreamIsolation::no_isolation())
            .await
            .map_err(|error| {
                debug!(error = one_line(&error), "no circuit to the onion service");
                explain(&error)
            })?;
        let mut parameters = StreamParameters::default();
        // An onion service looks at the port only; anything more would tell clients apart.
        parameters.suppress_hostname().suppress_begin_flags().optimistic(true);
        let begin = tunnel.begin_stream(self.onion.unredacted(), port, Some(parameters));
        let stream = match tokio::time::timeout(STREAM_LIMIT, begin).await {
            Err(_) => Err("the device did not answer in time"),
            Ok(Err(error)) => {
                debug!(error = one_line(&error), "no stream to the onion service");
                Err("the device refused the connection")
            }
            Ok(Ok(stream)) => Ok(stream),
        };
        stream.map(TorStream::new).map_err(|what| DialError { stage: DialStage::Stream, closed: false, what })
    }
}

fn not_ready() -> DialError {
    DialError { stage: DialStage::Bootstrap, closed: false, what: "Tor is not ready" }
}

fn explain(error: &ConnError) -> DialError {
    let stage = match error {
        ConnError::DescriptorDownload(_) | ConnError::NoHsDirs | ConnError::NoUsableHsDirs => {
            DialStage::Descriptor
        }
        _ => DialStage::Rendezvous,
    };
    let what = match error.kind() {
        ErrorKind::OnionServiceNotFound => "onion not found: the device is off or offline",
        ErrorKind::OnionServiceMissingClientAuth => {
            "onion closed to strangers: this bridge has no key for it"
        }
        ErrorKind::OnionServiceWrongClientAuth => "onion closed: this bridge's key for it is not accepted",
        ErrorKind::OnionServiceProtocolViolation => "onion descriptor is broken",
        ErrorKind::OnionServiceConnectionFailed | ErrorKind::OnionServiceNotRunning => {
            "onion unreachable: the device is off or offline"
        }
        ErrorKind::RemoteNetworkTimeout | ErrorKind::TorNetworkTimeout => {
            "onion unreachable: timed out in Tor"
        }
        ErrorKind::TorDirectoryUnusable | ErrorKind::DirectoryExpired | ErrorKind::BootstrapRequired => {
            "Tor directory is out of date"
        }
        _ => "onion unreachable",
    };
    let closed = matches!(
        error.kind(),
        ErrorKind::OnionServiceMissingClientAuth | ErrorKind::OnionServiceWrongClientAuth
    );
    DialError { stage, closed, what }
}
