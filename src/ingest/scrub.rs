//! What must not be kept is masked before anything is counted, stored or said: e-mail addresses, card numbers, tokens, IP
//! addresses, the queries of URLs, values of fields with telling names.
//!
//! Two passes, both linear: digits first (a card number may have blanks in it), then chunk by chunk. Masking errs on the side of
//! masking: a long random name that is no secret becomes `[token]` too.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::page::is_uuid;

/// Fewest characters of a run that counts as a token.
const TOKEN_MIN: usize = 20;

/// Digits of a payment card number.
const CARD_DIGITS: std::ops::RangeInclusive<usize> = 13..=19;

/// Fields whose value is a secret, whatever it looks like. Compared in lower case without `_` and `-`.
const SECRET_FIELDS: &[&str] = &[
    "password",
    "passwd",
    "pwd",
    "pass",
    "secret",
    "clientsecret",
    "token",
    "accesstoken",
    "refreshtoken",
    "idtoken",
    "authtoken",
    "csrftoken",
    "apikey",
    "xapikey",
    "key",
    "authorization",
    "cookie",
    "setcookie",
    "session",
    "sessionid",
    "sid",
    "phpsessid",
    "jsessionid",
    "cvv",
    "cvc",
    "iban",
    "auth",
    "signature",
    "sig",
];

/// Appends `text` to `out` with everything secret masked and every unprintable character made a blank.
pub fn scrub(text: &str, out: &mut String) {
    let text = mask_cards(text);
    let mut expect = Expect::Nothing;
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        if is_separator(c) {
            out.push(if is_unprintable(c) { ' ' } else { c });
            at += c.len_utf8();
            continue;
        }
        let rest = &text[at..];
        let end = rest.find(is_separator).unwrap_or(rest.len());
        at += scrub_chunk(rest, end, &mut expect, out);
    }
}

/// Shortens to `max` characters, on a character boundary.
pub fn cut_chars(text: &mut String, max: usize) {
    if text.len() > max
        && let Some((end, _)) = text.char_indices().nth(max)
    {
        text.truncate(end);
    }
}

/// Control characters, and those that reorder or hide what is beside them.
pub(super) fn is_unprintable(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// How often neighbours in a text are of different kinds: lower case, upper case, digit.
pub(super) fn switches(text: &str) -> usize {
    let kind = |b: u8| match b {
        b'a'..=b'z' => 1,
        b'A'..=b'Z' => 2,
        b'0'..=b'9' => 3,
        _ => 0,
    };
    text.as_bytes().windows(2).filter(|pair| kind(pair[0]) != kind(pair[1]) && kind(pair[0]) > 0 && kind(pair[1]) > 0).count()
}

/// What the chunks before say of the next one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    Nothing,
    /// A telling name came: a secret, if `:` or `=` follows.
    Sign,
    /// The value of a telling name.
    Secret,
    /// The word after `Bearer` or `Basic`.
    Credential,
}

fn is_separator(c: char) -> bool {
    is_quote_or_blank(c) || matches!(c, '(' | ')' | '[' | ']' | '{' | '}' | ',' | ';' | '|' | '\\')
}

fn is_quote_or_blank(c: char) -> bool {
    c.is_whitespace() || is_unprintable(c) || matches!(c, '"' | '\'' | '`' | '<' | '>' | '‘' | '’' | '“' | '”' | '«' | '»')
}

