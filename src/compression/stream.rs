//! A body made small as it comes.

use std::io;

use zstd::stream::raw::{CParameter, Encoder, InBuffer, Operation as _, OutBuffer};

use super::encoder::LEVEL;

/// So much comes out in one step, in bytes.
const CHUNK: usize = 64 << 10;

/// There is no memory for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unencodable;

/// Makes a body small by itself, part by part. What was put in may stay inside until 128 KiB are together: who
/// waits for a page needs all of it.
pub struct StreamEncoder(Encoder<'static>);

impl StreamEncoder {
    /// An encoder into one frame of `zstd`.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn new() -> Result<Self, Unencodable> {
        let mut encoder = Encoder::new(LEVEL).map_err(|_| Unencodable)?;
        encoder.set_parameter(CParameter::ChecksumFlag(true)).map_err(|_| Unencodable)?;
        Ok(Self(encoder))
    }

    /// Takes the next part, and returns what comes of it.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn push(&mut self, part: &[u8]) -> Result<Vec<u8>, Unencodable> {
        let (mut input, mut all) = (InBuffer::around(part), Vec::new());
        while input.pos() < part.len() {
            step(&mut all, |chunk| self.0.run(&mut input, chunk))?;
        }
        Ok(all)
    }

    /// What is left at the end.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn finish(mut self) -> Result<Vec<u8>, Unencodable> {
        let mut all = Vec::new();
        while step(&mut all, |chunk| self.0.finish(chunk, true))? > 0 {}
        Ok(all)
    }
}

fn step(
    all: &mut Vec<u8>,
    work: impl FnOnce(&mut OutBuffer<'_, Vec<u8>>) -> io::Result<usize>,
) -> Result<usize, Unencodable> {
    let mut chunk = Vec::with_capacity(CHUNK);
    let left = work(&mut OutBuffer::around(&mut chunk)).map_err(|_| Unencodable)?;
    all.append(&mut chunk);
    Ok(left)
}
