//! Rule files: `defaults:` and `rules:`, each rule on its own, so that a bad one disables only itself.

use std::collections::BTreeMap;
use std::time::Duration;

use super::conditions::{CONDITIONS, LATER, condition, patterns};
use super::diagnostic::{Level, did_you_mean, nearest};
use super::raw::{Check, Kind, Map, Node};
use super::rule_set::{Broken, RuleSet, Template};
use crate::model::{Dim, Labels, Metric, Severity};
use crate::rule::{Condition, GroupBy, Place, Rule, Select, SeverityChoice};

/// Keys of a rule file.
pub(super) const FILE: [&str; 2] = ["defaults", "rules"];
/// Keys of a rule beside its condition.
pub(super) const RULE: [&str; 9] =
    ["alert", "where", "by", "for", "keep_firing_for", "severity", "owner", "labels", "annotations"];
/// Keys of `defaults:`.
pub(super) const DEFAULTS: [&str; 8] = ["where", "by", "for", "keep_firing_for", "severity", "owner", "labels", "annotations"];
/// Keys of `where:`.
pub(super) const WHERE: [&str; 13] =
    ["site", "env", "page", "step", "release", "browser", "os", "device", "country", "source", "campaign", "vendor", "tags"];

/// Labels that spiked sets itself.
const OWN_LABELS: [&str; 6] = ["alertname", "severity", "site", "env", "page", "step"];

/// Where the names of alerts were first seen: file and line.
pub(super) type Names = BTreeMap<String, Place>;

/// Reads the rules of one file into `set`; the good ones are taken whatever the others are. `declared` are the tags of all sites.
pub(super) fn rule_file(check: &mut Check<'_>, node: &Node, declared: &[String], names: &mut Names, set: &mut RuleSet) {
    if node.kind == Kind::Null {
        check.warn(node, "the file has no rules");
        return;
    }
    let start = check.errors();
    let file = check.map(node, "a rule file", &FILE);
    let nothing = Node { place: node.place, kind: Kind::Null };
    let defaults = file.get("defaults").unwrap_or(&nothing);
    let defaults_map = check.map(defaults, "`defaults`", &DEFAULTS);
    let before = check.errors();
    // Read once for themselves, so that their mistakes are told once, where they are.
    let _ = common(check, &defaults_map, &Map { place: node.place, pairs: Vec::new() }, declared);
    let defaults_good = check.errors() == before;
    templates(check, &defaults_map, None, &mut set.templates);
    let empty = Map { place: node.place, pairs: Vec::new() };
    let defaults_map = if defaults_good { &defaults_map } else { &empty };
    let items = file.get("rules").map(|node| check.list(node, "`rules`"));
    if items.is_none_or(<[Node]>::is_empty) && check.errors() == 0 {
        check.warn(node, "the file has no rules");
    }
    let whole = Broken { file: check.file.clone(), alert: None };
    if check.errors() > start {
        // The frame of the file is bent: nobody can say what its author meant to be in it.
        set.broken.push(whole.clone());
    }
    for item in items.unwrap_or_default() {
        let before = check.errors();
        let rule = one_rule(check, item, defaults_map, declared, names);
        let alert = item.get("alert").and_then(Node::scalar).map(str::to_owned);
        if let Kind::Map(pairs) = &item.kind {
            let pairs = pairs.iter().map(|(key, value)| (key, value)).collect();
            templates(check, &Map { place: item.place, pairs }, alert.as_deref(), &mut set.templates);
        }
        if check.errors() > before {
            set.broken.push(Broken { alert, ..whole.clone() });
        } else if defaults_good {
            set.rules.extend(rule);
        }
    }
}

/// The texts of annotations, for whoever knows templates: also those of a rule that has another mistake.
fn templates(check: &Check<'_>, map: &Map<'_>, alert: Option<&str>, into: &mut Vec<Template>) {
    let Some(Kind::Map(pairs)) = map.get("annotations").map(|node| &node.kind) else { return };
    for (key, value) in pairs {
        let (Some(name), Some(text)) = (key.scalar(), value.scalar()) else { continue };
        let at = check.finding(Level::Error, value.place, String::new(), None);
        into.push(Template { alert: alert.map(str::to_owned), name: name.to_owned(), text: text.to_owned(), at });
    }
}

