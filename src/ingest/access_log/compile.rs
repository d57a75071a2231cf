//! Text to [`Format`]: nginx's `log_format` and Apache's `LogFormat`, as they stand in the server's configuration.
//!
//! The whole directive may be given, or its quoted part alone. Variables that no event needs may have any name.

use super::field::Field;
use super::format::{End, Format, Part};

/// Why a `log_format` string cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {reason}")]
pub struct LogFormatError {
    /// Where in the string, in bytes, from 1.
    pub column: usize,
    /// What is wrong and what to do.
    pub reason: String,
}

fn error(column: usize, reason: impl Into<String>) -> LogFormatError {
    LogFormatError { column, reason: reason.into() }
}

/// A byte of the format with its column.
type Source = Vec<(u8, usize)>;

enum Token {
    Literal(Vec<u8>),
    Field { field: Field, name: String, column: usize },
}

/// Compiles a format string.
pub(super) fn compile(text: &str) -> Result<Format, LogFormatError> {
    let source = quoted_part(text)?;
    let has = |mark: u8| source.iter().any(|(byte, _)| *byte == mark);
    let tokens = match (has(b'$'), has(b'%')) {
        (true, _) => tokens(&source, b'$', nginx)?,
        (false, true) => tokens(&source, b'%', apache)?,
        (false, false) => {
            return Err(error(
                1,
                "no variable in it; write `combined`, `json`, or a log_format string such as '$remote_addr … $status'",
            ));
        }
    };
    let format = join(tokens)?;
    let reads = |wanted: &[Field]| format.parts.iter().any(|part| wanted.contains(&part.field));
    if !reads(&[Field::Status]) {
        return Err(error(1, "the status is not logged; add $status (nginx) or %>s (Apache)"));
    }
    if !reads(&[Field::Request, Field::Target]) {
        return Err(error(1, "the request is not logged; add $request (nginx) or %r (Apache)"));
    }
    Ok(format)
}

/// The format itself: the quoted parts joined where a whole directive is given; backslash escapes undone.
fn quoted_part(text: &str) -> Result<Source, LogFormatError> {
    let start = text.len() - text.trim_start().len();
    let bytes = text.trim_end().as_bytes();
    let directive = text.trim_start().starts_with("log_format ") || text.trim_start().starts_with("LogFormat ");
    let mut source = Source::new();
    let mut quote = None;
    let mut at = start;
    while at < bytes.len() {
        let byte = bytes[at];
        let column = at + 1;
        at += 1;
        match quote {
            None if directive => match byte {
                b'"' | b'\'' => quote = Some((byte, column)),
                b';' => break,
                // Apache's directive ends with the format's name.
                _ => {}
            },
            Some((open, _)) if byte == open => quote = None,
            _ if byte == b'\\' => match bytes.get(at) {
                Some(next @ (b'"' | b'\'' | b'\\')) => source.push((*next, column)),
                Some(b't') => source.push((b'\t', column)),
                Some(b'n') => source.push((b'\n', column)),
                _ => {
                    source.push((b'\\', column));
                    continue;
                }
            },
            _ => {
                source.push((byte, column));
                continue;
            }
        }
        // Only an escape takes a second byte.
        if byte == b'\\' && (quote.is_some() || !directive) {
            at += 1;
        }
    }
    match quote {
        Some((_, column)) => Err(error(column, "this quote is never closed")),
        None if source.is_empty() => Err(error(1, "the log format is empty")),
        None => Ok(source),
    }
}

/// What a variable reader gives: its field, its name, and how many bytes it took. `None`: the mark is a literal.
type Variable = Option<(Field, String, usize)>;

fn tokens(source: &Source, mark: u8, read: fn(&[u8]) -> Result<Variable, &'static str>) -> Result<Vec<Token>, LogFormatError> {
    let bytes: Vec<u8> = source.iter().map(|(byte, _)| *byte).collect();
    let mut tokens = Vec::new();
    let mut literal = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != mark {
            literal.push(bytes[at]);
            at += 1;
            continue;
        }
        let column = source[at].1;
        match read(&bytes[at + 1..]).map_err(|reason| error(column, reason))? {
            None => {
                literal.push(mark);
                at += 2;
            }
            Some((field, name, len)) => {
                // Apache's own time brings its brackets.
                let bracketed = mark == b'%' && field == Field::TimeLocal;
                if bracketed {
                    literal.push(b'[');
                }
                if !literal.is_empty() {
                    tokens.push(Token::Literal(std::mem::take(&mut literal)));
                }
                if bracketed {
                    literal.push(b']');
                }
                tokens.push(Token::Field { field, name, column });
                at += 1 + len;
            }
        }
    }
    if !literal.is_empty() {
        tokens.push(Token::Literal(literal));
    }
    Ok(tokens)
}

