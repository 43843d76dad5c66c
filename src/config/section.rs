//! One table of a configuration file, read key by key.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue, ValueDeserializer};

use super::document::Document;

/// A table of a configuration file.
///
/// Each key is asked for once. A mistake is noted and reading goes on, so a function that builds a
/// value from a section takes all its keys first and only then gives up on what is `None`.
/// [`Section::finish`] runs when the section is dropped and notes the keys nobody asked for.
pub struct Section<'a> {
    document: &'a Document,
    /// As it stands in messages: `[tor]`, `[[target]]`; empty for the top level.
    title: String,
    /// Where the table begins; for one that is not in the file, where the table around it does.
    span: Range<usize>,
    table: DeTable<'a>,
    asked: Vec<&'static str>,
    finished: bool,
}

impl<'a> Section<'a> {
    pub(super) fn top(document: &'a Document, table: DeTable<'a>) -> Self {
        Self::new(document, String::new(), 0..0, table)
    }

    fn new(document: &'a Document, title: String, span: Range<usize>, table: DeTable<'a>) -> Self {
        Self { document, title, span, table, asked: Vec::new(), finished: false }
    }

    /// True if `key` stands there and was not asked for yet, right or wrong.
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// True if `key` is there and a table.
    pub fn has_table(&self, key: &str) -> bool {
        self.table.get(key).is_some_and(|value| value.get_ref().is_table())
    }

    /// The value of `key`, if it is there and right.
    pub fn optional<T: DeserializeOwned>(&mut self, key: &'static str) -> Option<T> {
        self.spanned(key).map(Spanned::into_inner)
    }

    /// The value of `key`, or `default` where the key is missing (or wrong, which was noted).
    pub fn or<T: DeserializeOwned>(&mut self, key: &'static str, default: T) -> T {
        self.optional(key).unwrap_or(default)
    }

    /// The value of `key`; a missing key is a mistake.
    pub fn required<T: DeserializeOwned>(&mut self, key: &'static str) -> Option<T> {
        self.required_spanned(key).map(Spanned::into_inner)
    }

    /// Like [`required`](Self::required), with its place, for checks against other keys.
    pub fn required_spanned<T: DeserializeOwned>(&mut self, key: &'static str) -> Option<Spanned<T>> {
        let there = self.table.contains_key(key);
        let value = self.spanned(key);
        if !there {
            let what = if self.title.is_empty() { "the file".to_owned() } else { self.title.clone() };
            self.document.note(self.span.clone(), format!("{what} needs the key {key:?}"));
        }
        value
    }

    /// Like [`optional`](Self::optional), with its place, for checks against other keys.
    pub fn spanned<T: DeserializeOwned>(&mut self, key: &'static str) -> Option<Spanned<T>> {
        let value = self.take(key)?;
        let span = value.span();
        match T::deserialize(ValueDeserializer::from(value)) {
            Ok(inner) => Some(Spanned::new(span, inner)),
            Err(error) => {
                let place = error.span().unwrap_or(span);
                self.document.note(place, format!("{key}: {}", error.message()));
                None
            }
        }
    }

