//! What a step has to say, printed as it comes.

use comfy_table::{CellAlignment, Table, presets};
use serde::{Deserialize, Serialize};

use super::outcome::Outcome;
use super::sample::Ratio;

/// What was found so far.
#[derive(Default, Serialize, Deserialize)]
pub struct Page {
    /// Goals, in the order in which they were looked at.
    pub goals: Vec<Goal>,
    /// Everything below them, in Markdown.
    pub sections: String,
    /// What failed on the way.
    pub failures: Vec<String>,
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
        self.goals.push(Goal { what: what.into(), reach: reach.into(), found, met });
    }

    /// The same for a ratio that must not be above `bound`; `to` is what it is a ratio to.
    pub fn ratio(&mut self, what: impl Into<String>, to: &str, bound: f64, ratio: Ratio) {
        self.goal(what, format!("≤ {bound:.2} × {to}"), ratio.to_string(), ratio.value <= bound);
    }

    /// The same for a value that must not be above `bound`.
    pub fn at_most(&mut self, what: impl Into<String>, bound: f64, unit: &str, value: f64) {
        self.goal(what, format!("≤ {bound} {unit}"), format!("{value:.3} {unit}"), value <= bound);
    }

    /// Notes the scrapes among these that failed, if any did.
    pub fn scrapes(&mut self, what: &str, outcome: &Outcome) {
        if !outcome.bad.is_empty() {
            let failure = format!("scrapes, {what}: {}", outcome.complaints());
            eprintln!("  failed: {failure}");
            self.failures.push(failure);
        }
    }
}

/// The goals, each with what was found.
pub fn goals<'a>(goals: impl Iterator<Item = &'a Goal>) -> Table {
    let mut table = table(&["what", "reach", "found", "met"]);
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Left);
    }
    table.add_rows(goals.map(|goal| {
        let met = if goal.met { "yes" } else { "no" };
        [&goal.what, &goal.reach, &goal.found, met].map(str::to_owned)
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
