//! Text to a tree of values that know their places. The only user of the YAML crate.
//!
//! The tree keeps whatever was written, also what makes no sense: `check` reads it with all mistakes at once, where a typed
//! reader would stop at the first. Repeated keys are kept too and refused there. What YAML itself cannot read hides only the
//! list item it stands in: that item is blanked and the rest is read again.

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_yaml::options::DuplicateKeyPolicy;
use serde_yaml::{Options, Spanned};

use super::raw::{Kind, Node, Place};

/// Nesting beyond this is refused: a route under a route under a route … twelve times. Each level costs some 40 KB of stack
/// in a build without optimisation, of the 2 MB that a thread has.
const DEPTH_MAX: usize = 32;
/// Files beyond this are refused: no one writes 4 MB of rules by hand.
const BYTES_MAX: usize = 4 << 20;
/// How many items of one file may be blanked before the rest is given up.
const RETRIES_MAX: usize = 50;

/// What YAML itself cannot read, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Where reading stopped.
    pub place: Place,
    /// What is wrong there.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// Reads one document. `None`: nothing could be read, and the list says why; an empty file is a null.
pub fn parse(text: &str) -> (Option<Node>, Vec<Unreadable>) {
    let mut faults = Vec::new();
    if text.len() > BYTES_MAX {
        let message = format!("the file has {} bytes; {BYTES_MAX} is the most that is read", text.len());
        return (None, vec![Unreadable { place: Place::default(), message, hint: None }]);
    }
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return (Some(Node { place: Place::default(), kind: Kind::Null }), faults);
    }
    let mut remaining = text.to_owned();
    for _ in 0..RETRIES_MAX {
        match parse_once(&remaining) {
            Ok(node) => return (Some(node), faults),
            Err(fault) => {
                let rest = without_fault(&remaining, fault.place.line);
                faults.push(fault);
                match rest {
                    Some(rest) => remaining = rest,
                    None => break,
                }
            }
        }
    }
    (None, faults)
}

fn parse_once(text: &str) -> Result<Node, Unreadable> {
    match serde_yaml::from_str_with_options::<RawNode>(text, options()) {
        Ok(raw) => {
            let mut node = raw.node;
            settle(&mut node, text);
            Ok(node)
        }
        Err(error) => Err(unreadable(&error, text)),
    }
}

fn options() -> Options {
    serde_yaml::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
        budget: serde_yaml::budget! { max_depth: DEPTH_MAX, flow_nesting_limit: DEPTH_MAX },
    }
}

fn unreadable(error: &serde_yaml::Error, text: &str) -> Unreadable {
    let place = error.location().map_or_else(Place::default, |at| Place {
        line: (at.line() as usize).max(1),
        column: (at.column() as usize).max(1),
        len: 1,
    });
    let at = text.lines().nth(place.line.saturating_sub(1)).unwrap_or("");
    let found = at.chars().nth(place.column.saturating_sub(1));
    let mut place = place;
    let (message, hint) = match error {
        serde_yaml::Error::UnknownAnchor { .. } => (
            "text that starts with `*` is an alias in YAML, and no such anchor is defined".to_owned(),
            Some("put the pattern in quotes: \"*…\"".to_owned()),
        ),
        serde_yaml::Error::UnsupportedTag { .. } => {
            // The crate points behind the tag.
            let before: Vec<char> = at.chars().take(place.column).collect();
            if let Some(start) = before.iter().rposition(|c| *c == '!') {
                place = Place { column: start + 1, len: (place.column - start).saturating_sub(1).max(1), ..place };
            }
            (
                "text that starts with `!` is a tag in YAML, not an exclusion".to_owned(),
                Some("put the pattern in quotes: \"!…\"".to_owned()),
            )
        }
        _ => {
            let whole = error.to_string();
            let line = whole.lines().next().unwrap_or("not readable as YAML");
            let line = line.strip_prefix("error: ").unwrap_or(line);
            // The place is told by the diagnostic; the crate's own words repeat it.
            let line = line.split_once(": ").filter(|(head, _)| head.starts_with("line ")).map_or(line, |(_, tail)| tail);
            let line = line.split(" at line ").next().unwrap_or(line);
            let hint = match found {
                Some('%' | '@' | '`' | '&') => Some("text that starts with this character must be in quotes".to_owned()),
                Some('\t') => Some("indent with spaces, YAML takes no tabs".to_owned()),
                _ if at.contains("${") => Some("put text with `${…}` in quotes".to_owned()),
                _ if at.contains('\t') => Some("indent with spaces, YAML takes no tabs".to_owned()),
                _ => None,
            };
            (format!("not readable as YAML: {line}"), hint)
        }
    };
    Unreadable { place, message, hint }
}

