//! The whole page: steps of this run, and of earlier ones at the same commit on the same machine.

use std::path::{Path, PathBuf};

use comfy_table::Table;

use super::page::{Goal, goals, table};
use super::part::Part;
use super::record::{Extent, Record};
use super::step::Step;
use crate::Failure;
use crate::document::Origin;

/// Everything that is known.
pub struct Whole {
    origin: Origin,
    /// What must be known of the programs.
    words: String,
    /// Where records are kept; none if no other run goes on from here.
    folder: Option<PathBuf>,
    /// The page as it is so far.
    draft: PathBuf,
    records: Vec<(Step, Record)>,
    /// What failed when something was taken anew of which more is known.
    in_vain: Vec<String>,
}

impl Whole {
    /// Begins with what is kept in the folder, if there is one.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn begin(
        origin: Origin,
        words: String,
        folder: Option<PathBuf>,
        draft: PathBuf,
    ) -> Result<Self, Failure> {
        let mut records = Vec::new();
        if let Some(folder) = &folder {
            for step in Step::ALL {
                records.extend(Record::kept(folder, step, &origin)?.map(|record| (step, record)));
            }
        }
        Ok(Self { origin, words, folder, draft, records, in_vain: Vec::new() })
    }

    /// When, by what and on what this run is made.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Takes up what came of a step, instead of what came of it before unless that was more, and writes all that
    /// there is.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&mut self, step: Step, record: Record) -> Result<(), Failure> {
        if record.extent() < self.extent(step) {
            println!("{}: what was measured before stands", step.name());
            self.in_vain.extend(record.failures.into_iter().map(|failure| format!("{failure} (taken anew)")));
            return self.write(&self.draft);
        }
        if let Some(folder) = &self.folder {
            record.keep(folder, step)?;
        }
        self.records.retain(|(other, _)| *other != step);
        self.records.push((step, record));
        let place = |step: &Step| Step::ALL.iter().position(|other| other == step);
        self.records.sort_by_key(|(step, _)| place(step));
        self.write(&self.draft)
    }

    /// Steps that are to be taken, and those that need not be, since all of them is known. Of parts that are named, and
    /// `anew`, all are.
    pub fn to_take(&self, named: &[Part], anew: bool) -> (Vec<Step>, Vec<Step>) {
        let is_wanted = |step: &Step| named.is_empty() || named.contains(&step.part);
        let in_any_case = anew || !named.is_empty();
        let is_taken = |step: &Step| in_any_case || self.extent(*step) < Extent::All;
        Step::ALL.into_iter().filter(is_wanted).partition(is_taken)
    }

    /// How much of a step is known.
    fn extent(&self, step: Step) -> Extent {
        let record = self.records.iter().find(|(other, _)| *other == step);
        record.map_or(Extent::Nothing, |(_, record)| record.extent())
    }

    /// Steps of which nothing is known.
    pub fn missing(&self) -> Vec<String> {
        let is_missing = |step: &Step| self.extent(*step) == Extent::Nothing;
        Step::ALL.into_iter().filter(is_missing).map(Step::name).collect()
    }

    /// How much failed in this run.
    pub fn failures(&self) -> usize {
        let new = self.records.iter().filter(|(_, record)| record.is_new);
        new.map(|(_, record)| record.failures.len()).sum::<usize>() + self.in_vain.len()
    }

    /// The goals, each with what was found.
    pub fn goals(&self) -> Table {
        let pages = || self.records.iter().filter_map(|(_, record)| record.page.as_ref());
        let round_trip = pages().find_map(|page| page.round_trip);
        goals(pages().flat_map(|page| -> &[Goal] { &page.goals }), round_trip)
    }

    /// Writes the page.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, file: &Path) -> Result<(), Failure> {
        let failures = self.records.iter().flat_map(|(_, record)| &record.failures).chain(&self.in_vain);
        let sections: String = self
            .records
            .iter()
            .filter_map(|(_, record)| record.page.as_ref())
            .map(|page| page.sections.as_str())
            .collect();
        let body = format!(
            "{EXPLANATION} {}\n\n{}{}{}\n\n{sections}{}\n\n{FAULTS}",
            self.words,
            list("Not measured", self.missing()),
            list("Failed on the way", failures.cloned().collect()),
            self.goals(),
            self.when(),
        );
        self.origin.write(file, "Benchmarks", &body)
    }

    /// When each step was taken.
    fn when(&self) -> String {
        let mut table = table(&["", "began, UTC", "minutes", "xtask"]);
        for (step, record) in &self.records {
            let minutes = format!("{:.1}", record.minutes);
            table.add_row([step.name(), record.began.clone(), minutes, record.by.clone()]);
        }
        format!(
            "## When this was measured\n\nAll of it at one commit on one machine, though not always in one go.\n\n{table}"
        )
    }
}

