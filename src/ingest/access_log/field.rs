//! The small grammars inside a log line: escapes, times, request lines, syslog headers. Shared by all formats.

use std::borrow::Cow;

use memchr::{memchr, memchr2, memmem};

use super::{Access, LineError, Method};
use crate::model::Timestamp;

/// Which field of an [`Access`] a value goes to, and how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// `GET /cart HTTP/1.1`
    Request,
    /// `GET`
    Method,
    /// Path and query, or path alone.
    Target,
    /// Query alone, with or without its question mark.
    Query,
    /// HTTP status.
    Status,
    /// `21/Nov/2026:07:37:55 +0000`, with or without brackets.
    TimeLocal,
    /// RFC 3339, `TimeLocal`, or a number: whatever it looks like.
    Time,
    /// Referer header.
    Referer,
    /// User-Agent header.
    UserAgent,
    /// Virtual host, with or without port.
    Host,
    /// Two-letter country.
    Country,
    /// The proxy's id of the request.
    Id,
    /// Nothing that is counted; never read out.
    Skip,
    /// Likewise, and may hold blanks after commas (`0.1, 0.2`).
    SkipList,
}

/// Sets the field from a value as it stands in the line (escaped).
pub(super) fn set<'a>(access: &mut Access<'a>, field: Field, raw: &'a [u8]) -> Result<(), LineError> {
    match field {
        Field::Skip | Field::SkipList => {}
        Field::Status => access.status = status(raw)?,
        Field::TimeLocal | Field::Time => access.at = time_of(raw)?,
        _ => set_text(access, field, value(raw)),
    }
    Ok(())
}

/// Sets a text field from its plain value.
pub(super) fn set_text<'a>(access: &mut Access<'a>, field: Field, text: Cow<'a, str>) {
    match field {
        Field::Request => (access.method, access.target) = request(text),
        Field::Method => access.method = method(&text),
        Field::Target => access.target = text,
        Field::Query => access.query = text,
        Field::Referer => access.referer = text,
        Field::UserAgent => access.user_agent = text,
        Field::Host => access.host = without_port(text),
        Field::Country => access.country = text,
        Field::Id => access.id = text,
        Field::Status | Field::TimeLocal | Field::Time | Field::Skip | Field::SkipList => {}
    }
}

/// An escaped value as text; `-` alone is an absent value.
fn value(raw: &[u8]) -> Cow<'_, str> {
    if raw == b"-" {
        return Cow::Borrowed("");
    }
    if memchr(b'\\', raw).is_some() {
        return Cow::Owned(unescape(raw));
    }
    match std::str::from_utf8(raw) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(raw),
    }
}

/// Undoes the escapes of nginx (`\x22`; `\u0022` and `\"` with `escape=json`) and Apache (`\"`, `\\`, `\x22`, `\t`).
fn unescape(raw: &[u8]) -> String {
    let mut plain = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = memchr(b'\\', rest) {
        plain.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        let (byte, used) = match rest.first() {
            Some(b'x') => (hex(rest.get(1..3)), 3),
            Some(b'u') => (hex(rest.get(1..5)), 5),
            Some(quoted @ (b'"' | b'\\' | b'/')) => (Some(u32::from(*quoted)), 1),
            Some(b'n' | b't' | b'r' | b'b' | b'f' | b'v') => (Some(u32::from(b' ')), 1),
            _ => (None, 0),
        };
        match byte {
            Some(byte) if byte < 0x100 && used != 5 => plain.push(byte as u8),
            Some(code) => plain.extend(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER).to_string().bytes()),
            None => {
                plain.push(b'\\');
                continue;
            }
        }
        rest = &rest[used..];
    }
    plain.extend_from_slice(rest);
    String::from_utf8(plain).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn hex(digits: Option<&[u8]>) -> Option<u32> {
    digits?.iter().try_fold(0, |sum, digit| Some(sum * 16 + (*digit as char).to_digit(16)?))
}

