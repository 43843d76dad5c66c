//! From nothing to a byte stream at a target's SSH server.
//!
//! Names of Tor's types appear in this module only.

mod onion;
mod proxy;
mod tcp;

use std::fmt;
use std::pin::Pin;

use onionscrape::address::OnionAddress;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::metrics::Stage;
pub use onion::OnionDial;
pub use tcp::TcpDial;

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
