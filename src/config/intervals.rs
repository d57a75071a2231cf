//! `time_intervals:` with Alertmanager's words: `monday:friday`, `09:00`, `-3:-1`, `may:august`, a location.

use chrono_tz::Tz;

use super::diagnostic::{Level, did_you_mean};
use super::raw::{Check, Node};
use crate::dispatch::time_interval::{Span, TimeInterval};

/// Keys of an entry of `time_intervals:`.
pub(super) const INTERVAL: [&str; 2] = ["name", "time_intervals"];
/// Keys of one of its alternatives.
pub(super) const SPAN: [&str; 6] = ["times", "weekdays", "days_of_month", "months", "years", "location"];
/// Keys of an entry of `times:`.
pub(super) const TIMES: [&str; 2] = ["start_time", "end_time"];

const WEEKDAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
const MONTHS: [&str; 12] =
    ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"];

/// Reads the section; names must be unique, also over both of its spellings.
pub(super) fn intervals(check: &mut Check<'_>, node: &Node, out: &mut Vec<TimeInterval>) {
    for item in check.list(node, "`time_intervals`") {
        let map = check.map(item, "a time interval", &INTERVAL);
        let Some(name_node) = map.get("name") else {
            check.error(item, "the time interval has no `name`");
            continue;
        };
        let name = check.text(name_node, "`name`");
        if out.iter().any(|known| known.name == name) {
            check.error(name_node, format!("time interval `{name}` is defined twice"));
        }
        let spans = map.get("time_intervals").map(|node| check.list(node, "`time_intervals`")).unwrap_or_default();
        let spans = spans.iter().map(|node| span(check, node)).collect();
        out.push(TimeInterval { name, spans });
    }
}

fn span(check: &mut Check<'_>, node: &Node) -> Span {
    let map = check.map(node, "a time interval", &SPAN);
    let mut span = Span {
        times: Vec::new(),
        weekdays: Vec::new(),
        days_of_month: Vec::new(),
        months: Vec::new(),
        years: Vec::new(),
        location: map.get("location").map_or(Tz::UTC, |node| zone(check, node, "`location`")),
    };
    for item in map.get("times").map(Node::items).unwrap_or_default() {
        let times = check.map(item, "`times`", &TIMES);
        let (Some(start), Some(end)) = (times.get("start_time"), times.get("end_time")) else {
            check.error(item, "`times` needs `start_time` and `end_time`");
            continue;
        };
        let (start, end_minutes) = (minutes(check, start), minutes(check, end));
        if let (Some(start), Some(end_minutes)) = (start, end_minutes) {
            if start >= end_minutes {
                check.error_hint(end, "`end_time` must be after `start_time`", "for a night write two ranges, one up to 24:00");
            }
            span.times.push((start, end_minutes));
        }
    }
    let get = |key: &str| map.get(key).map(Node::items).unwrap_or_default();
    let weekday = |text: &str| WEEKDAYS.iter().position(|day| *day == text).map(|at| at as i64);
    let month =
        |text: &str| MONTHS.iter().position(|name| *name == text).map(|at| at as i64 + 1).or_else(|| in_range(text, 1, 12));
    let day = |text: &str| in_range(text, -31, 31).filter(|day| *day != 0);
    span.weekdays =
        ranges(check, get("weekdays"), "a weekday like monday:friday", weekday).map(|(a, b)| (a as u8, b as u8)).collect();
    span.months =
        ranges(check, get("months"), "a month like may:august or 1:3", month).map(|(a, b)| (a as u8, b as u8)).collect();
    span.years = ranges(check, get("years"), "a year like 2026:2027", |text| in_range(text, 1, 9999))
        .map(|(a, b)| (a as i32, b as i32))
        .collect();
    span.days_of_month = ranges(check, get("days_of_month"), "a day of the month like 1:5 or -3:-1", day)
        .map(|(a, b)| (a as i8, b as i8))
        .collect();
    span
}

fn in_range(text: &str, from: i64, to: i64) -> Option<i64> {
    text.parse().ok().filter(|n| (from..=to).contains(n))
}

fn ranges(
    check: &mut Check<'_>,
    items: &[Node],
    what: &str,
    read: impl Fn(&str) -> Option<i64>,
) -> std::vec::IntoIter<(i64, i64)> {
    let mut out = Vec::new();
    for item in items {
        let errors = check.errors();
        let text = check.text(item, what).to_ascii_lowercase();
        let (from, to) = text.split_once(':').unwrap_or((&text, &text));
        match (read(from.trim()), read(to.trim())) {
            // A range from the first to the last days (1:-1) is in order; -1:1 is not.
            (Some(from), Some(to)) if from <= to || (to < 0 && from > 0) => out.push((from, to)),
            (Some(_), Some(_)) => check.error(item, format!("`{text}` ends before it begins")),
            _ if check.errors() == errors => check.error(item, format!("`{text}` is not {what}")),
            _ => {}
        }
    }
    out.into_iter()
}

fn minutes(check: &mut Check<'_>, node: &Node) -> Option<u16> {
    let text = check.text(node, "a time of day");
    let read = || {
        let (hours, minutes) = text.split_once(':')?;
        let two = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        let sound = two(hours) && two(minutes);
        let (hours, minutes) = (hours.parse::<u16>().ok()?, minutes.parse::<u16>().ok()?);
        (sound && minutes < 60 && hours * 60 + minutes <= 1440).then_some(hours * 60 + minutes)
    };
    let found = read();
    if found.is_none() {
        check.error_hint(node, format!("`{text}` is not a time of day"), "write for example 09:00; 24:00 is midnight at the end");
    }
    found
}

/// A time zone by its IANA name.
pub(super) fn zone(check: &mut Check<'_>, node: &Node, what: &str) -> Tz {
    let errors = check.errors();
    let text = check.text(node, what);
    if check.errors() > errors {
        return Tz::UTC;
    }
    if text == "Local" {
        let hint = "write the zone's name, for example Europe/Berlin".to_owned();
        check.say(Level::Warning, node.place, format!("{what}: the machine's own zone is not read; UTC is used"), Some(hint));
        return Tz::UTC;
    }
    text.parse().unwrap_or_else(|_| {
        let hint = did_you_mean(&text, chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()))
            .unwrap_or_else(|| "write a name like Europe/Berlin".to_owned());
        check.error_hint(node, format!("unknown time zone `{text}`"), hint);
        Tz::UTC
    })
}
