//! Inhibition: an alert that explains another keeps the other quiet, as in Alertmanager.

use super::matcher::Matcher;
use crate::model::Labels;

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

impl InhibitRule {
    /// Whether a firing `source` keeps `target` quiet. An alert that matches both sides is not kept quiet by one of its
    /// kind, so nothing silences itself.
    pub fn inhibits(&self, source: &Labels, target: &Labels) -> bool {
        let all = |matchers: &[Matcher], labels: &Labels| matchers.iter().all(|m| m.matches(labels));
        all(&self.target_matchers, target)
            && all(&self.source_matchers, source)
            && !(all(&self.source_matchers, target) && all(&self.target_matchers, source))
            && self.equal.iter().all(|name| source.get(name) == target.get(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::matcher::Op;

    #[test]
    fn a_worse_alert_of_the_same_site_keeps_the_lesser_quiet_but_never_itself() {
        let rule = InhibitRule {
            source_matchers: vec![Matcher::new("severity", Op::Equal, "P0").unwrap()],
            target_matchers: vec![Matcher::new("severity", Op::Regex, "P.").unwrap()],
            equal: vec!["site".into(), "absent".into()],
        };
        let labels = |site: &str, severity: &str| Labels::new().with("site", site).with("severity", severity);
        assert!(rule.inhibits(&labels("a", "P0"), &labels("a", "P2")));
        assert!(!rule.inhibits(&labels("a", "P0"), &labels("b", "P2")));
        assert!(!rule.inhibits(&labels("a", "P0"), &labels("a", "P0")));
        assert!(!rule.inhibits(&labels("a", "P1"), &labels("a", "P2")));
    }
}