fn one_rule(check: &mut Check<'_>, node: &Node, defaults: &Map<'_>, declared: &[String], names: &mut Names) -> Option<Rule> {
    if !matches!(node.kind, Kind::Map(_)) {
        check.error_hint(node, "a rule must be a mapping with `alert` and a condition", "see docs/rules.md");
        return None;
    }
    let map = check.any_map(node, "a rule");
    let condition = the_condition(check, node, &map);
    let alert = alert_name(check, node, &map, names);
    let common = common(check, &map, defaults, declared);
    let condition = condition?;
    if let (Condition::Absent(_), Some(node)) = (&condition, map.get("for"))
        && !common.hold.is_zero()
    {
        let hint = "`absent: {for: …}` alone says how long nothing may come".to_owned();
        check.say(Level::Note, node.place, "`for` comes on top of the time in `absent`", Some(hint));
    }
    if let Condition::Release(_) = &condition {
        check_compares(check, &map, &common);
    }
    let mut by = common.by;
    if condition.metric() == Some(&Metric::Conversion) {
        by = by_step(check, &map, by);
        if !common.select.page.is_empty() {
            let hint = "write `where: {step: NAME}`";
            check.error_hint(node, "`conversion` is of funnel steps, so `where` cannot name pages", hint);
        }
    }
    Some(Rule {
        alert: alert?,
        select: common.select,
        by,
        condition,
        hold: common.hold,
        keep_firing: common.keep_firing,
        severity: common.severity,
        owner: common.owner,
        labels: common.labels,
        annotations: common.annotations,
        place: Place { file: check.file.clone(), line: node.place.line },
    })
}

/// A `release` rule must see more than one release in each of its groups.
fn check_compares(check: &mut Check<'_>, map: &Map<'_>, common: &Common) {
    let Some(here) = map.key("release") else { return };
    if common.by.contains(&GroupBy::Dim(Dim::Release)) {
        let place = map.get("by").unwrap_or(here);
        let hint = "leave it out of `by`: the release that is worse is named as the alert's slice";
        check.error_hint(place, "`release` compares releases, so `by` cannot have `release`", hint);
    }
    let of_releases = common.select.dims.iter().find(|(dim, _)| *dim == Dim::Release);
    if let Some((_, patterns)) = of_releases
        && let [only] = patterns.as_slice()
        && !only.exclude
        && !only.glob.contains('*')
    {
        let hint =
            format!("write for example `release: \"{}*\"`, or leave it out", only.glob.split('@').next().unwrap_or_default());
        check.error_hint(
            map.get("where").unwrap_or(here),
            "`where` lets one release through, so there is nothing to compare",
            hint,
        );
    }
}

/// A conversion belongs to a step, whatever its pages are.
fn by_step(check: &mut Check<'_>, rule: &Map<'_>, mut by: Vec<GroupBy>) -> Vec<GroupBy> {
    if let Some(node) = rule.get("by").filter(|_| by.contains(&GroupBy::Page)) {
        check.say(Level::Note, node.place, "`conversion` is of funnel steps: `page` is left out", None);
    }
    by.retain(|key| *key != GroupBy::Page);
    if !by.contains(&GroupBy::Step) {
        by.push(GroupBy::Step);
    }
    by
}

