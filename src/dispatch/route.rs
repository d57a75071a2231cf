//! The route tree: which receivers hear of an alert, grouped how, with which timers. Alertmanager's meaning throughout.

use std::time::Duration;

use super::matcher::Matcher;
use crate::model::Labels;

/// A node of the checked tree. What a child does not say, it has from its parent (`config` has filled it in).
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Stable path in the tree (`{}/{team="checkout"}`), part of the group key.
    pub path: String,
    /// All must match. The root matches everything.
    pub matchers: Vec<Matcher>,
    /// Who hears.
    pub receiver: String,
    /// Labels that make one group.
    pub group_by: GroupLabels,
    /// Delay of a group's first notification.
    pub group_wait: Duration,
    /// Shortest time between notifications of a group that changed.
    pub group_interval: Duration,
    /// Resend while nothing changed. Exact: does not depend on `group_interval`.
    pub repeat_interval: Duration,
    /// Go on with the next sibling after a match.
    pub go_on: bool,
    /// Names of intervals in which nothing is sent.
    pub mute_time_intervals: Vec<String>,
    /// Names of intervals outside of which nothing is sent; empty: always active.
    pub active_time_intervals: Vec<String>,
    /// Children, in order.
    pub routes: Vec<Route>,
}

/// `group_by:`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupLabels {
    /// `['...']`: every label set is a group of its own.
    All,
    /// These labels.
    These(Vec<String>),
}

/// Alertmanager's defaults.
pub const GROUP_WAIT: Duration = Duration::from_secs(30);
/// See [`GROUP_WAIT`].
pub const GROUP_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// See [`GROUP_WAIT`].
pub const REPEAT_INTERVAL: Duration = Duration::from_secs(4 * 3600);

impl Route {
    /// The routes that an alert takes: the deepest that match, first match wins unless `continue` is set. Never empty: the
    /// root takes what no child does.
    pub fn find(&self, labels: &Labels) -> Vec<&Self> {
        let mut found = Vec::new();
        for child in &self.routes {
            if child.matchers.iter().all(|m| m.matches(labels)) {
                found.extend(child.find(labels));
                if !child.go_on {
                    break;
                }
            }
        }
        if found.is_empty() {
            found.push(self);
        }
        found
    }
}

impl GroupLabels {
    /// The part of an alert's labels that names its group.
    pub fn pick(&self, labels: &Labels) -> Labels {
        match self {
            Self::All => labels.clone(),
            Self::These(names) => names.iter().map(|name| (name.clone(), labels.get(name).to_owned())).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::matcher::Op;

    fn route(path: &str, matcher: Option<(&str, &str)>, go_on: bool, routes: Vec<Route>) -> Route {
        Route {
            path: path.into(),
            matchers: matcher.map(|(n, v)| Matcher::new(n, Op::Equal, v).unwrap()).into_iter().collect(),
            receiver: path.into(),
            group_by: GroupLabels::These(vec![]),
            group_wait: GROUP_WAIT,
            group_interval: GROUP_INTERVAL,
            repeat_interval: REPEAT_INTERVAL,
            go_on,
            mute_time_intervals: vec![],
            active_time_intervals: vec![],
            routes,
        }
    }

    #[track_caller]
    fn check(labels: &Labels, expected: &str) {
        let tree = route(
            "root",
            None,
            false,
            vec![
                route("all", Some(("team", "web")), true, vec![route("deep", Some(("severity", "P0")), false, vec![])]),
                route("first", Some(("site", "shop")), false, vec![]),
                route("second", Some(("site", "shop")), false, vec![]),
            ],
        );
        let found: Vec<_> = tree.find(labels).iter().map(|r| r.path.clone()).collect();
        assert_eq!(found.join(" "), expected);
    }

    #[test]
    fn the_deepest_first_match_wins_and_continue_goes_on() {
        let shop = Labels::new().with("site", "shop");
        check(&Labels::new(), "root");
        check(&shop, "first");
        check(&shop.clone().with("team", "web"), "all first");
        check(&Labels::new().with("team", "web").with("severity", "P0"), "deep");
    }

    #[test]
    fn groups_are_named_by_their_labels() {
        let labels = Labels::new().with("site", "shop").with("page", "/a");
        assert_eq!(GroupLabels::These(vec!["site".into(), "no".into()]).pick(&labels).to_string(), r#"{site="shop"}"#);
        assert_eq!(GroupLabels::All.pick(&labels), labels);
        assert!(GroupLabels::These(vec![]).pick(&labels).is_empty());
    }
}