/// The text without the list item that is to blame for a fault in `line`: the one the line stands in, or the one before it,
/// which may have left a bracket or a quote open; whichever lets the reader come further.
fn without_fault(text: &str, line: usize) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let item = item_at(&lines, line)?;
    let before = (0..item.start).rev().find(|&i| !lines[i].trim().is_empty()).and_then(|i| item_at(&lines, i + 1));
    let blanked = |item: Range<usize>| {
        let kept = lines.iter().enumerate().map(|(i, line)| if item.contains(&i) { "" } else { line });
        kept.collect::<Vec<_>>().join("\n")
    };
    let candidates = before.into_iter().chain([item]).map(blanked);
    candidates.max_by_key(|text| parse_once(text).map_or_else(|fault| fault.place.line, |_| usize::MAX))
}

/// The lines of the list item at the shallowest indentation that `line` (from 1) stands in.
fn item_at(lines: &[&str], line: usize) -> Option<Range<usize>> {
    let from = line.min(lines.len()).checked_sub(1)?;
    let indent = |line: &str| line.len() - line.trim_start().len();
    let starts_item = |line: &str| line.trim_start().starts_with("- ");
    let is_key_of_root =
        |line: &str| indent(line) == 0 && !line.trim().is_empty() && !starts_item(line) && !line.starts_with('#');
    let start = (0..=from)
        .rev()
        .take_while(|&i| !is_key_of_root(lines[i]))
        .filter(|&i| starts_item(lines[i]))
        .min_by_key(|&i| (indent(lines[i]), usize::MAX - i))?;
    let depth = indent(lines[start]);
    let ends = |line: &str| {
        let nothing = line.trim().is_empty() || line.trim_start().starts_with('#');
        !nothing && (indent(line) < depth || is_key_of_root(line) || (indent(line) == depth && starts_item(line)))
    };
    Some(start..(start + 1..lines.len()).find(|&i| ends(lines[i])).unwrap_or(lines.len()))
}

/// Gives plain scalars their text as written (`007`, `1.10`), and places the width of their text.
fn settle(node: &mut Node, source: &str) {
    let is_number = matches!(node.kind, Kind::Number(_));
    match &mut node.kind {
        Kind::List(items) => items.iter_mut().for_each(|item| settle(item, source)),
        Kind::Map(pairs) => {
            for (key, value) in pairs {
                settle(key, source);
                settle(value, source);
            }
        }
        Kind::Number(text) | Kind::Bool(_, text) | Kind::Text(text) => {
            let line = source.lines().nth(node.place.line.saturating_sub(1)).unwrap_or("");
            let rest: String = line.chars().skip(node.place.column.saturating_sub(1)).collect();
            if matches!(rest.chars().next(), Some('"' | '\'')) {
                node.place.len = text.chars().count() + 2;
            } else {
                node.place.len = node.place.len.clamp(1, rest.chars().count().max(1));
            }
            if is_number && rest.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.')) {
                let written: String = rest.chars().take(node.place.len).collect();
                written.trim_end().clone_into(text);
            }
        }
        Kind::Null => node.place.len = 1,
    }
}

/// A node as the YAML crate hands it over.
struct RawNode {
    node: Node,
}

