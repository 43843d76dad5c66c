//! What a line of Prometheus' classic text format or of OpenMetrics text is about.

use std::borrow::Cow;

use super::super::ExporterFailure;

/// The type of a family, as far as its samples have other names than the family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    /// One series by the family's own name; what has no TYPE is of this kind, too.
    #[default]
    Plain,
    Counter,
    Histogram,
    GaugeHistogram,
    Summary,
    Info,
}

impl Kind {
    fn of(text: &[u8]) -> Self {
        match text {
            b"counter" => Self::Counter,
            b"histogram" => Self::Histogram,
            b"gaugehistogram" => Self::GaugeHistogram,
            b"summary" => Self::Summary,
            b"info" => Self::Info,
            _ => Self::Plain,
        }
    }

    /// What the names of its samples may have after the family's name.
    pub(super) fn suffixes(self) -> &'static [&'static [u8]] {
        match self {
            Self::Plain => &[b""],
            Self::Counter => &[b"", b"_total", b"_created"],
            Self::Histogram => &[b"", b"_bucket", b"_sum", b"_count", b"_created"],
            Self::GaugeHistogram => &[b"", b"_bucket", b"_gsum", b"_gcount"],
            Self::Summary => &[b"", b"_sum", b"_count", b"_created"],
            Self::Info => &[b"", b"_info"],
        }
    }
}

/// One line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// HELP, TYPE or UNIT of a family; with its type, if it is that.
    About(Cow<'a, [u8]>, Option<Kind>),
    /// A sample, by its name.
    Sample(Cow<'a, [u8]>),
    /// OpenMetrics' mark that everything was said.
    End,
    /// Nothing, or a comment.
    Remark,
}

impl<'a> Line<'a> {
    /// # Errors
    /// When it cannot be told which family it belongs to.
    pub(super) fn of(line: &'a [u8]) -> Result<Self, ExporterFailure> {
        let line = line.trim_ascii();
        let Some(comment) = line.strip_prefix(b"#") else {
            return match line {
                [] => Ok(Self::Remark),
                [b'{', inside @ ..] => Ok(Self::Sample(name_in_braces(inside)?)),
                _ => Ok(Self::Sample(name(line)?.0)),
            };
        };
        let (keyword, rest) = word(comment.trim_ascii_start());
        match keyword {
            b"EOF" => Ok(Self::End),
            b"HELP" | b"UNIT" => Ok(Self::About(name(rest)?.0, None)),
            b"TYPE" => {
                let (name, kind) = name(rest)?;
                Ok(Self::About(name, Some(Kind::of(kind.trim_ascii()))))
            }
            _ => Ok(Self::Remark),
        }
    }
}

/// What is before the first blank, and what comes after the blanks.
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    (word, rest.trim_ascii_start())
}

/// The name of a metric that the text begins with, and what comes after it.
fn name(text: &[u8]) -> Result<(Cow<'_, [u8]>, &[u8]), ExporterFailure> {
    if let [b'"', quoted @ ..] = text {
        return unquoted(quoted);
    }
    let ends = |byte: &u8| byte.is_ascii_whitespace() || *byte == b'{';
    let (name, rest) = text.split_at(text.iter().position(ends).unwrap_or(text.len()));
    let known = |byte: &u8| byte.is_ascii_alphanumeric() || b"_:".contains(byte);
    if name.is_empty() || !name.iter().all(known) {
        return Err(ExporterFailure::Unfilterable);
    }
    Ok((name.into(), rest))
}

/// A name in quotes as Prometheus 3 has them: inside the braces, before the labels.
fn name_in_braces(inside: &[u8]) -> Result<Cow<'_, [u8]>, ExporterFailure> {
    let [b'"', quoted @ ..] = inside.trim_ascii_start() else {
        return Err(ExporterFailure::Unfilterable);
    };
    let (name, rest) = unquoted(quoted)?;
    // A label's name in quotes would be followed by an equals sign.
    match rest.trim_ascii_start() {
        [b',' | b'}', ..] => Ok(name),
        _ => Err(ExporterFailure::Unfilterable),
    }
}

/// The text up to a quote, with `\\`, `\"` and `\n` replaced, and what comes after the quote.
fn unquoted(text: &[u8]) -> Result<(Cow<'_, [u8]>, &[u8]), ExporterFailure> {
    let mut name = Vec::new();
    let mut bytes = text.iter().enumerate();
    while let Some((position, byte)) = bytes.next() {
        match byte {
            b'"' => return Ok((name.into(), &text[position + 1..])),
            b'\\' => match bytes.next() {
                Some((_, b'n')) => name.push(b'\n'),
                Some((_, other)) => name.push(*other),
                None => break,
            },
            other => name.push(*other),
        }
    }
    Err(ExporterFailure::Unfilterable)
}
