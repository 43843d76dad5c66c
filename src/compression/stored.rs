//! A body that waits to be a dictionary, in less memory than it has itself.

use std::sync::Arc;

use zstd::bulk;

use super::{Dictionary, Digest};

/// Bodies longer than so many bytes are left as they are: each half a megabyte would take a thread a millisecond.
const MAX_PACKED: usize = 512 << 10;
/// A body is used once in an interval, so packing it must cost little: 57 kB take some 0.1 ms and become 10 kB.
const LEVEL: i32 = 1;

/// A body that is kept; clones are the same one.
#[derive(Clone)]
pub struct Stored(Form);

#[derive(Clone)]
enum Form {
    /// As it is.
    Whole(Arc<Dictionary>),
    /// By itself in Zstandard's format.
    Packed { digest: Digest, length: usize, frame: Arc<[u8]> },
}

impl Stored {
    /// This one as it is, which takes no time.
    pub(super) fn whole(dictionary: Arc<Dictionary>) -> Self {
        Self(Form::Whole(dictionary))
    }

    /// This one, packed if that is worth it.
    pub(super) fn packed(dictionary: Arc<Dictionary>) -> Self {
        let bytes = dictionary.bytes();
        if bytes.len() > MAX_PACKED {
            return Self(Form::Whole(dictionary));
        }
        Self(match bulk::compress(bytes, LEVEL) {
            Ok(frame) if frame.len() <= bytes.len() / 2 => {
                Form::Packed { digest: dictionary.digest(), length: bytes.len(), frame: frame.into() }
            }
            _ => Form::Whole(dictionary),
        })
    }

    /// By what the other end knows it.
    pub fn digest(&self) -> Digest {
        match &self.0 {
            Form::Whole(dictionary) => dictionary.digest(),
            Form::Packed { digest, .. } => *digest,
        }
    }

    /// Bytes of the body.
    pub fn length(&self) -> usize {
        match &self.0 {
            Form::Whole(dictionary) => dictionary.bytes().len(),
            Form::Packed { length, .. } => *length,
        }
    }

    /// True if it is as it was.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.0, Form::Whole(_))
    }

    /// Bytes that it takes.
    pub(super) fn weight(&self) -> usize {
        match &self.0 {
            Form::Whole(dictionary) => dictionary.bytes().len(),
            Form::Packed { frame, .. } => frame.len(),
        }
    }

    /// The body; nothing only if memory was damaged.
    pub fn open(&self) -> Option<Arc<Dictionary>> {
        match &self.0 {
            Form::Whole(dictionary) => Some(dictionary.clone()),
            Form::Packed { digest, length, frame } => {
                let bytes = bulk::decompress(frame, *length).ok().filter(|bytes| bytes.len() == *length)?;
                Dictionary::hashed(bytes.into(), *digest).map(Arc::new)
            }
        }
    }
}
