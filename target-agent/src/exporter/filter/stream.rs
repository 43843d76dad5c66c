//! The rules applied to text on its way, line by line.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use prometheus_client::metrics::counter::Counter;

use super::MetricFilter;
use super::line::{Kind, Line};
use crate::exporter::ExporterFailure;

/// Longest line, in bytes; also the most that is held back until a family's type is known.
const MAX_LINE: usize = 1 << 20;

/// Text of which only some families go on.
///
/// The lines of a family follow each other, as both formats demand; where they do not, what comes
/// later is judged by its own name.
#[derive(Debug)]
pub(in crate::exporter) struct Filtering {
    filter: Arc<MetricFilter>,
    /// Samples that did not go on.
    dropped: Counter,
    /// A line whose end has not come yet.
    begun: Vec<u8>,
    family: Option<Family>,
}

/// The family that lines are about at present.
#[derive(Debug)]
struct Family {
    name: Vec<u8>,
    kind: Kind,
    /// Whether it goes on; not decided before its type or first sample is seen.
    passes: Option<bool>,
    /// Its lines so far, for as long as that is not decided.
    held: Vec<u8>,
}

impl Family {
    fn new(name: &[u8]) -> Self {
        Self { name: name.to_owned(), kind: Kind::Plain, passes: None, held: Vec::new() }
    }

    fn covers(&self, sample: &[u8]) -> bool {
        let suffix = sample.strip_prefix(&*self.name);
        suffix.is_some_and(|suffix| self.kind.suffixes().contains(&suffix))
    }

    /// Decides whether it goes on, by all of its names: `…_total` is a part of a counter's name in
    /// one format and not in the other, and a filter must not depend on what the asker prefers.
    fn decide(&mut self, filter: &MetricFilter, out: &mut BytesMut) -> bool {
        if let Some(passes) = self.passes {
            return passes;
        }
        let name = &*self.name;
        let other = match self.kind {
            Kind::Counter => {
                Some(name.strip_suffix(b"_total").map_or_else(|| [name, b"_total"].concat(), <[u8]>::to_vec))
            }
            Kind::Info => Some([name, b"_info"].concat()),
            _ => None,
        };
        let passes = match &other {
            Some(other) => filter.passes(&[name, other]),
            None => filter.passes(&[name]),
        };
        if passes {
            out.extend_from_slice(&self.held);
        }
        self.held = Vec::new();
        self.passes = Some(passes);
        passes
    }
}

impl Filtering {
    /// A filter at the beginning of a text, which counts the samples that it drops.
    pub(in crate::exporter) fn new(filter: Arc<MetricFilter>, dropped: Counter) -> Self {
        Self { filter, dropped, begun: Vec::new(), family: None }
    }

    /// What goes on of the next bytes, and of what was held back before them.
    ///
    /// # Errors
    /// When a line is longer than 1 MiB, or it cannot be told what it is about.
    pub(in crate::exporter) fn push(&mut self, mut bytes: &[u8]) -> Result<Bytes, ExporterFailure> {
        let mut out = BytesMut::new();
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = bytes.split_at(end + 1);
            bytes = rest;
            within_bound(self.begun.len() + line.len())?;
            if self.begun.is_empty() {
                self.line(line, &mut out)?;
            } else {
                let mut whole = std::mem::take(&mut self.begun);
                whole.extend_from_slice(line);
                self.line(&whole, &mut out)?;
            }
        }
        within_bound(self.begun.len() + bytes.len())?;
        self.begun.extend_from_slice(bytes);
        Ok(out.freeze())
    }

    /// What goes on after the last bytes.
    ///
    /// # Errors
    /// As for the others.
    pub(in crate::exporter) fn finish(mut self) -> Result<Bytes, ExporterFailure> {
        let mut out = BytesMut::new();
        let last = std::mem::take(&mut self.begun);
        if !last.is_empty() {
            self.line(&last, &mut out)?;
        }
        self.settle(&mut out);
        Ok(out.freeze())
    }

    /// Takes one line, with its end.
    fn line(&mut self, line: &[u8], out: &mut BytesMut) -> Result<(), ExporterFailure> {
        match Line::of(line)? {
            Line::About(name, kind) => {
                if self.family.as_ref().is_none_or(|family| family.name != *name) {
                    self.settle(out);
                    self.family = Some(Family::new(&name));
                }
                let Some(family) = &mut self.family else { return Ok(()) };
                family.kind = kind.unwrap_or(family.kind);
                self.hold_or_pass(line, out)
            }
            Line::Remark => self.hold_or_pass(line, out),
            Line::End => {
                self.settle(out);
                self.family = None;
                out.extend_from_slice(line);
                Ok(())
            }
            Line::Sample(name) => {
                if self.family.as_ref().is_none_or(|family| !family.covers(&name)) {
                    self.settle(out);
                    self.family = Some(Family::new(&name));
                }
                if self.settle(out) {
                    out.extend_from_slice(line);
                } else {
                    self.dropped.inc();
                }
                Ok(())
            }
        }
    }

    /// A line that is no sample shares the fate of the family it stands in.
    fn hold_or_pass(&mut self, line: &[u8], out: &mut BytesMut) -> Result<(), ExporterFailure> {
        match &mut self.family {
            Some(Family { passes: None, held, .. }) => {
                within_bound(held.len() + line.len())?;
                held.extend_from_slice(line);
            }
            Some(Family { passes: Some(false), .. }) => {}
            _ => out.extend_from_slice(line),
        }
        Ok(())
    }

    /// Decides about the present family; true if it goes on, or there is none.
    fn settle(&mut self, out: &mut BytesMut) -> bool {
        let Some(family) = &mut self.family else { return true };
        family.decide(&self.filter, out)
    }
}

fn within_bound(length: usize) -> Result<(), ExporterFailure> {
    if length > MAX_LINE { Err(ExporterFailure::LongLine) } else { Ok(()) }
}
