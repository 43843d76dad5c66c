//! What takes the place of the host key and the address that the configuration names for a target,
//! since its device announced them in a session in which it had proved itself.

use std::path::{Path, PathBuf};

use onionscrape::address::Name;
use onionscrape::files::{self, FileError};
use serde::{Deserialize, Serialize};

/// What stands at the head of the file.
const HEAD: &str = "# What this target's device announced in sessions in which it had proved itself.\n\
    # Without this file only what the configuration names is accepted.\n";
/// Most that are accepted at once: the one that was shown last, and announced ones.
const MAX_ACCEPTED: usize = 4;

/// Of one target; what is written here is on disk before it is acted upon.
#[derive(Debug)]
pub struct Succession {
    path: PathBuf,
    /// `None` until the file could be read.
    lines: Option<Lines>,
}

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lines {
    host_key: Option<Line>,
    onion: Option<Line>,
}

impl Lines {
    fn part(&self, part: Part) -> Option<&Line> {
        match part {
            Part::HostKey => self.host_key.as_ref(),
            Part::Onion => self.onion.as_ref(),
        }
    }
}

/// One thing that has successors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// What the configuration named. If it names another, this line counts for nothing.
    configured: String,
    /// What is accepted in its place: first what was shown last, then what was announced since.
    accepted: Vec<String>,
}

/// What has successors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The fingerprint of the host key.
    HostKey,
    /// The onion address.
    Onion,
}

impl Succession {
    /// Where it is kept for the target of this name.
    pub fn path(state_directory: &Path, target: &Name) -> PathBuf {
        state_directory.join("succession").join(format!("{target}.toml"))
    }

    /// That of a device to which nobody has listened yet.
    pub fn none() -> Self {
        Self { path: PathBuf::new(), lines: Some(Lines::default()) }
    }

    /// What is kept at `path`.
    pub fn open(path: PathBuf) -> Self {
        Self { path, lines: None }
    }

    /// What is accepted where the configuration names `configured`; the latest comes last.
    ///
    /// # Errors
    /// When the file is there and cannot be read: then nothing is accepted, since what the
    /// configuration names may be over.
    pub fn accepted(&mut self, part: Part, configured: &str) -> Result<Vec<String>, FileError> {
        Ok(match self.lines()?.part(part) {
            Some(line) if line.configured == configured && !line.accepted.is_empty() => line.accepted.clone(),
            _ => vec![configured.to_owned()],
        })
    }

    /// Accepts `next` as well from now on. True if it was not accepted before.
    ///
    /// # Errors
    /// When it cannot be written down; nothing has changed then.
    pub fn announced(&mut self, part: Part, configured: &str, next: &str) -> Result<bool, FileError> {
        let mut accepted = self.accepted(part, configured)?;
        if accepted.iter().any(|known| known == next) {
            return Ok(false);
        }
        if accepted.len() >= MAX_ACCEPTED {
            accepted.remove(1);
        }
        accepted.push(next.to_owned());
        self.replace(part, configured, accepted).map(|()| true)
    }

    /// Accepts what is in use and `next`, and nothing else any more: whoever had an old key for a while
    /// may have announced what he liked. To be called with what a device says first in a session.
    ///
    /// # Errors
    /// When it cannot be written down; nothing has changed then.
    pub fn settle(&mut self, part: Part, configured: &str, next: Option<&str>) -> Result<(), FileError> {
        let accepted = self.accepted(part, configured)?;
        let in_use = accepted.first().map_or(configured, String::as_str);
        let settled: Vec<_> = [Some(in_use), next.filter(|next| *next != in_use)]
            .into_iter()
            .flatten()
            .map(str::to_owned)
            .collect();
        if settled == accepted { Ok(()) } else { self.replace(part, configured, settled) }
    }

    /// Notes that `shown` was shown, so that nothing that came before it is accepted any more. True
    /// if something was. What the configuration names counts for what is shown again though it was
    /// over: then nothing else does.
    ///
    /// # Errors
    /// When it cannot be written down; nothing has changed then.
    pub fn shown(&mut self, part: Part, configured: &str, shown: &str) -> Result<bool, FileError> {
        let mut accepted = self.accepted(part, configured)?;
        match accepted.iter().position(|known| known == shown) {
            None if shown == configured => {
                self.replace(part, configured, vec![configured.to_owned()]).map(|()| true)
            }
            None | Some(0) => Ok(false),
            Some(place) => {
                accepted.drain(..place);
                self.replace(part, configured, accepted).map(|()| true)
            }
        }
    }

    /// What the file says, read when it is first needed and again until it can be.
    fn lines(&mut self) -> Result<&Lines, FileError> {
        let lines = match self.lines.take() {
            Some(lines) => lines,
            None => read(&self.path)?.unwrap_or_default(),
        };
        Ok(self.lines.insert(lines))
    }

