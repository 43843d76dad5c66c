//! Which metric families of an exporter travel.
//!
//! - here: the rules;
//! - `line`: what a line of a text format is about;
//! - `stream`: the rules applied to text on its way;
//! - `exchange`: what a request must ask for, and an answer must be, so that it can be filtered.

mod exchange;
mod line;
mod stream;

use std::fmt;

use regex::bytes::{RegexBuilder, RegexSet, RegexSetBuilder};

pub(super) use exchange::{ask_for_text, has_metrics};
pub(super) use stream::Filtering;

/// Largest size of what the expressions of one key are compiled to, in bytes.
const MAX_COMPILED: usize = 1 << 20;

/// Which metric families travel: those that `keep` names, if it is there, but for those that `drop`
/// names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricFilter {
    keep: Option<Patterns>,
    drop: Option<Patterns>,
}

impl MetricFilter {
    /// A filter with these rules; `None` if there are none.
    pub fn new(keep: Option<Patterns>, drop: Option<Patterns>) -> Option<Self> {
        (keep.is_some() || drop.is_some()).then_some(Self { keep, drop })
    }

    /// True if a family that goes by these names travels.
    fn passes(&self, names: &[&[u8]]) -> bool {
        let named = |patterns: &Patterns| names.iter().any(|name| patterns.set.is_match(name));
        self.keep.as_ref().is_none_or(named) && !self.drop.as_ref().is_some_and(named)
    }
}

/// Regular expressions, each of which is meant for the whole of a name, as in Prometheus' relabelling.
#[derive(Clone)]
pub struct Patterns {
    texts: Vec<String>,
    set: RegexSet,
}

impl Patterns {
    /// Patterns made of these expressions.
    ///
    /// # Errors
    /// When one of them is none, or all together become larger than 1 MiB; in one line.
    pub fn new(texts: Vec<String>) -> Result<Self, String> {
        texts.iter().try_for_each(|text| Self::check(text))?;
        let whole = texts.iter().map(|text| format!("^(?:{text})$"));
        // Names of metrics are bytes here, and \d, \w and \s are ASCII's.
        let set = RegexSetBuilder::new(whole).unicode(false).size_limit(MAX_COMPILED).build();
        Ok(Self { set: set.map_err(|error| what(&error))?, texts })
    }

    /// Whether a text is a regular expression by itself: `a)|(b` would be one only between the
    /// parentheses that are put around it.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub fn check(text: &str) -> Result<(), String> {
        let compiled = RegexBuilder::new(text).unicode(false).size_limit(MAX_COMPILED).build();
        compiled.map_err(|error| format!("{text:?} is not a regular expression: {}", what(&error)))?;
        Ok(())
    }
}

impl PartialEq for Patterns {
    fn eq(&self, other: &Self) -> bool {
        self.texts == other.texts
    }
}

impl Eq for Patterns {}

impl fmt::Debug for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.texts.fmt(f)
    }
}

/// The last line of an error, which is the one that says what it is; those before are a picture.
fn what(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(limit) => format!("it becomes larger than {limit} bytes"),
        other => {
            let text = other.to_string();
            let last = text.lines().last().unwrap_or_default();
            last.strip_prefix("error: ").unwrap_or(last).to_owned()
        }
    }
}

#[cfg(test)]
mod tests;