/// `$name` or `${name}`.
fn nginx(rest: &[u8]) -> Result<Variable, &'static str> {
    let braced = rest.first() == Some(&b'{');
    let rest = if braced { &rest[1..] } else { rest };
    let len = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    if len == 0 {
        return Err("a variable's name must follow the dollar sign");
    }
    if braced && rest.get(len) != Some(&b'}') {
        return Err("this brace is never closed; write ${name}");
    }
    let name = String::from_utf8_lossy(&rest[..len]).into_owned();
    let field = match name.as_str() {
        "request" => Field::Request,
        "request_method" => Field::Method,
        "request_uri" | "uri" | "document_uri" => Field::Target,
        "args" | "query_string" | "is_args" => Field::Query,
        "status" => Field::Status,
        "time_local" => Field::TimeLocal,
        "time_iso8601" | "msec" => Field::Time,
        "http_referer" => Field::Referer,
        "http_user_agent" => Field::UserAgent,
        "host" | "http_host" => Field::Host,
        "request_id" => Field::Id,
        "geoip_country_code"
        | "geoip2_country_code"
        | "geoip2_data_country_code"
        | "geoip2_data_country_iso_code"
        | "http_cf_ipcountry"
        | "http_cloudfront_viewer_country" => Field::Country,
        "http_x_forwarded_for" | "proxy_add_x_forwarded_for" => Field::SkipList,
        name if name.starts_with("upstream_") => Field::SkipList,
        _ => Field::Skip,
    };
    Ok(Some((field, format!("${name}"), len + if braced { 2 } else { 0 })))
}

/// `%h`, `%>s`, `%{Referer}i`; `%%` is a per cent sign.
fn apache(rest: &[u8]) -> Result<Variable, &'static str> {
    let modifiers = rest.iter().take_while(|byte| byte.is_ascii_digit() || matches!(byte, b'<' | b'>' | b'!' | b',')).count();
    let mut at = modifiers;
    let mut argument = String::new();
    if rest.get(at) == Some(&b'{') {
        let close = rest.iter().position(|byte| *byte == b'}').ok_or("this brace is never closed; write %{name}i")?;
        argument = String::from_utf8_lossy(&rest[at + 1..close]).to_ascii_lowercase();
        at = close + 1;
    }
    let Some(letter) = rest.get(at) else { return Err("a letter must follow the per cent sign") };
    let field = match (letter, argument.as_str()) {
        (b'%', _) if at == 0 => return Ok(None),
        (b'^', _) => {
            at += 2;
            Field::Skip
        }
        (b'r', _) => Field::Request,
        (b'm', _) => Field::Method,
        (b'U', _) => Field::Target,
        (b'q', _) => Field::Query,
        (b's', _) => Field::Status,
        (b't', "") => Field::TimeLocal,
        (b't', "sec" | "msec" | "usec") => Field::Time,
        (b'v' | b'V', _) | (b'i', "host") => Field::Host,
        (b'i', "referer") => Field::Referer,
        (b'i', "user-agent") => Field::UserAgent,
        (b'i', "cf-ipcountry") | (b'e', "geoip_country_code" | "mm_country_code") => Field::Country,
        (b'e', "unique_id") => Field::Id,
        (b'i', "x-forwarded-for") => Field::SkipList,
        (letter, _) if letter.is_ascii_alphabetic() => Field::Skip,
        _ => return Err("a letter must follow the per cent sign"),
    };
    let name = String::from_utf8_lossy(&rest[..(at + 1).min(rest.len())]).into_owned();
    Ok(Some((field, format!("%{name}"), at + 1)))
}

