//! A mistake, where it is, and what to do about it; printed for people with an excerpt, or as JSON for machines.
//!
//! Excerpts are lines of the user's file, so values of secret keys are masked in them.

use std::fmt;
use std::sync::LazyLock;

use annotate_snippets::{AnnotationKind, Group, Level as SnippetLevel, Renderer, Snippet};
use regex::Regex;
use serde::Serialize;

/// How bad it is. Only errors keep a configuration or a rule from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Cannot be used as it stands.
    Error,
    /// Can be used, but probably does not do what was meant.
    Warning,
    /// Worth knowing.
    Note,
}

/// One finding of the check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The file as it was named.
    pub file: String,
    /// From 1; 0 where the whole file is meant.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// How bad.
    pub level: Level,
    /// What is wrong, in lower case.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// Characters to underline.
    #[serde(skip)]
    pub span_len: usize,
    /// The line of the file, with secrets masked; empty where there is none.
    #[serde(skip)]
    pub excerpt: String,
}

impl Diagnostic {
    /// Whether this keeps the configuration or the rule from being used.
    pub fn is_error(&self) -> bool {
        self.level == Level::Error
    }

    /// For people: `file:line:col`, excerpt, underline, hint. Colours only where `color`.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let level = match self.level {
            Level::Error => SnippetLevel::ERROR,
            Level::Warning => SnippetLevel::WARNING,
            Level::Note => SnippetLevel::NOTE,
        };
        let message = printable(&self.message);
        let hint = self.hint.as_ref().map(|hint| SnippetLevel::HELP.with_name("hint").message(printable(hint)));
        if self.line == 0 || self.excerpt.is_empty() {
            let title = level.primary_title(format!("{}: {message}", self.place()));
            return renderer.render(&[Group::with_title(title).elements(hint)]);
        }
        let excerpt = printable(&self.excerpt);
        let snippet = Snippet::source(excerpt.as_str())
            .line_start(self.line)
            .path(&self.file)
            .annotation(AnnotationKind::Primary.span(self.byte_range(&excerpt)));
        renderer.render(&[level.primary_title(message).element(snippet).elements(hint)])
    }

    /// Place, mistake and hint in one line, for a message that says itself that it is about errors.
    pub fn said(&self) -> String {
        let hint = self.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        printable(&format!("{}: {}{hint}", self.place(), self.message))
    }

    fn byte_range(&self, excerpt: &str) -> std::ops::Range<usize> {
        let at = |chars: usize| excerpt.char_indices().nth(chars).map_or(excerpt.len(), |(at, _)| at);
        let start = self.column.saturating_sub(1);
        at(start)..at(start + self.span_len.max(1))
    }

    fn place(&self) -> String {
        if self.line == 0 { self.file.clone() } else { format!("{}:{}:{}", self.file, self.line, self.column) }
    }
}

/// `rules/shop.yaml:4:7: error: …`, in one line, for logs.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Note => "note",
        };
        write!(f, "{}: {level}: {}", self.place(), self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " (hint: {hint})"),
            None => Ok(()),
        }
    }
}

/// Control characters would let a file write to the terminal that shows its mistakes.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c == '\t' {
                ' '
            } else if c.is_control() {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// A key and its value, or a list of ingest keys.
static PAIRS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r#"\bkeys\s*:\s*\[(?P<list>[^\]{]*)|(?P<key>[A-Za-z_]+)["']?\s*:\s*"#,
        r#"(?P<value>\$\{[^}]*\}|"[^"]*"?|'[^']*'?|[^\s,}\]\[{"']+)"#,
    ))
    .expect("the pattern is fixed")
});

/// Keys that hold a secret …
const SECRET_KEYS: [&str; 13] = [
    "key",
    "credentials",
    "bearer_token",
    "admin_token",
    "token",
    "password",
    "secret",
    "signing_secret",
    "routing_key",
    "service_key",
    "api_url",
    "url",
    "auth_password",
];
/// … as do all that end so.
const SECRET_ENDINGS: [&str; 9] =
    ["password", "secret", "token", "routing_key", "service_key", "api_url", "url", "_sid", "_credentials"];

/// A slip of the finger in a key must not print what stands behind it.
fn is_secret(key: &str) -> bool {
    if key.ends_with("_file") {
        return false;
    }
    SECRET_ENDINGS.iter().any(|ending| key.ends_with(ending)) || nearest(key, SECRET_KEYS).is_some()
}

