//! Label matchers as in Alertmanager: `team="checkout"`, `severity=~"P0|P1"`, anchored; an absent label is empty.

use std::fmt;

use regex::Regex;

use crate::model::Labels;

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`, anchored on both sides.
    Regex,
    /// `!~`
    NotRegex,
}

/// One comparison of a label with a value.
#[derive(Clone, Debug)]
pub struct Matcher {
    /// The label's name.
    pub name: String,
    /// How to compare.
    pub op: Op,
    /// With what, as written.
    pub value: String,
    regex: Option<Regex>,
}

impl Matcher {
    /// Makes a matcher; the error is the regular expression's.
    pub fn new(name: impl Into<String>, op: Op, value: impl Into<String>) -> Result<Self, String> {
        let (name, value) = (name.into(), value.into());
        let regex = match op {
            Op::Regex | Op::NotRegex => {
                Some(regex::RegexBuilder::new(&format!("^(?:{value})$")).size_limit(1 << 20).build().map_err(|e| e.to_string())?)
            }
            Op::Equal | Op::NotEqual => None,
        };
        Ok(Self { name, op, value, regex })
    }

    /// Whether the labels satisfy it.
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.name);
        match (self.op, &self.regex) {
            (Op::Regex, Some(regex)) => regex.is_match(value),
            (Op::NotRegex, Some(regex)) => !regex.is_match(value),
            (Op::NotEqual, _) => value != self.value,
            _ => value == self.value,
        }
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = match self.op {
            Op::Equal => "=",
            Op::NotEqual => "!=",
            Op::Regex => "=~",
            Op::NotRegex => "!~",
        };
        write!(f, "{}{op}{:?}", self.name, self.value)
    }
}
