//! The combined format of nginx and Apache, by hand: it is what nearly every site has, so it is the fast path.
//!
//! `[vhost:port ]addr ident user [time] "request" status bytes "referer" "user agent"`, and whatever a site adds behind. The
//! shorter common format (nothing behind the bytes) is read too. Also used for lines that a shipper wrapped in JSON.

use memchr::memchr;

use super::field::{Field, TIME_LOCAL, closing_quote, set, time_local};
use super::{Access, LineError};

/// Reads one line.
pub(super) fn parse(line: &[u8]) -> Result<Access<'_>, LineError> {
    let mut access = Access::default();
    let (head, at, mut pos) = time(line)?;
    access.at = Some(at);
    if let Some(host) = vhost(head) {
        set(&mut access, Field::Host, host)?;
    }
    let end = closing_quote(line, pos).ok_or(LineError::Shape)?;
    set(&mut access, Field::Request, &line[pos..end])?;
    pos = end + 1;
    let rest = line[pos..].strip_prefix(b" ").ok_or(LineError::Shape)?;
    let status = &rest[..memchr(b' ', rest).unwrap_or(rest.len())];
    set(&mut access, Field::Status, status)?;
    pos += 1 + status.len();
    for field in [Field::Referer, Field::UserAgent] {
        let Some(open) = memchr(b'"', &line[pos..]) else { break };
        let start = pos + open + 1;
        let end = closing_quote(line, start).ok_or(LineError::Shape)?;
        set(&mut access, field, &line[start..end])?;
        pos = end + 1;
    }
    Ok(access)
}

/// Finds the time in brackets: what stands before it, the time, and where the request starts. A user name may hold brackets too,
/// but it cannot hold the quote that must follow the time.
fn time(line: &[u8]) -> Result<(&[u8], crate::model::Timestamp, usize), LineError> {
    let mut from = 0;
    while let Some(open) = memchr(b'[', &line[from..]).map(|at| from + at) {
        let end = open + 1 + TIME_LOCAL;
        if line.get(end..end + 3) == Some(b"] \"") {
            let at = time_local(&line[open + 1..end]).ok_or(LineError::Time)?;
            return Ok((&line[..open], at, end + 3));
        }
        from = open + 1;
    }
    Err(LineError::Shape)
}

/// The virtual host, where a line has one in front: then the client's address is second, else it is first and the second is `-`.
fn vhost(head: &[u8]) -> Option<&[u8]> {
    let mut tokens = head.split(|byte| *byte == b' ').filter(|token| !token.is_empty());
    let (first, second) = (tokens.next()?, tokens.next()?);
    (second != b"-" && tokens.nth(1).is_some()).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::access_log::Method;
    use crate::model::Timestamp;

    const TIME: Timestamp = Timestamp(1_795_246_675_000);

    #[test]
    fn a_line_of_nginx_is_read_without_a_copy() {
        let line = br#"203.0.113.4 - - [21/Nov/2026:07:37:55 +0000] "POST /pay?a=b HTTP/1.1" 502 600 "https://shop.example/cart" "UA/1""#;
        let access = parse(line).unwrap();
        assert_eq!((access.at, access.method, access.status), (Some(TIME), Method::Post, 502));
        for (text, plain) in
            [(access.target, "/pay?a=b"), (access.referer, "https://shop.example/cart"), (access.user_agent, "UA/1")]
        {
            assert!(matches!(text, std::borrow::Cow::Borrowed(text) if text == plain), "{text}");
        }
    }

    #[test]
    fn variants_are_told_apart() {
        let check = |line: &str, host: &str, agent: &str| {
            let access = parse(line.as_bytes()).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!((access.host.as_ref(), access.user_agent.as_ref()), (host, agent), "{line}");
            assert_eq!((access.at, access.target.as_ref(), access.status), (Some(TIME), "/", 200), "{line}");
        };
        let tail = r#"[21/Nov/2026:08:37:55 +0100] "GET / HTTP/1.1" 200 5"#;
        check(&format!("::1 - - {tail}"), "", "");
        check(&format!(r#"::1 - - {tail} "-" "a \"b\" c" 0.001 "x""#), "", "a \"b\" c");
        check(&format!(r#"shop.example:443 10.0.0.1 - anna {tail} "-" "u""#), "shop.example", "u");
        check(&format!(r#"10.0.0.1 - anna [x] smith {tail} "-" "u""#), "", "u");
    }

    #[test]
    fn a_bad_line_says_what_is_wrong_with_it() {
        let check = |line: &str, error| assert_eq!(parse(line.as_bytes()).unwrap_err(), error, "{line}");
        check("", LineError::Shape);
        check("hello [world]", LineError::Shape);
        check(r#"::1 - - [21/Nov/2026:08:37:55 +0100] "GET / HTTP/1.1"#, LineError::Shape);
        check(r#"::1 - - [99/Nov/2026:08:37:55 +0100] "GET / HTTP/1.1" 200 5"#, LineError::Time);
        check(r#"::1 - - [21/Nov/2026:08:37:55 +0100] "GET / HTTP/1.1" - 5"#, LineError::Status);
        check(r#"::1 - - [21/Nov/2026:08:37:55 +0100] "GET / HTTP/1.1" 200 5 "cut"#, LineError::Shape);
    }
}
