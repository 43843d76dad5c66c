//! What was made small, as it was.

use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use zstd::stream::raw::{DParameter, Decoder as Frames, InBuffer, Operation as _, OutBuffer};
use zstd::zstd_safe;

use super::{Coding, Dictionary, largest_window};

/// How `dcz` begins, before the digest of its dictionary (RFC 9842, section 5).
pub(super) const MAGIC: [u8; 8] = [0x5e, 0x2a, 0x4d, 0x18, 0x20, 0, 0, 0];
/// The same with the digest, in bytes.
const HEADER: usize = MAGIC.len() + 32;
/// So much comes out at once at most, in bytes.
const CHUNK: usize = 64 << 10;

/// What came is not the coding that it says it is, or needs a dictionary that is not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecodable;

/// Undoes a coding part by part. It holds a window of 8 MiB at most, or of a quarter more than its
/// dictionary has, rounded up to a power of two; a copy of the dictionary; and 64 KiB.
pub struct Decoder {
    state: State,
    /// True between two frames, which is where a body may end.
    is_at_end: bool,
    /// True if more may come out without anything being put in.
    is_full: bool,
    /// True once anything came of a frame.
    has_begun: bool,
    announced: Option<u64>,
}

enum State {
    /// The beginning of `dcz`, as far as it is there, and the dictionary that was offered.
    Header(Vec<u8>, Option<Arc<Dictionary>>),
    Frames(Box<Frames<'static>>),
    Failed,
}

impl Decoder {
    /// For a body in `coding`, from who was offered this dictionary.
    pub fn new(coding: Coding, offered: Option<Arc<Dictionary>>) -> Self {
        let state = match coding {
            Coding::Dcz => State::Header(Vec::with_capacity(HEADER), offered),
            Coding::Zstd => frames(&[]),
        };
        Self { state, is_at_end: false, is_full: false, has_begun: false, announced: None }
    }

    /// Takes from `input` and returns what comes of it, 64 KiB at most; nothing once all is taken and
    /// has come out.
    ///
    /// # Errors
    /// When it cannot be; then always.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, Undecodable> {
        let result = self.advance(input);
        if result.is_err() {
            self.state = State::Failed;
        }
        result
    }

    /// How many bytes the first frame says that it has, once it said so. It may say what it likes.
    pub fn announced(&self) -> Option<u64> {
        self.announced
    }

    /// True if the body may end here: every frame is whole, and right if it has a checksum.
    pub fn is_at_end(&self) -> bool {
        self.is_at_end && !self.is_full
    }

    fn advance(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, Undecodable> {
        if let State::Header(header, offered) = &mut self.state {
            let wanted = HEADER - header.len();
            let part = input.split_to(wanted.min(input.len()));
            header.extend_from_slice(&part);
            if header.len() < HEADER {
                return Ok(None);
            }
            let (magic, digest) = header.split_at(MAGIC.len());
            let known = offered.take().filter(|known| known.digest().0 == digest).ok_or(Undecodable)?;
            if magic != MAGIC {
                return Err(Undecodable);
            }
            self.state = frames(known.bytes());
        }
        let State::Frames(frames) = &mut self.state else { return Err(Undecodable) };
        if !self.has_begun && input.has_remaining() {
            self.has_begun = true;
            // Where its head comes in parts this is not known, which is no harm.
            self.announced = zstd_safe::get_frame_content_size(input).ok().flatten();
        }
        while input.has_remaining() || self.is_full {
            let mut chunk = Vec::with_capacity(CHUNK);
            let (mut from, mut to) = (InBuffer::around(input.as_ref()), OutBuffer::around(&mut chunk));
            let left = frames.run(&mut from, &mut to).map_err(|_| Undecodable)?;
            let (taken, came) = (from.pos(), to.pos());
            if taken == 0 && came == 0 && !self.is_full {
                return Err(Undecodable);
            }
            input.advance(taken);
            self.is_at_end = left == 0;
            self.is_full = came == chunk.capacity() && left != 0;
            if came > 0 {
                return Ok(Some(chunk.into()));
            }
        }
        Ok(None)
    }
}

fn frames(dictionary: &[u8]) -> State {
    let frames = || {
        let mut frames = Frames::with_dictionary(dictionary)?;
        let window = largest_window(dictionary.len());
        frames.set_parameter(DParameter::WindowLogMax(window.next_power_of_two().ilog2()))?;
        std::io::Result::Ok(frames)
    };
    frames().map_or(State::Failed, |frames| State::Frames(Box::new(frames)))
}
