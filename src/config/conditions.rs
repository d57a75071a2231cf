//! The one condition of a rule: from what is written to `rule::Condition`.

use std::time::Duration;

use super::budget::{ONE_PER_MONTH, ONE_PER_PAGE_AND_WEEK, parse_budget};
use super::diagnostic::{Level, did_you_mean};
use super::raw::{Check, Kind, Map, Node};
use crate::model::Metric;
use crate::rule::{
    Absent, Bound, Condition, DropRule, ErrorFilter, FalseAlarms, FirstSeen, Frequency, Pattern, ReleaseRule, Spike, Threshold,
};

/// The conditions of this version, in the order of the manual.
pub const CONDITIONS: [&str; 7] = ["spike", "drop", "threshold", "frequency", "first_seen", "absent", "release"];
/// Conditions of the manual that this version does not have.
pub const LATER: [&str; 5] = ["regression", "burn_rate", "heartbeat", "integrity", "guard"];
/// Keys of `spike:`.
pub const SPIKE: [&str; 6] = ["of", "errors", "min_ratio", "min_errors", "min_views", "false_alarms"];
/// Keys of `drop:`.
pub const DROP: [&str; 2] = ["of", "false_alarms"];
/// Keys of `first_seen:`.
pub const FIRST_SEEN: [&str; 3] = ["of", "errors", "false_alarms"];
/// Keys of `frequency:`.
pub const FREQUENCY: [&str; 4] = ["of", "errors", "more_than", "within"];
/// Keys of `threshold:`.
pub const THRESHOLD: [&str; 6] = ["of", "errors", "above", "below", "over", "min_views"];
/// Keys of `absent:`.
pub const ABSENT: [&str; 2] = ["of", "for"];
/// Keys of `release:`.
pub const RELEASE: [&str; 7] = ["of", "errors", "min_ratio", "min_errors", "min_views", "within", "false_alarms"];
/// Keys of `errors:`.
pub const ERRORS: [&str; 4] = ["type", "status", "vendor", "level"];

const METRICS: [&str; 6] = ["error_rate", "session_error_rate", "errors", "views", "affected_sessions", "conversion"];
const METRICS_LATER: [&str; 3] = ["coverage", "duplicates", "retention"];

/// The longest time that windows remember.
const SPAN_MAX: Duration = Duration::from_secs(24 * 3600);

/// How long a release is new, unless a rule says otherwise.
const RELEASE_WITHIN: Duration = Duration::from_secs(24 * 3600);
/// The longest time that a site remembers a release as new.
const RELEASE_WITHIN_MAX: Duration = Duration::from_secs(7 * 86_400);

/// Reads the condition with the given key.
pub fn condition(check: &mut Check<'_>, key: &str, node: &Node) -> Option<Condition> {
    if node.kind == Kind::Null && matches!(key, "frequency" | "threshold" | "absent") {
        check.error(node, format!("`{key}` is empty"));
        return None;
    }
    match key {
        "spike" => Some(Condition::Spike(spike(check, node))),
        "drop" => Some(Condition::Drop(drop_rule(check, node))),
        "first_seen" => Some(Condition::FirstSeen(first_seen(check, node))),
        "frequency" => Some(Condition::Frequency(frequency(check, node))),
        "threshold" => Some(Condition::Threshold(threshold(check, node))),
        "absent" => Some(Condition::Absent(absent(check, node))),
        "release" => Some(Condition::Release(release(check, node))),
        _ => None,
    }
}

fn spike(check: &mut Check<'_>, node: &Node) -> Spike {
    let map = check.map(node, "`spike`", &SPIKE);
    let of = metric(check, &map, "spike", Metric::ErrorRate, |of| matches!(of, Metric::ErrorRate | Metric::SessionErrorRate));
    let min_ratio = min_ratio(check, &map, 1.15, "a spike is a rise", "2 means: twice the usual rate");
    let min_errors = map.get("min_errors").map_or(3, |node| check.whole(node, "`min_errors`"));
    let min_views = map.get("min_views").map_or(0, |node| check.whole(node, "`min_views`"));
    let errors = error_filter(check, &map, &of);
    Spike { of, errors, min_ratio, min_errors, min_views, false_alarms: budget(check, &map, ONE_PER_MONTH) }
}