    fn replace(&mut self, part: Part, configured: &str, accepted: Vec<String>) -> Result<(), FileError> {
        let line = Some(Line { configured: configured.to_owned(), accepted });
        let mut lines = self.lines()?.clone();
        match part {
            Part::HostKey => lines.host_key = line,
            Part::Onion => lines.onion = line,
        }
        if let Some(folder) = self.path.parent() {
            files::private_directory(folder)?;
        }
        // Strings and lists of them can always be written as TOML.
        let text = format!("{HEAD}\n{}", toml::to_string(&lines).unwrap_or_default());
        files::replace_private(&self.path, text.as_bytes())?;
        self.lines = Some(lines);
        Ok(())
    }
}

fn read(path: &Path) -> Result<Option<Lines>, FileError> {
    let Some(text) = files::read_private(path)? else { return Ok(None) };
    let lines = toml::from_str(&text).map_err(|error| {
        let what = error.message().lines().next().unwrap_or_default().to_owned();
        FileError::new(
            path,
            format!(
                "cannot be understood: {what}; mend it, or remove it to accept what the configuration names"
            ),
        )
    });
    lines.map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(folder: &Path) -> Succession {
        Succession::open(Succession::path(folder, &"backpack".parse().expect("name")))
    }

    #[test]
    fn the_old_one_counts_until_a_new_one_is_shown() {
        let folder = tempfile::tempdir().expect("folder");
        let mut one = opened(folder.path());
        let of = |one: &mut Succession| one.accepted(Part::HostKey, "a").expect("read").join(" ");
        assert_eq!(of(&mut one), "a");
        assert!(!one.shown(Part::HostKey, "a", "a").expect("nothing to write"));
        assert!(!one.shown(Part::HostKey, "a", "x").expect("nothing to write"), "not accepted, so not shown");
        assert!(one.announced(Part::HostKey, "a", "b").expect("written"));
        assert!(!one.announced(Part::HostKey, "a", "b").expect("known"));
        assert_eq!(of(&mut one), "a b");
        assert!(one.announced(Part::HostKey, "a", "c").expect("written"));
        assert_eq!(of(&mut one), "a b c", "the device may have gone back to b");
        assert!(one.shown(Part::HostKey, "a", "b").expect("written"));
        assert_eq!(of(&mut one), "b c", "a is over");
        assert_eq!(of(&mut opened(folder.path())), "b c", "after a restart, too");
        assert_eq!(one.accepted(Part::Onion, "o").expect("read"), ["o"], "the other part is as it was");
        assert_eq!(
            one.accepted(Part::HostKey, "z").expect("read"),
            ["z"],
            "the configuration has the last word"
        );
    }

    #[test]
    fn what_a_device_says_first_in_a_session_is_all_that_is_to_come() {
        let folder = tempfile::tempdir().expect("folder");
        let mut one = opened(folder.path());
        let of = |one: &mut Succession| one.accepted(Part::HostKey, "a").expect("read").join(" ");
        for next in ["b", "thief"] {
            one.announced(Part::HostKey, "a", next).expect("written");
        }
        assert!(one.shown(Part::HostKey, "a", "b").expect("written"));
        assert_eq!(of(&mut one), "b thief");
        one.settle(Part::HostKey, "a", Some("c")).expect("written");
        assert_eq!(of(&mut one), "b c");
        one.settle(Part::HostKey, "a", None).expect("written");
        assert_eq!(of(&mut opened(folder.path())), "b");
        one.settle(Part::HostKey, "a", Some("b")).expect("nothing to write");
        assert_eq!(of(&mut one), "b");
        assert!(one.shown(Part::HostKey, "a", "a").expect("written"), "the configuration's own, again");
        assert_eq!(of(&mut one), "a");
    }

    #[test]
    fn a_device_that_announces_without_end_fills_nothing() {
        let folder = tempfile::tempdir().expect("folder");
        let mut one = opened(folder.path());
        for number in 0..100 {
            one.announced(Part::Onion, "a", &number.to_string()).expect("written");
        }
        assert_eq!(
            one.accepted(Part::Onion, "a").expect("read"),
            ["a", "97", "98", "99"],
            "what is in use stays"
        );
    }

    #[test]
    fn what_cannot_be_read_or_written_changes_nothing() {
        let folder = tempfile::tempdir().expect("folder");
        let mut one = opened(folder.path());
        one.announced(Part::HostKey, "a", "b").expect("written");
        files::replace_private(&one.path, b"host_key = 1\n").expect("written");
        let why = opened(folder.path()).accepted(Part::HostKey, "a").expect_err("damaged").to_string();
        assert!(why.contains("backpack.toml: cannot be understood"), "{why}");
        assert!(opened(folder.path()).announced(Part::HostKey, "a", "c").is_err(), "nothing is overwritten");
        std::fs::remove_dir_all(folder.path().join("succession")).expect("removed");
        std::fs::write(folder.path().join("succession"), "in the way").expect("written");
        assert!(one.announced(Part::HostKey, "a", "c").is_err());
        assert_eq!(one.accepted(Part::HostKey, "a").expect("known"), ["a", "b"]);
    }
}
