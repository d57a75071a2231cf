//! Sources as text: read, stripped of comments and strings, and cut into functions.

use std::path::{Path, PathBuf};

/// One Rust file.
pub(crate) struct Source {
    /// Path from the root of the project.
    pub(crate) name: String,
    /// As written.
    pub(crate) text: String,
    /// Without comments and the insides of strings; lines stay where they are.
    pub(crate) code: String,
    /// Only compiled for tests.
    pub(crate) is_test: bool,
}

/// The project's folder.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files under a folder of the project, in order of their names.
pub(crate) fn all_sources(folder: &str) -> Vec<Source> {
    files(&root().join(folder), &["rs"]).into_iter().map(|(name, text)| Source::new(name, text)).collect()
}

/// Name and text of all files under a folder with one of these endings (a file without an ending is found by its name).
pub(crate) fn files(folder: &Path, endings: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for item in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = item.path();
            let name = item.file_name().to_string_lossy().into_owned();
            if path.is_dir() {
                let skipped = ["target", ".git", "fixtures", "spiked-data", "__pycache__"];
                if !skipped.contains(&name.as_str()) {
                    folders.push(path);
                }
                continue;
            }
            let ending = path.extension().map_or(name.clone(), |ending| ending.to_string_lossy().into_owned());
            if !endings.contains(&ending.as_str()) {
                continue;
            }
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            let name = path.strip_prefix(root()).unwrap_or(&path).to_string_lossy().into_owned();
            found.push((name, text));
        }
    }
    found.sort();
    found
}

impl Source {
    fn new(name: String, text: String) -> Self {
        let stem = name.rsplit('/').next().unwrap_or("").trim_end_matches(".rs");
        let is_test = name.starts_with("tests/") || stem == "tests" || stem.starts_with("tests_") || stem.ends_with("_tests");
        let code = stripped(&text);
        Self { name, text, code, is_test }
    }

    /// The module of `src/` that it belongs to.
    pub(crate) fn module(&self) -> &str {
        let path = self.name.strip_prefix("src/").unwrap_or(&self.name);
        path.split('/').next().unwrap_or("").trim_end_matches(".rs")
    }

    /// The code without its test module.
    pub(crate) fn live(&self) -> &str {
        self.code.find("#[cfg(test)]\nmod ").map_or(&self.code, |at| &self.code[..at])
    }

    /// Lines whose live code has the word.
    pub(crate) fn lines_with(&self, word: &str) -> impl Iterator<Item = usize> {
        self.live().lines().enumerate().filter(move |(_, line)| line.contains(word)).map(|(at, _)| at + 1)
    }

    /// Modules of the crate that the live code names, with their lines.
    pub(crate) fn imports(&self) -> Vec<(usize, String)> {
        let live = self.live();
        let mut found = Vec::new();
        let marks = live.match_indices("crate::").chain(live.match_indices("spiked::").filter(|_| self.module() == "main"));
        for (at, mark) in marks {
            let line = live[..at].lines().count().max(1);
            let rest = &live[at + mark.len()..];
            let names: Vec<String> = match rest.strip_prefix('{') {
                Some(group) => first_names(group),
                None => vec![word(rest)],
            };
            found.extend(names.into_iter().map(|name| (line, name)));
        }
        found
    }
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

/// The first name of each member of `{a::b, c}`, whose opening brace is already gone.
fn first_names(group: &str) -> Vec<String> {
    let (mut depth, mut names, mut at_start) = (0, Vec::new(), true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_start = true,
            c if at_start && !c.is_whitespace() => {
                names.push(word(&group[at..]));
                at_start = false;
            }
            _ => {}
        }
    }
    names
}

/// Functions longer than `max` lines: line, name, length.
pub(crate) fn long_functions(source: &Source, max: usize) -> Vec<(usize, String, usize)> {
    let code = &source.code;
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let before = code[..at].chars().next_back().unwrap_or(' ');
        let name = word(&code[at + 3..]);
        if before.is_ascii_alphanumeric() || before == '_' || name.is_empty() {
            continue;
        }
        let Some(length) = body_end(&code[at..]) else { continue };
        let lines = code[at..at + length].matches('\n').count() + 1;
        if lines > max {
            found.push((code[..at].matches('\n').count() + 1, name, lines));
        }
    }
    found
}

/// Where the function that begins here ends; `None` where it has no body.
fn body_end(code: &str) -> Option<usize> {
    let (mut parens, mut braces) = (0i32, 0i32);
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => parens += 1,
            ')' | ']' => parens -= 1,
            ';' if parens == 0 && braces == 0 => return None,
            '{' if parens == 0 || braces > 0 => braces += 1,
            '}' if braces > 0 => {
                braces -= 1;
                if braces == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// The text with comments and the insides of strings and characters blanked out.
fn stripped(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => line_end(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'*') => block_end(bytes, at),
            b'"' => string_end(bytes, at),
            b'r' if !is_word(bytes, at) => raw_end(bytes, at).unwrap_or(at),
            b'\'' => char_end(bytes, at),
            _ => at,
        };
        if end == at {
            out.push(bytes[at]);
            at += 1;
        } else {
            out.extend(bytes[at..end].iter().map(|b| if *b == b'\n' { b'\n' } else { b' ' }));
            at = end;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Whether a word goes on here.
fn is_word(bytes: &[u8], at: usize) -> bool {
    at > 0 && (bytes[at - 1].is_ascii_alphanumeric() && bytes[at - 1] != b'b' || bytes[at - 1] == b'_')
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|b| *b == b'\n').map_or(bytes.len(), |length| at + length)
}

fn block_end(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0;
    while at < bytes.len() {
        match &bytes[at..bytes.len().min(at + 2)] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

fn string_end(bytes: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn raw_end(bytes: &[u8], at: usize) -> Option<usize> {
    let hashes = bytes[at + 1..].iter().take_while(|b| **b == b'#').count();
    let open = at + 1 + hashes;
    if bytes.get(open) != Some(&b'"') {
        return None;
    }
    let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
    let length = bytes[open + 1..].windows(close.len()).position(|window| window == close)?;
    Some(open + 1 + length + close.len())
}

/// The end of a character literal; a lifetime has none.
fn char_end(bytes: &[u8], at: usize) -> usize {
    if bytes.get(at + 1) == Some(&b'\\') {
        let from = at + 3;
        return bytes[from.min(bytes.len())..].iter().position(|b| *b == b'\'').map_or(at, |length| from + length + 1);
    }
    // One character, of up to four bytes, and its quote.
    let close = bytes.iter().enumerate().skip(at + 2).take(4).find(|(_, b)| **b == b'\'');
    let Some((close, _)) = close else { return at };
    let one = std::str::from_utf8(&bytes[at + 1..close]).is_ok_and(|text| text.chars().count() == 1);
    if one { close + 1 } else { at }
}

#[test]
fn comments_strings_and_characters_are_not_code() {
    let text = "a /* { /* { */ } */ b // {\n\"{ \\\" {\" r#\"{\"{\"# '{' '\\'' 'x: &'a str { }";
    let code = stripped(text);
    assert_eq!(code.matches('{').count(), 1, "{code}");
    assert_eq!(code.matches('\n').count(), 1);
    let source = Source::new("src/x.rs".to_owned(), "use crate::{a::{b, c}, d};\nfn f<'a>(x: [u8; 2])\n{\n}\n".to_owned());
    assert_eq!(source.imports(), [(1, "a".to_owned()), (1, "d".to_owned())]);
    assert_eq!(long_functions(&source, 2), [(2, "f".to_owned(), 3)]);
}