/// Scrubs the chunk `rest[..end]`; returns how many bytes of `rest` are dealt with, more where a query goes on.
fn scrub_chunk(rest: &str, end: usize, expect: &mut Expect, out: &mut String) -> usize {
    let chunk = &rest[..end];
    let before = std::mem::replace(expect, Expect::Nothing);
    let only_sign = matches!(chunk, ":" | "=" | ":=" | "=>");
    match before {
        Expect::Sign if only_sign => {
            *expect = Expect::Secret;
            out.push_str(chunk);
            return end;
        }
        Expect::Secret if is_scheme_word(chunk) => {}
        Expect::Secret => {
            out.push_str("[token]");
            return end;
        }
        Expect::Credential if chunk.len() >= 8 && (chunk.len() >= 16 || chunk.bytes().any(|b| b.is_ascii_digit())) => {
            out.push_str("[token]");
            return end;
        }
        _ => {}
    }
    if is_scheme_word(chunk) {
        *expect = Expect::Credential;
    } else if is_secret_field(chunk) {
        *expect = Expect::Sign;
    } else if let Some(name) = chunk.strip_suffix([':', '='])
        && is_secret_field(name)
    {
        *expect = Expect::Secret;
    }
    let is_url = chunk.contains("://");
    let query = chunk.find(['?', '#']).filter(|at| chunk[at + 1..].contains(['=', '&']) || is_url && chunk.len() > at + 1);
    if let Some(query) = query {
        scrub_address(&chunk[..query], out);
        out.push_str("?[query]");
        return rest.find(is_quote_or_blank).unwrap_or(rest.len());
    }
    scrub_address(chunk, out);
    end
}

fn is_scheme_word(chunk: &str) -> bool {
    let word = chunk.trim_end_matches(':');
    word.eq_ignore_ascii_case("bearer") || word.eq_ignore_ascii_case("basic")
}

fn is_secret_field(name: &str) -> bool {
    let name = name.rsplit(['.', '/', '&', '$', '@']).next().unwrap_or(name);
    if name.len() > 20 || name.len() < 3 {
        return false;
    }
    let plain: String = name.chars().filter(|c| !matches!(c, '_' | '-')).map(|c| c.to_ascii_lowercase()).collect();
    SECRET_FIELDS.contains(&plain.as_str())
}

/// Drops the user of a URL, then goes on with what is left.
fn scrub_address(chunk: &str, out: &mut String) {
    if let Some((scheme, rest)) = chunk.split_once("://") {
        let host_end = rest.find('/').unwrap_or(rest.len());
        let start = rest[..host_end].rfind('@').map_or(0, |at| at + 1);
        out.push_str(scheme);
        out.push_str("://");
        scrub_mails(&rest[start..], out);
    } else {
        scrub_mails(chunk, out);
    }
}

/// Masks each `local@domain.tld` (also with `%40`), and hands what is between to [`scrub_words`].
fn scrub_mails(chunk: &str, out: &mut String) {
    let mut done = 0;
    let mut from = 0;
    while let Some((at, width)) = next_at(chunk, from) {
        let is_local = |c: char| c.is_alphanumeric() || "._%+-!#$&*/=?^{|}~".contains(c);
        let local = chunk[done..at].char_indices().rev().take_while(|(_, c)| is_local(*c)).last().map(|(i, _)| done + i);
        let after = &chunk[at + width..];
        let domain = after.find(|c: char| !c.is_alphanumeric() && !matches!(c, '.' | '-')).map_or(after, |end| &after[..end]);
        let domain = domain.trim_end_matches(['.', '-']);
        let top = domain.rsplit('.').next().unwrap_or_default();
        let is_mail = domain.contains('.') && top.chars().count() >= 2 && top.chars().all(char::is_alphabetic);
        from = at + width;
        if let (Some(mut local), true) = (local, is_mail) {
            // `user=bob@x.example` and `/users/bob@x.example` keep what stands before.
            if let Some(cut) = chunk[local..at].rfind(['=', '/', '&']) {
                local += cut + 1;
            }
            scrub_words(&chunk[done..local], out);
            out.push_str("[email]");
            done = from + domain.len();
            from = done;
        }
    }
    scrub_words(&chunk[done..], out);
}

fn next_at(chunk: &str, from: usize) -> Option<(usize, usize)> {
    let rest = &chunk[from..];
    let plain = rest.find('@').map(|at| (from + at, 1));
    let escaped = if rest.contains('%') { rest.find("%40").map(|at| (from + at, 3)) } else { None };
    match (plain, escaped) {
        (Some(plain), Some(escaped)) => Some(plain.min(escaped)),
        (plain, escaped) => plain.or(escaped),
    }
}

