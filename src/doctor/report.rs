//! Findings as people read them, or scripts.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use serde::Serialize;

use super::{Finding, Outcome};

/// How outcomes are marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marks {
    /// With signs in colour, for terminals.
    Coloured,
    /// With words, for files and pipes, and for people who set `NO_COLOR` (no-color.org).
    Words,
}

impl Marks {
    /// What standard output is good for.
    pub fn of_stdout() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        if wanted && std::io::stdout().is_terminal() { Self::Coloured } else { Self::Words }
    }

    /// The mark of an outcome.
    pub fn of(self, outcome: Outcome) -> &'static str {
        match (self, outcome) {
            // ECMA-48, SGR: green, yellow, red.
            (Self::Coloured, Outcome::Passed) => "\x1b[32m✓\x1b[0m",
            (Self::Coloured, Outcome::Warning) => "\x1b[33m!\x1b[0m",
            (Self::Coloured, Outcome::Skipped) => "–",
            (Self::Coloured, Outcome::Failed) => "\x1b[31m✗\x1b[0m",
            (Self::Words, Outcome::Passed) => "ok     ",
            (Self::Words, Outcome::Warning) => "warning",
            (Self::Words, Outcome::Skipped) => "skipped",
            (Self::Words, Outcome::Failed) => "FAILED ",
        }
    }

    /// A finding for a person: one line, and one more for a remedy.
    pub fn shown(self, finding: &Finding) -> String {
        let took = finding.seconds.map_or_else(String::new, duration);
        let mut lines = finding.found.lines();
        let first = lines.next().unwrap_or_default();
        let mut text = format!("{} {:<18} {took:>8}  {first}", self.of(finding.outcome), finding.hop);
        for line in lines.chain(finding.remedy.as_deref()) {
            text += "\n    ";
            text += line;
        }
        text
    }
}

/// A time as people read it.
fn duration(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1000.0) } else { format!("{seconds:.1} s") }
}

/// Everything that was found.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// In the order in which it was found.
    pub findings: Vec<Finding>,
}

impl Report {
    /// True if every hop that was looked at works.
    pub fn is_well(&self) -> bool {
        !self.findings.iter().any(Finding::is_failed)
    }

    /// As one JSON object: `well`, and all `findings`.
    pub fn json(&self) -> String {
        #[derive(Serialize)]
        struct Whole<'a> {
            well: bool,
            findings: &'a [Finding],
        }
        // Strings and numbers can always be written as JSON.
        serde_json::to_string(&Whole { well: self.is_well(), findings: &self.findings }).unwrap_or_default()
    }

    /// 0 if all is well, else 1.
    pub fn exit_code(&self) -> ExitCode {
        if self.is_well() { ExitCode::SUCCESS } else { ExitCode::from(1) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_finding_is_a_line_and_its_remedy_another() {
        let passed = Finding::passed("tor", "Tor is ready").after(Duration::from_millis(1234));
        assert_eq!(Marks::Words.shown(&passed), "ok      tor                   1.2 s  Tor is ready");
        let failed = Finding::failed("configuration", "a\nb", "mend it").after(Duration::from_millis(3));
        assert_eq!(Marks::Words.shown(&failed), "FAILED  configuration          3 ms  a\n    b\n    mend it");
        assert!(Marks::Coloured.shown(&failed).starts_with("\u{1b}[31m✗\u{1b}[0m configuration"));
    }

    #[test]
    fn one_failure_decides_and_a_warning_does_not() {
        let mut report = Report::default();
        report.findings.push(Finding::warning("a", "odd", "look"));
        report.findings.push(Finding::skipped("b", "nothing known"));
        assert!(report.is_well());
        report.findings.push(Finding::failed("c", "gone", "bring it back").of("backpack"));
        assert!(!report.is_well());
        let json: serde_json::Value = serde_json::from_str(&report.json()).expect("JSON");
        assert_eq!(json["well"], false);
        assert_eq!(json["findings"][2]["outcome"], "failed");
        assert_eq!(json["findings"][2]["target"], "backpack");
    }
}