fn min_ratio(check: &mut Check<'_>, map: &Map<'_>, default: f64, why: &str, hint: &str) -> f64 {
    map.get("min_ratio").map_or(default, |node| {
        let errors = check.errors();
        let ratio = check.number(node, "`min_ratio`");
        if ratio < 1.0 && check.errors() == errors {
            check.error_hint(node, format!("`min_ratio` must be at least 1, {why}, but this is {ratio}"), hint);
        }
        ratio
    })
}

fn release(check: &mut Check<'_>, node: &Node) -> ReleaseRule {
    let map = check.map(node, "`release`", &RELEASE);
    let of = metric(check, &map, "release", Metric::ErrorRate, |of| matches!(of, Metric::ErrorRate | Metric::SessionErrorRate));
    let min_ratio = min_ratio(check, &map, 1.5, "the new release must be worse", "2 means: twice the others' rate");
    let within = map.get("within").map_or(RELEASE_WITHIN, |node| {
        let within = check.positive_duration(node, "`within`");
        if within > RELEASE_WITHIN_MAX {
            let hint = "a release that is a week old is not new";
            check.error_hint(node, "`within` of `release` can be at most 7d", hint);
        }
        within
    });
    ReleaseRule {
        min_ratio,
        min_errors: map.get("min_errors").map_or(3, |node| check.whole(node, "`min_errors`")),
        min_views: map.get("min_views").map_or(0, |node| check.whole(node, "`min_views`")),
        within,
        errors: error_filter(check, &map, &of),
        of,
        false_alarms: budget(check, &map, ONE_PER_MONTH),
    }
}

fn drop_rule(check: &mut Check<'_>, node: &Node) -> DropRule {
    let map = check.map(node, "`drop`", &DROP);
    let fits = |of: &Metric| matches!(of, Metric::Views | Metric::Track(_) | Metric::Conversion);
    let of = metric(check, &map, "drop", Metric::Views, fits);
    DropRule { of, false_alarms: budget(check, &map, ONE_PER_MONTH) }
}

fn first_seen(check: &mut Check<'_>, node: &Node) -> FirstSeen {
    let map = check.map(node, "`first_seen`", &FIRST_SEEN);
    if let Some(of) = map.get("of") {
        let text = check.text(of, "`of`");
        if !matches!(text.as_str(), "error" | "errors") {
            check.error_hint(of, format!("`first_seen` is of errors, not of `{text}`"), "write `of: error`");
        }
    }
    FirstSeen { errors: error_filter(check, &map, &Metric::Errors), false_alarms: budget(check, &map, ONE_PER_PAGE_AND_WEEK) }
}

fn frequency(check: &mut Check<'_>, node: &Node) -> Frequency {
    let map = check.map(node, "`frequency`", &FREQUENCY);
    let of = metric(check, &map, "frequency", Metric::Errors, |of| !of.is_rate());
    let errors = error_filter(check, &map, &of);
    let more_than = required(check, &map, node, "frequency", "more_than").map_or(0, |node| check.whole(node, "`more_than`"));
    let within = required(check, &map, node, "frequency", "within").map_or(Duration::ZERO, |node| span(check, node, "`within`"));
    Frequency { of, errors, more_than, within }
}

fn threshold(check: &mut Check<'_>, node: &Node) -> Threshold {
    let map = check.map(node, "`threshold`", &THRESHOLD);
    let of = metric(check, &map, "threshold", Metric::ErrorRate, |_| true);
    let errors = error_filter(check, &map, &of);
    let bound = match (map.get("above"), map.get("below")) {
        (Some(above), None) => Bound::Above(bound(check, above, &of, "`above`")),
        (None, Some(below)) => Bound::Below(bound(check, below, &of, "`below`")),
        (Some(_), Some(below)) => {
            check.error_hint(below, "`threshold` has both `above` and `below`", "write two rules, one for each");
            Bound::Above(0.0)
        }
        (None, None) => {
            let hint = "add for example `above: 5%`".to_owned();
            check.say(Level::Error, map.place, "`threshold` needs one of `above` and `below`", Some(hint));
            Bound::Above(0.0)
        }
    };
    let over = required(check, &map, node, "threshold", "over").map_or(Duration::ZERO, |node| span(check, node, "`over`"));
    let min_views = map.get("min_views").map_or(0, |node| check.whole(node, "`min_views`"));
    // A rate without a view is no number.
    let min_views = if of.is_rate() { min_views.max(1) } else { min_views };
    Threshold { of, errors, bound, over, min_views }
}