/// Masks values of telling names, addresses and tokens in what holds no mail address.
fn scrub_words(text: &str, out: &mut String) {
    let mut secret = false;
    for piece in text.split_inclusive(['=', '&', '@', '#', '!', '*', '$', '?', '%']) {
        let sign = piece.ends_with(['=', '&', '@', '#', '!', '*', '$', '?', '%']);
        let word = &piece[..piece.len() - usize::from(sign)];
        if secret && !word.is_empty() {
            out.push_str("[token]");
        } else if let Some((name, value)) = word.split_once(':')
            && !value.is_empty()
            && is_secret_field(name)
        {
            out.push_str(name);
            out.push_str(":[token]");
        } else {
            scrub_word(word, out);
        }
        out.push_str(&piece[word.len()..]);
        secret = piece.ends_with('=') && is_secret_field(word);
    }
}

fn scrub_word(word: &str, out: &mut String) {
    if word.len() < 3 {
        out.push_str(word);
        return;
    }
    let colons = word.bytes().filter(|b| *b == b':').count();
    if colons >= 2
        && word.len() <= 45
        && word.parse::<Ipv6Addr>().is_ok()
        && (colons > 2 || word.bytes().any(|b| b.is_ascii_digit()))
    {
        out.push_str("[ip]");
        return;
    }
    if word.contains('/') && word.len() >= TOKEN_MIN && switches(word) * 3 >= word.len() && is_token(&word.replace('/', "")) {
        out.push_str("[token]");
        return;
    }
    for piece in word.split_inclusive([':', '/']) {
        let part = piece.trim_end_matches([':', '/']);
        if part.starts_with("eyJ") && part.len() >= TOKEN_MIN && part.contains('.') {
            out.push_str("[token]");
        } else if part.len() >= 7 && part.trim_end_matches('.').parse::<Ipv4Addr>().is_ok() {
            out.push_str("[ip]");
        } else {
            for dotted in part.split_inclusive(['.', '~']) {
                let name = dotted.trim_end_matches(['.', '~']);
                out.push_str(if is_token(name) { "[token]" } else { name });
                out.push_str(&dotted[name.len()..]);
            }
        }
        out.push_str(&piece[part.len()..]);
    }
}

/// 20 or more characters of base64 or hex with letters and digits. With `-` or `_` in it, it must also look drawn at random:
/// `trail-running-shoes-00123` is a name.
fn is_token(text: &str) -> bool {
    if text.len() < TOKEN_MIN || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_+".contains(&b)) {
        return false;
    }
    let mixed = |part: &str| part.bytes().any(|b| b.is_ascii_digit()) && part.bytes().any(|b| b.is_ascii_alphabetic());
    mixed(text)
        && (!text.contains(['-', '_'])
            || is_uuid(text)
            || switches(text) * 3 >= text.len()
            || text.split(['-', '_']).any(|part| part.len() >= 16 && mixed(part)))
}

