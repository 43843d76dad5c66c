//! From nothing to a byte stream at a target's SSH server.
//!
//! Names of Tor's types appear in this module only.

mod proxy;
mod tcp;

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use onionscrape::address::OnionAddress;
use onionscrape::tor::{Bootstrap, ClientAuthKey, Connector, DialStage, Tor};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::metrics::Stage;
pub use tcp::TcpDial;

/// A descriptor and a rendezvous take some seconds on a good day, and a minute on a bad one.
const ONION_LIMIT: Duration = Duration::from_secs(60);

/// Any byte stream.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// What a dial is waited for as.
pub type Dialled<'a> = Pin<Box<dyn Future<Output = Result<Box<dyn Stream>, DialFailure>> + Send + 'a>>;

/// A way to a target's SSH server.
pub trait Dial: Send + Sync {
    /// The steps to a byte stream, in their order; [`Stage::Bootstrap`] is the first if Tor is needed.
    fn stages(&self) -> &'static [Stage];

    /// Waits, without bound, until dialling makes sense; `waiting` hears why it does not.
    fn ready<'a>(
        &'a self,
        waiting: &'a (dyn Fn(String) + Send + Sync),
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

    /// Dials afresh: nothing is taken over from an earlier dial that may be dead by now. An onion
    /// service is dialled at this address, and a host at the one that is configured for it.
    fn dial<'a>(&'a self, onion: Option<&'a OnionAddress>) -> Dialled<'a>;
}

/// Why a dial failed, in words for the answer to a scrape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialFailure {
    /// The label `stage` of `onionscrape_target_connect_failures_total`.
    pub stage: Stage,
    /// True if the device is there, and closed to this bridge.
    pub closed: bool,
    /// What a person should know.
    pub what: String,
}

impl DialFailure {
    /// That this step failed.
    fn at(stage: Stage, what: impl fmt::Display) -> Self {
        Self { stage, closed: false, what: what.to_string() }
    }
}

impl fmt::Display for DialFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// Through Tor to an onion service.
pub struct OnionDial {
    tor: Tor,
    address: OnionAddress,
    port: u16,
    key: Option<ClientAuthKey>,
}

impl OnionDial {
    /// A way to `port` of the onion service at `address`, or of what it announces in its place; `key`
    /// reads descriptors that are closed to strangers.
    pub fn new(tor: Tor, address: OnionAddress, port: u16, key: Option<ClientAuthKey>) -> Self {
        Self { tor, address, port, key }
    }
}

impl Dial for OnionDial {
    fn stages(&self) -> &'static [Stage] {
        &[Stage::Bootstrap, Stage::Descriptor, Stage::Rendezvous, Stage::Stream]
    }

    fn ready<'a>(
        &'a self,
        waiting: &'a (dyn Fn(String) + Send + Sync),
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            let mut bootstrap = self.tor.bootstrap();
            loop {
                let now = bootstrap.borrow_and_update().clone();
                if now == Bootstrap::Done {
                    return;
                }
                waiting(now.to_string());
                if bootstrap.changed().await.is_err() {
                    // Tor was shut down, and with it goes whoever waits here.
                    std::future::pending::<()>().await;
                }
            }
        })
    }

    fn dial<'a>(&'a self, onion: Option<&'a OnionAddress>) -> Dialled<'a> {
        Box::pin(async move {
            let onion = onion.unwrap_or(&self.address);
            let connector = Connector::new(&self.tor, onion, self.key.as_ref())
                .map_err(|error| DialFailure::at(Stage::Bootstrap, error))?;
            match timeout(ONION_LIMIT, connector.dial(self.port)).await {
                Ok(Ok(stream)) => Ok(Box::new(stream) as Box<dyn Stream>),
                Ok(Err(error)) => {
                    let stage = match error.stage {
                        DialStage::Bootstrap => Stage::Bootstrap,
                        DialStage::Descriptor => Stage::Descriptor,
                        DialStage::Rendezvous => Stage::Rendezvous,
                        DialStage::Stream => Stage::Stream,
                    };
                    Err(DialFailure { closed: error.closed, ..DialFailure::at(stage, error) })
                }
                Err(_) => Err(DialFailure::at(Stage::Rendezvous, "onion unreachable: timed out in Tor")),
            }
        })
    }
}
