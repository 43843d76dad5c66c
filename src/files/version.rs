//! Which version a state folder is of. What is in one, and how, changes with releases, and a release
//! must not take for its own what another one wrote in another way.

use std::io;
use std::path::Path;

use super::{FileError, create_private, replace_private};

/// The file that says it: a number, and [`UNFINISHED`] while the folder is on its way to that version. Who knows
/// the version before only, and may find some of that there, must not take it for its own.
const FILE: &str = "version";
const UNFINISHED: &str = " unfinished";
/// Longest file that can be one, in bytes.
const MAX_FILE: u64 = 32;

/// What brings a folder from one version to the next; the first of them from 1 to 2.
///
/// One that broke off is begun again, so it must get along with its own work half done.
type Step = fn(&Path) -> Result<(), FileError>;

/// One for each version that there was before the present one.
const STEPS: &[Step] = &[];

/// Looks whether this release can use the folder, and changes nothing. A folder that is not there, says
/// nothing or cannot be looked into is for others to judge.
///
/// # Errors
/// When the folder is a newer release's, or does not say what it is.
pub fn known_state_version(folder: &Path) -> Result<(), FileError> {
    match folder.join(FILE).symlink_metadata() {
        Ok(_) => read(folder, STEPS).map(drop),
        Err(_) => Ok(()),
    }
}

/// The version of a folder, which is marked with it if it was not; true if that is the present one.
pub(super) fn is_current(folder: &Path) -> Result<bool, FileError> {
    marked(folder, STEPS).map(|version| version == newest(STEPS))
}

/// Makes an older folder one of the present version. The caller holds it.
pub(super) fn bring_up_to_date(folder: &Path) -> Result<(), FileError> {
    climb(folder, STEPS)
}

fn newest(steps: &[Step]) -> usize {
    steps.len() + 1
}

fn climb(folder: &Path, steps: &[Step]) -> Result<(), FileError> {
    let version = marked(folder, steps)?;
    for (done, step) in steps.iter().enumerate().skip(version - 1) {
        let mark = |end: &str| replace_private(&folder.join(FILE), format!("{}{end}\n", done + 2).as_bytes());
        mark(UNFINISHED)?;
        step(folder)?;
        mark("")?;
    }
    Ok(())
}

/// What the folder says, or is made to say: a new one is of the present version, and one without a word of
/// it is the first release's.
fn marked(folder: &Path, steps: &[Step]) -> Result<usize, FileError> {
    if let Some(version) = read(folder, steps)? {
        return Ok(version);
    }
    let version = if is_new(folder)? { newest(steps) } else { 1 };
    match create_private(&folder.join(FILE), format!("{version}\n").as_bytes()) {
        Ok(()) => Ok(version),
        // Somebody else was quicker.
        Err(error) => read(folder, steps)?.ok_or(error),
    }
}

/// The version that a folder is of, or was until it was to become the next one.
fn read(folder: &Path, steps: &[Step]) -> Result<Option<usize>, FileError> {
    let path = folder.join(FILE);
    let cannot = |error: &io::Error| FileError::io(&path, "cannot be read", error);
    let meta = match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        meta => meta.map_err(|error| cannot(&error))?,
    };
    let text = match meta.is_file() && meta.len() <= MAX_FILE {
        true => std::fs::read(&path).map_err(|error| cannot(&error))?,
        false => Vec::new(),
    };
    let text = std::str::from_utf8(&text).unwrap_or_default().trim();
    let unfinished = text.strip_suffix(UNFINISHED);
    let number = Some(unfinished.unwrap_or(text))
        .filter(|text| text.bytes().all(|letter| letter.is_ascii_digit()) && !text.starts_with('0'));
    let Some(version) = number.and_then(|number| number.parse::<usize>().ok()) else {
        let what = "is damaged: it does not say which version this state is of; take it from a backup, or write 1 \
                    into it if no other release was ever here";
        return Err(FileError::new(&path, what));
    };
    if version > newest(steps) {
        let what = format!(
            "this state is of version {version}, and this release knows version {} only; run the newer \
             release again, or put a backup from before it in the place of the folder",
            newest(steps),
        );
        return Err(FileError::new(&path, what));
    }
    Ok(Some(if unfinished.is_some() { (version - 1).max(1) } else { version }))
}

