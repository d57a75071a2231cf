//! The same arrivals give the same transitions: live, replayed from the log, and in backtest.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use serde_json::{Value, json};
use spiked::daemon::{Origin, clock};
use spiked::model::{Batch, Kind, Timestamp};
use spiked::wal::{Entry, Wal};
use spiked::watch::{Input, Output, Watch};

use crate::daemon::to_hook;
use crate::harness::{Hook, Place, error, run, times, view, wait_for};

const RULES: &str = r"
rules:
  - alert: Frequent
    where: {page: /pay}
    frequency: {of: errors, more_than: 4, within: 5s}
  - alert: High
    where: {page: /pay}
    threshold: {of: error_rate, above: 30%, over: 5s, min_views: 5}
    for: 2s
  - alert: Spike
    where: {page: /pay}
    spike: {of: error_rate, false_alarms: 1 per 1d}
  - alert: New
    first_seen: {of: error, false_alarms: 1 per page per day}
";

/// Two days and a half up to some minutes ago: a view every 30 s, an error in every 50th.
fn history() -> String {
    let now = clock::now().secs() - 600;
    let mut lines = String::new();
    for n in 0..7200 {
        let ts = Timestamp::from_secs(now - (7200 - n) * 30);
        let line = json!({"ts": ts, "type": "view", "site": "shop", "page": "/pay", "count": 10});
        lines.push_str(&format!("{line}\n"));
        if n % 5 == 0 {
            let error = json!({"type": "PaymentError", "message": "declined"});
            let line = json!({"ts": ts, "type": "error", "site": "shop", "page": "/pay", "error": error});
            lines.push_str(&format!("{line}\n"));
        }
    }
    lines
}

/// An event as a line with the time of its arrival. These events have no times of their own: arrival is all they know.
fn line(batch: &Batch, at: usize) -> String {
    let event = &batch.events[at];
    let mut line = json!({
        "ts": event.arrival, "site": batch.str(event.site), "env": batch.str(event.env), "page": batch.str(event.page),
        "type": if event.kind == Kind::Error { "error" } else { "view" }, "count": event.count,
    });
    if event.kind == Kind::Error {
        let error = batch.error(event);
        line["error"] = json!({"type": batch.str(error.class), "message": batch.str(error.message)});
    }
    line.to_string()
}

fn entries(place: &Place) -> Vec<(u64, Entry)> {
    Wal::replay(&place.path("data/wal"), 0).unwrap().map(|entry| entry.unwrap()).collect()
}

/// Alert, page and error, state, second.
type Told = (String, String, String, i64);

fn told(line: &Value) -> Told {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let at = Timestamp::parse_rfc3339(line["at"].as_str().unwrap()).unwrap().secs();
    (text(&line["alert"]), line["group"].to_string(), text(&line["state"]), at)
}

/// What the webhook heard, as transitions.
fn live(hook: &Hook) -> BTreeSet<Told> {
    let mut out = BTreeSet::new();
    for alert in ["Frequent", "High", "Spike", "New"] {
        for body in hook.heard(alert) {
            let alert_json = &body["alerts"][0];
            let is_over = body["status"] == "resolved";
            let at = alert_json[if is_over { "endsAt" } else { "startsAt" }].clone();
            let mut group = serde_json::Map::new();
            for name in ["env", "fingerprint", "page", "site"] {
                if let Some(value) = alert_json["labels"].get(name) {
                    group.insert(name.to_owned(), value.clone());
                }
            }
            out.insert(told(&json!({"alert": alert, "group": group, "state": body["status"], "at": at})));
        }
    }
    out
}

