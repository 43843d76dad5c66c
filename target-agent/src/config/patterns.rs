//! A regular expression or a list of them, each mistake in its own place.

use std::fmt;

use onionscrape::config::Section;
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use toml::Spanned;

use crate::exporter::Patterns;

/// Most expressions of one key.
const MAX_PATTERNS: usize = 100;

/// What stands behind `keep` and `drop`.
enum Written {
    One(String),
    Several(Vec<Spanned<String>>),
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct OneOrSeveral;

        impl<'de> Visitor<'de> for OneOrSeveral {
            type Value = Written;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a regular expression, or a list of them")
            }

            fn visit_str<E>(self, text: &str) -> Result<Written, E> {
                Ok(Written::One(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Written, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(Written::Several(texts))
            }
        }

        from.deserialize_any(OneOrSeveral)
    }
}

/// Reads the expressions of a key, if it is there and right.
pub(super) fn read(section: &mut Section<'_>, key: &'static str) -> Option<Patterns> {
    let written = section.spanned::<Written>(key)?;
    let place = written.span();
    let texts = match written.into_inner() {
        Written::One(text) => vec![Spanned::new(place.clone(), text)],
        Written::Several(texts) => texts,
    };
    if texts.is_empty() {
        section.mistake(place, format!("{key}: the list is empty; leave the key out if nothing is meant"));
        return None;
    }
    if texts.len() > MAX_PATTERNS {
        section.mistake(place, format!("{key}: there are more than {MAX_PATTERNS} expressions"));
        return None;
    }
    let mut right = true;
    for text in &texts {
        if let Err(what) = Patterns::check(text.get_ref()) {
            section.mistake(text.span(), format!("{key}: {what}"));
            right = false;
        }
    }
    let texts = texts.into_iter().map(Spanned::into_inner).collect();
    let patterns = right.then(|| Patterns::new(texts))?;
    patterns.map_err(|what| section.mistake(place, format!("{key}: {what}, all together"))).ok()
}
