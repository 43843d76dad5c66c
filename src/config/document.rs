//! One configuration file: its text, and where in it a byte stands.

use std::cell::RefCell;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::{Mistake, Mistakes, Section};

/// The newest version of configuration files that this release knows.
const VERSION: u64 = 1;

/// Largest configuration file that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;

pub(super) struct Document {
    path: PathBuf,
    text: String,
    mistakes: RefCell<Vec<Mistake>>,
}

impl Document {
    pub(super) fn open(path: &Path) -> Result<Self, Mistakes> {
        let failed = |error: std::io::Error| Mistakes::of_file(path, format!("cannot be read: {error}"));
        let size = std::fs::metadata(path).map_err(failed)?.len();
        if size > MAX_FILE {
            return Err(Mistakes::of_file(path, format!("is larger than {MAX_FILE} bytes")));
        }
        let bytes = std::fs::read(path).map_err(failed)?;
        let document = |text| Self { path: path.to_owned(), text, mistakes: RefCell::default() };
        String::from_utf8(bytes).map(document).map_err(|error| {
            let good = error.utf8_error().valid_up_to();
            let bytes = error.into_bytes();
            let document = document(String::from_utf8_lossy(&bytes[..good]).into_owned());
            document.note(good..good, "is not UTF-8 from here on");
            Mistakes(document.mistakes.into_inner())
        })
    }

    pub(super) fn empty() -> Self {
        Self {
            path: PathBuf::from("(no configuration file)"),
            text: String::new(),
            mistakes: RefCell::default(),
        }
    }

    pub(super) fn build<T>(self, build: impl FnOnce(&mut Section<'_>) -> Option<T>) -> Result<T, Mistakes> {
        let (table, errors) = DeTable::parse_recoverable(&self.text);
        for error in &errors {
            self.note(error.span().unwrap_or(0..0), error.message());
        }
        // A file that is not TOML is not looked into further: what would be found there are
        // consequences of the broken line, not mistakes of their own.
        let built = if errors.is_empty() {
            let mut top = Section::top(&self, table.into_inner());
            if is_known(&mut top) {
                let built = build(&mut top);
                top.finish();
                built
            } else {
                // What else is wrong may be right for those who know the version.
                top.give_up();
                None
            }
        } else {
            None
        };
        let mut mistakes = self.mistakes.into_inner();
        mistakes.sort();
        mistakes.dedup();
        match built {
            Some(built) if mistakes.is_empty() => Ok(built),
            _ if mistakes.is_empty() => Err(Mistakes::of_file(&self.path, "is not complete")),
            _ => Err(Mistakes(mistakes)),
        }
    }

    /// Notes a mistake at the bytes `at`.
    pub(super) fn note(&self, at: Range<usize>, message: impl Into<String>) {
        let place = Some(self.place(at.start));
        let mut message = message.into();
        // toml's own messages can have several lines; one mistake is one line.
        if message.contains('\n') {
            message = message.lines().map(str::trim).collect::<Vec<_>>().join("; ");
        }
        self.mistakes.borrow_mut().push(Mistake::new(&self.path, place, message));
    }

    /// `path`, taken from the folder that the file is in.
    pub(super) fn resolve(&self, path: &Path) -> PathBuf {
        self.path.parent().map_or_else(|| path.to_owned(), |folder| folder.join(path))
    }

    fn place(&self, byte: usize) -> (usize, usize) {
        let before = self.text.get(..byte).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        (line, column)
    }
}

/// Looks at the version that a file may say it is written for.
fn is_known(top: &mut Section<'_>) -> bool {
    let is_there = top.has("version");
    let Some(version) = top.spanned::<u64>("version") else { return !is_there };
    let (span, version) = (version.span(), version.into_inner());
    if version == 0 || version > VERSION {
        let message = format!(
            "version: this file is written for version {version}, and this release knows version {VERSION} only; \
             use a release that knows it"
        );
        top.mistake(span, message);
        return false;
    }
    true
}
