//! The agent's own onion service, dialled through Tor as a bridge does it.

use std::time::Duration;

use onionscrape::address::OnionAddress;
use onionscrape::tor::{ClientAuthKey, Connector, DialStage, Tor, TorStream};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::timeout;

/// How long each part of a dial may take.
const LIMIT: Duration = Duration::from_secs(30);
/// The onion service's one port.
const PORT: u16 = 22;

/// Who was met by dialling the onion service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// An SSH server, which greets.
    Ssh,
    /// The onion service, and nobody behind it who greets with SSH: the way through Tor is there.
    Silence,
    /// Nobody.
    Nobody,
}

/// Why nobody gets through from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreachable {
    /// Where it failed.
    pub stage: DialStage,
    /// In words; the address is not among them.
    pub what: String,
}

/// Dials the onion service, up to a stream that it has accepted; takes 30 s at most.
///
/// # Errors
/// Says where it failed.
pub async fn dial(tor: &Tor, onion: &OnionAddress, key: &ClientAuthKey) -> Result<TorStream, Unreachable> {
    let at = |stage, what: String| Unreachable { stage, what };
    let dialling = async {
        // A connector that was used before could hand out a circuit that is dead by now.
        let connector = Connector::new(tor, onion, Some(key))
            .map_err(|error| at(DialStage::Bootstrap, error.to_string()))?;
        let mut stream = connector.dial(PORT).await.map_err(|error| at(error.stage, error.to_string()))?;
        if stream.accepted().await {
            Ok(stream)
        } else {
            Err(at(DialStage::Stream, "the device does not accept the connection".into()))
        }
    };
    let late = || Err(at(DialStage::Rendezvous, "onion unreachable: timed out in Tor".into()));
    timeout(LIMIT, Box::pin(dialling)).await.unwrap_or_else(|_| late())
}

/// Dials the onion service and says who was met; takes a minute and a half at most.
pub async fn meet(tor: Tor, onion: OnionAddress, key: ClientAuthKey) -> Met {
    // While one client takes another's place nobody can be dialled, which says nothing of the service. It takes none
    // of the dial's own time.
    if timeout(LIMIT, tor.started()).await.is_err() {
        return Met::Nobody;
    }
    let Ok(mut stream) = dial(&tor, &onion, &key).await else { return Met::Nobody };
    if is_ssh(&mut stream).await { Met::Ssh } else { Met::Silence }
}

/// True if the first bytes are those of SSH (RFC 4253, section 4.2), and come within 30 s.
pub async fn is_ssh(stream: &mut (impl AsyncRead + Unpin)) -> bool {
    let mut greeting = [0; 8];
    let read = timeout(LIMIT, stream.read_exact(&mut greeting)).await;
    matches!(read, Ok(Ok(_))) && &greeting == b"SSH-2.0-"
}
