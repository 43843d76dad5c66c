//! The agent's own SSH server as a stranger sees it: which host key it shows.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use onionscrape::ssh::{AGENT_HOST_KEYS, algorithms};
use russh::client::{self, Config, Handler};
use russh::keys::{HashAlg, PublicKeyOrCertificate};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

/// Key exchange takes three round trips, which through Tor can be some seconds each.
const LIMIT: Duration = Duration::from_secs(30);

/// What a host showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// A key with this SHA-256 fingerprint.
    Key(String),
    /// A certificate, which the agent has none of.
    Certificate,
}

/// The host key that is shown on this stream, found out without logging in; takes 30 s at most. `None`
/// if nobody speaks SSH there to the point of showing one.
pub async fn shown_host_key<S>(stream: S) -> Option<Shown>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let shown = Arc::new(OnceLock::new());
    let config = Config { preferred: algorithms(AGENT_HOST_KEYS), ..Config::default() };
    // It ends with an error in any case, since no key is accepted.
    let _ = timeout(LIMIT, client::connect_stream(Arc::new(config), stream, Look(shown.clone()))).await;
    shown.get().cloned()
}

/// Looks at the host key and has seen enough.
struct Look(Arc<OnceLock<Shown>>);

impl Handler for Look {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let shown = match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => {
                Shown::Key(key.fingerprint(HashAlg::Sha256).to_string())
            }
            PublicKeyOrCertificate::Certificate(_) => Shown::Certificate,
        };
        let _ = self.0.set(shown);
        Ok(false)
    }
}
