//! What people see of a doctor's findings: the hops of one target as they come, or a line for each of
//! several and a table at the end.

use std::collections::HashMap;
use std::process::ExitCode;

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use onionscrape::doctor::{Finding, Marks, Outcome, Report};
use onionscrape::outln;

use super::walk::WHOLE;

/// What was found so far, and how it is shown.
pub(super) struct Shown {
    report: Report,
    marks: Marks,
    json: bool,
    /// True if there is one target at most, of which every hop is shown.
    one: bool,
    /// Of each target that is being looked at, what is not as it should be.
    odd: HashMap<String, Vec<Finding>>,
}

impl Shown {
    pub(super) fn new(json: bool, one: bool) -> Self {
        Self { report: Report::default(), marks: Marks::of_stdout(), json, one, odd: HashMap::new() }
    }

    /// Takes one in, and shows it if it is the time for that.
    pub(super) fn add(&mut self, finding: Finding) {
        if !self.json {
            match &finding.target {
                Some(target) if !self.one => self.add_of_several(target.clone(), &finding),
                Some(_) if finding.hop == WHOLE => {}
                _ => outln!("{}", self.marks.shown(&finding)),
            }
        }
        self.report.findings.push(finding);
    }

    /// A target's line when it was looked at, with what is odd below.
    fn add_of_several(&mut self, target: String, finding: &Finding) {
        if finding.hop != WHOLE {
            if matches!(finding.outcome, Outcome::Warning | Outcome::Failed) {
                self.odd.entry(target).or_default().push(finding.clone());
            }
            return;
        }
        let line = Finding { hop: target.clone(), remedy: None, ..finding.clone() };
        outln!("{}", self.marks.shown(&line));
        for odd in self.odd.remove(&target).unwrap_or_default() {
            let text = self.marks.shown(&odd);
            text.lines().for_each(|line| outln!("    {line}"));
        }
    }

    /// Prints what comes at the end.
    pub(super) fn end(self) -> ExitCode {
        if self.json {
            outln!("{}", self.report.json());
        } else if !self.one {
            self.table();
        }
        self.report.exit_code()
    }

    fn table(&self) {
        let whole = |finding: &&Finding| finding.target.is_some() && finding.hop == WHOLE;
        let mut table = Table::new();
        table.load_style(NOTHING).set_header(["TARGET", "OUTCOME", "TIME", "FAILS AT", "FOUND"]);
        let mut any = false;
        for of in self.report.findings.iter().filter(whole) {
            any = true;
            let failed = |finding: &&Finding| {
                finding.target == of.target && finding.hop != WHOLE && finding.is_failed()
            };
            let first = self.report.findings.iter().find(failed);
            table.add_row([
                of.target.clone().unwrap_or_default(),
                if of.is_failed() { "FAILED" } else { "ok" }.to_owned(),
                of.seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1} s")),
                first.map_or_else(|| "-".to_owned(), |first| first.hop.clone()),
                first.map_or_else(|| of.found.clone(), |first| first.found.clone()),
            ]);
        }
        if any {
            outln!();
            for line in table.lines() {
                outln!("{}", line.trim());
            }
        }
    }
}