fn list(title: &str, of: Vec<String>) -> String {
    if of.is_empty() { String::new() } else { format!("**{title}:**\n\n- {}\n\n", of.join("\n- ")) }
}

const EXPLANATION: &str = "\
The ways to an exporter, all on one private Tor network of 3 authorities and 6 relays on one machine:

- (a) C tor, socat and `ssh -L` → C tor's hidden service, sshd: the original recipe;
- (b) C tor's SOCKS port → C tor's hidden service, without SSH: what `proxy_url: socks5://` does;
- (c) scraper-bridge → target-agent, paired by ticket;
- (d) scraper-bridge → C tor's hidden service, sshd: what a user of the recipe begins with.

They take turns, scrape by scrape, over new circuits every so often. A ratio is of what was measured in the same run; in \
brackets is where 95 of 100 such ratios lie when the circuits are drawn again (bootstrap by circuit); of 2 to 4 \
circuits, the least and the greatest ratio, of one of them or of all. Of fewer than 100 scrapes the slowest stands where the 99th percentile would. Times in \
milliseconds. `floor` is what a round trip over the links alone comes to, where a figure was not reached. All of it, relays too, shares the machine's processors, so with no delay a time is mostly theirs.";

const FAULTS: &str = "\
## Faults

What happens to a device, to relays and to the programs, how soon scrapes are good again, and hours of it: \
[chaos.md](chaos.md) and [soak.md](soak.md), made by `cargo xtask chaos` and `cargo xtask soak`.";

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::document;

    fn record(step: Step, words: &str, origin: &Origin) -> Record {
        let measure = |page: &mut super::super::page::Page| -> Result<(), Failure> {
            page.line(words);
            page.at_most(words, 1.0, "s", 0.5);
            Ok(())
        };
        Record::of(step, origin, measure).expect("nobody stops it")
    }

    fn cut_short(step: Step, origin: &Origin) -> Record {
        let measure = |page: &mut super::super::page::Page| -> Result<(), Failure> {
            page.cut_short("no room".to_owned());
            Ok(())
        };
        Record::of(step, origin, measure).expect("nobody stops it")
    }

    #[test]
    fn two_halves_make_one_page() {
        let folder = tempfile::tempdir().expect("a folder");
        let (kept, draft) = (Some(folder.path().join("kept")), folder.path().join("draft.md"));
        let begin = || {
            let words = "Optimised.".to_owned();
            Whole::begin(document::Origin::now(&[]), words, kept.clone(), draft.clone()).expect("begun")
        };
        let [one, rest @ ..] = Step::ALL;
        let mut today = begin();
        for step in rest.into_iter().rev() {
            let record = record(step, &format!("measured: {}", step.name()), today.origin());
            today.add(step, record).expect("written");
        }
        assert_eq!(today.missing(), [one.name()]);
        let text = fs::read_to_string(&draft).expect("read");
        assert!(text.contains("**Not measured:**\n\n- size\n\n"), "{text}");

        let mut tomorrow = begin();
        assert_eq!(tomorrow.to_take(&[], false), (vec![one], rest.to_vec()), "it goes on");
        assert_eq!(tomorrow.to_take(&[], true).0, Step::ALL);
        let start: Vec<_> = Step::ALL.into_iter().filter(|step| step.part == Part::Start).collect();
        assert_eq!(tomorrow.to_take(&[Part::Start], false), (start, Vec::new()));
        let failed = Record::of(one, tomorrow.origin(), |_| Err("no file".into())).expect("nobody stops it");
        tomorrow.add(one, failed).expect("written");
        assert_eq!((tomorrow.missing(), tomorrow.failures()), (vec![one.name()], 2));
        tomorrow.add(one, cut_short(one, tomorrow.origin())).expect("written");
        assert_eq!(
            (tomorrow.missing().len(), tomorrow.to_take(&[], false).0),
            (0, vec![one]),
            "a part is there"
        );
        let record = record(one, "measured at last", tomorrow.origin());
        tomorrow.add(one, record).expect("written");
        assert_eq!((tomorrow.missing().len(), tomorrow.failures()), (0, 0));
        let text = fs::read_to_string(&draft).expect("read");
        assert!(!text.contains("Not measured"), "{text}");

        let mut again = begin();
        assert_eq!(again.extent(one), Extent::All);
        again.add(one, cut_short(one, again.origin())).expect("written");
        assert_eq!((again.extent(one), again.failures()), (Extent::All, 1), "less does not take its place");
        let text = fs::read_to_string(&draft).expect("read");
        assert!(text.contains("- no room (taken anew)\n") && text.contains("measured at last"), "{text}");
        assert_eq!(begin().extent(one), Extent::All, "nor on the disk");
        let places = Step::ALL.map(|step| text.rfind(&format!("measured: {}\n", step.name())));
        assert!(places.iter().skip(1).all(Option::is_some) && places.is_sorted(), "{text}");
    }
}
