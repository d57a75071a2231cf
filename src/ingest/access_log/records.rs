//! Splits a shipper's body into records: an array, one object a line, or objects one behind the other without anything between.
//!
//! Fluent Bit and Vector send all three by their settings. A bad record is refused alone where its end can be known.

use memchr::memchr;
use serde_json::value::RawValue;

/// Calls `visit` with each record of a body in order; `None` stands for one that is no JSON. Records are for
/// [`LogParser::parse`](super::LogParser::parse) with the format `json`.
pub fn records<'a>(body: &'a [u8], mut visit: impl FnMut(Option<&'a [u8]>)) {
    let mut rest = body.trim_ascii();
    let as_bytes = |record: &'a RawValue| record.get().as_bytes();
    if rest.first() == Some(&b'[')
        && let Ok(list) = serde_json::from_slice::<Vec<&RawValue>>(rest)
    {
        for record in list {
            visit(Some(as_bytes(record)));
        }
        return;
    }
    while !rest.is_empty() {
        let mut json = serde_json::Deserializer::from_slice(rest).into_iter::<&RawValue>();
        if let Some(Ok(record)) = json.next() {
            visit(Some(as_bytes(record)));
            rest = rest[json.byte_offset()..].trim_ascii_start();
        } else {
            visit(None);
            rest = memchr(b'\n', rest).map_or(b"".as_slice(), |end| rest[end..].trim_ascii_start());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(body: &str) -> Vec<Option<String>> {
        let mut found = Vec::new();
        records(body.as_bytes(), |record| found.push(record.map(|record| String::from_utf8(record.to_vec()).unwrap())));
        found
    }

    #[test]
    fn all_framings_give_the_same_records() {
        let expected = [Some("{\"a\":1}".to_owned()), Some("{\"b\":\"}{\"}".to_owned())];
        for body in ["[{\"a\":1}, {\"b\":\"}{\"}]", "{\"a\":1}\n{\"b\":\"}{\"}\n", "{\"a\":1}{\"b\":\"}{\"}"] {
            assert_eq!(split(body), expected, "{body}");
        }
        assert!(split(" \n").is_empty() && split("[]").is_empty());
    }

    #[test]
    fn a_bad_line_is_refused_alone() {
        assert_eq!(split("{\"a\":1}\n{bad}\n{\"a\":1}"), [Some("{\"a\":1}".to_owned()), None, Some("{\"a\":1}".to_owned())]);
        assert_eq!(split("[{\"a\":1}"), [None]);
    }
}
