//! An SSH peer that keeps no rule which a test wants broken: it exchanges keys and encrypts as any
//! other, and then sends whatever bytes it is given as messages.
//!
//! - [`wire`]: messages, put together and taken apart (RFC 4251, section 5);
//! - [`packet`]: messages in packets, plain and encrypted (RFC 4253, section 6; RFC 5647);
//! - [`key`]: ed25519 keys, and security keys made of software;
//! - [`exchange`]: what is offered in a key exchange, and what comes of it;
//! - [`peer`]: one end of a session, client or server;
//! - [`login`]: logging in, and letting in;
//! - [`message`]: messages that are often wanted.
//!
//! One set of algorithms is known: curve25519-sha256, ssh-ed25519, aes256-gcm@openssh.com.

pub mod exchange;
pub mod key;
pub mod login;
pub mod message;
pub mod packet;
pub mod peer;
pub mod wire;

pub use exchange::{Moment, Offer};
pub use key::{Key, SecurityKey, Signer};
pub use peer::Peer;
pub use wire::{Message, Reader};

use std::io;

/// What is wrong with something that the other end sent.
pub(crate) fn wrong(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
