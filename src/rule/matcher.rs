//! `where:` which series and events a rule looks at. Values are exact, or globs with `*`; `!x` excludes.

use serde::{Deserialize, Serialize};

use crate::model::Dim;

/// One value of a `where:` list.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pattern {
    /// The text with `*` for any run of characters.
    pub glob: String,
    /// `!x`: must not match.
    pub exclude: bool,
}

impl Pattern {
    /// Reads `payment`, `/checkout/*` or `!/health`.
    pub fn parse(text: &str) -> Self {
        match text.strip_prefix('!') {
            Some(glob) => Self { glob: glob.to_owned(), exclude: true },
            None => Self { glob: text.to_owned(), exclude: false },
        }
    }

    fn hits(&self, value: &str) -> bool {
        glob_matches(&self.glob, value)
    }

    /// Whether a value passes a list: it hits one of the inclusions (if there is any) and none of the exclusions.
    pub fn all_pass(patterns: &[Self], value: &str) -> bool {
        let mut included = true;
        let mut wanted = false;
        let mut found = false;
        for pattern in patterns {
            let hit = pattern.hits(value);
            if pattern.exclude {
                included &= !hit;
            } else {
                wanted = true;
                found |= hit;
            }
        }
        included && (!wanted || found)
    }
}

/// Whether `value` matches `glob`, where `*` stands for any run of characters, also none.
pub fn glob_matches(glob: &str, value: &str) -> bool {
    let mut parts = glob.split('*');
    let first = parts.next().unwrap_or("");
    let Some(mut rest) = value.strip_prefix(first) else { return false };
    let Some(mut last) = parts.next() else { return rest.is_empty() };
    for part in parts {
        // `last` is followed by another `*`: the leftmost place leaves the most for what follows.
        let Some(at) = rest.find(last) else { return false };
        rest = &rest[at + last.len()..];
        last = part;
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

/// A checked `where:`. Keys that are not named let everything pass.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Select {
    /// Sites.
    pub site: Vec<Pattern>,
    /// Environments.
    pub env: Vec<Pattern>,
    /// Page templates.
    pub page: Vec<Pattern>,
    /// Funnel steps.
    pub step: Vec<Pattern>,
    /// Dimensions.
    pub dims: Vec<(Dim, Vec<Pattern>)>,
    /// Declared tags.
    pub tags: Vec<(String, Vec<Pattern>)>,
}

impl Select {
    /// Whether a series may pass. Dimensions and tags are asked event by event.
    pub fn series_passes(&self, site: &str, env: &str, page: &str, step: &str) -> bool {
        Pattern::all_pass(&self.site, site)
            && Pattern::all_pass(&self.env, env)
            && Pattern::all_pass(&self.page, page)
            && Pattern::all_pass(&self.step, step)
    }

    /// Whether the whole `where:` speaks of series alone, so that no event need be asked.
    pub fn is_series_only(&self) -> bool {
        self.dims.is_empty() && self.tags.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(patterns: &[&str], value: &str, passes: bool) {
        let patterns: Vec<_> = patterns.iter().map(|p| Pattern::parse(p)).collect();
        assert_eq!(Pattern::all_pass(&patterns, value), passes, "{patterns:?} on {value:?}");
    }

    #[test]
    fn lists_globs_and_exclusions() {
        check(&[], "anything", true);
        check(&["payment"], "payment", true);
        check(&["payment"], "payments", false);
        check(&["/checkout/*"], "/checkout/payment", true);
        check(&["*/pay*"], "/checkout/payment", true);
        check(&["a*b*a"], "aba", true);
        check(&["a*a"], "a", false);
        check(&["!/health"], "/cart", true);
        check(&["!/health"], "/health", false);
        check(&["/c/*", "!/c/old"], "/c/old", false);
        check(&["*"], "", true);
    }

    proptest! {
        #[test]
        fn globs_agree_with_a_regular_expression(glob in "[ab*]{0,6}", value in "[ab]{0,8}") {
            let regex = regex::Regex::new(&format!("^{}$", glob.replace('*', ".*"))).unwrap();
            prop_assert_eq!(glob_matches(&glob, &value), regex.is_match(&value));
        }
    }
}
