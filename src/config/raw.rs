//! The configuration as written: values with their places, and the readers that turn them into plain types.
//!
//! Readers never stop: what cannot be read is told to the [`Check`] and replaced by a default, and whoever must not go on
//! with a default asks [`Check::errors`] before and after.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Reader;
use super::diagnostic::{Diagnostic, Level, did_you_mean, masked};
use crate::model::{Secret, parse_duration};

/// Where a value is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// From 1; 0: the whole file.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// Characters.
    pub len: usize,
}

/// A value with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it begins.
    pub place: Place,
    /// What it is.
    pub kind: Kind,
}

/// What YAML says a value is. Numbers keep their text.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`, and the text.
    Bool(bool, String),
    /// A number.
    Number(String),
    /// Any other scalar.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in order of writing; keys may repeat.
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// The text of a scalar, as written.
    pub fn scalar(&self) -> Option<&str> {
        match &self.kind {
            Kind::Bool(_, text) | Kind::Number(text) | Kind::Text(text) => Some(text),
            Kind::Null | Kind::List(_) | Kind::Map(_) => None,
        }
    }

    /// The value of a key of a mapping; a null is as good as absent.
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Kind::Map(pairs) = &self.kind else { return None };
        let found = pairs.iter().find(|(name, _)| name.scalar() == Some(key))?;
        (found.1.kind != Kind::Null).then_some(&found.1)
    }

    /// A list's items, or the value alone as the only one; a null has none.
    pub fn items(&self) -> &[Self] {
        match &self.kind {
            Kind::List(items) => items,
            Kind::Null => &[],
            _ => std::slice::from_ref(self),
        }
    }

    fn what(&self) -> &'static str {
        match &self.kind {
            Kind::Null => "nothing",
            Kind::Bool(..) => "true or false",
            Kind::Number(_) => "a number",
            Kind::Text(_) => "a text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a mapping",
        }
    }
}

/// Collects the findings about one file and reads its values.
pub struct Check<'a> {
    /// The file as it was named.
    pub file: String,
    source: &'a str,
    reader: &'a dyn Reader,
    found: Vec<Diagnostic>,
    errors: usize,
}

impl<'a> Check<'a> {
    /// For one file with its text.
    pub fn new(file: &str, source: &'a str, reader: &'a dyn Reader) -> Self {
        Self { file: file.to_owned(), source, reader, found: Vec::new(), errors: 0 }
    }

    /// How many errors were found so far.
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// All findings, in order of their lines.
    pub fn finish(mut self) -> Vec<Diagnostic> {
        self.found.sort_by_key(|d| (d.line, d.column));
        // Values of `defaults:` are read for each rule, but their findings told once.
        self.found.dedup();
        self.found
    }

    /// Notes a finding.
    pub fn say(&mut self, level: Level, place: Place, message: impl Into<String>, hint: Option<String>) {
        self.errors += usize::from(level == Level::Error);
        let found = self.finding(level, place, message, hint);
        self.found.push(found);
    }

    /// A finding that is not noted: whoever looks at the value later may have to tell where it is.
    pub fn finding(&self, level: Level, place: Place, message: impl Into<String>, hint: Option<String>) -> Diagnostic {
        let excerpt = match place.line {
            0 => String::new(),
            line => masked(self.source.lines().nth(line - 1).unwrap_or("").trim_end()),
        };
        Diagnostic {
            file: self.file.clone(),
            line: place.line,
            column: place.column,
            level,
            message: message.into(),
            hint,
            span_len: place.len,
            excerpt,
        }
    }

    /// Notes an error without a hint.
    pub fn error(&mut self, node: &Node, message: impl Into<String>) {
        self.say(Level::Error, node.place, message, None);
    }

    /// Notes an error with a hint.
    pub fn error_hint(&mut self, node: &Node, message: impl Into<String>, hint: impl Into<String>) {
        self.say(Level::Error, node.place, message, Some(hint.into()));
    }

    /// Notes a warning.
    pub fn warn(&mut self, node: &Node, message: impl Into<String>) {
        self.say(Level::Warning, node.place, message, None);
    }