fn absent(check: &mut Check<'_>, node: &Node) -> Absent {
    let map = check.map(node, "`absent`", &ABSENT);
    let of = metric(check, &map, "absent", Metric::Views, |of| matches!(of, Metric::Views | Metric::Track(_)));
    let over = required(check, &map, node, "absent", "for").map_or(Duration::ZERO, |node| span(check, node, "`for`"));
    Absent { of, over }
}

fn required<'n>(check: &mut Check<'_>, map: &Map<'n>, node: &Node, condition: &str, key: &str) -> Option<&'n Node> {
    let found = map.get(key);
    if found.is_none() && matches!(node.kind, Kind::Map(_)) {
        check.error(map.key(key).unwrap_or(node), format!("`{condition}` needs `{key}`"));
    }
    found
}

fn span(check: &mut Check<'_>, node: &Node, what: &str) -> Duration {
    let duration = check.positive_duration(node, what);
    if duration > SPAN_MAX {
        check.error(node, format!("{what} can be at most 24h"));
    }
    duration
}

fn metric(check: &mut Check<'_>, map: &Map<'_>, condition: &str, default: Metric, fits: fn(&Metric) -> bool) -> Metric {
    let Some(node) = map.get("of") else { return default };
    let Some(of) = read_metric(check, node) else { return default };
    if !fits(&of) {
        let usual = default.as_str();
        check.error_hint(
            node,
            format!("`{condition}` cannot be of `{}`", of.as_str()),
            format!("write for example `of: {usual}`"),
        );
    }
    of
}

fn read_metric(check: &mut Check<'_>, node: &Node) -> Option<Metric> {
    if matches!(node.kind, Kind::Map(_)) {
        let map = check.map(node, "`of`", &["track"]);
        let name = map.get("track").map(|name| check.text(name, "`track`")).filter(|name| !name.is_empty());
        if name.is_none() {
            check.error_hint(node, "`of` names no event", "write `of: {track: purchase}`");
        }
        return name.map(Metric::Track);
    }
    let errors = check.errors();
    let text = check.text(node, "`of`");
    if check.errors() > errors {
        return None;
    }
    match text.as_str() {
        "error_rate" => Some(Metric::ErrorRate),
        "session_error_rate" => Some(Metric::SessionErrorRate),
        "errors" => Some(Metric::Errors),
        "views" => Some(Metric::Views),
        "affected_sessions" => Some(Metric::AffectedSessions),
        "conversion" => Some(Metric::Conversion),
        other if METRICS_LATER.contains(&other) => {
            check.error(node, format!("metric `{other}` is not available in this version"));
            None
        }
        other => {
            let hint =
                did_you_mean(other, METRICS).unwrap_or_else(|| format!("known metrics: {}, {{track: NAME}}", METRICS.join(", ")));
            check.error_hint(node, format!("unknown metric `{other}`"), hint);
            None
        }
    }
}

fn budget(check: &mut Check<'_>, map: &Map<'_>, default: FalseAlarms) -> FalseAlarms {
    let Some(node) = map.get("false_alarms") else { return default };
    let errors = check.errors();
    let text = check.text(node, "`false_alarms`");
    if check.errors() > errors {
        return default;
    }
    parse_budget(&text).unwrap_or_else(|message| {
        let hint = "write `N per [series|page per] (DURATION|day|week)`, for example `1 per 30d`";
        check.error_hint(node, message, hint);
        default
    })
}

