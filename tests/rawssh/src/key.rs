//! ed25519 keys, and security keys made of software.

use ring::digest::{SHA256, digest};
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use crate::wire::Message;

/// Something to log in with.
pub trait Signer: Send + Sync {
    /// The name of its kind of key.
    fn algorithm(&self) -> &'static str;
    /// The public key (RFC 4253, section 6.6).
    fn public(&self) -> Vec<u8>;
    /// A signature of a message, as it is sent.
    fn sign(&self, message: &[u8]) -> Vec<u8>;

    /// The public key as a line of `authorized_keys` has it.
    fn line(&self) -> String {
        format!("{} {}", self.algorithm(), base64(&self.public()))
    }
}

fn pair(seed: &[u8; 32]) -> Ed25519KeyPair {
    // 32 bytes are a seed, whatever they are.
    Ed25519KeyPair::from_seed_unchecked(seed).unwrap_or_else(|_| unreachable!("a seed of another length"))
}

/// An ed25519 key.
#[derive(Clone, Debug)]
pub struct Key([u8; 32]);

impl Key {
    /// The key of a seed.
    pub fn of(seed: [u8; 32]) -> Self {
        Self(seed)
    }
}

impl Signer for Key {
    fn algorithm(&self) -> &'static str {
        "ssh-ed25519"
    }

    fn public(&self) -> Vec<u8> {
        Message::blob().string(self.algorithm()).string(pair(&self.0).public_key()).done()
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        Message::blob().string(self.algorithm()).string(pair(&self.0).sign(message)).done()
    }
}

/// A security key (OpenSSH's PROTOCOL.u2f), with everything about it for a test to choose.
#[derive(Clone, Debug)]
pub struct SecurityKey {
    /// Of its ed25519 key.
    pub seed: [u8; 32],
    /// What the public key is for.
    pub application: &'static str,
    /// What is signed for.
    pub signed_application: &'static str,
    /// 1: it was touched; 4: whoever touched it was verified.
    pub flags: u8,
    /// Signatures so far.
    pub counter: u32,
}

impl SecurityKey {
    /// A key that is good, and was touched.
    pub fn of(seed: [u8; 32]) -> Self {
        Self { seed, application: "ssh:", signed_application: "ssh:", flags: 1, counter: 7 }
    }
}

impl Signer for SecurityKey {
    fn algorithm(&self) -> &'static str {
        "sk-ssh-ed25519@openssh.com"
    }

    fn public(&self) -> Vec<u8> {
        let public = Message::blob().string(self.algorithm()).string(pair(&self.seed).public_key());
        public.string(self.application).done()
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signed = Message::blob()
            .raw(digest(&SHA256, self.signed_application.as_bytes()).as_ref())
            .byte(self.flags)
            .number(self.counter)
            .raw(digest(&SHA256, message).as_ref())
            .done();
        let signature = Message::blob().string(self.algorithm()).string(pair(&self.seed).sign(&signed));
        signature.byte(self.flags).number(self.counter).done()
    }
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, at| bits << 8 | u32::from(*group.get(at).unwrap_or(&0)));
        for at in 0..4 {
            let index = (bits >> (18 - 6 * at) & 63) as usize;
            text.push(if at <= group.len() { char::from(LETTERS[index]) } else { '=' });
        }
    }
    text
}
