//! A whole body made small.

use std::io::Cursor;

use zstd::zstd_safe::{CCtx, CParameter, SafeResult};

use super::decoder::MAGIC;
use super::{Dictionary, largest_window};

/// Bodies up to this many bytes take less than a millisecond of a processor, and a few of a small one, so
/// that a thread's other tasks may wait for it.
pub const SMALL: usize = 128 << 10;
/// Levels of small bodies, without and with a dictionary: with one there is little left to look for, so a
/// high level costs a tenth of a millisecond more and saves a third.
const LEVELS: (i32, i32) = (6, 9);
/// Level of all others.
pub(super) const LEVEL: i32 = 1;

/// The body in coding `dcz` if there is a dictionary, else in `zstd`; nothing if it would not be a tenth
/// smaller than the body. Takes some 0.3 ms for 57 kB and 20 ms for 10 MB of a fast processor.
pub fn encode(body: &[u8], dictionary: Option<&Dictionary>) -> Option<Vec<u8>> {
    let known = dictionary.map_or(&[][..], |dictionary| dictionary.bytes());
    let mut context = CCtx::try_create()?;
    prepare(&mut context, body.len(), known).ok()?;
    // What does not fit is not worth it.
    let mut encoded = Vec::with_capacity(body.len() / 10 * 9);
    if let Some(dictionary) = dictionary {
        context.ref_prefix(known).ok()?;
        encoded.extend_from_slice(&MAGIC);
        encoded.extend_from_slice(&dictionary.digest().0);
    }
    if encoded.len() > body.len() / 10 * 9 {
        return None;
    }
    let mut after = Cursor::new(encoded);
    after.set_position(after.get_ref().len() as u64);
    context.compress2(&mut after, body).ok()?;
    let mut encoded = after.into_inner();
    encoded.shrink_to_fit();
    Some(encoded)
}

fn prepare(context: &mut CCtx<'_>, length: usize, known: &[u8]) -> SafeResult {
    // Wrong bytes by the right name would be wrong numbers; the checksum finds them.
    context.set_parameter(CParameter::ChecksumFlag(true))?;
    if length.max(known.len()) <= SMALL {
        let level = if known.is_empty() { LEVELS.0 } else { LEVELS.1 };
        return context.set_parameter(CParameter::CompressionLevel(level));
    }
    context.set_parameter(CParameter::CompressionLevel(LEVEL))?;
    let window = largest_window(known.len());
    // A body that fits into the window is its own window, to the byte.
    let log = if length <= window { up(length) } else { window.ilog2() };
    context.set_parameter(CParameter::WindowLog(log.max(10)))?;
    if known.is_empty() {
        return Ok(0);
    }
    // By itself the level looks back half a megabyte, and loses its place in the dictionary where a number
    // became longer. Looking for long matches finds it again, in a little memory.
    context.set_parameter(CParameter::EnableLongDistanceMatching(true))
}

/// The power of two that is not less.
fn up(number: usize) -> u32 {
    number.next_power_of_two().ilog2()
}
