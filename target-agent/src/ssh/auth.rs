//! Who may log in.
//!
//! Any user name is accepted: there is one kind of access here, and the key decides on it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use russh::keys::PublicKey;
use serde::Deserialize;
use tracing::warn;

/// The one kind of key that is taken.
const KIND: &str = "ssh-ed25519";
/// Beginnings of the names of other kinds of key.
const OTHER_KINDS: [&str; 4] = ["ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-"];
/// Largest file of keys that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// Longest part of a key's comment that is logged.
const MAX_COMMENT: usize = 64;

/// A key that may log in, as `ssh-ed25519 AAAA… comment`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct AuthorizedKey {
    key: PublicKey,
    comment: Option<String>,
}

impl AuthorizedKey {
    fn parse(line: &str) -> Result<Self, String> {
        let mut words = line.split_whitespace();
        let kind = words.next().unwrap_or_default();
        if kind != KIND {
            return Err(if OTHER_KINDS.iter().any(|other| kind.starts_with(other)) {
                format!("a key of the kind {kind} is not taken, only {KIND}")
            } else {
                format!("options before a key are not taken; the line must begin with {KIND}")
            });
        }
        let base64 = words.next().unwrap_or_default();
        let key = PublicKey::from_openssh(&format!("{kind} {base64}"))
            .map_err(|_| "the key is cut short or mistyped".to_owned())?;
        let comment: String = words.collect::<Vec<_>>().join(" ");
        let comment = comment.chars().filter(|c| !c.is_control()).take(MAX_COMMENT).collect::<String>();
        Ok(Self { key, comment: Some(comment).filter(|comment| !comment.is_empty()) })
    }
}

impl fmt::Debug for AuthorizedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AuthorizedKey").field(&self.comment).finish()
    }
}

impl TryFrom<String> for AuthorizedKey {
    type Error = String;

    fn try_from(line: String) -> Result<Self, String> {
        Self::parse(&line)
    }
}

/// What is wrong with a file of keys, one line each as `file:line: what`; a missing file is right.
pub fn problems_in(path: &Path) -> Vec<String> {
    read_file(path).1
}

/// The keys that may log in: some from the configuration, others from a file that may change.
#[derive(Debug)]
pub(super) struct AuthorizedKeys {
    inline: Vec<AuthorizedKey>,
    file: PathBuf,
    /// What was last said of the file, so that a stranger who knocks often fills no log.
    said: Mutex<Vec<String>>,
}

impl AuthorizedKeys {
    pub(super) fn new(inline: Vec<AuthorizedKey>, file: PathBuf) -> Self {
        Self { inline, file, said: Mutex::default() }
    }

    /// The name of `key` if it may log in: its comment, or its place. The file is read anew, so that
    /// a change to it counts at once.
    pub(super) fn name_of(&self, key: &PublicKey) -> Option<String> {
        let (in_file, problems) = read_file(&self.file);
        self.say(problems);
        let file_name = self.file.file_name().unwrap_or_default().to_string_lossy();
        let find = |keys: &[AuthorizedKey], place: &str| {
            let at = keys.iter().position(|known| known.key.key_data() == key.key_data())?;
            Some(keys[at].comment.clone().unwrap_or_else(|| format!("key {} of {place}", at + 1)))
        };
        find(&self.inline, "the configuration").or_else(|| find(&in_file, &file_name))
    }

    /// Says so if nobody can log in, which is most likely a step that was forgotten.
    pub(super) fn warn_if_none(&self) {
        if self.inline.is_empty() && read_file(&self.file).0.is_empty() {
            warn!("nobody can log in yet: put a bridge's key into {}", self.file.display());
        }
    }

    fn say(&self, problems: Vec<String>) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if *said != problems {
            for problem in &problems {
                warn!("{problem}");
            }
            *said = problems;
        }
    }
}

fn read_file(path: &Path) -> (Vec<AuthorizedKey>, Vec<String>) {
    let shown = path.display();
    let text = match read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Default::default(),
        Err(error) => return (Vec::new(), vec![format!("{shown}: cannot be read: {error}")]),
    };
    let (mut keys, mut problems) = (Vec::new(), Vec::new());
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match AuthorizedKey::parse(line) {
            Ok(key) => keys.push(key),
            Err(problem) => problems.push(format!("{shown}:{}: {problem}", number + 1)),
        }
    }
    (keys, problems)
}

fn read(path: &Path) -> io::Result<String> {
    let meta = path.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    if meta.len() > MAX_FILE {
        return Err(io::Error::other(format!("it is larger than {MAX_FILE} bytes")));
    }
    // A comment may be in any encoding; the keys themselves are ASCII.
    Ok(String::from_utf8_lossy(&std::fs::read(path)?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    #[test]
    fn a_file_is_read_line_by_line_and_every_bad_line_is_named() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("authorized_keys");
        assert_eq!(problems_in(&path), [""; 0], "a missing file is right");
        let text = format!(
            "# comment\n\n{KIND}\t{KEY}\tprometheus at home\nrestrict {KIND} {KEY}\nssh-rsa AAAA\n{KIND} AAAA\n"
        );
        std::fs::write(&path, text).expect("write");
        let problems = problems_in(&path);
        let at = |line: usize| format!("{}:{line}: ", path.display());
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems[0].starts_with(&at(4)) && problems[0].contains("options"), "{problems:?}");
        assert!(problems[1].starts_with(&at(5)) && problems[1].contains("ssh-rsa"), "{problems:?}");
        assert!(problems[2].starts_with(&at(6)) && problems[2].contains("cut short"), "{problems:?}");
        let keys = AuthorizedKeys::new(Vec::new(), path);
        let key = PublicKey::from_openssh(&format!("{KIND} {KEY}")).expect("key");
        assert_eq!(keys.name_of(&key).as_deref(), Some("prometheus at home"));
    }

    #[test]
    fn a_key_without_a_comment_goes_by_its_place() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("authorized_keys");
        std::fs::write(&path, format!("{KIND} {KEY}\n")).expect("write");
        let key = PublicKey::from_openssh(&format!("{KIND} {KEY}")).expect("key");
        let keys = AuthorizedKeys::new(Vec::new(), path.clone());
        assert_eq!(keys.name_of(&key).as_deref(), Some("key 1 of authorized_keys"));
        std::fs::remove_file(&path).expect("remove");
        assert_eq!(keys.name_of(&key), None, "a key that was removed counts no more");
        let inline = AuthorizedKey::try_from(format!("{KIND} {KEY}")).expect("key");
        let keys = AuthorizedKeys::new(vec![inline], path);
        assert_eq!(keys.name_of(&key).as_deref(), Some("key 1 of the configuration"));
    }
}
