//! A body that says it is compressed.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use onionscrape::compression::{Coding, Decoder, Dictionary, encode};

/// More than this is not waited for, as a bridge has a bound too.
const MOST: usize = 4 << 20;

static KNOWN: LazyLock<Arc<Dictionary>> = LazyLock::new(|| {
    let text: String = (0..200).map(|n| format!("app_{n}_total {n}\n")).collect();
    Arc::new(Dictionary::new(text.into()).expect("long enough"))
});

/// Frames from who should know how to make them: against a dictionary by the right name if the first byte
/// is odd, without its head if it is 3 of 4. What comes out comes in small parts, whatever it is.
pub fn body(data: &[u8]) {
    let Some((kind, frames)) = data.split_first() else { return };
    let head = [&[0x5e, 0x2a, 0x4d, 0x18, 0x20, 0, 0, 0][..], &KNOWN.digest().0].concat();
    let (coding, head) = match kind % 4 {
        1 => (Coding::Dcz, head),
        3 => (Coding::Dcz, Vec::new()),
        _ => (Coding::Zstd, Vec::new()),
    };
    let mut decoder = Decoder::new(coding, Some(KNOWN.clone()));
    let mut out = 0;
    for part in [head.as_slice()].into_iter().chain(frames.chunks(1 + usize::from(*kind))) {
        let mut part = Bytes::copy_from_slice(part);
        loop {
            match decoder.next(&mut part) {
                Ok(Some(more)) if out + more.len() <= MOST => {
                    assert!((1..=64 << 10).contains(&more.len()));
                    out += more.len();
                }
                Ok(None) => break,
                Ok(Some(_)) | Err(_) => return,
            }
        }
        assert!(part.is_empty());
    }
}

/// Any two bodies: the one made small against the other comes out as it was.
pub fn pair(data: &[u8]) {
    let (known, body) = data.split_at(data.len() / 2);
    let known = Dictionary::new(Bytes::copy_from_slice(known)).map(Arc::new);
    let Some(encoded) = encode(body, known.as_deref()) else { return };
    let coding = if known.is_some() { Coding::Dcz } else { Coding::Zstd };
    let (mut decoder, mut input, mut out) = (Decoder::new(coding, known), Bytes::from(encoded), Vec::new());
    while let Some(more) = decoder.next(&mut input).expect("what was encoded is decoded") {
        out.extend_from_slice(&more);
    }
    assert!(decoder.is_at_end() && out == body);
}
