//! What is offered in a key exchange, and what comes of it (RFC 4253, section 7; RFC 8731).

use std::io;

use ring::digest::{Context, SHA256};

use crate::message::KEXINIT;
use crate::packet::Cipher;
use crate::wire::Message;

/// The algorithms of a KEXINIT, as lists with commas.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Key exchange.
    pub kex: String,
    /// Host keys.
    pub host_key: String,
    /// Ciphers, both ways.
    pub cipher: String,
    /// MACs, both ways.
    pub mac: String,
    /// Compression, both ways.
    pub compression: String,
}

impl Offer {
    /// The one set of algorithms that is known here, with strict key exchange announced.
    pub(crate) fn good(side: Side) -> Self {
        let strict = match side {
            Side::Client => "kex-strict-c-v00@openssh.com",
            Side::Server => "kex-strict-s-v00@openssh.com",
        };
        Self {
            kex: format!("curve25519-sha256,{strict}"),
            host_key: "ssh-ed25519".into(),
            cipher: "aes256-gcm@openssh.com".into(),
            mac: "hmac-sha2-256-etm@openssh.com".into(),
            compression: "none".into(),
        }
    }

    /// The KEXINIT that says so.
    pub fn message(&self) -> Vec<u8> {
        // Keys differ from exchange to exchange by their ephemeral keys; the cookie adds nothing.
        let mut message = Message::new(KEXINIT).raw(&[7; 16]).string(&self.kex).string(&self.host_key);
        for list in [&self.cipher, &self.mac, &self.compression] {
            message = message.string(list).string(list);
        }
        message.string("").string("").boolean(false).number(0).done()
    }
}

/// A place in a key exchange where a message can be slipped in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before this side's KEXINIT.
    BeforeOffer,
    /// After it, before this side's share of the secret.
    BeforeShare,
    /// After that, before this side's NEWKEYS.
    BeforeNewKeys,
}

/// Which end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// What both ends have seen of an exchange, in the order in which it is hashed.
pub(crate) struct Transcript<'a> {
    pub(crate) versions: [&'a str; 2],
    pub(crate) offers: [&'a [u8]; 2],
    pub(crate) host_key: &'a [u8],
    pub(crate) shares: [&'a [u8]; 2],
    pub(crate) secret: &'a [u8],
}

impl Transcript<'_> {
    /// The exchange hash, which the host signs.
    pub(crate) fn hash(&self) -> [u8; 32] {
        let [client, server] = self.versions;
        let mut hashed = Message::blob().string(client).string(server);
        for part in [self.offers[0], self.offers[1], self.host_key, self.shares[0], self.shares[1]] {
            hashed = hashed.string(part);
        }
        sha256(&[&hashed.large_number(self.secret).done()])
    }
}

/// The keys of both directions, from the client and to it.
pub(crate) fn ciphers(secret: &[u8], hash: &[u8; 32], session: &[u8; 32]) -> io::Result<[Cipher; 2]> {
    let secret = Message::blob().large_number(secret).done();
    let derive = |letter: u8| sha256(&[&secret, hash, &[letter], session]);
    let cipher = |nonce: u8, key: u8| {
        let mut first = [0; 12];
        first.copy_from_slice(&derive(nonce)[..12]);
        Cipher::new(&derive(key), first)
    };
    Ok([cipher(b'A', b'C')?, cipher(b'B', b'D')?])
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}
