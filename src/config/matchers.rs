//! Alertmanager's matchers, as strings (`severity=~"P0|P1"`, several with commas, braces around) and as `match`/`match_re`.

use super::diagnostic::Level;
use super::raw::{Check, Map, Node};
use crate::dispatch::matcher::{Matcher, Op};
use crate::model::{Labels, Severity};

/// Reads `matchers`, `match` and `match_re` of a mapping; `prefix` is empty, `source_` or `target_`.
pub fn matchers(check: &mut Check<'_>, map: &Map<'_>, prefix: &str) -> Vec<Matcher> {
    let mut out = Vec::new();
    for (key, op) in [("match", Op::Equal), ("match_re", Op::Regex)] {
        let Some(node) = map.get(&format!("{prefix}{key}")) else { continue };
        for (name, value) in check.any_map(node, &format!("`{prefix}{key}`")).pairs {
            let text = check.text(value, "a matcher");
            push(check, value, name.scalar().unwrap_or("").to_owned(), op, text, &mut out);
        }
    }
    if let Some(node) = map.get(&format!("{prefix}matchers")) {
        for item in node.items() {
            let errors = check.errors();
            let text = check.text(item, "a matcher");
            if check.errors() > errors {
                continue;
            }
            match split(&text) {
                Ok(parts) => {
                    for (name, op, value) in parts {
                        push(check, item, name, op, value, &mut out);
                    }
                }
                Err(message) => check.error_hint(item, message, "write for example severity=~\"P0|P1\""),
            }
        }
    }
    out
}

fn push(check: &mut Check<'_>, node: &Node, name: String, op: Op, value: String, out: &mut Vec<Matcher>) {
    match Matcher::new(name, op, value) {
        Ok(matcher) => {
            warn_of_severity(check, node, &matcher);
            out.push(matcher);
        }
        Err(message) => {
            // The last line of the engine's message names the fault, the lines before it draw the pattern.
            let fault = message.lines().last().unwrap_or("").trim_start_matches("error: ").to_owned();
            check.error(node, format!("not a regular expression: {fault}"));
        }
    }
}

/// Alertmanager knows no scale of severities, spiked has one: a matcher that none of its values meets is a trap when pasted.
fn warn_of_severity(check: &mut Check<'_>, node: &Node, matcher: &Matcher) {
    if matcher.name != "severity" || !matches!(matcher.op, Op::Equal | Op::Regex) || matcher.value.is_empty() {
        return;
    }
    let met = Severity::ALL.iter().any(|severity| matcher.matches(&Labels::new().with("severity", severity.as_str())));
    if !met {
        let hint = Severity::parse(&matcher.value).map_or_else(
            || "P0 is critical, P1 error, P2 warning, P3 info".to_owned(),
            |severity| format!("write severity=\"{severity}\""),
        );
        check.say(Level::Warning, node.place, format!("`{matcher}` never matches: severities are P0, P1, P2 and P3"), Some(hint));
    }
}

/// Splits `{a="b", c=~"d"}` into its comparisons.
pub fn split(text: &str) -> Result<Vec<(String, Op, String)>, String> {
    let fault = |what: &str| Err(format!("`{text}` is not a matcher: {what}"));
    let mut rest = text.trim();
    if let Some(inner) = rest.strip_prefix('{') {
        let Some(inner) = inner.strip_suffix('}') else { return fault("`}` is missing") };
        rest = inner.trim();
    }
    let mut out = Vec::new();
    while !rest.is_empty() {
        let (name, after) = if rest.starts_with('"') {
            let Some(quoted) = quoted(rest) else { return fault("a quote is not closed") };
            quoted
        } else {
            let end = rest.find(['=', '!', '~', ',']).unwrap_or(rest.len());
            (rest[..end].trim().to_owned(), &rest[end..])
        };
        if name.is_empty() || name.contains(char::is_whitespace) {
            return fault("a label name must come first");
        }
        let after = after.trim_start();
        let operators = [("=~", Op::Regex), ("!~", Op::NotRegex), ("!=", Op::NotEqual), ("=", Op::Equal)];
        let Some((op, after)) = operators.iter().find_map(|(sign, op)| after.strip_prefix(sign).map(|after| (*op, after))) else {
            return fault("after the label comes one of =, !=, =~ and !~");
        };
        let after = after.trim_start();
        let (value, after) = if after.starts_with('"') {
            let Some(quoted) = quoted(after) else { return fault("a quote is not closed") };
            quoted
        } else {
            let end = after.find(',').unwrap_or(after.len());
            if after[..end].contains('"') {
                return fault("a quote must stand at the beginning of the value");
            }
            (after[..end].trim_end().to_owned(), &after[end..])
        };
        out.push((name, op, value));
        let after = after.trim_start();
        match after.strip_prefix(',') {
            Some(next) => rest = next.trim_start(),
            None if after.is_empty() => rest = after,
            None => return fault("`,` is missing between two matchers"),
        }
    }
    if out.is_empty() { fault("it is empty") } else { Ok(out) }
}

/// The content of the quoted text that `text` begins with, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((out, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => out.push('\n'),
                c @ ('"' | '\\') => out.push(c),
                c => out.extend(['\\', c]),
            },
            c => out.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, expected: &[(&str, Op, &str)]) {
        let parts = split(text).unwrap();
        let parts: Vec<_> = parts.iter().map(|(n, o, v)| (n.as_str(), *o, v.as_str())).collect();
        assert_eq!(parts, expected, "{text}");
    }

    #[test]
    fn alertmanagers_spellings() {
        check("team=\"checkout\"", &[("team", Op::Equal, "checkout")]);
        check("team = checkout", &[("team", Op::Equal, "checkout")]);
        check("severity=~P0|P1", &[("severity", Op::Regex, "P0|P1")]);
        check("{a=\"x,y\", b!~\"z.*\",}", &[("a", Op::Equal, "x,y"), ("b", Op::NotRegex, "z.*")]);
        check(r#"a!="say \"hi\" \d""#, &[("a", Op::NotEqual, r#"say "hi" \d"#)]);
        check("\"label\"=\"\"", &[("label", Op::Equal, "")]);
    }

    #[test]
    fn what_is_no_matcher_is_refused() {
        for text in ["", "{}", "team", "team checkout", "=x", "a=\"b", "a=\"b\" c=\"d\"", "{a=b"] {
            assert!(split(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a{}=!~\", \\\\ü]{0,20}") {
            let _ = split(&text);
        }
    }
}