fn bound(check: &mut Check<'_>, node: &Node, of: &Metric, what: &str) -> f64 {
    let errors = check.errors();
    let text = check.text(node, what);
    if check.errors() > errors {
        return 0.0;
    }
    let (number, per_cent) = match text.strip_suffix('%') {
        Some(number) => (number.trim_end(), true),
        None => (text.as_str(), false),
    };
    let Some(value) = number.parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0) else {
        check.error_hint(
            node,
            format!("{what} must be a number, but this is `{text}`"),
            "write for example 5% for a rate, 50 for a count",
        );
        return 0.0;
    };
    match (of.is_rate(), per_cent) {
        (true, true) if value <= 100.0 => value / 100.0,
        (true, false) if value <= 1.0 => value,
        (true, _) => {
            let hint = if per_cent { "a rate is at most 100%".to_owned() } else { format!("did you mean `{text}%`?") };
            check.error_hint(node, format!("`{}` is a rate between 0 and 1, but this is {text}", of.as_str()), hint);
            0.0
        }
        (false, false) => value,
        (false, true) => {
            check.error_hint(
                node,
                format!("`{}` is a count, not a rate, but this is {text}", of.as_str()),
                format!("did you mean `{number}`?"),
            );
            0.0
        }
    }
}

fn error_filter(check: &mut Check<'_>, map: &Map<'_>, of: &Metric) -> ErrorFilter {
    let Some(node) = map.get("errors") else { return ErrorFilter::default() };
    let fits = matches!(of, Metric::ErrorRate | Metric::SessionErrorRate | Metric::Errors | Metric::AffectedSessions);
    if !fits {
        check.error(
            map.key("errors").unwrap_or(node),
            format!("`errors` does not fit `of: {}`, which counts no errors", of.as_str()),
        );
    }
    let filter = check.map(node, "`errors`", &ERRORS);
    let status = filter.get("status").map(|node| patterns(check, node, "`status`")).unwrap_or_default();
    if let Some(node) = filter.get("status") {
        for (item, pattern) in node.items().iter().zip(&status) {
            let digits = pattern.glob.as_bytes();
            let class = digits.len() == 3 && matches!(digits[0], b'1'..=b'5');
            let rest = class && (&digits[1..] == b"xx" || digits[1..].iter().all(u8::is_ascii_digit));
            if !rest && pattern.glob != "*" {
                check.error_hint(
                    item,
                    format!("`{}` is not a status", pattern.glob),
                    "write a class like `5xx` or a code like `404`",
                );
            }
        }
    }
    ErrorFilter {
        class: filter.get("type").map(|node| patterns(check, node, "`type`")).unwrap_or_default(),
        status,
        vendor: filter.get("vendor").map(|node| patterns(check, node, "`vendor`")).unwrap_or_default(),
        level: filter.get("level").map(|node| patterns(check, node, "`level`")).unwrap_or_default(),
    }
}

/// One pattern or a list of them.
pub fn patterns(check: &mut Check<'_>, node: &Node, what: &str) -> Vec<Pattern> {
    if matches!(&node.kind, Kind::List(items) if items.is_empty()) {
        check.warn(node, format!("{what} is an empty list: everything passes"));
    }
    let mut out = Vec::new();
    for item in node.items() {
        let errors = check.errors();
        let text = check.text(item, what);
        if check.errors() > errors {
            continue;
        }
        let pattern = Pattern::parse(&text);
        if pattern.glob.is_empty() && pattern.exclude {
            check.error(item, format!("{what}: `!` excludes nothing; write `!x`"));
        } else if pattern.glob.starts_with('!') || pattern.glob.starts_with(' ') {
            check.error(item, format!("{what}: `{text}` is not a pattern; write `!x` to exclude x"));
        } else if pattern.glob.contains("**") || pattern.glob.contains(['?', '[', '{']) {
            let hint =
                "`*` stands for any run of characters, also slashes; `?`, `[…]`, `{…}` and `**` mean nothing more".to_owned();
            check.say(Level::Warning, item.place, format!("{what}: `{text}` is matched literally but for `*`"), Some(hint));
        }
        out.push(pattern);
    }
    out
}
