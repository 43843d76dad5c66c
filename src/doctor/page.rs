//! An exporter's page, as far as a doctor looks at it.

use http_body_util::BodyExt as _;

use super::Finding;
use crate::http::{Body, BodyError};

/// What a page amounts to, of which nothing is kept.
#[derive(Debug, Default)]
struct Page {
    samples: u64,
    bytes: u64,
    /// True from the first letter of a line to its end.
    in_line: bool,
}

/// Reads an exporter's page to its end and says what it is like; one without samples is odd.
///
/// # Errors
/// The body's own.
pub async fn examine_page(hop: &str, mut body: Body) -> Result<Finding, BodyError> {
    let mut page = Page::default();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            page.push(&data);
        }
    }
    Ok(page.finding(hop))
}

impl Page {
    fn push(&mut self, data: &[u8]) {
        self.bytes += data.len() as u64;
        for byte in data {
            match byte {
                b'\n' => self.in_line = false,
                b' ' | b'\t' | b'\r' => {}
                _ if self.in_line => {}
                first => {
                    self.in_line = true;
                    self.samples += u64::from(*first != b'#');
                }
            }
        }
    }

    fn finding(&self, hop: &str) -> Finding {
        let found = format!("samples: {}, bytes: {}", self.samples, self.bytes);
        if self.samples == 0 {
            return Finding::warning(hop, found, "look at the page that the exporter gives, and at its path");
        }
        Finding::passed(hop, found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Outcome;
    use crate::http::full;

    #[tokio::test]
    async fn samples_are_counted_and_none_is_odd() {
        let text = "# HELP a b\n# TYPE a gauge\na 1\n\n  b{c=\"#\"} 2\n# EOF\n";
        let finding = examine_page("exporter node", full(text)).await.expect("read");
        assert_eq!((finding.outcome, finding.found.as_str()), (Outcome::Passed, "samples: 2, bytes: 50"));
        let nothing = examine_page("exporter node", full("# nothing\n")).await.expect("read");
        assert_eq!(nothing.outcome, Outcome::Warning);
        let mut apart = Page::default();
        text.as_bytes().chunks(1).for_each(|data| apart.push(data));
        assert_eq!((apart.samples, apart.bytes), (2, 50));
    }
}
