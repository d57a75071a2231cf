//! Native events: one JSON object a line, or JSON arrays of them, however they are spaced.
//!
//! A body is taken apart into items first, by structure alone, so that one bad item never takes its neighbours with it: lines of
//! NDJSON (several objects on a line are several items), an array on one line or many, and objects printed over several lines.

use std::borrow::Cow;
use std::collections::BTreeMap;

use memchr::memchr;
use serde::Serialize;

use crate::model::outcome::Refusal;
use crate::model::{Batch, Outcome};

use super::door::{ArrivalClock, Door, Refused};
use super::native_fields::{Line, Problem};
use super::native_scan::scan;
use super::raw::RawEvent;
use super::scratch::Scratch;

/// Refusals told in full for one body; the rest are counted.
const REJECTED_TOLD_MAX: usize = 100;

/// What became of a body's lines before the core saw them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Lines taken, also those left out on purpose (filtered).
    pub accepted: u64,
    /// The first refused lines, in order.
    pub rejected: Vec<Rejected>,
    /// All refused lines.
    pub rejected_count: u64,
    /// How many lines ended in each outcome here: filtered, limited, invalid. What is in the batch has its outcome still to come.
    pub outcomes: BTreeMap<Outcome, u64>,
}

/// A refused line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// From 1; in an array the number of the element.
    pub line: u64,
    /// What is wrong with it.
    pub error: String,
    /// How it is counted.
    #[serde(skip)]
    pub outcome: Outcome,
}

impl Report {
    fn note(&mut self, line: u64, result: Result<(), Refused>) {
        let Err(refused) = result else {
            self.accepted += 1;
            return;
        };
        *self.outcomes.entry(refused.outcome).or_default() += 1;
        if matches!(refused.outcome, Outcome::Filtered(_)) {
            self.accepted += 1;
            return;
        }
        self.rejected_count += 1;
        if self.rejected.len() < REJECTED_TOLD_MAX {
            self.rejected.push(Rejected { line, error: refused.reason.into_owned(), outcome: refused.outcome });
        }
    }
}

/// Reads bodies of native events into one batch: what stays the same from line to line.
pub struct Reader<'a> {
    /// Resolves events.
    pub door: &'a Door,
    /// The site of the key that the body came with, if it names one: overrides the events'.
    pub key_site: Option<&'a str>,
    /// `limits.line_bytes`
    pub line_bytes: usize,
}

impl Reader<'_> {
    /// Reads a whole body into `batch`; every item ends in `report`.
    pub fn read(&self, body: &[u8], clock: &mut ArrivalClock, batch: &mut Batch, scratch: &mut Scratch, report: &mut Report) {
        let mut rest = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
        let start = rest.iter().position(|b| !b.is_ascii_whitespace()).unwrap_or(rest.len());
        if rest.get(start) == Some(&b'[')
            && let Some(end) = structure_end(&rest[start..])
            && rest[start + end..].iter().all(u8::is_ascii_whitespace)
        {
            return self.read_array(&rest[start..start + end], clock, batch, scratch, report);
        }
        let mut line = 0;
        while !rest.is_empty() {
            line += 1;
            let end = memchr(b'\n', rest).unwrap_or(rest.len());
            let mut next = (end + 1).min(rest.len());
            let text = rest[..end].trim_ascii();
            if let Some((end, more_lines)) = self.spread_object(text, rest) {
                self.read_line(&rest[..end], line, clock, batch, scratch, report);
                line += more_lines;
                let tail = memchr(b'\n', &rest[end..]).map_or(rest.len(), |at| end + at);
                if rest[end..tail].trim_ascii().is_empty() {
                    next = (tail + 1).min(rest.len());
                } else {
                    // Something follows on the object's last line: it is read as that line.
                    next = end;
                    line -= 1;
                }
            } else {
                self.read_line(text, line, clock, batch, scratch, report);
            }
            rest = &rest[next..];
        }
    }

    /// Reads one line (without its end); blank ones are nothing. For files that are read line by line, `line` is its number.
    pub fn read_line(
        &self,
        text: &[u8],
        line: u64,
        clock: &mut ArrivalClock,
        batch: &mut Batch,
        scratch: &mut Scratch,
        report: &mut Report,
    ) {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text).trim_ascii();
        if text.is_empty() {
            return;
        }
        if text.len() > self.line_bytes {
            return report.note(line, Err(self.too_long()));
        }
        if text[0] == b'[' && structure_end(text) == Some(text.len()) {
            // An array on a line of its own: its elements are told by the line.
            for element in Elements::of(text) {
                let result = self.read_items(element, line, clock, batch, scratch, report);
                report.note(line, result);
            }
            return;
        }
        let result = self.read_items(text, line, clock, batch, scratch, report);
        report.note(line, result);
    }

    fn read_array(&self, array: &[u8], clock: &mut ArrivalClock, batch: &mut Batch, scratch: &mut Scratch, report: &mut Report) {
        for (index, element) in Elements::of(array).enumerate() {
            let line = index as u64 + 1;
            let result = if element.len() > self.line_bytes {
                Err(self.too_long())
            } else {
                self.read_items(element, line, clock, batch, scratch, report)
            };
            report.note(line, result);
        }
    }

    /// Reads the objects of a text, nearly always one. All but the last are noted here; the last one's result is returned.
    fn read_items(
        &self,
        text: &[u8],
        line: u64,
        clock: &mut ArrivalClock,
        batch: &mut Batch,
        scratch: &mut Scratch,
        report: &mut Report,
    ) -> Result<(), Refused> {
        let Ok(text) = std::str::from_utf8(text) else { return Err(invalid(Refusal::Syntax, "not UTF-8".to_owned())) };
        if let Some(event) = scan(text) {
            return self.push(event, clock, batch, scratch);
        }
        let items = serde_json::Deserializer::from_str(text).into_iter::<Line<'_>>();
        let mut last = None;
        for item in items {
            if let Some(before) = last.take() {
                report.note(line, before);
            }
            last = Some(match item {
                Ok(Line(Ok(event))) => self.push(event, clock, batch, scratch),
                Ok(Line(Err(Problem::Field(reason)))) => Err(invalid(Refusal::Field, reason)),
                Ok(Line(Err(Problem::Time(reason)))) => Err(invalid(Refusal::Time, reason)),
                Err(error) => Err(invalid(Refusal::Syntax, describe(&error))),
            });
        }
        last.unwrap_or_else(|| Err(invalid(Refusal::Syntax, "an empty element".to_owned())))
    }

    fn push<'e>(
        &'e self,
        mut event: RawEvent<'e>,
        clock: &mut ArrivalClock,
        batch: &mut Batch,
        scratch: &mut Scratch,
    ) -> Result<(), Refused> {
        if let Some(site) = self.key_site {
            event.site = Cow::Borrowed(site);
        }
        self.door.push(&event, clock, batch, scratch)
    }

    /// Where an object that `line` begins ends, if it was printed over several lines, and how many more lines it takes. A line
    /// that begins another object ends the search, so that a line cut off takes no other with it.
    fn spread_object(&self, line: &[u8], rest: &[u8]) -> Option<(usize, u64)> {
        if line.first() != Some(&b'{') || line.last() == Some(&b'}') {
            return None;
        }
        let (end, lines) = spread_end(&rest[..rest.len().min(self.line_bytes)])?;
        serde_json::from_slice::<serde::de::IgnoredAny>(&rest[..end]).is_ok().then_some((end, lines))
    }

    fn too_long(&self) -> Refused {
        let reason = format!("the line is longer than {} bytes: shorten its stack or raise limits.line_bytes", self.line_bytes);
        Refused { outcome: Outcome::Limited(Refusal::LineBytes), reason: reason.into() }
    }
}

