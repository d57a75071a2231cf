//! What names an error, so that the same failure is the same error after the next deploy, for the next customer.
//!
//! The client's own `fingerprint` counts verbatim. Otherwise it is a hash of the type, the message without what changes from one
//! time to the next (numbers, ids, hashes, versions, hosts, quoted data) and the first frame of the site's own code without bundle
//! hashes, line numbers and minified names.
//!
//! Quoted parts are data and go (`User 'bob' not found`), except in errors that programming languages raise about code
//! (`TypeError`, `NameError`, …): there they are names (`reading 'items'`), and two names are two mistakes.

use crate::model::batch::hash_text;
use crate::model::limits::{MESSAGE_CHARS, VALUE_CHARS};

use super::frames::{self, file_name};
use super::raw::RawError;
use super::scrub;

/// The fingerprint of errors of other origins, of which browsers say no more than `Script error.`: one group that says nothing,
/// hence never news.
pub const SCRIPT_ERROR: &str = crate::model::event::SCRIPT_ERROR;

/// Characters of a normalised message that count.
const NORMAL_CHARS: usize = 500;

/// Bytes of a client's own fingerprint that are kept as they are; of a longer one, the start and a hash of all of it.
const OWN_BYTES_MAX: usize = 200;

/// Errors about code rather than data.
const CODE_ERRORS: &[&str] = &[
    "TypeError",
    "ReferenceError",
    "AttributeError",
    "NameError",
    "ImportError",
    "ModuleNotFoundError",
    "NoMethodError",
    "UnboundLocalError",
    "NoSuchMethodError",
    "NoSuchFieldError",
    "ClassNotFoundException",
    "NoClassDefFoundError",
];

/// Schemes of scripts that are the visitor's own.
const EXTENSIONS: &[&str] =
    &["chrome-extension://", "moz-extension://", "safari-extension://", "safari-web-extension://", "ms-browser-extension://"];

/// An error by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// Its type, bounded.
    pub class: String,
    /// The message as a sample for people, scrubbed and bounded.
    pub message: String,
    /// The first frame of the site's own code: `submitPayment (app.js)`; empty where unknown.
    pub frame: String,
    /// The client's own fingerprint, [`SCRIPT_ERROR`], or 16 hex digits.
    pub fingerprint: String,
}

/// Names an error; `None` when a browser extension threw it.
pub fn name(raw: &RawError<'_>) -> Option<Named> {
    let frames = frames::read(&raw.stack);
    if frames.first().is_some_and(|frame| EXTENSIONS.iter().any(|scheme| frame.file.starts_with(scheme))) {
        return None;
    }
    let frame = frames.iter().find(|frame| frame.is_in_app()).or(frames.first()).map(frames::Frame::normal).unwrap_or_default();
    let class = scrubbed(&raw.class, VALUE_CHARS);
    let mut whole = String::with_capacity(raw.message.len());
    scrub::scrub(&raw.message, &mut whole);
    let fingerprint = if !raw.fingerprint.is_empty() {
        own(&raw.fingerprint)
    } else if frame.is_empty() && bare_message(&class, &whole).trim_end_matches('.').eq_ignore_ascii_case("script error") {
        SCRIPT_ERROR.to_owned()
    } else {
        let kind =
            if class.is_empty() && raw.status > 0 { format!("HTTP {}", raw.status) } else { short_class(&class).to_owned() };
        let message = normal_message(&kind, bare_message(&class, &whole));
        format!("{:016x}", hash_text(&format!("{kind}\0{message}\0{frame}")))
    };
    scrub::cut_chars(&mut whole, MESSAGE_CHARS);
    Some(Named { class, message: whole, frame: scrubbed(&frame, VALUE_CHARS), fingerprint })
}

fn scrubbed(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len());
    scrub::scrub(text, &mut out);
    scrub::cut_chars(&mut out, max);
    out
}