/// True if nobody has written anything yet but a lock, or half of a file before a power cut; a volume has a folder
/// of its file system's.
fn is_new(folder: &Path) -> Result<bool, FileError> {
    let entries = folder.read_dir().map_err(|error| FileError::io(folder, "cannot be read", &error))?;
    Ok(entries.flatten().all(|entry| {
        let name = entry.file_name();
        name == "lock" || name == "lost+found" || name.as_encoded_bytes().starts_with(b".tmp")
    }))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn says(folder: &Path) -> String {
        fs::read_to_string(folder.join(FILE)).expect("marked")
    }

    fn two(folder: &Path) -> Result<(), FileError> {
        replace_private(&folder.join("two"), b"done")
    }

    fn three(folder: &Path) -> Result<(), FileError> {
        assert!(folder.join("two").exists(), "one after the other");
        replace_private(&folder.join("three"), b"done")
    }

    fn breaks_off(folder: &Path) -> Result<(), FileError> {
        Err(FileError::new(folder, "no more"))
    }

    #[test]
    fn a_new_folder_is_of_the_present_version() {
        let folder = tempfile::tempdir().expect("folder");
        for before in ["lock", ".tmpXq1"] {
            fs::write(folder.path().join(before), "").expect("written");
        }
        climb(folder.path(), &[two, three]).expect("new");
        assert_eq!(says(folder.path()), "3\n");
        assert!(!folder.path().join("two").exists(), "there was nothing to do");
        climb(folder.path(), &[two, three]).expect("known");
    }

    #[test]
    fn an_older_one_is_brought_up_step_by_step() {
        for before in [None, Some("1\n"), Some("2")] {
            let folder = tempfile::tempdir().expect("folder");
            fs::write(folder.path().join("two"), "of before").expect("written");
            if let Some(before) = before {
                fs::write(folder.path().join(FILE), before).expect("written");
            }
            climb(folder.path(), &[two, three]).expect("brought up");
            assert_eq!(says(folder.path()), "3\n");
            let redone = fs::read_to_string(folder.path().join("two")).expect("there") == "done";
            assert_eq!((redone, folder.path().join("three").exists()), (before != Some("2"), true));
        }
    }

    #[test]
    fn what_broke_off_goes_on_where_it_was() {
        let folder = tempfile::tempdir().expect("folder");
        fs::write(folder.path().join("key"), "").expect("written");
        climb(folder.path(), &[two, breaks_off]).expect_err("broken off");
        assert_eq!(says(folder.path()), "3 unfinished\n");
        let older = read(folder.path(), &[two]).expect_err("some of it may be there").to_string();
        assert!(older.contains("version 3, and this release knows version 2 only"), "{older}");
        climb(folder.path(), &[breaks_off, three]).expect("the first one is not done again");
        assert_eq!(says(folder.path()), "3\n");
    }

    #[test]
    fn a_newer_or_damaged_one_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().expect("folder");
        known_state_version(&folder.path().join("none")).expect("not there");
        known_state_version(folder.path()).expect("says nothing");
        assert_eq!(fs::read_dir(folder.path()).expect("list").count(), 0, "it is only looked at");
        let long = "1".repeat(33);
        for (text, word) in [
            ("2\n", "version 2, and this release"),
            ("99999", "knows version 1 only"),
            ("", "is damaged"),
            ("0\n", "is damaged"),
            ("+1\n", "is damaged"),
            ("1 2\n", "is damaged"),
            (" unfinished\n", "is damaged"),
            ("2 unfinished\n", "version 2, and this release"),
            (&long, "is damaged"),
        ] {
            fs::write(folder.path().join(FILE), text).expect("written");
            for refused in [known_state_version(folder.path()), bring_up_to_date(folder.path())] {
                let said = refused.expect_err(text).to_string();
                assert!(said.contains(word) && said.lines().count() == 1, "{text:?}: {said}");
            }
            assert_eq!(says(folder.path()), text);
        }
        fs::write(folder.path().join(FILE), "1\n").expect("written");
        known_state_version(folder.path()).expect("known");
    }
}
