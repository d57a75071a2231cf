//! The short way from a line to raw fields, for lines as clients write them: one object, known keys, plain values.
//!
//! It reads each byte once and borrows every text that has no escapes. Whatever is unusual (another key, a null, an unusual number, a
//! broken line) it leaves alone: `None`, and the plain reader of [`native_fields`](super::native_fields) decides. So there is one
//! place that knows what is right, and the two agree wherever this one answers; a property test holds them against each other.

use std::borrow::Cow;

use crate::model::{Dim, Timestamp};

use super::native_fields::{COUNT_MAX, parse_plain_utc};
use super::raw::{RawEvent, RawKind};

/// Digits of a number that a `f64` holds exactly.
const DIGITS_MAX: usize = 15;

/// Powers of ten that are exact.
const POWERS: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// Reads a line that is a usual event; `None` says nothing about it.
pub(super) fn scan(text: &str) -> Option<RawEvent<'_>> {
    let mut scanner = Scanner { text, bytes: text.as_bytes(), at: 0 };
    let mut event = RawEvent::default();
    let mut kind = None;
    let mut status = None;
    scanner.expect(b'{')?;
    loop {
        let text = match scanner.key()? {
            key::SITE => &mut event.site,
            key::ENV => &mut event.env,
            key::PAGE => &mut event.page,
            key::STEP => &mut event.step,
            key::SESSION => &mut event.session,
            key::ID => &mut event.id,
            key::RELEASE => &mut event.dims[Dim::Release as usize],
            key::BROWSER => &mut event.dims[Dim::Browser as usize],
            key::OS => &mut event.dims[Dim::Os as usize],
            key::DEVICE => &mut event.dims[Dim::Device as usize],
            key::COUNTRY => &mut event.dims[Dim::Country as usize],
            key::SOURCE => &mut event.dims[Dim::Source as usize],
            key::CAMPAIGN => &mut event.dims[Dim::Campaign as usize],
            key::VENDOR => &mut event.dims[Dim::Vendor as usize],
            key::NAME => &mut event.name,
            key::CURRENCY => &mut event.currency,
            key::EVENT_ID => &mut event.event_id,
            other => {
                match other {
                    key::TS => event.at = Some(scanner.time()?),
                    key::TYPE => kind = Some(scanner.plain()?),
                    key::COUNT => event.count = scanner.count()?,
                    key::ERROR => scanner.error(&mut event)?,
                    key::TAGS => scanner.tags(&mut event)?,
                    key::STATUS => status = Some(scanner.status()?),
                    key::VALUE => event.value = Some(scanner.number()?),
                    _ => return None,
                }
                if scanner.goes_on()? {
                    continue;
                }
                break;
            }
        };
        *text = scanner.text()?;
        if !scanner.goes_on()? {
            break;
        }
    }
    scanner.skip_blanks();
    if scanner.at != scanner.bytes.len() {
        return None;
    }
    event.kind = match kind? {
        "view" => RawKind::View,
        "error" => RawKind::Error,
        "track" => RawKind::Track,
        "deploy" => RawKind::Deploy,
        "request" => RawKind::Request { status: status? },
        _ => return None,
    };
    Some(event)
}

/// The keys of an event as words of eight bytes.
mod key {
    use super::word;

    pub(super) const TS: u64 = word(b"ts");
    pub(super) const TYPE: u64 = word(b"type");
    pub(super) const SITE: u64 = word(b"site");
    pub(super) const ENV: u64 = word(b"env");
    pub(super) const PAGE: u64 = word(b"page");
    pub(super) const STEP: u64 = word(b"step");
    pub(super) const SESSION: u64 = word(b"session");
    pub(super) const COUNT: u64 = word(b"count");
    pub(super) const ID: u64 = word(b"id");
    pub(super) const RELEASE: u64 = word(b"release");
    pub(super) const BROWSER: u64 = word(b"browser");
    pub(super) const OS: u64 = word(b"os");
    pub(super) const DEVICE: u64 = word(b"device");
    pub(super) const COUNTRY: u64 = word(b"country");
    pub(super) const SOURCE: u64 = word(b"source");
    pub(super) const CAMPAIGN: u64 = word(b"campaign");
    pub(super) const VENDOR: u64 = word(b"vendor");
    pub(super) const ERROR: u64 = word(b"error");
    pub(super) const TAGS: u64 = word(b"tags");
    pub(super) const STATUS: u64 = word(b"status");
    pub(super) const NAME: u64 = word(b"name");
    pub(super) const VALUE: u64 = word(b"value");
    pub(super) const CURRENCY: u64 = word(b"currency");
    pub(super) const EVENT_ID: u64 = word(b"event_id");
}

