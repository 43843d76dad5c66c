//! What the web configuration file names: certificates and keys.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_saphyr::{Location, Spanned};
use tracing::warn;
use zeroize::Zeroizing;

use crate::config::{Mistake, Mistakes};
use crate::files::{TO_COME, is_to_come};

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Reads what the file names, and notes what is wrong with it.
pub(super) struct Reader<'a> {
    file: &'a Path,
    named: Box<dyn FnMut(&Path) + 'a>,
    mistakes: Vec<Mistake>,
}

/// Something that was found in a file that is named, or in the web configuration file itself.
pub(super) struct Found<T> {
    pub(super) value: T,
    /// Where in the web configuration file.
    pub(super) at: Location,
    /// Which key and file.
    pub(super) shown: String,
}

/// A key and what stands behind it.
type Key<'a> = (&'static str, &'a Option<Spanned<String>>);

impl<'a> Reader<'a> {
    /// Reads for `file`; `named` is told of each file that it names before that is read.
    pub(super) fn new(file: &'a Path, named: impl FnMut(&Path) + 'a) -> Self {
        Self { file, named: Box::new(named), mistakes: Vec::new() }
    }

    /// What was built, if nothing is wrong.
    pub(super) fn finish<T>(self, built: Option<T>) -> Result<T, Mistakes> {
        match built {
            Some(built) if self.mistakes.is_empty() => Ok(built),
            _ => Err(Mistakes::of(self.mistakes)),
        }
    }

    /// Notes a mistake at a place in the web configuration file.
    pub(super) fn note(&mut self, at: Location, message: impl Into<String>) {
        self.mistakes.push(Mistake::new(self.file, place(at), message));
    }

    /// Like [`pem`](Self::pem); it is a mistake of the section at `at` if neither key is there.
    pub(super) fn required_pem<T>(
        &mut self,
        at: Location,
        in_file: Key<'_>,
        inline: Key<'_>,
        parse: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Option<Found<T>> {
        if in_file.1.is_none() && inline.1.is_none() {
            self.note(at, format!("tls_server_config needs the key {:?}", in_file.0));
        }
        self.pem(in_file, inline, parse)
    }

    /// What `parse` makes of the file that one key names, or of the text behind the other.
    ///
    /// `None` if neither key is there, or after a mistake was noted.
    pub(super) fn pem<T>(
        &mut self,
        in_file: Key<'_>,
        inline: Key<'_>,
        parse: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Option<Found<T>> {
        let (at, shown, parsed) = match (in_file, inline) {
            ((name, Some(_)), (other, Some(text))) => {
                self.note(text.referenced, format!("{other} says what {name} says already; take one out"));
                return None;
            }
            ((name, Some(file)), _) => {
                let path =
                    self.file.parent().map_or_else(|| file.value.clone().into(), |of| of.join(&file.value));
                (self.named)(&path);
                if is_to_come(&path) {
                    let message = format!("{name} {} {TO_COME}", path.display());
                    let mistake = Mistake::new(self.file, place(file.referenced), message);
                    self.mistakes.push(mistake.that_will_pass());
                    return None;
                }
                let bytes = contents(&path);
                if name == "key_file" {
                    warn_if_public(&path);
                }
                let shown = format!("{name} {}", path.display());
                (file.referenced, shown, bytes.and_then(|bytes| parse(&bytes)))
            }
            (_, (name, Some(text))) => (text.referenced, name.to_owned(), parse(text.value.as_bytes())),
            ((_, None), (_, None)) => return None,
        };
        match parsed {
            Ok(value) => Some(Found { value, at, shown }),
            Err(what) => {
                self.note(at, format!("{shown} {what}"));
                None
            }
        }
    }
}

/// Line and column; `None` where they are not known.
pub(super) fn place(at: Location) -> Option<(usize, usize)> {
    let place = (usize::try_from(at.line()).ok()?, usize::try_from(at.column()).ok()?);
    (at != Location::UNKNOWN).then_some(place)
}

/// The bytes of a file, which may be a key.
pub(super) fn contents(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let failed = |error: std::io::Error| format!("cannot be read: {error}");
    // Opening a pipe would wait for somebody to write into it.
    let meta = path.metadata().map_err(failed)?;
    if !meta.is_file() {
        return Err("is not a file".into());
    }
    let mut bytes = Zeroizing::new(Vec::new());
    std::fs::File::open(path).map_err(failed)?.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(format!("is larger than {MAX_FILE} bytes"));
    }
    Ok(bytes)
}

/// Says so if everybody on this machine can read a key.
fn warn_if_public(path: &Path) {
    if path.metadata().is_ok_and(|meta| meta.permissions().mode() & 0o004 != 0) {
        let file = path.display();
        warn!(%file, "everybody on this machine can read this key; run: chmod o-r {file}");
    }
}
