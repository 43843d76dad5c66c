//! Which of the two text formats an asker wants.

use hyper::HeaderMap;
use hyper::header::ACCEPT;

/// A text format for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The classic one, 0.0.4, which everything can read.
    Classic,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The one that `Accept` prefers (RFC 9110, section 12.5.1); the classic one where it says nothing,
    /// or wants neither.
    pub fn wanted(headers: &HeaderMap) -> Self {
        let ranges: Vec<Range> = headers
            .get_all(ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| split(value, ','))
            .filter_map(Range::parse)
            .collect();
        let quality = |format: Self| {
            let matching =
                ranges.iter().filter_map(|range| Some((range.precision(format)?, range.thousandths)));
            // The most precise range has the word; the first of those that are equally so.
            matching.rev().max_by_key(|(precision, _)| *precision).map_or(0, |(_, quality)| quality)
        };
        if quality(Self::OpenMetrics) > quality(Self::Classic) { Self::OpenMetrics } else { Self::Classic }
    }

    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Classic => super::CLASSIC_TEXT,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Type, subtype and the parameter `version`.
    fn parts(self) -> [&'static str; 3] {
        match self {
            Self::Classic => ["text", "plain", "0.0.4"],
            Self::OpenMetrics => ["application", "openmetrics-text", "1.0.0"],
        }
    }
}

/// One media range of `Accept`.
struct Range {
    kind: String,
    subtype: String,
    version: Option<String>,
    /// The quality value times 1000.
    thousandths: u16,
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = split(text, ';');
        let (kind, subtype) = parts.next()?.trim().split_once('/')?;
        let (mut version, mut thousandths) = (None, 1000);
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "version" => version = Some(value.to_owned()),
                "q" => thousandths = quality(value)?,
                // How names are escaped, or which letters there are: ours are plain ASCII.
                _ => {}
            }
        }
        let (kind, subtype) = (kind.to_ascii_lowercase(), subtype.to_ascii_lowercase());
        Some(Self { kind, subtype, version, thousandths })
    }

    /// How precisely it means this format; `None` if it does not.
    fn precision(&self, format: Format) -> Option<u8> {
        let [kind, subtype, version] = format.parts();
        match (self.kind.as_str(), self.subtype.as_str(), self.version.as_deref()) {
            (this, that, Some(number)) if (this, that, number) == (kind, subtype, version) => Some(3),
            (this, that, None) if (this, that) == (kind, subtype) => Some(2),
            (this, "*", None) if this == kind => Some(1),
            ("*", "*", None) => Some(0),
            _ => None,
        }
    }
}

/// A quality value times 1000: 0 to 1, with three decimals at most.
fn quality(text: &str) -> Option<u16> {
    let number: f32 = text.parse().ok().filter(|number| (0.0..=1.0).contains(number))?;
    Some((number * 1000.0).round() as u16)
}

/// The parts of a list; a separator in quotation marks is none.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |letter| {
        quoted ^= letter == '"';
        letter == separator && !quoted
    })
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn wanted(accept: &'static str) -> Format {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        Format::wanted(&headers)
    }

    #[test]
    fn prometheus_gets_open_metrics() {
        let of_2_42 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let of_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for accept in [
            of_2_42,
            of_3,
            "application/openmetrics-text",
            "Application/OpenMetrics-Text; Version=\"1.0.0\" ; Q=0.2, */*;q=0.1",
            "text/plain;q=0.4, application/*;q=0.5",
            "text/plain;a=\",\";q=0.1, application/openmetrics-text;q=0.2",
        ] {
            assert_eq!(wanted(accept), Format::OpenMetrics, "{accept}");
        }
    }

    #[test]
    fn everybody_else_gets_the_classic_text() {
        for accept in [
            "",
            "*/*",
            "text/plain",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "application/json",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;q=0, */*",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=0.3, text/plain;q=0.5",
            "application/openmetrics-text, text/plain",
            "application/openmetrics-text;q=2",
            "application/openmetrics-text;q=NaN",
            ";;;,,/=\"",
        ] {
            assert_eq!(wanted(accept), Format::Classic, "{accept}");
        }
        assert_eq!(Format::wanted(&HeaderMap::new()), Format::Classic);
    }

    #[test]
    fn several_fields_are_one_list() {
        let mut headers = HeaderMap::new();
        headers.append(ACCEPT, HeaderValue::from_static("text/plain;q=0.5"));
        headers.append(ACCEPT, HeaderValue::from_static("application/openmetrics-text;version=1.0.0"));
        assert_eq!(Format::wanted(&headers), Format::OpenMetrics);
    }
}