/// A key of up to eight bytes as a number; what is shorter ends in zeros, which no key has.
const fn word(key: &[u8]) -> u64 {
    let mut word = 0;
    let mut at = key.len();
    while at > 0 {
        at -= 1;
        word = word << 8 | key[at] as u64;
    }
    word
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    #[inline]
    fn skip_blanks(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Option<()> {
        self.skip_blanks();
        (*self.bytes.get(self.at)? == byte).then(|| self.at += 1)
    }

    /// The next key, if it has at most eight bytes, as a [`word`], and its colon. An escape in it makes it another key.
    #[inline]
    fn key(&mut self) -> Option<u64> {
        self.expect(b'"')?;
        let rest = self.bytes.get(self.at..)?;
        let word = match rest.first_chunk::<8>() {
            Some(word) => u64::from_le_bytes(*word),
            // The line ends soon: a key with little after it.
            None => word(rest),
        };
        let quotes = with_byte(word, b'"') & HIGHS;
        let len = quotes.trailing_zeros() as usize / 8;
        if len == 8 && rest.get(8) != Some(&b'"') {
            return None;
        }
        self.at += len + 1;
        self.expect(b':')?;
        let key = if len == 8 { word } else { word & ((1 << (len * 8)) - 1) };
        // A zero at its end would not show.
        (key.leading_zeros() as usize / 8 == 8 - len).then_some(key)
    }

    /// The next key as it is written, and its colon.
    #[inline]
    fn key_text(&mut self) -> Option<&'a str> {
        let key = self.plain()?;
        self.expect(b':')?;
        Some(key)
    }

    /// After a value: whether another key follows, or the object ends.
    #[inline]
    fn goes_on(&mut self) -> Option<bool> {
        self.skip_blanks();
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        match byte {
            b',' => Some(true),
            b'}' => Some(false),
            _ => None,
        }
    }

    /// A string without escapes.
    #[inline]
    fn plain(&mut self) -> Option<&'a str> {
        self.expect(b'"')?;
        let start = self.at;
        let end = string_end(self.bytes, start)?;
        if self.bytes[end] != b'"' {
            return None;
        }
        self.at = end + 1;
        self.text.get(start..end)
    }

    /// A string.
    #[inline]
    fn text(&mut self) -> Option<Cow<'a, str>> {
        self.expect(b'"')?;
        let start = self.at;
        let end = string_end(self.bytes, start)?;
        if self.bytes[end] == b'"' {
            self.at = end + 1;
            return Some(Cow::Borrowed(self.text.get(start..end)?));
        }
        self.escaped(start, end).map(Cow::Owned)
    }

    /// A string whose first escape stands at `escape`. Code points by number are left to the plain reader.
    fn escaped(&mut self, start: usize, mut escape: usize) -> Option<String> {
        let mut out = String::with_capacity((escape - start) * 2 + 64);
        let mut from = start;
        loop {
            out.push_str(self.text.get(from..escape)?);
            out.push(match self.bytes.get(escape + 1)? {
                b'n' => '\n',
                b't' => '\t',
                b'r' => '\r',
                b'"' => '"',
                b'\\' => '\\',
                b'/' => '/',
                b'b' => '\u{8}',
                b'f' => '\u{c}',
                _ => return None,
            });
            from = escape + 2;
            let end = string_end(self.bytes, from)?;
            if self.bytes[end] == b'"' {
                out.push_str(self.text.get(from..end)?);
                self.at = end + 1;
                return Some(out);
            }
            escape = end;
        }
    }

    /// A number of up to 15 digits without sign and exponent: exact, so every reader reads the same.
    fn number(&mut self) -> Option<f64> {
        self.skip_blanks();
        let start = self.at;
        let mut whole = 0u64;
        let mut places = None;
        while let Some(byte) = self.bytes.get(self.at) {
            match byte {
                b'0'..=b'9' => whole = whole.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?,
                b'.' if places.is_none() && self.at > start => places = Some(self.at + 1),
                b'.' | b'e' | b'E' | b'+' | b'-' => return None,
                _ => break,
            }
            self.at += 1;
        }
        let digits = self.at - start;
        let decimals = places.map_or(0, |from| self.at - from);
        let leading_zero = self.bytes[start..].starts_with(b"0") && digits > 1 && self.bytes[start + 1] != b'.';
        if digits == 0 || digits > DIGITS_MAX || leading_zero || (places.is_some() && decimals == 0) {
            return None;
        }
        Some(whole as f64 / POWERS[decimals])
    }

    fn time(&mut self) -> Option<Timestamp> {
        self.skip_blanks();
        if self.bytes.get(self.at) == Some(&b'"') {
            return parse_plain_utc(self.plain()?.as_bytes());
        }
        let secs = self.number()?;
        Some(Timestamp((secs * 1000.0).round() as i64))
    }

    fn count(&mut self) -> Option<u32> {
        let number = self.number()?;
        ((1.0..=COUNT_MAX).contains(&number) && number.fract() == 0.0).then_some(number as u32)
    }

    fn status(&mut self) -> Option<u16> {
        let number = self.number()?;
        ((100.0..1000.0).contains(&number) && number.fract() == 0.0).then_some(number as u16)
    }

    fn error(&mut self, event: &mut RawEvent<'a>) -> Option<()> {
        self.expect(b'{')?;
        loop {
            let key = self.key_text()?;
            let error = &mut event.error;
            match key {
                "type" => error.class = self.text()?,
                "message" => error.message = self.text()?,
                "stack" => error.stack = self.text()?,
                "fingerprint" => error.fingerprint = self.text()?,
                "level" => error.level = self.text()?,
                "status" => error.status = self.status()?,
                "handled" => error.handled = Some(self.truth()?),
                _ => return None,
            }
            if !self.goes_on()? {
                return Some(());
            }
        }
    }

    fn truth(&mut self) -> Option<bool> {
        self.skip_blanks();
        let rest = &self.bytes[self.at..];
        let (word, value) = if rest.starts_with(b"true") { (4, true) } else { (5, false) };
        (value || rest.starts_with(b"false")).then(|| {
            self.at += word;
            value
        })
    }

    fn tags(&mut self, event: &mut RawEvent<'a>) -> Option<()> {
        self.expect(b'{')?;
        loop {
            let key = self.key_text()?;
            event.tags.push((Cow::Borrowed(key), self.text()?));
            if !self.goes_on()? {
                return Some(());
            }
        }
    }
}

