//! The demo's configuration and rules, compiled in so that the demo needs no file.

use std::path::Path;

use anyhow::bail;

use crate::config::{Config, Diagnostic, Nothing, load_rules_for, parse_str};
use crate::rule::Rule;

/// The demo's `spiked.yaml`.
pub const DEMO_YAML: &str = include_str!("demo.yaml");

/// The rules of `rules/`, by file name.
pub const RULES: [(&str, &str); 3] = [
    ("rules/first-seen.yaml", include_str!("../../../rules/first-seen.yaml")),
    ("rules/shop.yaml", include_str!("../../../rules/shop.yaml")),
    ("rules/traffic.yaml", include_str!("../../../rules/traffic.yaml")),
];

/// What [`RULES`] holds, as the configuration's checks take it.
pub fn rule_files() -> Vec<(String, String)> {
    RULES.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

/// The demo's configuration, with its data in `data_dir`, and its rules. Fails only if what is compiled in is wrong.
pub fn load(data_dir: &Path) -> anyhow::Result<(Config, Vec<Rule>)> {
    let (config, mut found) = parse_str(&Nothing, "demo.yaml", DEMO_YAML);
    let declared = config.as_ref().map(Config::declared_tags).unwrap_or_default();
    let (rules, found_in_rules) = load_rules_for(&Nothing, &rule_files(), &declared);
    found.extend(found_in_rules);
    match config {
        Some(config) if !found.iter().any(Diagnostic::is_error) => {
            Ok((Config { data_dir: data_dir.to_owned(), rule_files: Vec::new(), ..config }, rules))
        }
        _ => bail!("the demo's own configuration is wrong: {found:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_compiled_in_has_no_mistake_and_not_even_a_warning() {
        let (_, found) = parse_str(&Nothing, "demo.yaml", DEMO_YAML);
        assert!(found.is_empty(), "{found:?}");
        let (config, rules) = load(Path::new("/tmp/demo")).unwrap();
        assert_eq!(rules.len(), 9);
        assert_eq!(config.sites["shop"].funnels[0].steps.len(), 4);
        assert_eq!((config.route.group_wait, config.route.group_interval), (Duration::ZERO, Duration::from_secs(10)));
    }
}
