//! The agent's own SSH server: two kinds of channel, and a refusal for everything else.
//!
//! Names of russh's types go no further than this module. It needs a byte stream and knows nothing
//! of Tor.

mod audit;
mod channel;
mod checked;
mod handler;
mod identity;
mod server;
mod visitor;

pub use channel::Services;
pub use checked::{Shown, shown_host_key};
pub use server::Server;

#[cfg(test)]
mod tests;
