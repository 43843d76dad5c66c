//! The page of figures: printed as they come, and written into the docs at the end of a full run.

use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};

use super::outcome::Outcome;
use super::sample::Ratio;
use crate::{Failure, document};

/// What is measured beside our programs or makes them, and how it is asked for its version.
const PROGRAMS: [[&str; 2]; 3] = [["tor", "--version"], ["ssh", "-V"], ["rustc", "--version"]];

/// Everything that was found so far.
#[derive(Default)]
pub struct Page {
    goals: Vec<[String; 4]>,
    sections: String,
    failures: Vec<String>,
    missing: Vec<String>,
}

impl Page {
    /// Makes something that the page needs, at the second attempt if need be: one circuit that fails must not cost
    /// a page that takes hours. Nothing if both fail; the page is not whole then.
    ///
    /// # Errors
    /// When all of it is to stop.
    pub fn attempt<T>(
        &mut self,
        what: &str,
        mut make: impl FnMut() -> Result<T, Failure>,
    ) -> Result<Option<T>, Failure> {
        for what in [&format!("{what}, tried once more"), what] {
            let made = make();
            super::go_on()?;
            match made {
                Ok(made) => return Ok(Some(made)),
                Err(failure) => self.failed(format!("{what}: {failure}")),
            }
        }
        self.missing.push(what.to_owned());
        Ok(None)
    }

    /// Adds what another one holds, which was printed already.
    pub fn append(&mut self, part: Self) {
        self.goals.extend(part.goals);
        self.sections += &part.sections;
        self.failures.extend(part.failures);
        self.missing.extend(part.missing);
    }

    /// What was to be measured and was not.
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// Adds a heading and what must be known to read the tables below it.
    pub fn section(&mut self, title: &str, words: &str) {
        println!("\n{title}\n");
        self.sections += &format!("## {title}\n\n{words}\n\n");
    }

    /// Adds a table.
    pub fn table(&mut self, table: &Table) {
        println!("{table}\n");
        self.sections += &format!("{table}\n\n");
    }

    /// Adds a line.
    pub fn line(&mut self, words: &str) {
        println!("{words}\n");
        self.sections += &format!("{words}\n\n");
    }

    /// Adds a line to the table of goals.
    pub fn goal(&mut self, what: impl Into<String>, reach: impl Into<String>, found: String, met: bool) {
        let met = if met { "yes" } else { "no" };
        self.goals.push([what.into(), reach.into(), found, met.to_owned()]);
    }

    /// The same for a ratio that must not be above `bound`; `to` is what it is a ratio to.
    pub fn ratio(&mut self, what: impl Into<String>, to: &str, bound: f64, ratio: Ratio) {
        self.goal(what, format!("≤ {bound:.2} × {to}"), ratio.to_string(), ratio.value <= bound);
    }

    /// The same for a value that must not be above `bound`.
    pub fn at_most(&mut self, what: impl Into<String>, bound: f64, unit: &str, value: f64) {
        self.goal(what, format!("≤ {bound} {unit}"), format!("{value:.3} {unit}"), value <= bound);
    }

    fn failed(&mut self, what: String) {
        eprintln!("  failed: {what}");
        self.failures.push(what);
    }

    /// Notes the scrapes among these that failed, if any did.
    pub fn scrapes(&mut self, what: &str, outcome: &Outcome) {
        if !outcome.bad.is_empty() {
            self.failed(format!("scrapes, {what}: {}", outcome.complaints()));
        }
    }

    /// How much failed.
    pub fn failures(&self) -> usize {
        self.failures.len()
    }

    /// The goals, each with what was found.
    pub fn goals(&self) -> Table {
        let mut table = table(&["what", "reach", "found", "met"]);
        for column in table.column_iter_mut() {
            column.set_cell_alignment(CellAlignment::Left);
        }
        table.add_rows(&self.goals);
        table
    }

    /// Writes the whole of it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, file: &Path) -> Result<(), Failure> {
        let (failed, goals, sections) = (self.failed_part(), self.goals(), &self.sections);
        let body = format!("{EXPLANATION}\n\n{failed}{goals}\n\n{sections}{FAULTS}");
        document::write(file, "Benchmarks", &PROGRAMS, &body)
    }

    fn failed_part(&self) -> String {
        if self.failures.is_empty() {
            return String::new();
        }
        format!("**Failed in this run:**\n\n- {}\n\n", self.failures.join("\n- "))
    }
}

/// An empty table; its numbers stand to the right.
pub fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(head);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

const EXPLANATION: &str = "\
The ways to an exporter, all on one private Tor network of 3 authorities and 6 relays on one machine:

- (a) C tor, socat and `ssh -L` → C tor's hidden service, sshd: the original recipe;
- (b) C tor's SOCKS port → C tor's hidden service, without SSH: what `proxy_url: socks5://` does;
- (c) scraper-bridge → target-agent, paired by ticket;
- (d) scraper-bridge → C tor's hidden service, sshd: what a user of the recipe begins with.

They take turns, scrape by scrape, over new circuits every so often. A ratio is of what was measured in the same run; in \
brackets is where 95 of 100 such ratios lie when the circuits are drawn again (bootstrap by circuit). Times in \
milliseconds. All of it, relays too, shares the machine's processors, so with no delay a time is mostly theirs.";

const FAULTS: &str = "\
## Faults

What happens to a device, to relays and to the programs, how soon scrapes are good again, and hours of it: \
[chaos.md](chaos.md) and [soak.md](soak.md), made by `cargo xtask chaos` and `cargo xtask soak`.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_fails_once_is_told_and_one_that_fails_twice_is_missing() {
        let mut page = Page::default();
        let mut circuits = [Err("a circuit was unlucky"), Ok(108)].into_iter();
        let made = page.attempt("warm", || Ok(circuits.next().ok_or("none is left")??));
        assert!(made.is_ok_and(|made| made == Some(108)));
        assert!(page.missing().is_empty());
        assert_eq!(page.failures, ["warm, tried once more: a circuit was unlucky"]);
        let made = page.attempt("cold", || Err::<(), _>("no descriptor".into()));
        assert!(made.is_ok_and(|made| made.is_none()));
        assert_eq!(page.missing(), ["cold"]);
        assert_eq!(page.failures(), 3);
    }
}