fn invalid(refusal: Refusal, reason: String) -> Refused {
    Refused { outcome: Outcome::Invalid(refusal), reason: reason.into() }
}

/// A JSON error in our words. The reader's text names a place in the line and never repeats more than one value's start.
fn describe(error: &serde_json::Error) -> String {
    let column = error.column();
    match error.classify() {
        serde_json::error::Category::Eof => format!("not JSON: the line ends too early, at column {column}"),
        serde_json::error::Category::Data => "expected an event as a JSON object".to_owned(),
        _ => format!("not JSON: unexpected character at column {column}"),
    }
}

/// The index after the bracket that closes the first one of `text`; `None` when it is never closed, or a string in it is.
fn structure_end(text: &[u8]) -> Option<usize> {
    let mut depth = 0usize;
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'"' => at = string_end(text, at)?,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// As [`structure_end`], over several lines, none of which but the first begins an object; with the number of further lines. Each
/// byte is looked at once for each line that begins an object, hence once.
fn spread_end(text: &[u8]) -> Option<(usize, u64)> {
    let (mut depth, mut start, mut lines) = (0usize, 0, 0);
    loop {
        let end = memchr(b'\n', &text[start..]).map_or(text.len(), |at| start + at);
        let line = &text[start..end];
        if lines > 0 && line.trim_ascii_start().starts_with(b"{") {
            return None;
        }
        let mut at = 0;
        while at < line.len() {
            match line[at] {
                b'"' => at = string_end(line, at)?,
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth = depth.checked_sub(1)?,
                _ => {}
            }
            at += 1;
            if depth == 0 && matches!(line[at - 1], b']' | b'}') {
                return Some((start + at, lines));
            }
        }
        if end >= text.len() {
            return None;
        }
        start = end + 1;
        lines += 1;
    }
}

/// The index of the quote that closes the string that begins at `at`. JSON strings have no line breaks.
fn string_end(text: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        at += memchr::memchr3(b'"', b'\\', b'\n', text.get(at..)?)?;
        match text[at] {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => return None,
        }
    }
}

/// The elements of a JSON array that is closed, as text.
struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Elements<'a> {
    fn of(array: &'a [u8]) -> Self {
        Self { rest: array[1..array.len() - 1].trim_ascii() }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let mut depth = 0usize;
        let mut at = 0;
        while at < self.rest.len() {
            match self.rest[at] {
                b'"' => at = string_end(self.rest, at).unwrap_or(self.rest.len() - 1),
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth = depth.saturating_sub(1),
                b',' if depth == 0 => break,
                _ => {}
            }
            at += 1;
        }
        let element = self.rest[..at].trim_ascii();
        self.rest = self.rest.get(at + 1..).unwrap_or_default().trim_ascii_start();
        Some(element)
    }
}

#[cfg(test)]
#[path = "native_tests.rs"]
mod tests;
