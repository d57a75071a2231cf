//! A compiled log format: literals and fields in turn, matched from left to right.
//!
//! A field ends where the literal behind it begins; quotes are honoured, and what no event needs is stepped over unread.

use memchr::{memchr, memmem};

use super::field::{Field, TIME_LOCAL, closing_quote, set};
use super::{Access, LineError};

/// A format as [`compile`](super::compile::compile) makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Format {
    /// What every line starts with.
    pub(super) prefix: Vec<u8>,
    /// The fields in order, up to the last one that is needed.
    pub(super) parts: Vec<Part>,
}

/// A field and what ends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) field: Field,
    pub(super) end: End,
}

/// What ends a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// This text, which is not empty and belongs to no field.
    Literal(Vec<u8>),
    /// The slash that the next field starts with (`$host$request_uri`).
    Slash,
    /// The end of the line.
    Line,
}

impl Format {
    /// Reads one line.
    pub(super) fn parse<'a>(&self, line: &'a [u8]) -> Result<Access<'a>, LineError> {
        let mut access = Access::default();
        let mut rest = line.strip_prefix(self.prefix.as_slice()).ok_or(LineError::Shape)?;
        for part in &self.parts {
            let (len, skip) = match &part.end {
                End::Line => (rest.len(), 0),
                End::Slash => (memchr(b'/', rest).ok_or(LineError::Shape)?, 0),
                End::Literal(literal) => (length(rest, part.field, literal).ok_or(LineError::Shape)?, literal.len()),
            };
            set(&mut access, part.field, &rest[..len])?;
            rest = &rest[len + skip..];
        }
        Ok(access)
    }
}

/// Bytes of the field that `rest` starts with.
fn length(rest: &[u8], field: Field, literal: &[u8]) -> Option<usize> {
    let mut from = match field {
        // Fields that hold blanks themselves.
        Field::TimeLocal if literal[0] == b' ' => TIME_LOCAL,
        Field::Request if literal[0] == b' ' => memmem::find(rest, b" HTTP/").map_or(0, |at| at + 1),
        _ => 0,
    };
    loop {
        from = if literal[0] == b'"' { closing_quote(rest, from)? } else { from + memchr(literal[0], rest.get(from..)?)? };
        // A list goes on behind its commas, and behind the colons nginx puts between groups of servers.
        let goes_on =
            field == Field::SkipList && (matches!(rest[..from].last(), Some(b',' | b':')) || rest[from..].starts_with(b" : "));
        if rest[from..].starts_with(literal) && !goes_on {
            return Some(from);
        }
        from += 1;
    }
}
