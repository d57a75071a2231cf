//! `route:` and `inhibit_rules:` as in Alertmanager; what a child does not say, it has from its parent.

use std::time::Duration;

use super::diagnostic::{Level, did_you_mean};
use super::matchers::matchers;
use super::raw::{Check, Map, Node};
use crate::dispatch::inhibit::InhibitRule;
use crate::dispatch::route::{GROUP_INTERVAL, GROUP_WAIT, GroupLabels, REPEAT_INTERVAL, Route};

/// Keys of a route.
pub const ROUTE: [&str; 12] = [
    "receiver",
    "group_by",
    "continue",
    "matchers",
    "match",
    "match_re",
    "group_wait",
    "group_interval",
    "repeat_interval",
    "mute_time_intervals",
    "active_time_intervals",
    "routes",
];
/// Keys of an entry of `inhibit_rules:`.
pub const INHIBIT: [&str; 8] =
    ["name", "source_matchers", "source_match", "source_match_re", "target_matchers", "target_match", "target_match_re", "equal"];

/// What routes may name.
pub struct Names<'a> {
    /// Receivers.
    pub receivers: &'a [String],
    /// Time intervals.
    pub intervals: &'a [String],
}

/// The route of a configuration that has none.
pub fn default_route() -> Route {
    Route {
        path: "{}".to_owned(),
        matchers: Vec::new(),
        receiver: super::TERMINAL.to_owned(),
        group_by: GroupLabels::These(Vec::new()),
        group_wait: GROUP_WAIT,
        group_interval: GROUP_INTERVAL,
        repeat_interval: REPEAT_INTERVAL,
        go_on: false,
        mute_time_intervals: Vec::new(),
        active_time_intervals: Vec::new(),
        routes: Vec::new(),
    }
}

/// Reads the whole tree.
pub fn root(check: &mut Check<'_>, node: &Node, names: &Names<'_>) -> Route {
    let mut route = default_route();
    let map = check.map(node, "`route`", &ROUTE);
    for key in ["matchers", "match", "match_re", "mute_time_intervals", "active_time_intervals"] {
        if let Some(node) = map.key(key).filter(|_| map.get(key).is_some_and(|node| !node.items().is_empty())) {
            check.error_hint(
                node,
                format!("the root route matches everything: `{key}` cannot stand here"),
                "put it in one of `routes`",
            );
        }
    }
    if map.get("continue").is_some_and(|node| check.boolean(node, "`continue`", false)) {
        check.error(map.key("continue").unwrap_or(node), "the root route has no sibling: `continue` cannot stand here");
    }
    if map.get("receiver").is_none() {
        check.error(node, "the root route needs a `receiver`");
    }
    fill(check, &map, names, &mut route);
    route
}

fn child(check: &mut Check<'_>, node: &Node, names: &Names<'_>, parent: &Route) -> Route {
    let map = check.map(node, "a route", &ROUTE);
    let matchers = matchers(check, &map, "");
    let go_on = map.get("continue").is_some_and(|node| check.boolean(node, "`continue`", false));
    let said: Vec<String> = matchers.iter().map(ToString::to_string).collect();
    let mut path = format!("{}/{{{}}}", parent.path, said.join(","));
    let alike =
        parent.routes.iter().filter(|sibling| sibling.path == path || sibling.path.starts_with(&format!("{path}#"))).count();
    if alike > 0 {
        path = format!("{path}#{}", alike + 1);
    }
    let mut route = Route {
        path,
        matchers,
        go_on,
        mute_time_intervals: Vec::new(),
        active_time_intervals: Vec::new(),
        routes: Vec::new(),
        ..parent.clone()
    };
    for (key, list) in
        [("mute_time_intervals", &mut route.mute_time_intervals), ("active_time_intervals", &mut route.active_time_intervals)]
    {
        for item in map.get(key).map(Node::items).unwrap_or_default() {
            let name = check.text(item, &format!("`{key}`"));
            known(check, item, "time interval", &name, names.intervals);
            list.push(name);
        }
    }
    fill(check, &map, names, &mut route);
    route
}

