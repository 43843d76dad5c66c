//! A body that later ones can be told by.

use std::fmt;

use bytes::{Bytes, BytesMut};
use sha2::{Digest as _, Sha256};

/// Shorter bodies are not worth it, in bytes.
pub const MIN_DICTIONARY: usize = 256;
/// Longest body that is kept as a dictionary, in bytes.
pub const MAX_DICTIONARY: usize = 16 << 20;
/// What begins like this has a structure of Zstandard's own, and would not be taken as it is.
const STRUCTURED: [u8; 4] = [0x37, 0xa4, 0x30, 0xec];

/// By what both ends know a dictionary: the SHA-256 of its bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest(pub [u8; 32]);

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It would tell whether two devices had the same body.
        f.write_str("Digest(…)")
    }
}

/// A body that later ones can be told by.
#[derive(Debug)]
pub struct Dictionary {
    digest: Digest,
    bytes: Bytes,
}

impl Dictionary {
    /// This body, if it can be a dictionary: one that is neither too short nor too long, nor one of
    /// Zstandard's own. It is hashed here, which takes a moment if it is long.
    pub fn new(bytes: Bytes) -> Option<Self> {
        let digest = Digest(Sha256::digest(&bytes).into());
        Self::hashed(bytes, digest)
    }

    /// By what the other end knows it.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The body.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// A body whose digest is known.
    pub(super) fn hashed(bytes: Bytes, digest: Digest) -> Option<Self> {
        let fits = (MIN_DICTIONARY..=MAX_DICTIONARY).contains(&bytes.len());
        (fits && !bytes.starts_with(&STRUCTURED)).then_some(Self { digest, bytes })
    }
}

/// A body that comes in parts and may become a dictionary.
#[derive(Default)]
pub struct Gathered {
    bytes: BytesMut,
    hash: Sha256,
    is_too_long: bool,
}

impl Gathered {
    /// Makes room for a body of so many bytes, which need not be true.
    pub fn expect(&mut self, length: u64) {
        if self.bytes.is_empty() {
            self.bytes.reserve(usize::try_from(length).unwrap_or(usize::MAX).min(MAX_DICTIONARY));
        }
    }

    /// Takes the next part. Of a body that is too long nothing is kept.
    pub fn push(&mut self, part: &[u8]) {
        if self.is_too_long || self.bytes.len() + part.len() > MAX_DICTIONARY {
            self.is_too_long = true;
            self.bytes = BytesMut::new();
            return;
        }
        self.hash.update(part);
        self.bytes.extend_from_slice(part);
    }

    /// The dictionary, if it is one now that the body is whole.
    pub fn finish(self) -> Option<Dictionary> {
        if self.is_too_long {
            return None;
        }
        // Growing left room, which would be kept with it.
        let left = self.bytes.capacity() - self.bytes.len();
        let bytes = if left <= self.bytes.len() / 16 {
            self.bytes.freeze()
        } else {
            Bytes::copy_from_slice(&self.bytes)
        };
        Dictionary::hashed(bytes, Digest(self.hash.finalize().into()))
    }
}