/// Masks runs of digits, single blanks and dashes among them, that hold a card number. UUIDs pass: they are dealt with later.
fn mask_cards(text: &str) -> Cow<'_, str> {
    if text.bytes().filter(u8::is_ascii_digit).count() < *CARD_DIGITS.start() {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut out = String::new();
    let mut copied = 0;
    let mut at = 0;
    while at < bytes.len() {
        let starts_word = at == 0 || !bytes[at - 1].is_ascii_alphanumeric();
        if starts_word && bytes.get(at + 8) == Some(&b'-') && text.get(at..at + 36).is_some_and(is_uuid) {
            at += 36;
        } else if bytes[at].is_ascii_digit() {
            let end = digits_end(bytes, at);
            if holds_card(&bytes[at..end]) {
                out.push_str(&text[copied..at]);
                out.push_str("[card]");
                copied = end;
            }
            at = end;
        } else {
            at += 1;
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

fn digits_end(bytes: &[u8], start: usize) -> usize {
    let mut end = start + 1;
    loop {
        match bytes.get(end) {
            Some(b) if b.is_ascii_digit() => end += 1,
            Some(b' ' | b'-') if bytes.get(end + 1).is_some_and(u8::is_ascii_digit) => end += 2,
            _ => return end,
        }
    }
}

/// Whether any window of 13 to 19 digits passes the Luhn check.
fn holds_card(run: &[u8]) -> bool {
    let digits: Vec<u8> = run.iter().filter(|b| b.is_ascii_digit()).map(|b| b - b'0').collect();
    let luhn = |window: &[u8]| {
        let sum: u32 = window
            .iter()
            .rev()
            .enumerate()
            .map(|(i, digit)| u32::from(if i % 2 == 1 { digit * 2 / 10 + digit * 2 % 10 } else { *digit }))
            .sum();
        sum.is_multiple_of(10)
    };
    CARD_DIGITS.into_iter().any(|len| digits.windows(len).any(luhn))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scrubbed(text: &str) -> String {
        let mut out = String::new();
        scrub(text, &mut out);
        out
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(scrubbed(text), expected, "{text}");
    }

    #[test]
    fn secrets_are_masked_where_people_write_them() {
        check("no cart for bob.smith+x@mail.example.com!", "no cart for [email]!");
        check("to=<bob@example.com>, jürgen@müller.de", "to=<[email]>, [email]");
        check("user=bob%40example.com failed", "user=[email] failed");
        check("card 4111 1111 1111 1111 declined", "card [card] declined");
        check("card:4111-1111-1111-1111", "card:[card]");
        check("Authorization: Bearer abcdef0123456789abcdef", "Authorization: Bearer [token]");
        check(r#"{"password":"hunter2","x":1}"#, r#"{"password":"[token]","x":1}"#);
        check("password=hunter2 token: abc", "password=[token] token: [token]");
        check("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmN", "jwt [token]");
        check("key sk_live_51HGqZyAbCdEfGh1JkLmN", "key [token]");
        check("GET https://u:p@shop.example/api/cart?token=x,y&z#f failed", "GET https://shop.example/api/cart?[query] failed");
        check("GET /api/cart?token=abc", "GET /api/cart?[query]");
        check("from 10.1.2.3:443 and 2001:db8::1", "from [ip]:443 and [ip]");
        check("order 123e4567-e89b-12d3-a456-426614174000", "order [token]");
        check("a\u{0}b\u{202e}c\nd", "a b c d");
    }

    #[test]
    fn what_is_no_secret_stays() {
        for text in [
            "Cannot read properties of undefined (reading 'items')",
            "web@4.2.1",
            "trail-running-shoes-00123",
            "12:30:45",
            "at submitPayment (https://shop.example/app.js:5:63)",
            "what? no",
            "std::io::Error",
            "order 1234567 for 3 items",
            "ok @ 5",
            "PaymentGatewayUnavailableException",
            "the key is missing",
            "2026-11-21T07:05:43Z",
        ] {
            check(text, text);
        }
    }

    #[test]
    fn cutting_keeps_characters_whole() {
        let mut text = "äöü".repeat(3);
        cut_chars(&mut text, 4);
        assert_eq!(text, "äöüä");
    }

    fn card() -> impl Strategy<Value = String> {
        (proptest::collection::vec(0u32..10, 12..=18), prop_oneof![Just(""), Just(" "), Just("-")]).prop_map(
            |(mut digits, sep)| {
                let sum: u32 =
                    digits.iter().rev().enumerate().map(|(i, d)| if i % 2 == 0 { d * 2 / 10 + d * 2 % 10 } else { *d }).sum();
                digits.push((10 - sum % 10) % 10);
                let text: Vec<String> = digits.iter().map(u32::to_string).collect();
                text.chunks(4).map(<[String]>::concat).collect::<Vec<_>>().join(sep)
            },
        )
    }

    proptest! {
        #[test]
        fn planted_secrets_never_survive(
            before in "[a-zA-Z0-9 .,:;=/('\"-]{0,30}",
            secret in prop_oneof![card(), "[a-z0-9]{1,10}[.][a-z]{1,8}@[a-z0-9]{1,10}[.]example[.]com", "[a-f]{6}[0-9a-f]{20,40}7", "[A-Za-z0-9]{30}7x"],
            after in "[ ,;)'\"][a-zA-Z .,:;/-]{0,30}",
        ) {
            let out = scrubbed(&format!("{before} {secret}{after}"));
            prop_assert!(!out.contains(&secret), "{out}");
        }

        #[test]
        fn any_text_is_taken_and_nothing_unprintable_comes_out(text in any::<String>()) {
            prop_assert!(!scrubbed(&text).chars().any(is_unprintable));
        }
    }
}
