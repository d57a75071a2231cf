//! Inhibition: an alert that explains another keeps the other quiet, as in Alertmanager.

use super::matcher::Matcher;

/// One of `inhibit_rules`.
#[derive(Clone, Debug, PartialEq)]
pub struct InhibitRule {
    /// What the explaining alert matches.
    pub source_matchers: Vec<Matcher>,
    /// What the alert kept quiet matches.
    pub target_matchers: Vec<Matcher>,
    /// Labels that must be equal in both (missing = empty).
    pub equal: Vec<String>,
}