    /// The pairs of a mapping whose keys must be among `known`; unknown and repeated keys are errors.
    pub fn map<'n>(&mut self, node: &'n Node, what: &str, known: &[&str]) -> Map<'n> {
        let map = self.any_map(node, what);
        for (key, _) in &map.pairs {
            let name = key.scalar().unwrap_or("");
            if !known.contains(&name) {
                self.say(
                    Level::Error,
                    key.place,
                    format!("unknown key `{name}` in {what}"),
                    did_you_mean(name, known.iter().copied()),
                );
            }
        }
        map
    }

    /// The pairs of a mapping with free keys; repeated keys are errors.
    pub fn any_map<'n>(&mut self, node: &'n Node, what: &str) -> Map<'n> {
        let mut pairs: Vec<(&Node, &Node)> = Vec::new();
        match &node.kind {
            Kind::Map(all) => {
                for (key, value) in all {
                    if let Some((first, _)) = pairs.iter().find(|(first, _)| first.scalar() == key.scalar()) {
                        let name = key.scalar().unwrap_or("");
                        let hint = format!("it is already there in line {}", first.place.line);
                        self.error_hint(key, format!("key `{name}` is given twice"), hint);
                    } else {
                        pairs.push((key, value));
                    }
                }
            }
            Kind::Null => {}
            _ => self.error(node, format!("{what} must be a mapping (`key: value`), but this is {}", node.what())),
        }
        Map { place: node.place, pairs }
    }

    /// The items of a value that must be a list.
    pub fn list<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Node] {
        match &node.kind {
            Kind::List(items) => items,
            Kind::Null => &[],
            _ => {
                self.error_hint(node, format!("{what} must be a list, but this is {}", node.what()), "put `- ` before each item");
                &[]
            }
        }
    }

    /// A text with `${VAR}` filled in. Numbers and booleans are taken as they are written.
    pub fn text(&mut self, node: &Node, what: &str) -> String {
        let Some(text) = node.scalar() else {
            self.error(node, format!("{what} must be a text, but this is {}", node.what()));
            return String::new();
        };
        self.interpolate(node, text)
    }

    /// Texts: one, or a list of them.
    pub fn texts(&mut self, node: &Node, what: &str) -> Vec<String> {
        node.items().iter().map(|item| self.text(item, what)).collect()
    }

    fn interpolate(&mut self, node: &Node, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            let Some(len) = rest[start..].find('}') else { break };
            out.push_str(&rest[..start]);
            let inside = &rest[start + 2..start + len];
            rest = &rest[start + len + 1..];
            let (name, default) = inside.split_once(":-").map_or((inside, None), |(name, default)| (name, Some(default)));
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                self.error(node, format!("`${{{inside}}}` does not name an environment variable"));
                continue;
            }
            match (self.reader.env(name).filter(|value| default.is_none() || !value.is_empty()), default) {
                (Some(value), _) => out.push_str(&value),
                (None, Some(default)) => out.push_str(default),
                (None, None) => {
                    let hint = format!("set it, or write ${{{name}:-default}}");
                    self.error_hint(node, format!("environment variable `{name}` is not set"), hint);
                }
            }
        }
        out + rest
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, node: &Node, what: &str, default: bool) -> bool {
        if let Kind::Bool(value, _) = &node.kind {
            return *value;
        }
        match node.scalar().map(|text| self.interpolate(node, text)).as_deref() {
            Some("true") => true,
            Some("false") => false,
            _ => {
                self.error(node, format!("{what} must be true or false"));
                default
            }
        }
    }

    /// A duration; what is none is told and becomes zero.
    pub fn duration(&mut self, node: &Node, what: &str) -> Duration {
        let errors = self.errors;
        let text = self.text(node, what);
        if self.errors > errors {
            return Duration::ZERO;
        }
        match parse_duration(&text) {
            Ok(duration) => duration,
            Err(message) => {
                let hint = text.parse::<u64>().ok().map(|n| format!("did you mean `{n}s`?"));
                self.say(Level::Error, node.place, format!("{what}: {message}"), hint);
                Duration::ZERO
            }
        }
    }

    /// A duration that must be longer than zero.
    pub fn positive_duration(&mut self, node: &Node, what: &str) -> Duration {
        let errors = self.errors;
        let duration = self.duration(node, what);
        if duration.is_zero() && self.errors == errors {
            self.error(node, format!("{what} must be longer than zero"));
        }
        duration
    }

    /// A whole number.
    pub fn whole(&mut self, node: &Node, what: &str) -> u64 {
        let errors = self.errors;
        let text = self.text(node, what);
        text.parse().unwrap_or_else(|_| {
            if self.errors == errors {
                self.error(node, format!("{what} must be a whole number, but this is `{text}`"));
            }
            0
        })
    }

    /// A finite number.
    pub fn number(&mut self, node: &Node, what: &str) -> f64 {
        let errors = self.errors;
        let text = self.text(node, what);
        text.parse::<f64>().ok().filter(|n| n.is_finite()).unwrap_or_else(|| {
            if self.errors == errors {
                self.error(node, format!("{what} must be a number, but this is `{text}`"));
            }
            0.0
        })
    }

    /// A size: `64KB`, `5MB`, or bytes as a number.
    pub fn bytes(&mut self, node: &Node, what: &str) -> usize {
        let errors = self.errors;
        let text = self.text(node, what);
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let unit = match text[digits..].trim().to_ascii_lowercase().as_str() {
            "" | "b" => Some(1.0),
            "kb" | "k" => Some(1e3),
            "mb" | "m" => Some(1e6),
            "gb" | "g" => Some(1e9),
            "kib" => Some(1024.0),
            "mib" => Some(1_048_576.0),
            "gib" => Some(1_073_741_824.0),
            _ => None,
        };
        let number = text[..digits].parse::<f64>().ok().zip(unit).map(|(n, unit)| n * unit).filter(|n| (1.0..=1e12).contains(n));
        number.map_or_else(
            || {
                if self.errors == errors {
                    self.error_hint(
                        node,
                        format!("{what} must be a size, but this is `{text}`"),
                        "write for example 64KB or 5MB",
                    );
                }
                1
            },
            |n| n as usize,
        )
    }

    /// A path; relative ones start from the folder of this file.
    pub fn path(&mut self, node: &Node, what: &str) -> PathBuf {
        let text = self.text(node, what);
        self.beside(&text)
    }

    /// A path as seen from the folder of this file.
    pub fn beside(&self, path: &str) -> PathBuf {
        let folder = Path::new(&self.file).parent().filter(|folder| !folder.as_os_str().is_empty());
        match folder {
            Some(folder) if !Path::new(path).is_absolute() => folder.join(path),
            _ => PathBuf::from(path),
        }
    }

    /// A secret from `key`, or from the file that `key_file` names; giving both is an error.
    pub fn secret(&mut self, map: &Map<'_>, key: &str) -> Option<Secret> {
        let from_file = map.get(&format!("{key}_file"));
        match (map.get(key), from_file) {
            (Some(node), Some(_)) => {
                self.error(node, format!("give either `{key}` or `{key}_file`, not both"));
                None
            }
            (Some(node), None) => {
                let errors = self.errors;
                let text = self.text(node, key);
                if text.is_empty() && self.errors == errors {
                    self.error(node, format!("`{key}` is empty"));
                }
                (!text.is_empty()).then(|| Secret::new(text))
            }
            (None, Some(node)) => {
                let path = self.path(node, &format!("`{key}_file`"));
                match self.reader.read(&path) {
                    // An empty secret would let everybody in.
                    Ok(text) if text.trim().is_empty() => {
                        self.error(node, format!("`{}` is empty", path.display()));
                        None
                    }
                    Ok(text) => Some(Secret::new(text.trim_end_matches(['\r', '\n']))),
                    Err(error) => {
                        self.error(node, format!("cannot read `{}`: {error}", path.display()));
                        None
                    }
                }
            }
            (None, None) => None,
        }
    }
}

/// The pairs of a mapping, each key once.
#[derive(Clone, Debug)]
pub struct Map<'n> {
    /// Where the mapping begins.
    pub place: Place,
    /// Keys and values in order of writing.
    pub pairs: Vec<(&'n Node, &'n Node)>,
}

impl<'n> Map<'n> {
    /// The value of a key; a null is as good as absent.
    pub fn get(&self, key: &str) -> Option<&'n Node> {
        self.pairs.iter().find(|(name, value)| name.scalar() == Some(key) && value.kind != Kind::Null).map(|(_, value)| *value)
    }

    /// The key itself, to point at.
    pub fn key(&self, key: &str) -> Option<&'n Node> {
        self.pairs.iter().find(|(name, _)| name.scalar() == Some(key)).map(|(name, _)| *name)
    }
}