/// Shows alerts that fire and resolve to a real daemon; its log and what it told stay behind.
fn play(place: &Place, hook: &Hook) {
    let history = place.path("history.ndjson").display().to_string();
    fs::write(&history, self::history()).unwrap();
    let daemon = place.start_with(&["--history", &history]);
    // A quiet beginning, then errors without end until everything fires, then views until all but the new error is over.
    let end = clock::now().secs() + 2;
    wait_for("a quiet beginning", || {
        daemon.send(&times(10, &view("/pay")));
        (clock::now().secs() > end).then_some(())
    });
    let new = error("/pay").replace("PaymentError", "NeverSeenError").replace("declined", "no such card");
    wait_for("all to fire", || {
        daemon.send(&[times(3, &view("/pay")), times(3, &error("/pay")), vec![new.clone()]].concat());
        let names: BTreeSet<String> = live(hook).into_iter().map(|told| told.0).collect();
        (names.len() == 4).then_some(())
    });
    wait_for("two to resolve", || {
        daemon.send(&times(400, &view("/pay")));
        (live(hook).iter().filter(|told| told.2 == "resolved").count() >= 2).then_some(())
    });
    daemon.kill();
}

fn backtest(place: &Place, entries: &[(u64, Entry)]) -> BTreeSet<Told> {
    let mut events = fs::read_to_string(place.path("history.ndjson")).unwrap();
    let mut start = None;
    for (_, entry) in entries {
        let Entry::Batch { batch, .. } = entry else { continue };
        for at in 0..batch.events.len() {
            start.get_or_insert(batch.events[at].arrival);
            events.push_str(&line(batch, at));
            events.push('\n');
        }
    }
    fs::write(place.path("events.ndjson"), events).unwrap();
    let arguments = ["backtest", "--rules", "rules/test.yaml", "--events", "events.ndjson", "--json"];
    let output = run(place.folder(), &arguments, b"");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()), (Some(0), String::new()));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| told(&serde_json::from_str(line).unwrap()));
    lines.filter(|told| told.3 >= start.unwrap().secs()).collect()
}

/// The log through a fresh core, in batches of at most `size` events.
fn replay(place: &Place, entries: &[(u64, Entry)], size: usize) -> Vec<String> {
    let settings = Origin::Files(Some(place.path("spiked.yaml"))).load().settings.unwrap();
    let mut watch = Watch::new(0, Arc::new(settings.watch()));
    let mut output = Output::default();
    for (offset, entry) in entries {
        match entry {
            Entry::Batch { batch, .. } => {
                let events = batch.events.clone();
                // A line's companion events stay with it.
                let mut from = 0;
                while from < events.len() {
                    let mut to = (from + size).min(events.len());
                    while to < events.len() && events[to].companion {
                        to += 1;
                    }
                    let mut part = batch.clone();
                    part.events = events[from..to].to_vec();
                    watch.handle(*offset, Input::Events(&part), &mut output);
                    from = to;
                }
            }
            Entry::Tick(at) => watch.handle(*offset, Input::Tick(*at), &mut output),
            Entry::Resume(at) => watch.handle(*offset, Input::Resume(*at), &mut output),
            Entry::Config { .. } => {}
        }
    }
    output.transitions.iter().map(|t| serde_json::to_string(t).unwrap()).collect()
}

#[test]
fn the_same_arrivals_live_in_backtest_and_replayed_give_the_same_transitions() {
    let hook = Hook::start();
    let place = Place::new(&to_hook(&hook.url), RULES);
    play(&place, &hook);
    let entries = entries(&place);
    // Resolves that were decided in the last moment may not have been told.
    let (live, again) = (live(&hook), backtest(&place, &entries));
    assert!(live.len() >= 6, "{live:#?}");
    let log_end = entries.iter().filter_map(|(_, entry)| arrival(entry)).max().unwrap().secs();
    let untold: Vec<_> = again.difference(&live).filter(|told| told.3 < log_end - 1).collect();
    let unfounded: Vec<_> = live.difference(&again).collect();
    assert!(untold.is_empty() && unfounded.is_empty(), "live only: {unfounded:#?}\nbacktest only: {untold:#?}");

    let whole = replay(&place, &entries, usize::MAX);
    assert!(whole.len() >= 2, "{whole:?}");
    for size in [1, 7] {
        assert_eq!(replay(&place, &entries, size), whole, "batches of {size}");
    }
}

fn arrival(entry: &Entry) -> Option<Timestamp> {
    match entry {
        Entry::Batch { batch, .. } => batch.events.last().map(|event| event.arrival),
        Entry::Tick(at) | Entry::Resume(at) => Some(*at),
        Entry::Config { .. } => None,
    }
}
