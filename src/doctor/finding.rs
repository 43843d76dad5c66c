//! What one hop is like.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Most that is said of one hop, in bytes. The peers' words are in it, and it goes over a socket whose
/// lines have a bound.
const MAX_FOUND: usize = 8 << 10;

/// What a doctor found at one hop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The target, for a hop that only this one has.
    pub target: Option<String>,
    /// Which hop, in a few words.
    pub hop: String,
    /// How it is.
    pub outcome: Outcome,
    /// How long it took to find out, where that says something.
    pub seconds: Option<f64>,
    /// What was found; may have several lines.
    pub found: String,
    /// What a person can do about it, in one line.
    pub remedy: Option<String>,
}

/// How a hop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As it should be.
    Passed,
    /// It works, and a person may want to know this.
    Warning,
    /// Not looked at, or nothing can be said of it.
    Skipped,
    /// It does not work.
    Failed,
}

impl Finding {
    fn new(hop: &str, outcome: Outcome, found: impl Into<String>, remedy: Option<String>) -> Self {
        let mut found = found.into();
        if found.len() > MAX_FOUND {
            found.truncate(found.floor_char_boundary(MAX_FOUND));
            found.push('…');
        }
        Self { target: None, hop: hop.to_owned(), outcome, seconds: None, found, remedy }
    }

    /// That this hop is as it should be.
    pub fn passed(hop: &str, found: impl Into<String>) -> Self {
        Self::new(hop, Outcome::Passed, found, None)
    }

    /// That this hop works, but somebody may want to do something about it.
    pub fn warning(hop: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(hop, Outcome::Warning, found, Some(remedy.into()))
    }

    /// That nothing is known of this hop.
    pub fn skipped(hop: &str, found: impl Into<String>) -> Self {
        Self::new(hop, Outcome::Skipped, found, None)
    }

    /// That this hop does not work.
    pub fn failed(hop: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(hop, Outcome::Failed, found, Some(remedy.into()))
    }

    /// The same, with how long it took to find out.
    pub fn after(mut self, took: Duration) -> Self {
        self.seconds = Some(took.as_secs_f64());
        self
    }

    /// The same, about a hop of this target.
    pub fn of(mut self, target: &str) -> Self {
        self.target = Some(target.to_owned());
        self
    }

    /// True if the hop does not work.
    pub fn is_failed(&self) -> bool {
        self.outcome == Outcome::Failed
    }
}