fn the_condition(check: &mut Check<'_>, node: &Node, map: &Map<'_>) -> Option<Condition> {
    let mut found: Option<(&Node, Option<Condition>)> = None;
    let mut blamed = false;
    for (key, value) in &map.pairs {
        let name = key.scalar().unwrap_or("");
        if RULE.contains(&name) {
            continue;
        }
        if LATER.contains(&name) {
            check.error(key, format!("condition `{name}` is not available in this version"));
            blamed = true;
        } else if !CONDITIONS.contains(&name) {
            let hint = did_you_mean(name, CONDITIONS.into_iter().chain(RULE));
            blamed |= nearest(name, CONDITIONS).is_some() || (hint.is_none() && matches!(value.kind, Kind::Map(_)));
            check.say(Level::Error, key.place, format!("unknown condition or key `{name}`"), hint);
        } else if let Some((first, _)) = &found {
            let message =
                format!("a rule has exactly one condition, but this one has `{}` and `{name}`", first.scalar().unwrap_or(""));
            check.error_hint(key, message, "write two rules");
            let _ = condition(check, name, value);
        } else {
            found = Some((key, condition(check, name, value)));
        }
    }
    if found.is_none() && !blamed {
        check.error_hint(node, "the rule has no condition", format!("add one of {}", CONDITIONS.join(", ")));
    }
    found.and_then(|(_, condition)| condition)
}

fn alert_name(check: &mut Check<'_>, node: &Node, map: &Map<'_>, names: &mut Names) -> Option<String> {
    let Some(alert) = map.get("alert") else {
        check.error_hint(node, "the rule has no name", "add `alert: Name`");
        return None;
    };
    let errors = check.errors();
    let name = check.text(alert, "`alert`");
    if check.errors() > errors {
        return None;
    }
    if name.trim().is_empty() {
        check.error(alert, "`alert` is empty");
        return None;
    }
    if let Some(first) = names.get(&name) {
        let hint = format!("it is already in {}:{}", first.file, first.line);
        check.error_hint(alert, format!("alert `{name}` is defined twice"), hint);
        return None;
    }
    names.insert(name.clone(), Place { file: check.file.clone(), line: alert.place.line });
    Some(name)
}

/// What a rule and `defaults:` have in common.
struct Common {
    select: Select,
    by: Vec<GroupBy>,
    hold: Duration,
    keep_firing: Duration,
    severity: SeverityChoice,
    owner: String,
    labels: Labels,
    annotations: Labels,
}

fn common(check: &mut Check<'_>, rule: &Map<'_>, defaults: &Map<'_>, declared: &[String]) -> Common {
    let get = |key: &str| rule.get(key).or_else(|| defaults.get(key));
    let select = select(check, rule.get("where"), defaults.get("where"), declared);
    let by = get("by").map_or_else(|| vec![GroupBy::Page, GroupBy::Step], |node| group_by(check, node, declared));
    let hold = get("for").map_or(Duration::ZERO, |node| check.duration(node, "`for`"));
    let keep_firing = get("keep_firing_for").map_or(Duration::ZERO, |node| check.duration(node, "`keep_firing_for`"));
    let severity = get("severity").map_or(SeverityChoice::Fixed(Severity::P2), |node| severity(check, node));
    let owner = get("owner").map(|node| check.text(node, "`owner`")).unwrap_or_default();
    let mut labels = labels(check, defaults.get("labels"), "`labels`");
    let mut annotations = self::labels(check, defaults.get("annotations"), "`annotations`");
    for (name, value) in self::labels(check, rule.get("labels"), "`labels`").iter() {
        labels.set(name, value);
    }
    for (name, value) in self::labels(check, rule.get("annotations"), "`annotations`").iter() {
        annotations.set(name, value);
    }
    Common { select, by, hold, keep_firing, severity, owner, labels, annotations }
}

fn labels(check: &mut Check<'_>, node: Option<&Node>, what: &str) -> Labels {
    let mut labels = Labels::new();
    let Some(node) = node else { return labels };
    for (key, value) in check.any_map(node, what).pairs {
        let name = key.scalar().unwrap_or("");
        let sound = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !sound {
            check.error_hint(key, format!("`{name}` is not a label name"), "use letters, digits and `_`, and no digit first");
        } else if what == "`labels`" && OWN_LABELS.contains(&name) {
            let hint = if name == "severity" { Some("use the key `severity` of the rule".to_owned()) } else { None };
            check.say(Level::Error, key.place, format!("label `{name}` is set by spiked itself"), hint);
        }
        if value.kind != Kind::Null {
            let value = check.text(value, &format!("`{name}`"));
            labels.set(name, value);
        }
    }
    labels
}

