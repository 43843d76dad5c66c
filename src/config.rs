//! Reading configuration files so that every mistake in them is reported at once, each with its
//! file, line and column.
//!
//! A program reads its file through [`read`], asks each [`Section`] for the keys it knows, and
//! builds its own types; what was not asked for is an unknown key. `version`, which every file may have at its
//! top, is looked at before all else.

mod document;
mod section;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use document::Document;
pub use section::Section;

/// One thing wrong with a configuration file, as `file:line:column: what`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    file: PathBuf,
    /// Line and column, both from 1; `None` where the whole file is meant.
    place: Option<(usize, usize)>,
    message: String,
    /// True if it is none any more once systemd has started the unit.
    will_pass: bool,
}

impl Mistake {
    /// A mistake in `file`, at a line and column from 1, or in the whole of it.
    pub(crate) fn new(file: &Path, place: Option<(usize, usize)>, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), place, message: message.into(), will_pass: false }
    }

    /// The same, of a file that is to come when systemd starts the unit.
    pub(crate) fn that_will_pass(self) -> Self {
        Self { will_pass: true, ..self }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some((line, column)) = self.place {
            write!(f, "{line}:{column}:")?;
        }
        write!(f, " {}", self.message)
    }
}

/// Everything wrong with a configuration, one line each; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// Adds the mistakes of another file.
    pub fn extend(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    /// What is to be said of them if all of them are about files that systemd hands to this service when the unit
    /// starts; one line each.
    ///
    /// # Errors
    /// All of them, if there are others.
    pub fn or_to_come(self) -> Result<Vec<String>, Self> {
        let all_will_pass = self.0.iter().all(|mistake| mistake.will_pass);
        if all_will_pass { Ok(self.0.iter().map(Mistake::to_string).collect()) } else { Err(self) }
    }

    /// These, of which there is at least one.
    pub(crate) fn of(mut mistakes: Vec<Mistake>) -> Self {
        mistakes.sort();
        Self(mistakes)
    }

    pub(crate) fn of_file(file: &Path, message: impl Into<String>) -> Self {
        Self(vec![Mistake::new(file, None, message)])
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            mistake.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// Reads the TOML file at `path` and builds a `T` from it.
///
/// `build` takes what it needs from the top level; it may return `None` only after a mistake was
/// noted. Mistakes are sorted by their place in the file.
///
/// # Errors
/// When the file cannot be read, is not UTF-8 or not TOML, has unknown keys, or when `build` found
/// mistakes.
pub fn read<T>(path: &Path, build: impl FnOnce(&mut Section<'_>) -> Option<T>) -> Result<T, Mistakes> {
    let document = Document::open(path)?;
    document.build(build)
}

/// Builds a `T` from no file at all, that is, from the defaults.
///
/// # Errors
/// When the defaults alone are not enough.
pub fn defaults<T>(build: impl FnOnce(&mut Section<'_>) -> Option<T>) -> Result<T, Mistakes> {
    Document::empty().build(build)
}

/// A length of time as people write it: `90s`, `5m`, `1h 30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Period(pub Duration);

impl TryFrom<String> for Period {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        humantime::parse_duration(&text)
            .map(Self)
            .map_err(|_| format!("{text:?} is not a length of time such as 90s or 5m"))
    }
}

/// A moment as RFC 3339 writes it in UTC: `2026-01-02T03:04:05Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Moment(pub SystemTime);

impl TryFrom<String> for Moment {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = |_| format!("{text:?} is not a time such as 2026-01-02T03:04:05Z");
        humantime::parse_rfc3339(&text).map(Self).map_err(wrong)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_seconds(self.0).fmt(f)
    }
}

/// A number of bytes as people write it: `64MiB`, `500kB`, `1024`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Size(pub u64);

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        const UNITS: [(&str, u64); 7] = [
            ("KiB", 1 << 10),
            ("MiB", 1 << 20),
            ("GiB", 1 << 30),
            ("kB", 1_000),
            ("MB", 1_000_000),
            ("GB", 1_000_000_000),
            ("B", 1),
        ];
        let (number, unit) = UNITS
            .iter()
            .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))
            .unwrap_or((&text, 1));
        number
            .trim()
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(unit))
            .map(Self)
            .ok_or_else(|| format!("{text:?} is not a number of bytes such as 64MiB"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_periods() {
        assert_eq!(Size::try_from("64MiB".to_owned()), Ok(Size(64 << 20)));
        assert_eq!(Size::try_from("10 kB".to_owned()), Ok(Size(10_000)));
        assert_eq!(Size::try_from("7".to_owned()), Ok(Size(7)));
        for bad in ["", "MiB", "-1", "1.5MiB", "99999999999GiB", "3 apples"] {
            assert!(Size::try_from(bad.to_owned()).is_err(), "{bad:?} was accepted");
        }
        assert_eq!(Period::try_from("1m 30s".to_owned()), Ok(Period(Duration::from_secs(90))));
        assert!(Period::try_from("soon".to_owned()).is_err());
    }
}
