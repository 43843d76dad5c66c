//! What came of one step, and the file in which it waits for the rest of the page.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::page::Page;
use super::step::Step;
use crate::{Failure, document};

/// What came of one step.
#[derive(Serialize, Deserialize)]
pub struct Record {
    /// The machine, the versions of all that runs on it, and the commit: figures of others are no part of one page.
    of: String,
    /// When it began, in UTC.
    pub began: String,
    /// How long it took.
    pub minutes: f64,
    /// The arguments of the command.
    pub by: String,
    /// What was found; nothing if it could not be measured.
    pub page: Option<Page>,
    /// What failed on the way.
    pub failures: Vec<String>,
    /// Whether it is of this run.
    #[serde(skip)]
    pub is_new: bool,
}

/// How much of a step was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// Nothing of it.
    Nothing,
    /// What came before something that failed.
    Part,
    /// All of it, though a scrape or a circuit may have failed.
    All,
}

impl Record {
    /// Takes a step, a second time if need be: one circuit that fails must not cost what takes long.
    ///
    /// # Errors
    /// When all of it is to stop.
    pub fn of(
        step: Step,
        origin: &document::Origin,
        mut measure: impl FnMut(&mut Page) -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        let (began, started) = (document::now("%Y-%m-%d %H:%M"), Instant::now());
        let (name, mut failures, mut found) = (step.name(), Vec::new(), None);
        for what in [&format!("{name}, tried once more"), &name] {
            let mut page = Page::default();
            let measured = measure(&mut page);
            super::go_on()?;
            match measured {
                Ok(()) => {
                    failures.append(&mut page.failures);
                    found = Some(page);
                    break;
                }
                Err(failure) => {
                    eprintln!("  failed: {what}: {failure}");
                    failures.push(format!("{what}: {failure}"));
                }
            }
        }
        Ok(Self {
            of: origin.surroundings.clone(),
            began,
            minutes: started.elapsed().as_secs_f64() / 60.0,
            by: origin.command.clone(),
            page: found,
            failures,
            is_new: true,
        })
    }

    /// How much of the step it has.
    pub fn extent(&self) -> Extent {
        match &self.page {
            None => Extent::Nothing,
            Some(page) if page.is_cut_short => Extent::Part,
            Some(_) => Extent::All,
        }
    }

    /// The one of a step that was kept in the folder, if it is of the same origin.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn kept(folder: &Path, step: Step, origin: &document::Origin) -> Result<Option<Self>, Failure> {
        let file = file(folder, step);
        let text = match fs::read_to_string(&file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        // Other commits keep it in another form, maybe.
        let record: Option<Self> = serde_json::from_str(&text).ok();
        let record = record.filter(|record| record.of == origin.surroundings);
        if record.is_none() {
            println!("{} is of another commit, machine or version, and not used", file.display());
        }
        Ok(record)
    }

    /// Keeps it in the folder.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self, folder: &Path, step: Step) -> Result<(), Failure> {
        fs::create_dir_all(folder)?;
        let mut half = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer_pretty(&mut half, self)?;
        half.persist(file(folder, step))?;
        Ok(())
    }
}

fn file(folder: &Path, step: Step) -> PathBuf {
    folder.join(step.name().replace(' ', "-")).with_extension("json")
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Step = Step::ALL[0];

    #[test]
    fn a_step_that_fails_once_is_told_and_one_that_fails_twice_is_not_measured() {
        let origin = document::Origin::now(&[]);
        let mut circuits = [Err("a circuit was unlucky"), Ok(())].into_iter();
        let record = Record::of(STEP, &origin, |page| {
            page.line(&format!("{} left", circuits.len()));
            Ok(circuits.next().ok_or("none is left")??)
        });
        let record = record.expect("nobody stops it");
        assert_eq!(record.failures, ["size, tried once more: a circuit was unlucky"]);
        assert_eq!(record.page.expect("measured").sections, "1 left\n\n", "what failed leaves nothing");
        let record = Record::of(STEP, &origin, |_| Err("no descriptor".into())).expect("nobody stops it");
        assert!(record.page.is_none());
        assert_eq!(record.failures.len(), 2);
    }

    #[test]
    fn what_is_kept_is_of_one_origin() {
        let folder = tempfile::tempdir().expect("a folder");
        let origin = document::Origin::now(&[]);
        assert!(Record::kept(folder.path(), STEP, &origin).expect("read").is_none());
        let record = Record::of(STEP, &origin, |page| {
            page.at_most("size", 16.0, "MB", f64::NAN);
            page.line("found");
            Ok(())
        });
        record.expect("nobody stops it").keep(folder.path(), STEP).expect("written");
        let kept = Record::kept(folder.path(), STEP, &origin).expect("read").expect("there");
        assert!(!kept.is_new);
        let page = kept.page.expect("measured");
        assert_eq!((page.sections.as_str(), page.goals.len()), ("found\n\n", 1));
        let other = document::Origin { surroundings: "another commit".to_owned(), ..origin };
        assert!(Record::kept(folder.path(), STEP, &other).expect("read").is_none());
    }
}