    /// A path, taken from the folder that the configuration file is in.
    pub fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        self.path_spanned(key).map(Spanned::into_inner)
    }

    /// Like [`path`](Self::path); a missing key is a mistake.
    pub fn required_path(&mut self, key: &'static str) -> Option<PathBuf> {
        let path: PathBuf = self.required(key)?;
        Some(self.document.resolve(&path))
    }

    /// Like [`path`](Self::path), with its place.
    pub fn path_spanned(&mut self, key: &'static str) -> Option<Spanned<PathBuf>> {
        let path: Spanned<PathBuf> = self.spanned(key)?;
        Some(Spanned::new(path.span(), self.document.resolve(path.get_ref())))
    }

    /// `path`, taken from the folder that the configuration file is in.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.document.resolve(path)
    }

    /// The table `[key]`; an empty one where it is not in the file.
    pub fn section(&mut self, key: &'static str) -> Section<'a> {
        let title = self.title_of(key, "[", "]");
        match self.take(key) {
            Some(value) => self.table_of(value, title),
            None => Section::new(self.document, title, self.span.clone(), DeTable::new()),
        }
    }

    /// The tables `[[key]]`, in the order of the file.
    pub fn sections(&mut self, key: &'static str) -> Vec<Section<'a>> {
        let title = self.title_of(key, "[[", "]]");
        let Some(value) = self.take(key) else { return Vec::new() };
        let span = value.span();
        match value.into_inner() {
            DeValue::Array(array) => {
                array.into_iter().map(|value| self.table_of(value, title.clone())).collect()
            }
            other => {
                let what = other.type_str();
                self.document.note(span, format!("{key} is a {what}; write it as {title}"));
                Vec::new()
            }
        }
    }

    /// Notes a mistake at a place that [`spanned`](Self::spanned) returned.
    pub fn mistake(&self, at: Range<usize>, message: impl Into<String>) {
        self.document.note(at, message);
    }

    /// Notes a mistake about the section as a whole.
    pub fn mistake_here(&self, message: impl Into<String>) {
        self.document.note(self.span.clone(), message);
    }

    /// Leaves the rest unread, without a word about it.
    pub(super) fn give_up(&mut self) {
        self.finished = true;
    }

    /// Notes every key that nobody asked for.
    pub(super) fn finish(&mut self) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        for key in self.table.keys() {
            let place = if self.title.is_empty() { String::new() } else { format!(" in {}", self.title) };
            let name = key.get_ref();
            let hint = match nearest(name, &self.asked) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("known are {}", self.asked.join(", ")),
            };
            self.document.note(key.span(), format!("unknown key {name:?}{place}; {hint}"));
        }
    }

    fn take(&mut self, key: &'static str) -> Option<Spanned<DeValue<'a>>> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        let lookup = Spanned::new(0..0, DeString::from(key));
        self.table.remove(&lookup)
    }

    fn title_of(&self, key: &str, open: &str, close: &str) -> String {
        let outer = self.title.trim_matches(['[', ']']);
        if outer.is_empty() { format!("{open}{key}{close}") } else { format!("{open}{outer}.{key}{close}") }
    }

    fn table_of(&self, value: Spanned<DeValue<'a>>, title: String) -> Section<'a> {
        let span = value.span();
        let table = match value.into_inner() {
            DeValue::Table(table) => table,
            other => {
                let what = other.type_str();
                self.document.note(span.clone(), format!("a table {title} must stand here, not a {what}"));
                DeTable::new()
            }
        };
        Section::new(self.document, title, span, table)
    }
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        self.finish();
    }
}

/// The known key that `typed` most likely stands for.
fn nearest(typed: &str, known: &[&'static str]) -> Option<&'static str> {
    known
        .iter()
        .map(|key| (strsim::damerau_levenshtein(typed, key), *key))
        .min()
        .filter(|(distance, key)| *distance <= key.len().div_ceil(3))
        .map(|(_, key)| key)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use crate::address::Name;
    use crate::config::read;

    /// Builds the same little configuration from `text` and returns the mistakes, file name cut off.
    fn mistakes(text: &[u8]) -> Vec<String> {
        let mut file = tempfile::NamedTempFile::new().expect("temporary file");
        file.write_all(text).expect("write");
        let result = read(file.path(), |top| {
            let level: u8 = top.or("level", 1);
            let items: Vec<Option<Name>> =
                top.sections("item").into_iter().map(|mut item| item.required("name")).collect();
            let limit: u64 = top.section("limits").or("bytes", 5);
            Some((level, items.into_iter().collect::<Option<Vec<_>>>()?, limit))
        });
        let name = file.path().display().to_string();
        match result {
            Ok(_) => Vec::new(),
            Err(mistakes) => mistakes.to_string().lines().map(|line| line.replacen(&name, "", 1)).collect(),
        }
    }

    #[test]
    fn a_right_file_has_no_mistakes() {
        assert_eq!(mistakes(b"level = 3\n[[item]]\nname = \"a\"\n[limits]\nbytes = 1\n"), [""; 0]);
    }

    #[test]
    fn every_mistake_is_reported_with_its_place() {
        let text = b"levle = 3\n[[item]]\nname = 5\n[[item]]\n[limits]\nbytes = \"x\"\nblue = 1\n";
        assert_eq!(
            mistakes(text),
            [
                ":1:1: unknown key \"levle\"; did you mean \"level\"?",
                ":3:8: name: invalid type: integer `5`, expected a string",
                ":4:1: [[item]] needs the key \"name\"",
                ":6:9: bytes: invalid type: string \"x\", expected u64",
                ":7:1: unknown key \"blue\" in [limits]; known are bytes",
            ]
        );
    }

    #[test]
    fn a_version_may_be_said_and_must_be_known() {
        assert_eq!(mistakes(b"version = 1\nlevel = 3\n"), [""; 0]);
        let newer = mistakes(b"version = 2\nlevle = 3\n");
        assert!(
            newer.len() == 1 && newer[0].starts_with(":1:11: version: this file is written for version 2")
        );
        assert!(mistakes(b"version = 0\n")[0].contains("version 0"));
        assert_eq!(mistakes(b"version = \"1\"\n").len(), 1);
    }

    #[test]
    fn broken_files() {
        assert_eq!(mistakes(b"level = \n"), [":1:9: string values must be quoted, expected literal string"]);
        assert_eq!(mistakes(b"level = 1\n# \xff\n"), [":2:3: is not UTF-8 from here on"]);
        assert_eq!(mistakes(b"item = 3\n"), [":1:8: item is a integer; write it as [[item]]"]);
    }
}