/// The line with the values of secret keys masked, character for character. References like `${VAR}` stay.
pub(super) fn masked(line: &str) -> String {
    let mut out = line.to_owned();
    for found in PAIRS.captures_iter(line) {
        if found.name("key").is_some_and(|key| !is_secret(key.as_str())) {
            continue;
        }
        let Some(value) = found.name("value").or_else(|| found.name("list")) else { continue };
        let bare = value.as_str().trim_matches(['"', '\'']);
        if bare.starts_with("${") || bare == "null" || bare == "~" {
            continue;
        }
        let masked: String = value.as_str().chars().map(|c| if matches!(c, '"' | '\'' | ',' | ' ') { c } else { '*' }).collect();
        // Masking keeps the number of characters, but not of bytes: find the place anew by characters.
        let before = line[..value.start()].chars().count();
        let count = value.as_str().chars().count();
        let chars: Vec<char> = out.chars().collect();
        out = chars[..before].iter().collect::<String>() + &masked + &chars[before + count..].iter().collect::<String>();
    }
    out
}

/// The nearest of the known words, when it is near enough to be a slip of the finger.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let best = known.into_iter().map(|candidate| (distance(word, candidate), candidate)).min_by_key(|(d, _)| *d)?;
    let allowed = (word.chars().count().max(best.1.chars().count()) / 3).max(1);
    (best.0 <= allowed).then_some(best.1)
}

/// `did you mean …?` for the nearest known word.
pub(super) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(word, known).map(|near| format!("did you mean `{near}`?"))
}

/// Edit distance with neighbouring letters swapped as one edit; words are cut at 64 characters.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(64).collect();
    let b: Vec<char> = b.chars().take(64).collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let swap = usize::from(a[i - 1] != b[j - 1]);
            let mut cost = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + swap);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                cost = cost.min(rows[i - 2][j - 2] + 1);
            }
            row.push(cost);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn slips_find_the_word_that_was_meant() {
        assert_eq!(nearest("spikes", ["spike", "drop"]), Some("spike"));
        assert_eq!(nearest("sevreity", ["severity", "owner"]), Some("severity"));
        assert_eq!(nearest("zebra", ["spike", "drop"]), None);
    }

    #[test]
    fn secrets_are_masked_and_references_stay() {
        assert_eq!(masked(r#"  - {key: "abc", kind: browsr}"#), r#"  - {key: "***", kind: browsr}"#);
        assert_eq!(masked("api_url: https://x"), "api_url: *********");
        assert_eq!(masked("password: \"${PW}\""), "password: \"${PW}\"");
        assert_eq!(masked("{token: ${A}, url: ${B:-x}}"), "{token: ${A}, url: ${B:-x}}");
        assert_eq!(masked("keys: [abc, d]"), "keys: [***, *]");
        assert_eq!(masked("monkey: see"), "monkey: see");
        assert_eq!(
            masked("{routing_kee: abc, pasword: \"x y\", kind: sever}"),
            "{routing_kee: ***, pasword: \"* *\", kind: sever}"
        );
    }

    #[test]
    fn a_diagnostic_shows_place_excerpt_and_hint() {
        let diagnostic = Diagnostic {
            file: "spiked.yaml".into(),
            line: 4,
            column: 13,
            level: Level::Error,
            message: "receiver `oncal` is not defined".into(),
            hint: Some("did you mean `oncall`?".into()),
            span_len: 5,
            excerpt: "  receiver: oncal".into(),
        };
        insta::assert_snapshot!(diagnostic.render(false), @r"
        error: receiver `oncal` is not defined
         --> spiked.yaml:4:13
          |
        4 |   receiver: oncal
          |             ^^^^^
          |
          = hint: did you mean `oncall`?
        ");
        assert_eq!(
            diagnostic.to_string(),
            "spiked.yaml:4:13: error: receiver `oncal` is not defined (hint: did you mean `oncall`?)"
        );
    }

    proptest! {
        #[test]
        fn masking_keeps_columns(line in "(key: |url: |ü|\"|[a-z]| |,)*") {
            prop_assert_eq!(masked(&line).chars().count(), line.chars().count());
        }
    }
}
