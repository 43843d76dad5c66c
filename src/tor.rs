//! Tor through embedded arti: one client for a program, a dialler for each onion service, and onion
//! services of its own.
//!
//! Names of arti's types go no further than this module and the agent's `onion`; [`crate::address`]
//! has arti check an onion address.

mod bootstrap;
mod client;
mod client_auth;
mod clock;
mod connector;
mod damage;
mod introduced;
mod knock;
mod links;
mod on_demand;
mod onion_service;
mod settings;
mod skew;
mod stream;
mod tasks;
mod tcp;

pub use bootstrap::Bootstrap;
pub(crate) use bootstrap::{FILTERED, READ_ONLY};
pub use client::{Poked, Tor, TorClient};
pub use client_auth::{ClientAuthKey, ClientAuthPublicKey};
pub use clock::before_release;
pub use connector::{Connector, DialError, DialStage};
pub use introduced::Unintroduced;
pub use knock::Reopening;
pub use on_demand::TorOnDemand;
pub use onion_service::{Discovery, Introductions, Known, Limits, OnionKey, OnionService};
pub use settings::TorSettings;
pub(crate) use skew::NOTEWORTHY;
pub use skew::{ClockNow, ClockSkew};
pub use stream::TorStream;

/// What Tor could not do, and what to do about it, in one line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TorError(pub String);

/// Arti's report of an error in one line, without the word `error:` that it begins with.
pub fn one_line(error: &impl tor_error::ErrorReport) -> String {
    let report = error.report().to_string();
    let line = report.split_whitespace().collect::<Vec<_>>().join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}
