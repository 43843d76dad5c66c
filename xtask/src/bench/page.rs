//! What a step has to say, printed as it comes.

use comfy_table::{CellAlignment, Table, presets};
use serde::{Deserialize, Serialize};

use super::outcome::Outcome;
use super::sample::Ratio;

/// What stands where a figure would, and is not reached.
pub const NOT_MEASURED: &str = "not measured";

/// What was found so far.
#[derive(Default, Serialize, Deserialize)]
pub struct Page {
    /// Goals, in the order in which they were looked at.
    pub goals: Vec<Goal>,
    /// Everything below them, in Markdown.
    pub sections: String,
    /// What failed on the way.
    pub failures: Vec<String>,
    /// Whether the rest could not be measured after one of these.
    pub is_cut_short: bool,
    /// What one round trip over slow links takes at least, in milliseconds, if that was counted.
    pub round_trip: Option<f64>,
}

/// A figure to reach.
#[derive(Serialize, Deserialize)]
pub struct Goal {
    /// What it is of.
    pub what: String,
    /// The figure.
    pub reach: String,
    /// What was found.
    pub found: String,
    /// Whether it was reached.
    pub met: bool,
    /// Of a ratio of something that takes a round trip over slow links: what it is a ratio to, in milliseconds.
    pub round_trip_to: Option<f64>,
}

impl Goal {
    /// Whether it was reached, and if not, what the links alone come to.
    fn judged(&self, round_trip: Option<f64>) -> String {
        let floor = round_trip.zip(self.round_trip_to).filter(|_| !self.met);
        let floor = floor.map(|(trip, to)| format!(" (floor {:.2})", trip / to));
        format!("{}{}", if self.met { "yes" } else { "no" }, floor.unwrap_or_default())
    }
}

impl Page {
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
        self.goals.push(Goal { what: what.into(), reach: reach.into(), found, met, round_trip_to: None });
    }

    /// The same for a ratio that must not be above `bound`; `to` is what it is a ratio to.
    pub fn ratio(&mut self, what: impl Into<String>, to: &str, bound: f64, ratio: Ratio) {
        let found = if ratio.value.is_nan() { NOT_MEASURED.to_owned() } else { ratio.to_string() };
        self.goal(what, format!("≤ {bound:.2} × {to}"), found, ratio.value <= bound);
    }

    /// The same for what takes a round trip over slow links; `to` takes so many milliseconds.
    pub fn ratio_of_trip(&mut self, what: &str, (to, ms): (&str, f64), bound: f64, ratio: Ratio) {
        self.ratio(what, to, bound, ratio);
        if let Some(goal) = self.goals.last_mut() {
            goal.round_trip_to = Some(ms);
        }
    }

    /// The same for a value that must not be above `bound`; one that is not a number was not measured.
    pub fn at_most(&mut self, what: impl Into<String>, bound: f64, unit: &str, value: f64) {
        let found = if value.is_nan() { NOT_MEASURED.to_owned() } else { format!("{value:.3} {unit}") };
        self.goal(what, format!("≤ {bound} {unit}"), found, value <= bound);
    }

    /// Notes what failed.
    pub fn fail(&mut self, failure: String) {
        eprintln!("  failed: {failure}");
        self.failures.push(failure);
    }

    /// Notes what failed, after which the rest cannot be measured; what is here already stands.
    pub fn cut_short(&mut self, failure: String) {
        self.fail(failure);
        self.is_cut_short = true;
    }

    /// Notes the scrapes among these that failed, if any did.
    pub fn scrapes(&mut self, what: &str, outcome: &Outcome) {
        if !outcome.bad.is_empty() {
            self.fail(format!("scrapes, {what}: {}", outcome.complaints()));
        }
    }
}

/// The goals, each with what was found; a round trip over slow links takes at least so many milliseconds.
pub fn goals<'a>(goals: impl Iterator<Item = &'a Goal>, round_trip: Option<f64>) -> Table {
    let mut table = table(&["what", "reach", "found", "met"]);
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Left);
    }
    table
        .add_rows(goals.map(|goal| {
            [goal.what.clone(), goal.reach.clone(), goal.found.clone(), goal.judged(round_trip)]
        }));
    table
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_that_the_links_alone_are_above_says_so() {
        let mut page = Page::default();
        let ratio = |value| Ratio { value, spread: None };
        page.ratio_of_trip("slow", ("(a)", 600.0), 0.8, ratio(0.95));
        page.ratio_of_trip("quick", ("(a)", 800.0), 0.8, ratio(0.75));
        page.ratio("no trip", "(a)", 0.8, ratio(0.95));
        let judged = |trip| page.goals.iter().map(|goal| goal.judged(trip)).collect::<Vec<_>>();
        assert_eq!(judged(Some(540.0)), ["no (floor 0.90)", "yes", "no"]);
        assert_eq!(judged(None), ["no", "yes", "no"]);
    }
}
