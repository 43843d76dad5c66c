//! `[compression]`, which both programs have.

use crate::config::{Section, Size};

/// What is done to make bodies small on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressionSettings {
    /// Whether anything is; default true.
    pub enabled: bool,
    /// How much memory the last bodies may take, of all exporters together, in bytes.
    pub memory: u64,
}

impl CompressionSettings {
    /// Reads the section; `memory` holds where it says nothing of that, in bytes.
    pub fn read(mut section: Section<'_>, memory: u64) -> Self {
        let enabled = section.or("enabled", true);
        let given = section.spanned::<Size>("memory");
        if let Some(none) = given.as_ref().filter(|size| size.get_ref().0 == 0) {
            section.mistake(none.span(), "memory: nothing can be kept in none; write enabled = false");
        }
        Self { enabled, memory: given.map_or(memory, |size| size.into_inner().0) }
    }
}