const ONES: u64 = u64::MAX / 255;
const HIGHS: u64 = ONES * 0x80;

/// A word whose high bits show where `byte` is in `word`; above the first one they may be wrong.
#[inline]
const fn with_byte(word: u64, byte: u8) -> u64 {
    let differs = word ^ (ONES * byte as u64);
    differs.wrapping_sub(ONES) & !differs
}

/// The place of the quote or backslash that ends a run of plain bytes; `None` at the end of the text, or where a control byte
/// stands, which no string may have. Eight bytes at a time: in a word of bytes, what is found first is found rightly.
#[inline]
fn string_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    while let Some(&word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(word);
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let found = (with_byte(word, b'"') | with_byte(word, b'\\') | control) & HIGHS;
        if found != 0 {
            let end = at + found.trailing_zeros() as usize / 8;
            return (bytes[end] >= 0x20).then_some(end);
        }
        at += 8;
    }
    let rest = &bytes[at..];
    let end = at + rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
    (bytes[end] >= 0x20).then_some(end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::native_fields::Line;
    use super::*;

    /// What the plain reader makes of a line, if it is one event and nothing else.
    fn plain(text: &str) -> Option<String> {
        let mut items = serde_json::Deserializer::from_str(text).into_iter::<Line<'_>>();
        let Some(Ok(Line(Ok(event)))) = items.next() else { return None };
        items.next().is_none().then(|| format!("{event:?}"))
    }

    /// Whether the short way answers; where it does, the plain reader must say the same.
    #[track_caller]
    fn answers(text: &str) -> bool {
        let Some(event) = scan(text) else { return false };
        assert_eq!(Some(format!("{event:?}")), plain(text), "{text}");
        true
    }

    #[test]
    fn usual_lines_are_read_and_unusual_ones_left_alone() {
        for text in [
            r#"{"ts":"2026-11-21T07:05:43.123Z","type":"view","page":"/cart","count":3,"browser":"Chrome","release":"web@1"}"#,
            r#" { "type" : "error" , "page" : "/p" , "error" : { "type" : "E" , "stack" : "a\n  at b \"c\" \\ \/x" , "handled" : false } } "#,
            r#"{"type":"track","name":"purchase","value":49.9,"currency":"EUR","event_id":"x","tags":{"plan":"pro"},"ts":1795244743.25}"#,
            r#"{"type":"request","status":503,"page":"/straße","site":"shop","error":{"status":502}}"#,
            r#"{"type":"deploy","release":"web@2","ts":0}"#,
        ] {
            assert!(answers(text), "{text}");
            for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
                answers(&text[..end]);
            }
        }
        for text in [
            "",
            "{}",
            "[]",
            "{",
            r#"{"type":"view","page":null}"#,
            r#"{"type":"view","page":"/a","count":01}"#,
            r#"{"type":"view","page":"/a","count":1e2}"#,
            r#"{"type":"view","page":"/a","count":0}"#,
            r#"{"type":"view","page":"/\u00e4"}"#,
            "{\"type\":\"view\",\"page\":\"a\tb\"}",
            r#"{"type":"view","page":"/a"}{"type":"view","page":"/a"}"#,
            r#"{"type":"view","page":"/a",}"#,
            r#"{"type":"heartbeat","job":"x"}"#,
            r#"{"type":"view","other":"/a"}"#,
            "{\"type\":\"view\",\"page\0\":\"/a\"}",
        ] {
            assert!(scan(text).is_none(), "{text}");
        }
    }

    fn value() -> impl Strategy<Value = String> {
        let texts = prop::sample::select(vec![
            "view",
            "error",
            "track",
            "request",
            "deploy",
            "heartbeat",
            "/cart",
            "shop",
            "a\\n\\tb",
            "\\u0041",
            "\\\"",
            "ä€",
            "\u{7f}",
            "2026-11-21T07:05:43Z",
            "2026-11-21T07:05:43.123Z",
            "2026-02-31T07:05:43Z",
            "a text that is longer than a word of bytes",
        ]);
        let raw = prop::sample::select(vec![
            "0",
            "1",
            "12",
            "49.9",
            "0.25",
            "503",
            "599.0",
            "1000",
            "-1",
            "1e3",
            "01",
            "1.",
            ".5",
            "true",
            "false",
            "null",
            "[]",
            "[1]",
            "{}",
            "123456789012345",
            "1234567890123456",
            "0.000000000001",
            "1795244743.123",
            "{\"a\":\"b\"}",
            "{\"plan\":\"pro\",\"x\":1}",
            "{\"type\":\"E\",\"message\":\"m\",\"handled\":true,\"status\":500}",
            "{\"stack\":\"a\\nb\",\"level\":\"fatal\"}",
        ]);
        prop_oneof![3 => texts.prop_map(|text| format!("\"{text}\"")), 2 => raw.prop_map(str::to_owned)]
    }

    fn line() -> impl Strategy<Value = String> {
        let key = prop::sample::select(vec![
            "type",
            "ts",
            "site",
            "env",
            "page",
            "step",
            "session",
            "count",
            "id",
            "name",
            "value",
            "currency",
            "event_id",
            "job",
            "status",
            "error",
            "tags",
            "release",
            "browser",
            "vendor",
            "unknown",
            "ty\\u0070e",
        ]);
        let blank = prop::sample::select(vec!["", "", "", " ", "\t", "\r"]);
        let field = (blank.clone(), key, value())
            .prop_map(|(blank, key, value)| format!("{blank}\"{key}\"{blank}:{blank}{value}{blank}"));
        let kind = prop::sample::select(vec!["view", "error", "track", "request", "deploy", "heartbeat"]);
        (kind, prop::collection::vec(field, 0..7))
            .prop_map(|(kind, fields)| format!("{{{}}}", [vec![format!("\"type\":\"{kind}\"")], fields].concat().join(",")))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn both_ways_agree_on_any_line(text in line()) {
            answers(&text);
        }

        #[test]
        fn both_ways_agree_on_damaged_lines(text in line(), at in any::<prop::sample::Index>(), with in any::<char>(), cut in any::<bool>()) {
            let mut chars: Vec<char> = text.chars().collect();
            let at = at.index(chars.len());
            if cut { chars.remove(at); } else { chars[at] = with; }
            answers(&chars.into_iter().collect::<String>());
        }
    }
}