impl<'de> Deserialize<'de> for RawNode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<RawKind>::deserialize(deserializer)?;
        let at = spanned.referenced;
        let place = Place {
            line: (at.line() as usize).max(1),
            column: (at.column() as usize).max(1),
            len: (at.span().len() as usize).clamp(1, 200),
        };
        Ok(Self { node: Node { place, kind: spanned.value.0 } })
    }
}

struct RawKind(Kind);

impl<'de> Deserialize<'de> for RawKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor).map(Self)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_none<E>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Bool(value, value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Kind, E> {
        Ok(Kind::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Kind, E> {
        Ok(Kind::Number(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Kind, E> {
        Ok(Kind::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Kind, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<RawNode>()? {
            items.push(item.node);
        }
        Ok(Kind::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
        let mut pairs = Vec::new();
        while let Some(key) = map.next_key::<RawNode>()? {
            if matches!(key.node.kind, Kind::List(_) | Kind::Map(_)) {
                return Err(A::Error::custom("a key must be a plain word"));
            }
            pairs.push((key.node, map.next_value::<RawNode>()?.node));
        }
        Ok(Kind::Map(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_value_knows_its_place() {
        let (node, faults) = parse("a: 1\nlist:\n  - x: hello\n  - {y: [\"q\", 0.05]}\n");
        assert_eq!(faults, []);
        let node = node.unwrap();
        let list = node.get("list").unwrap();
        let Kind::List(items) = &list.kind else { panic!("{list:?}") };
        let hello = items[0].get("x").unwrap();
        assert_eq!((hello.place.line, hello.place.column, hello.place.len), (3, 8, 5));
        let Kind::List(inner) = &items[1].get("y").unwrap().kind else { panic!() };
        assert_eq!((inner[0].place.line, inner[0].place.column, inner[0].place.len), (4, 10, 3));
        assert_eq!(inner[1].kind, Kind::Number("0.05".into()));
    }

    #[test]
    fn repeated_keys_are_kept_for_the_check() {
        let (node, _) = parse("a: 1\na: 2\n");
        let Kind::Map(pairs) = node.unwrap().kind else { panic!() };
        assert_eq!(pairs.len(), 2);
        assert_eq!((pairs[1].0.place.line, pairs[1].0.place.column), (2, 1));
    }

    #[test]
    fn an_unreadable_item_hides_only_itself() {
        let (node, faults) = parse("rules:\n  - alert: A\n    x: *.html\n  - alert: B\n    y: !/health\n  - alert: C\n");
        assert_eq!(faults.iter().map(|f| f.place.line).collect::<Vec<_>>(), [3, 5], "{faults:?}");
        let node = node.unwrap();
        let Kind::List(items) = &node.get("rules").unwrap().kind else { panic!() };
        assert_eq!(items.len(), 1);
    }

    #[test]
    fn an_open_bracket_is_the_fault_of_its_own_item() {
        let (node, faults) =
            parse("rules:\n  - alert: A\n    x: {a: 1\n  - alert: B\n  - alert: C\n    y: \"open\n  - alert: D\n");
        let node = node.unwrap();
        let Kind::List(items) = &node.get("rules").unwrap().kind else { panic!() };
        let names: Vec<_> = items.iter().filter_map(|item| item.get("alert")?.scalar()).collect();
        assert_eq!(names, ["B", "D"], "{faults:?}");
        assert_eq!(faults.len(), 2, "{faults:?}");
    }

    #[test]
    fn words_of_yaml_1_1_are_text() {
        let (node, _) = parse("collapse: off\nt: true\n");
        let node = node.unwrap();
        assert_eq!(node.get("collapse").unwrap().kind, Kind::Text("off".into()));
        assert_eq!(node.get("t").unwrap().kind, Kind::Bool(true, "true".into()));
    }

    #[test]
    fn deep_nesting_is_refused() {
        let text = "[".repeat(5000);
        assert!(!parse(&text).1.is_empty());
        let text = "- ".repeat(5000);
        assert!(!parse(&text).1.is_empty());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[-a-c:{}\\[\\]\"'*&!|>#%, \n\t0-9]{0,80}") {
            let _ = parse(&text);
        }
    }
}