/// Puts to each field what ends it, joins fields that touch, and drops what stands behind the last needed one.
fn join(tokens: Vec<Token>) -> Result<Format, LogFormatError> {
    let mut prefix = Vec::new();
    let mut parts: Vec<Part> = Vec::new();
    let mut before: Option<String> = None;
    for token in tokens {
        match token {
            Token::Literal(literal) => {
                match parts.last_mut() {
                    Some(part) => part.end = End::Literal(literal),
                    None => prefix = literal,
                }
                before = None;
            }
            Token::Field { field, name, column } => {
                let touching = before.replace(name.clone()).zip(parts.last_mut());
                let skipped = |field| matches!(field, Field::Skip | Field::SkipList);
                match touching {
                    None => parts.push(Part { field, end: End::Line }),
                    Some((_, part)) if skipped(part.field) && skipped(field) => part.field = Field::SkipList,
                    Some((_, part)) if matches!(part.field, Field::Target | Field::Query) && field == Field::Query => {}
                    Some((_, part)) if field == Field::Target => {
                        part.end = End::Slash;
                        parts.push(Part { field, end: End::Line });
                    }
                    Some((before, _)) => {
                        return Err(error(column, format!("{before} and {name} touch; put a character between them")));
                    }
                }
            }
        }
    }
    let needed = parts.iter().rposition(|part| !matches!(part.field, Field::Skip | Field::SkipList));
    parts.truncate(needed.map_or(0, |at| at + 1));
    Ok(Format { prefix, parts })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::access_log::{Access, LineError};

    #[track_caller]
    fn check(format: &str, line: &str, target: &str, status: u16) {
        let compiled = compile(format).unwrap_or_else(|error| panic!("{error}"));
        let Access { target: read, status: code, .. } = compiled.parse(line.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((read.as_ref(), code), (target, status));
    }

    #[test]
    fn formats_of_both_servers_are_read() {
        check(
            "$remote_addr [$time_local] \"$request\" $status",
            "::1 [21/Nov/2026:07:37:55 +0000] \"GET /a HTTP/1.1\" 200",
            "/a",
            200,
        );
        check(
            "log_format main escape=json '{\"t\":\"$time_iso8601\",'\n  '\"s\":$status,\"r\":\"${request}\"}';",
            r#"{"t":"2026-11-21T07:37:55+00:00","s":502,"r":"GET /a?b=\"c\" HTTP/1.1"}"#,
            "/a?b=\"c\"",
            502,
        );
        check("$scheme://$host$request_uri $status", "https://shop.example/a/b?c 404", "/a/b?c", 404);
        check("$status $uri$is_args$args", "200 /a?b=c", "/a?b=c", 200);
        check(
            "$upstream_response_time $http_x_forwarded_for $status $request",
            "0.1, 0.2 : 0.3 ::1, ::2 500 GET /x HTTP/1.1",
            "/x",
            500,
        );
        check("$time_local $request $status", "21/Nov/2026:07:37:55 +0000 GET /a b HTTP/1.1 200", "/a b", 200);
        check(r#"%h %l %u %t \"%r\" %>s %b"#, r#"::1 - - [21/Nov/2026:07:37:55 +0000] "GET /a HTTP/1.1" 304 -"#, "/a", 304);
        check(
            r#"LogFormat "%v:%p %h %t \"%m %U%q\" %s \"%{User-Agent}i\" %^ti 100%%" mine"#,
            r#"shop.example:443 ::1 [21/Nov/2026:07:37:55 +0000] "POST /a?b" 200 "say \"hi\"" 5"#,
            "/a?b",
            200,
        );
    }

    #[test]
    fn every_field_is_found_and_the_rest_stepped_over() {
        let format = compile(
            "$host|$request_method|$uri|$args|$status|$msec|$http_referer|$http_user_agent|$geoip_country_code|$request_id|$foo",
        );
        let line = b"shop.example:80|POST|/pay|a=b|201|1795246675.000|-|UA|DE|f00|secret";
        let access = format.unwrap().parse(line).unwrap();
        insta::assert_debug_snapshot!(access, @r#"
        Access {
            at: Some(
                Timestamp(
                    1795246675000,
                ),
            ),
            method: Post,
            target: "/pay",
            query: "a=b",
            status: 201,
            referer: "",
            user_agent: "UA",
            host: "shop.example",
            country: "DE",
            id: "f00",
        }
        "#);
    }

    #[test]
    fn a_line_of_another_shape_is_refused() {
        let format = compile("$status \"$request\" x").unwrap();
        for line in ["", "200", "200 \"GET /", "200 \"GET / HTTP/1.1\" y"] {
            assert_eq!(format.parse(line.as_bytes()), Err(LineError::Shape), "{line}");
        }
        assert_eq!(format.parse(b"2x0 \"GET / HTTP/1.1\" x"), Err(LineError::Status));
    }

    #[test]
    fn mistakes_are_named_with_their_column() {
        let check = |format: &str, text: &str| assert_eq!(compile(format).unwrap_err().to_string(), text);
        check("", "column 1: the log format is empty");
        check(
            "combine",
            "column 1: no variable in it; write `combined`, `json`, or a log_format string such as '$remote_addr … $status'",
        );
        check("$request $", "column 10: a variable's name must follow the dollar sign");
        check("$request ${status", "column 10: this brace is never closed; write ${name}");
        check("$status$request", "column 8: $status and $request touch; put a character between them");
        check("$request", "column 1: the status is not logged; add $status (nginx) or %>s (Apache)");
        check("%h %>s", "column 1: the request is not logged; add $request (nginx) or %r (Apache)");
        check("log_format main '$request", "column 17: this quote is never closed");
        check("%r %{Referer", "column 4: this brace is never closed; write %{name}i");
    }
}