/// The client's own fingerprint: verbatim but for control characters.
fn own(text: &str) -> String {
    let plain: String = text.chars().map(|c| if scrub::is_unprintable(c) { ' ' } else { c }).collect();
    if plain.len() <= OWN_BYTES_MAX {
        return plain;
    }
    let end = (0..=OWN_BYTES_MAX).rev().find(|end| plain.is_char_boundary(*end)).unwrap_or(0);
    format!("{}~{:016x}", &plain[..end], hash_text(text))
}

/// `shop.payments.PaymentError` and `PaymentError` are one: sources write packages or not.
fn short_class(class: &str) -> &str {
    class.rsplit(['.', ':', '\\', '/']).next().filter(|short| !short.is_empty()).unwrap_or(class)
}

/// The message without what browsers put before it.
fn bare_message<'m>(class: &str, message: &'m str) -> &'m str {
    let mut bare = message.trim();
    for prefix in ["Uncaught ", "(in promise) ", "Unhandled Promise Rejection: ", class] {
        if let Some(rest) = bare.strip_prefix(prefix)
            && !prefix.is_empty()
        {
            bare = rest.trim_start_matches(':').trim_start();
        }
    }
    bare
}

/// The message without what changes from one time to the next. Expects a scrubbed message.
fn normal_message(kind: &str, message: &str) -> String {
    let keep_quoted = CODE_ERRORS.contains(&kind);
    let mut out = String::with_capacity(message.len().min(NORMAL_CHARS));
    let mut rest = message;
    while let Some(c) = rest.chars().next()
        && out.len() < NORMAL_CHARS
    {
        if let Some((length, inner)) = quoted(rest, c, out.chars().next_back()) {
            if keep_quoted && inner.len() <= 60 {
                out.push('\'');
                normal_word(inner, &mut out);
                out.push('\'');
            } else {
                out.push_str("''");
            }
            rest = &rest[length..];
        } else if let Some(length) = placeholder(rest) {
            // A query is no part of what failed: with and without one it is the same address.
            if rest.starts_with("[query]") && out.ends_with('?') {
                out.pop();
            } else {
                out.push('#');
            }
            rest = &rest[length..];
        } else if c.is_whitespace() {
            rest = rest.trim_start();
            out.push(' ');
        } else if is_word(c) {
            let end = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
            // A placeholder within a word (`main.[token].js`, `https://x/?[query]`) belongs to it.
            normal_word(&rest[..end], &mut out);
            rest = &rest[end..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// A quoted part at the start of `text`: its length with quotes, and what is between. An apostrophe within a word is no quote.
fn quoted(text: &str, open: char, before: Option<char>) -> Option<(usize, &str)> {
    let close = match open {
        '"' | '`' => open,
        '\'' if !before.is_some_and(char::is_alphanumeric) => '\'',
        '“' => '”',
        '‘' => '’',
        '«' => '»',
        _ => return None,
    };
    let inner = &text[open.len_utf8()..];
    let mut from = 0;
    loop {
        let at = from + inner[from..].find(close)?;
        let end = at + close.len_utf8();
        if close != '\'' || !inner[end..].starts_with(char::is_alphanumeric) {
            return Some((open.len_utf8() + end, &inner[..at]));
        }
        from = end;
    }
}

/// Length of a placeholder of the scrubber at the start of `text`.
fn placeholder(text: &str) -> Option<usize> {
    ["[email]", "[card]", "[token]", "[ip]", "[query]"].iter().find(|mark| text.starts_with(**mark)).map(|mark| mark.len())
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || "_-.:/+%@~$?&=#*".contains(c)
}

/// One word of a message: an address without its host, a file without its hash, anything else without its numbers.
fn normal_word(word: &str, out: &mut String) {
    let trimmed = word.trim_end_matches(['.', ':', '?']);
    let tail = &word[trimmed.len()..];
    if let Some((_, address)) = trimmed.split_once("://") {
        let path = address.find('/').map_or("/", |at| &address[at..]);
        frames::normal_path(path.split(['?', '#']).next().unwrap_or_default(), out);
    } else if trimmed.contains('/') && trimmed.len() > 1 {
        frames::normal_path(trimmed.split(['?', '#']).next().unwrap_or_default(), out);
    } else if frames::is_script(trimmed) {
        out.push_str(&file_name(trimmed));
    } else if is_status(trimmed, out) {
        out.push_str(trimmed);
    } else {
        normal_numbers(trimmed, out);
    }
    out.push_str(tail);
}

/// A three-digit number after `status`, `code` or `HTTP` says what went wrong rather than to whom.
fn is_status(word: &str, before: &str) -> bool {
    let three = word.len() == 3 && word.bytes().all(|b| b.is_ascii_digit()) && (b'1'..=b'5').contains(&word.as_bytes()[0]);
    let lead = before.trim_end_matches([' ', ':', '=', '(']);
    three && ["status", "code", "http", "HTTP", "Status", "Code"].iter().any(|name| lead.ends_with(name))
}

/// Numbers, hashes, UUIDs and versions become `#`.
pub(super) fn normal_numbers(word: &str, out: &mut String) {
    if !word.bytes().any(|b| b.is_ascii_digit()) {
        out.push_str(word);
        return;
    }
    let plain = word.trim_matches(['-', ':', '.']);
    if super::page::is_uuid(plain) || frames::is_hash(plain) || is_version(plain) {
        out.push('#');
        return;
    }
    let mut number = false;
    for part in word.split_inclusive(['-', '_', '.', ':', '+', '=', '@', '%', '~']) {
        let name = part.trim_end_matches(['-', '_', '.', ':', '+', '=', '@', '%', '~']);
        if frames::is_hash(name) {
            if !number {
                out.push('#');
            }
            number = true;
        } else {
            for c in name.chars() {
                if !c.is_ascii_digit() {
                    out.push(c);
                } else if !number {
                    out.push('#');
                }
                number = c.is_ascii_digit();
            }
        }
        // `12.5`, `12:30` and `2026-11-21` are one number.
        if !number || name.is_empty() {
            out.push_str(&part[name.len()..]);
            number = false;
        }
    }
}

/// `4.2.1`, `v4.2.1-rc.1`, `4.2.1+build7`
fn is_version(word: &str) -> bool {
    let word = word.strip_prefix(['v', 'V']).unwrap_or(word);
    let core = word.split(['-', '+']).next().unwrap_or_default();
    core.contains('.') && core.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    type Error = (&'static str, &'static str, &'static str);

    fn print((class, message, stack): Error) -> String {
        let raw = RawError {
            class: Cow::Borrowed(class),
            message: Cow::Borrowed(message),
            stack: Cow::Borrowed(stack),
            ..RawError::default()
        };
        name(&raw).unwrap().fingerprint
    }

    #[track_caller]
    fn check_equal(one: Error, two: Error) {
        assert_eq!(print(one), print(two), "{one:?} {two:?}: {}", normal_message(one.0, one.1));
    }

    #[track_caller]
    fn check_differ(one: Error, two: Error) {
        assert_ne!(print(one), print(two), "{one:?} {two:?}");
    }

    #[test]
    fn messages_that_differ_in_data_are_one_error() {
        for (one, two) in [
            ("order 12 not found", "order 9876 not found"),
            ("User 'bob' not found", "User 'alice smith' not found"),
            ("no cart for bob@example.com", "no cart for alice@shop.example"),
            ("GET https://eu1.shop.example:8443/api/cart?x=1 failed", "GET https://us2.shop.example/api/cart failed"),
            ("GET https://shop.example/order/77 failed", "GET https://shop.example/order/8125 failed"),
            ("id 123e4567-e89b-12d3-a456-426614174000 gone", "id aaaaaaaa-bbbb-4ccc-8ddd-411111111111 gone"),
            ("trace 3f2a9c1d lost", "trace 8be01f22 lost"),
            ("connect ECONNREFUSED 10.0.0.1:5432", "connect ECONNREFUSED 10.0.7.12:6432"),
            ("client v4.2.1 too old", "client v5.10.0-rc.1 too old"),
            (
                "Loading chunk 42 failed. (error: https://shop.example/assets/main.3f2a9c.js)",
                "Loading chunk 7 failed. (error: https://cdn.example/assets/main.b81e07.js)",
            ),
            ("timeout of 3000ms exceeded", "timeout of 15000ms exceeded"),
            ("card 4111 1111 1111 1111 declined", "card 5500 0000 0000 0004 declined"),
            ("Error at 2026-11-21T07:05:43Z", "Error at 2026-11-22T17:45:00Z"),
        ] {
            check_equal(("Error", one, ""), ("Error", two, ""));
        }
    }

    #[test]
    fn other_mistakes_are_other_errors() {
        let stack = "Error: x\n    at pay (https://shop.example/app.js:1:2)";
        check_differ(("Error", "authorization failed", ""), ("Error", "capture failed", ""));
        check_differ(("PaymentError", "failed", ""), ("CartError", "failed", ""));
        check_differ(("Error", "x", stack), ("Error", "x", "Error: x\n    at refund (https://shop.example/app.js:1:2)"));
        check_differ(
            ("TypeError", "x is undefined (reading 'items')", ""),
            ("TypeError", "x is undefined (reading 'total')", ""),
        );
        check_differ(("Error", "Request failed with status code 502", ""), ("Error", "Request failed with status code 404", ""));
        check_differ(("Error", "GET /api/cart failed", ""), ("Error", "GET /api/order failed", ""));
        check_differ(("HTTP 502", "", ""), ("HTTP 504", "", ""));
    }

    #[test]
    fn a_deploy_makes_nothing_new() {
        let stack = |file: &'static str| -> &'static str {
            Box::leak(
                format!("TypeError: x\n    at submitPayment ({file}:4:39)\n    at t.e (https://shop.example/vendor.js:1:9)")
                    .into_boxed_str(),
            )
        };
        let first = ("TypeError", "x", stack("https://shop.example/assets/main.3f2a9c.js"));
        for file in [
            "https://cdn.example:8080/assets/main.deadbeef99.js?v=2",
            "https://shop.example/assets/main.js",
            "https://shop.example/assets/main-Bq3xK9_a.js",
            "https://shop.example/4.2.1/assets/main.8e21ab44cd01f2e3a4b5.js",
        ] {
            check_equal(first, ("TypeError", "x", stack(file)));
        }
        check_equal(
            first,
            ("TypeError", "TypeError: x", "submitPayment@https://shop.example/assets/main.77aa01.js:9:1\n@https://x/y.js:1:1"),
        );
        check_equal(first, ("TypeError", "Uncaught TypeError: x", first.2));
        check_equal(("shop.payments.PaymentError", "no", ""), ("PaymentError", "no", ""));
    }

    #[test]
    fn own_fingerprints_are_kept_and_foreign_scripts_told_apart() {
        let named = name(&RawError { fingerprint: "pay-502".into(), message: "x".into(), ..RawError::default() }).unwrap();
        assert_eq!(named.fingerprint, "pay-502");
        let long = name(&RawError { fingerprint: "ä".repeat(300).into(), ..RawError::default() }).unwrap().fingerprint;
        assert!(long.len() <= OWN_BYTES_MAX + 17 && long.contains('~'));
        assert_eq!(print(("", "Script error.", "")), SCRIPT_ERROR);
        let stack = "TypeError: x\n    at a (chrome-extension://abc/inject.js:1:1)\n    at b (https://shop.example/app.js:1:1)";
        assert_eq!(name(&RawError { stack: stack.into(), ..RawError::default() }), None);
    }
}
