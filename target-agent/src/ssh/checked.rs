//! The agent's own SSH server as a stranger sees it: which host key it shows.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use onionscrape::ssh::{AGENT_HOST_KEYS, CutStream, algorithms};
use russh::client::{self, Config, Handler};
use russh::keys::{HashAlg, PublicKeyOrCertificate};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Versions and key exchange take two round trips, which through Tor can be some seconds each.
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
    let config = Config {
        preferred: algorithms(AGENT_HOST_KEYS),
        inactivity_timeout: Some(LIMIT),
        ..Config::default()
    };
    // Given up, the session would go on beside us for as long as the peer likes.
    let cut = CancellationToken::new();
    let stream = CutStream::new(stream, cut.clone());
    let _cut = cut.drop_guard();
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_stalls_is_left_for_good() {
        let (near, mut far) = duplex(1 << 16);
        far.write_all(b"SSH-2.0-stalls\r\n").await.expect("written");
        assert_eq!(shown_host_key(near).await, None);
        let ended = timeout(Duration::from_secs(1), far.read_to_end(&mut Vec::new())).await;
        assert!(ended.is_ok(), "the stream is let go of");
    }
}
