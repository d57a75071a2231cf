//! Label sets: sorted name-value pairs, as in Prometheus. They identify alerts and choose routes.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

/// A sorted set of labels. An absent label and an empty one are the same, so empty values are never kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of a label; an absent one is empty, as matchers expect.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Whether the label is there.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Sets a label; an empty value removes it.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let (name, value) = (name.into(), value.into());
        if value.is_empty() {
            self.0.remove(&name);
        } else {
            self.0.insert(name, value);
        }
    }

    /// The same set with one label more.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.set(name, value);
        self
    }

    /// In order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How many labels.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A hash that is the same on every machine and in every version: identities derived from it may be stored.
    pub fn fingerprint(&self) -> u64 {
        let mut hash = Xxh3::new();
        for (name, value) in &self.0 {
            hash.update(name.as_bytes());
            hash.update(&[0xff]);
            hash.update(value.as_bytes());
            hash.update(&[0xff]);
        }
        hash.digest()
    }

    /// The labels that all of `sets` share with the same value.
    pub fn common<'a>(mut sets: impl Iterator<Item = &'a Self>) -> Self {
        let Some(first) = sets.next() else { return Self::new() };
        let mut common = first.clone();
        for set in sets {
            common.0.retain(|name, value| set.get(name) == value);
        }
        common
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut labels = Self::new();
        for (name, value) in pairs {
            labels.set(name, value);
        }
        labels
    }
}

/// `{page="/cart", site="shop"}`, as Prometheus prints it.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.0.iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            write!(f, "{comma}{name}={value:?}")?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_value_is_an_absent_label() {
        let labels = Labels::new().with("page", "/cart").with("step", "");
        assert_eq!(labels.to_string(), r#"{page="/cart"}"#);
        assert_eq!(labels.get("step"), "");
        assert_eq!(labels.with("page", ""), Labels::new());
    }

    #[test]
    fn fingerprints_tell_apart_where_a_value_ends() {
        let one = Labels::new().with("a", "bc");
        let two = Labels::new().with("ab", "c");
        assert_ne!(one.fingerprint(), two.fingerprint());
        assert_eq!(one.fingerprint(), one.clone().fingerprint());
    }

    #[test]
    fn common_keeps_what_all_share() {
        let one = Labels::new().with("site", "shop").with("page", "/a");
        let two = Labels::new().with("site", "shop").with("page", "/b");
        assert_eq!(Labels::common([&one, &two].into_iter()), Labels::new().with("site", "shop"));
    }
}