fn severity(check: &mut Check<'_>, node: &Node) -> SeverityChoice {
    let errors = check.errors();
    let text = check.text(node, "`severity`");
    if text == "auto" {
        return SeverityChoice::Auto;
    }
    Severity::parse(&text).map_or_else(
        || {
            if check.errors() == errors {
                let known = ["P0", "P1", "P2", "P3", "critical", "error", "warning", "info", "auto"];
                let hint = did_you_mean(&text, known).unwrap_or_else(|| format!("write one of {}", known.join(", ")));
                check.error_hint(node, format!("unknown severity `{text}`"), hint);
            }
            SeverityChoice::Fixed(Severity::P2)
        },
        SeverityChoice::Fixed,
    )
}

fn group_by(check: &mut Check<'_>, node: &Node, declared: &[String]) -> Vec<GroupBy> {
    let mut by: Vec<GroupBy> = Vec::new();
    for item in node.items() {
        let errors = check.errors();
        let text = check.text(item, "`by`");
        if check.errors() > errors {
            continue;
        }
        let key = match text.as_str() {
            "page" => GroupBy::Page,
            "step" => GroupBy::Step,
            "site" | "env" => {
                check.say(Level::Note, item.place, format!("`{text}` is always in an alert's group"), None);
                continue;
            }
            other => {
                let tag = other.strip_prefix("tags.").filter(|tag| !tag.is_empty());
                if let Some(dim) = Dim::parse(other) {
                    GroupBy::Dim(dim)
                } else if let Some(tag) = tag.or_else(|| declared.iter().map(String::as_str).find(|tag| *tag == other)) {
                    GroupBy::Tag(tag.to_owned())
                } else {
                    let known =
                        ["page", "step"].into_iter().chain(Dim::ALL.map(Dim::as_str)).chain(declared.iter().map(String::as_str));
                    let hint = did_you_mean(other, known)
                        .unwrap_or_else(|| "write page, step, a dimension like browser, or tags.NAME".to_owned());
                    check.error_hint(item, format!("unknown key `{other}` in `by`"), hint);
                    continue;
                }
            }
        };
        if by.contains(&key) {
            check.warn(item, format!("`{text}` is twice in `by`"));
        } else {
            by.push(key);
        }
    }
    by
}

/// The rule's `where` over the defaults', key by key.
fn select(check: &mut Check<'_>, rule: Option<&Node>, defaults: Option<&Node>, declared: &[String]) -> Select {
    let mut select = Select::default();
    let known: Vec<&str> = WHERE.into_iter().chain(declared.iter().map(String::as_str)).collect();
    for node in [defaults, rule].into_iter().flatten() {
        let map = check.map(node, "`where`", &known);
        for (key, value) in &map.pairs {
            if value.kind == Kind::Null {
                continue;
            }
            let name = key.scalar().unwrap_or("");
            if name == "tags" {
                for (tag, value) in check.any_map(value, "`tags`").pairs {
                    let tag = tag.scalar().unwrap_or("").to_owned();
                    let list = patterns(check, value, &format!("`{tag}`"));
                    select.tags.retain(|(name, _)| *name != tag);
                    select.tags.push((tag, list));
                }
                continue;
            }
            let list = patterns(check, value, &format!("`{name}`"));
            match name {
                "site" => select.site = list,
                "env" => select.env = list,
                "page" => select.page = list,
                "step" => select.step = list,
                _ => {
                    if let Some(dim) = Dim::parse(name) {
                        select.dims.retain(|(known, _)| *known != dim);
                        select.dims.push((dim, list));
                    } else if declared.iter().any(|tag| tag == name) {
                        select.tags.retain(|(known, _)| known != name);
                        select.tags.push((name.to_owned(), list));
                    }
                }
            }
        }
    }
    select.dims.sort_by_key(|(dim, _)| *dim);
    select.tags.sort_by(|a, b| a.0.cmp(&b.0));
    select
}