fn fill(check: &mut Check<'_>, map: &Map<'_>, names: &Names<'_>, route: &mut Route) {
    if let Some(node) = map.get("receiver") {
        route.receiver = check.text(node, "`receiver`");
        known(check, node, "receiver", &route.receiver, names.receivers);
    }
    if let Some(node) = map.get("group_by") {
        route.group_by = group_by(check, node);
    }
    if let Some(node) = map.get("group_wait") {
        route.group_wait = check.duration(node, "`group_wait`");
    }
    if let Some(node) = map.get("group_interval") {
        route.group_interval = check.positive_duration(node, "`group_interval`");
    }
    if let Some(node) = map.get("repeat_interval") {
        route.repeat_interval = check.positive_duration(node, "`repeat_interval`");
    }
    let said = map.get("repeat_interval").or_else(|| map.get("group_interval"));
    if let Some(node) = said.filter(|_| !route.repeat_interval.is_zero() && route.repeat_interval < route.group_interval) {
        check.warn(node, "`repeat_interval` is shorter than `group_interval`: repeats come sooner than changes");
    }
    for node in map.get("routes").map(|node| check.list(node, "`routes`")).unwrap_or_default() {
        let shadow = route.routes.iter().find(|sibling| sibling.matchers.is_empty() && !sibling.go_on);
        if shadow.is_some() {
            let hint = "give that route matchers, or `continue: true`".to_owned();
            check.say(
                Level::Warning,
                node.place,
                "an earlier route here matches everything: this one is never reached",
                Some(hint),
            );
        }
        let route_of_child = child(check, node, names, route);
        route.routes.push(route_of_child);
    }
}

fn known(check: &mut Check<'_>, node: &Node, what: &str, name: &str, names: &[String]) {
    if name.is_empty() || names.iter().any(|known| known == name) {
        return;
    }
    let hint = did_you_mean(name, names.iter().map(String::as_str));
    check.say(Level::Error, node.place, format!("{what} `{name}` is not defined"), hint);
}

fn group_by(check: &mut Check<'_>, node: &Node) -> GroupLabels {
    let mut labels: Vec<String> = Vec::new();
    for item in node.items() {
        let label = check.text(item, "`group_by`");
        if labels.contains(&label) {
            check.error(item, format!("`{label}` is twice in `group_by`"));
        }
        labels.push(label);
    }
    if labels.iter().any(|label| label == "...") {
        if labels.len() > 1 {
            check.error(node, "`...` groups by all labels and must stand alone in `group_by`");
        }
        return GroupLabels::All;
    }
    GroupLabels::These(labels)
}

/// Reads `inhibit_rules:`.
pub fn inhibit_rules(check: &mut Check<'_>, node: &Node) -> Vec<InhibitRule> {
    let mut out = Vec::new();
    for item in check.list(node, "`inhibit_rules`") {
        let map = check.map(item, "an inhibit rule", &INHIBIT);
        let errors = check.errors();
        let source_matchers = matchers(check, &map, "source_");
        let target_matchers = matchers(check, &map, "target_");
        if check.errors() == errors && (source_matchers.is_empty() || target_matchers.is_empty()) {
            let side = if source_matchers.is_empty() { "source_matchers" } else { "target_matchers" };
            check.warn(item, format!("without `{side}` every alert is meant"));
        }
        let equal = map.get("equal").map(|node| check.texts(node, "`equal`")).unwrap_or_default();
        out.push(InhibitRule { source_matchers, target_matchers, equal });
    }
    out
}

/// The schedule that a tree yields, one line for each route: whom it tells, after what time, how often.
pub fn schedule(route: &Route) -> Vec<String> {
    let mut out = Vec::new();
    describe(route, &mut out);
    out
}

fn describe(route: &Route, out: &mut Vec<String>) {
    let matchers: Vec<String> = route.matchers.iter().map(ToString::to_string).collect();
    let of = if matchers.is_empty() { String::new() } else { format!(" ({})", matchers.join(", ")) };
    let first =
        if route.group_wait == Duration::ZERO { "at once".to_owned() } else { format!("after {}", show(route.group_wait)) };
    let mut line = format!(
        "receiver {}{of}: first {first}, changes at most every {}, repeats every {}",
        route.receiver,
        show(route.group_interval),
        show(route.repeat_interval)
    );
    if !route.mute_time_intervals.is_empty() {
        line.extend([", silent in ", &route.mute_time_intervals.join(", ")]);
    }
    if !route.active_time_intervals.is_empty() {
        line.extend([", only in ", &route.active_time_intervals.join(", ")]);
    }
    if route.go_on {
        line += ", and goes on to the next route";
    }
    out.push(line);
    for child in &route.routes {
        describe(child, out);
    }
}

fn show(duration: Duration) -> String {
    crate::model::format_duration(duration)
}
