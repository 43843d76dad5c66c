//! Metrics in the classic text format 0.0.4, as node_exporter writes them.

use std::fmt::Write as _;

/// Longest value of a label, in bytes; what is longer is cut.
const MAX_VALUE: usize = 1024;
/// Most samples of one page. What comes after them is left out, and the page is not complete.
const MAX_SAMPLES: usize = 20_000;

/// Text that is being written, family by family.
#[derive(Debug, Default)]
pub(super) struct Page {
    text: String,
    samples: usize,
}

/// A family that is being written: its samples follow each other.
pub(super) struct Family<'a> {
    page: &'a mut Page,
    name: &'a str,
    kind: &'static str,
    help: &'a str,
    begun: bool,
}

impl Page {
    /// Begins a family of gauges. One without samples leaves nothing on the page.
    pub(super) fn gauge<'a>(&'a mut self, name: &'a str, help: &'a str) -> Family<'a> {
        Family { page: self, name, kind: "gauge", help, begun: false }
    }

    /// Begins a family of counters. One without samples leaves nothing on the page.
    pub(super) fn counter<'a>(&'a mut self, name: &'a str, help: &'a str) -> Family<'a> {
        Family { page: self, name, kind: "counter", help, begun: false }
    }

    /// The text, and whether everything is on it.
    pub(super) fn finish(self) -> (String, bool) {
        (self.text, self.samples <= MAX_SAMPLES)
    }
}

impl Family<'_> {
    /// Writes a sample.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        self.page.samples = self.page.samples.saturating_add(1);
        if self.page.samples > MAX_SAMPLES {
            return;
        }
        let text = &mut self.page.text;
        // Writing to a String does not fail.
        if !std::mem::replace(&mut self.begun, true) {
            let _ = writeln!(text, "# HELP {0} {1}\n# TYPE {0} {2}", self.name, self.help, self.kind);
        }
        text.push_str(self.name);
        for (position, (name, value)) in labels.iter().enumerate() {
            text.push(if position == 0 { '{' } else { ',' });
            let _ = write!(text, "{name}=\"");
            escape(&value[..value.floor_char_boundary(MAX_VALUE)], text);
            text.push('"');
        }
        let _ = writeln!(text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
}

/// The three letters that a value cannot have as they are.
fn escape(value: &str, text: &mut String) {
    for letter in value.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_written_once_and_its_labels_are_escaped() {
        let mut page = Page::default();
        page.gauge("empty", "Nothing.");
        let mut family = page.counter("a_total", "As.");
        family.sample(&[("b", "c\\d\"e\nf"), ("g", "ä")], 0.1);
        family.sample(&[], 1.795e18);
        let text = "# HELP a_total As.\n# TYPE a_total counter\na_total{b=\"c\\\\d\\\"e\\nf\",g=\"ä\"} 0.1\n\
                    a_total 1795000000000000000\n";
        assert_eq!(page.finish(), (text.into(), true));
    }

    #[test]
    fn neither_a_value_nor_a_page_is_without_end() {
        let mut page = Page::default();
        page.gauge("a", "A.").sample(&[("b", &"ä".repeat(MAX_VALUE))], 1.0);
        let (text, complete) = page.finish();
        assert!(complete && text.matches('ä').count() == MAX_VALUE / 2, "{text}");
        let mut page = Page::default();
        let mut family = page.gauge("a", "A.");
        for _ in 0..=MAX_SAMPLES {
            family.sample(&[], 1.0);
        }
        let (text, complete) = page.finish();
        assert_eq!((text.lines().count(), complete), (MAX_SAMPLES + 2, false));
    }
}