/// Where the quoted value at `line[at..]` (just behind its opening quote) ends: the index of its closing quote.
pub(super) fn closing_quote(line: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr2(b'"', b'\\', line.get(at..)?)?;
        if line[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

/// Splits a request line. The protocol may be missing (HTTP/0.9), and the target may hold blanks.
fn request(line: Cow<'_, str>) -> (Method, Cow<'_, str>) {
    let Some(blank) = memchr(b' ', line.as_bytes()) else { return (Method::None, Cow::Borrowed("")) };
    let method = method(&line[..blank]);
    let start = blank + 1;
    let end = protocol(line.as_bytes()).filter(|at| *at >= start).unwrap_or(line.len());
    if method == Method::None {
        return (method, Cow::Borrowed(""));
    }
    let target = match line {
        Cow::Borrowed(line) => Cow::Borrowed(&line[start..end]),
        Cow::Owned(line) => Cow::Owned(line[start..end].to_owned()),
    };
    (method, target)
}

/// Where the protocol starts that ends a request line; it is nearly always ` HTTP/1.1` or as long.
fn protocol(line: &[u8]) -> Option<usize> {
    const MARK: &[u8] = b" HTTP/";
    let usual = line.len().checked_sub(MARK.len() + 3)?;
    if line[usual..].starts_with(MARK) { Some(usual) } else { memmem::rfind(line, MARK) }
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "POST" => Method::Post,
        "" => Method::None,
        name if name.len() <= 20 && name.bytes().all(|b| b.is_ascii_uppercase() || matches!(b, b'-' | b'_')) => Method::Other,
        _ => Method::None,
    }
}

fn without_port(host: Cow<'_, str>) -> Cow<'_, str> {
    let name = host.trim_end_matches(|c: char| c.is_ascii_digit());
    let Some(len) = name.strip_suffix(':').filter(|_| name.len() < host.len()).map(str::len) else { return host };
    match host {
        Cow::Borrowed(host) => Cow::Borrowed(&host[..len]),
        Cow::Owned(host) => Cow::Owned(host[..len].to_owned()),
    }
}

/// A status of three digits.
pub(super) fn status(raw: &[u8]) -> Result<u16, LineError> {
    match raw {
        [a @ b'1'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
            Ok(u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0'))
        }
        _ => Err(LineError::Status),
    }
}

/// A time in any of the usual writings; `-` and nothing are an absent one.
pub(super) fn time_of(raw: &[u8]) -> Result<Option<Timestamp>, LineError> {
    let raw = raw.strip_prefix(b"[").unwrap_or(raw);
    let raw = raw.strip_suffix(b"]").unwrap_or(raw);
    if raw.is_empty() || raw == b"-" {
        return Ok(None);
    }
    if raw.len() == TIME_LOCAL && raw[2] == b'/' {
        return time_local(raw).map(Some).ok_or(LineError::Time);
    }
    let text = std::str::from_utf8(raw).map_err(|_| LineError::Time)?;
    let at = match text.parse::<f64>() {
        Ok(number) => return from_number(number).map(Some),
        Err(_) => Timestamp::parse_rfc3339(text),
    };
    at.and_then(in_range).map(Some).ok_or(LineError::Time)
}

/// A time as a number since the epoch: seconds, milli-, micro- or nanoseconds, told apart by size.
pub(super) fn from_number(number: f64) -> Result<Timestamp, LineError> {
    let millis = match number {
        n if n < 1e11 => n * 1e3,
        n if n < 1e14 => n,
        n if n < 1e17 => n / 1e3,
        n => n / 1e6,
    };
    in_range(Timestamp(millis.round() as i64)).ok_or(LineError::Time)
}

/// The time, if it is one that an event may carry.
fn in_range(at: Timestamp) -> Option<Timestamp> {
    (Timestamp::MIN..=Timestamp::MAX).contains(&at).then_some(at)
}

/// Bytes of `21/Nov/2026:07:37:55 +0000`.
pub(super) const TIME_LOCAL: usize = 26;

const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";

/// `21/Nov/2026:07:37:55 +0000`, read by position: this runs once for every line.
pub(super) fn time_local(raw: &[u8]) -> Option<Timestamp> {
    let raw: &[u8; TIME_LOCAL] = raw.try_into().ok()?;
    if [raw[2], raw[6], raw[11], raw[14], raw[17], raw[20]] != *b"//::: " {
        return None;
    }
    let number = |from: usize, to: usize| {
        raw[from..to].iter().try_fold(0, |sum: i64, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
    };
    let (day, year, hour, minute, second) = (number(0, 2)?, number(7, 11)?, number(12, 14)?, number(15, 17)?, number(18, 20)?);
    let month = MONTHS.chunks_exact(3).position(|name| name == &raw[3..6])? as i64 + 1;
    let zone = number(22, 24)? * 60 + number(24, 26)?;
    let zone = match raw[21] {
        b'+' => zone,
        b'-' => -zone,
        _ => return None,
    };
    if !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let secs = days_since_epoch(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - zone * 60;
    in_range(Timestamp::from_secs(secs))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar: years are counted from March, so that leap days come last.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

/// Skips a syslog header: `<190>Nov 21 07:37:55 web-1 nginx: ` (RFC 3164) or `<190>1 2026-… web-1 nginx 7 - - ` (RFC 5424).
/// Its own stamp has neither year nor zone, so it is of no use.
pub(super) fn without_syslog(line: &[u8]) -> &[u8] {
    if line.first() != Some(&b'<') {
        return line;
    }
    let Some(close) = memchr(b'>', &line[..line.len().min(5)]) else { return line };
    if !line[1..close].iter().all(u8::is_ascii_digit) {
        return line;
    }
    let rest = &line[close + 1..];
    if let Some(mut rest) = rest.strip_prefix(b"1 ") {
        for _ in 0..5 {
            let Some(blank) = memchr(b' ', rest) else { return line };
            rest = &rest[blank + 1..];
        }
        let end = if rest.first() == Some(&b'[') { memmem::find(rest, b"] ").map(|at| at + 2) } else { Some(2) };
        return end.and_then(|end| rest.get(end..)).map_or(line, <[u8]>::trim_ascii_start);
    }
    memchr::memchr_iter(b':', rest).find(|at| rest.get(at + 1) == Some(&b' ')).map_or(line, |at| &rest[at + 2..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_of_both_servers_are_undone() {
        let check = |raw: &[u8], plain: &str| assert_eq!(value(raw), plain);
        check(br"evil \x22quote\x5C agent", "evil \"quote\\ agent");
        check(br#"a \"b\" \\ c"#, "a \"b\" \\ c");
        check(br"caf\xC3\xA9 caf\u00e9", "café café");
        check(br"\q \x2 \", r"\q \x2 \");
        check(b"-", "");
        check(b"\xff", "\u{fffd}");
    }

    #[test]
    fn request_lines_are_split_also_when_odd() {
        let check = |raw: &[u8], method, target: &str| assert_eq!(request(value(raw)), (method, Cow::Borrowed(target)));
        check(b"GET /cart?x=1 HTTP/1.1", Method::Get, "/cart?x=1");
        check(b"POST /a b HTTP/2.0", Method::Post, "/a b");
        check(b"GET /old", Method::Get, "/old");
        check(b"HEAD / HTTP/1.0", Method::Other, "/");
        check(br"\x16\x03\x01\x02\x00\x01", Method::None, "");
        check(br"\x16\x03 \x01 ", Method::None, "");
        check(b"-", Method::None, "");
        check(b"", Method::None, "");
    }

    #[test]
    fn syslog_headers_of_both_kinds_are_skipped() {
        let check = |line: &str| assert_eq!(without_syslog(line.as_bytes()), b"1.2.3.4 - -", "{line}");
        check("1.2.3.4 - -");
        check("<190>Nov 21 07:37:55 web-1 nginx: 1.2.3.4 - -");
        check("<190>1 2026-11-21T07:37:55Z web-1 nginx 7 - - 1.2.3.4 - -");
        check("<190>1 2026-11-21T07:37:55Z web-1 nginx 7 - [a b=\"c\"] 1.2.3.4 - -");
        assert_eq!(without_syslog(b"<"), b"<");
    }

    #[test]
    fn numbers_and_dates_are_the_same_time() {
        let at = Timestamp::parse_rfc3339("2026-11-21T07:38:31.417Z").unwrap();
        for raw in ["1795246711.417", "1795246711417", "1795246711417000", "2026-11-21T08:38:31.417+01:00"] {
            assert_eq!(time_of(raw.as_bytes()), Ok(Some(at)), "{raw}");
        }
        assert_eq!(time_of(b"[21/Nov/2026:08:38:31 +0100]"), Ok(Some(Timestamp(1_795_246_711_000))));
        assert_eq!(time_of(b"-"), Ok(None));
        for raw in ["yesterday", "12", "NaN", "21/Nox/2026:08:38:31 +0100", "32/Nov/2026:08:38:31 +0100"] {
            assert_eq!(time_of(raw.as_bytes()), Err(LineError::Time), "{raw}");
        }
    }

    proptest! {
        #[test]
        fn local_times_are_read_as_chrono_writes_them(secs in 946_771_200_i64..4_102_358_400, zone in -720..=840) {
            let zone = chrono::FixedOffset::east_opt(zone * 60).unwrap();
            let text = Timestamp::from_secs(secs).utc().with_timezone(&zone).format("%d/%b/%Y:%H:%M:%S %z").to_string();
            prop_assert_eq!(time_local(text.as_bytes()), Some(Timestamp::from_secs(secs)));
        }
    }
}
