//! Bodies made small on the way from agent to bridge: against the body before, which both still have
//! (RFC 9842, Compression Dictionary Transport, with Zstandard), or by themselves (RFC 8878).
//!
//! - `settings`: what the configuration says of it;
//! - `fields`: the header fields by which the two agree;
//! - `dictionary`: a body that later ones can be told by;
//! - `stored`: the same while it waits;
//! - `dictionaries`: the bodies that are kept;
//! - `encoder`, `decoder`: there and back;
//! - `stream`: there, for a body that is too long to be waited for.

mod decoder;
mod dictionaries;
mod dictionary;
mod encoder;
mod fields;
mod settings;
mod stored;
mod stream;

pub use decoder::{Decoder, Undecodable};
pub use dictionaries::{Dictionaries, Room, Shelf};
pub use dictionary::{Dictionary, Digest, Gathered, MAX_DICTIONARY, MIN_DICTIONARY};
pub use encoder::{SMALL, encode};
pub use fields::{
    AVAILABLE_DICTIONARY, Accepted, Coding, USE_AS_DICTIONARY, available, can_be_used, is_identity_allowed,
    use_as,
};
pub use settings::CompressionSettings;
pub use stored::Stored;
pub use stream::{StreamEncoder, Unencodable};

/// Largest window that a decoder has to have (RFC 8878, section 5, and RFC 9659), in bytes.
const WINDOW: usize = 8 << 20;

/// Largest window with a dictionary of this many bytes (RFC 9842, section 5): as large as without one, or
/// a quarter larger than the dictionary.
fn largest_window(dictionary: usize) -> usize {
    WINDOW.max(dictionary + dictionary / 4).min(128 << 20)
}

#[cfg(test)]
mod tests;
