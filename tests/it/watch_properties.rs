//! Laws of the watch: what it says depends on the events alone, not on how they are cut, ticked or interrupted.

use proptest::prelude::*;
use spiked::model::Timestamp;
use spiked::watch::{Input, Output, Watch};

use super::scenarios::{BASE, Scenario, read_batches, say};

/// A day of two pages as history, so that all conditions know enough; then whatever proptest brings.
const SCENARIO: &str = r#"
```yaml rules
rules:
  - alert: Spike
    spike: {of: error_rate, false_alarms: 0.1 per series per week}
  - alert: Drop
    drop: {of: views, false_alarms: 0.1 per series per week}
  - alert: Often
    frequency: {of: errors, more_than: 5, within: 2m}
    for: 30s
    keep_firing_for: 1m
  - alert: High
    by: [release]
    threshold: {of: error_rate, above: 20%, over: 1m, min_views: 5}
  - alert: Worse
    release: {of: error_rate, false_alarms: 1 per series per day}
  - alert: Silent
    by: []
    absent: {of: views, for: 3m}
```
```ndjson events
00:00:00 every 1m for 26h {"type":"view","page":"/a","count":30}
00:00:30 every 1m for 26h {"type":"view","page":"/b","count":12}
```
```text expected
```
"#;

/// Seconds since the event before, page, kind, how many, release.
type Step = (i64, usize, bool, u32, usize);

fn lines_of(steps: &[Step]) -> Vec<String> {
    let mut lines = Scenario::parse(SCENARIO).lines();
    let mut millis = (BASE + 26 * 3600) * 1000;
    for (gap, page, is_error, count, release) in steps {
        millis += gap * 700;
        let (page, kind) = (["/a", "/b", "/c"][*page], if *is_error { "error" } else { "view" });
        let ts = Timestamp(millis);
        lines.push(format!(
            r#"{{"ts":"{ts}","type":"{kind}","page":"{page}","count":{count},"release":"web@{release}","session":"s-{}"}}"#,
            millis % 97
        ));
    }
    lines
}

/// What is said when events come in batches of `size`, with a tick before each of them, and the watch is put away and taken
/// up again after the batches that `interrupted` names: then all that is at rest is packed.
fn run(lines: &[String], size: usize, ticks: bool, interrupted: impl Fn(usize) -> bool) -> Vec<String> {
    let (config, door) = Scenario::parse(SCENARIO).build();
    let mut watch = Watch::new(0, config.clone());
    let mut out = Output::default();
    let batches = read_batches(&door, lines, size);
    for (number, batch) in batches.iter().enumerate() {
        if ticks && let Some(first) = batch.events.first() {
            let next = watch.next_deadline().filter(|next| *next < first.arrival);
            for now in next.into_iter().chain([first.arrival]) {
                watch.handle(2 * number as u64, Input::Tick(now), &mut out);
            }
        }
        watch.handle(2 * number as u64 + 1, Input::Events(batch), &mut out);
        if interrupted(number) {
            let bytes = watch.checkpoint();
            watch = Watch::restore(&bytes, config.clone()).unwrap();
        }
    }
    watch.handle(u64::MAX, Input::End, &mut out);
    out.transitions.iter().map(|t| format!("{} {} {:?} {}", say(t), t.began, t.finding.value, t.reason)).collect()
}

/// Mostly short, so that something goes on; now and then long enough for pages to be quiet and for deadlines to come.
fn gap() -> impl Strategy<Value = i64> {
    prop_oneof![15 => 0i64..60, 1 => 60i64..2000]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn batches_ticks_and_restarts_change_nothing(
        steps in prop::collection::vec((gap(), 0usize..3, any::<bool>(), 1u32..8, 0usize..3), 20..200),
        size in 1usize..40,
        at in 0usize..200,
    ) {
        let lines = lines_of(&steps);
        let whole = run(&lines, lines.len(), false, |_| false);
        prop_assert_eq!(&run(&lines, size, true, |_| false), &whole, "batches of {} and ticks", size);
        // The restart falls anywhere in the part that differs.
        let at = (lines.len() - 1 - at % steps.len()) / size;
        prop_assert_eq!(&run(&lines, size, false, |number| number == at), &whole, "a restart after batch {} of {}", at, size);
        let from = lines.len() - steps.len();
        prop_assert_eq!(&run(&lines, 1, false, |number| number >= from), &whole, "restarts all the time");
    }
}

/// A site with an absence alone for half an hour; then a rule about its sessions is added, in the second in which a few of them fail.
fn added(sessions: &str) -> Vec<String> {
    let scenario = |rules: &str| {
        format!(
            r#"
```yaml rules
rules:
  - alert: Silent
    by: []
    absent: {{of: views, for: 15m}}
{rules}```
```ndjson events
00:00:00 every 1s for 30m {{"type":"view","page":"/a","count":100,"session":"s-1"}}
```
```text expected
```
"#
        )
    };
    let (before, after) = (scenario(""), scenario(sessions));
    let ((before, door), after) = (Scenario::parse(&before).build(), Scenario::parse(&after));
    let mut lines = after.lines();
    let at = Timestamp((BASE + 1800) * 1000);
    lines.extend((0..50).map(|n| format!(r#"{{"ts":"{at}","type":"view","page":"/a","session":"t-{n}"}}"#)));
    lines.extend((0..5).map(|n| format!(r#"{{"ts":"{at}","type":"error","page":"/a","session":"t-{n}"}}"#)));
    let (mut watch, mut out) = (Watch::new(0, before), Output::default());
    for (number, batch) in read_batches(&door, &lines, 1800).iter().enumerate() {
        if number == 1 {
            watch.set_config(after.build().0, 1, &mut out);
        }
        watch.handle(number as u64, Input::Events(batch), &mut out);
    }
    watch.handle(9, Input::End, &mut out);
    out.transitions.iter().map(say).collect()
}

#[test]
fn a_rule_that_is_added_is_not_judged_by_windows_that_know_no_sessions() {
    let rule = |above: &str, views: u32| {
        format!(
            "  - alert: People\n    by: []\n    threshold: {{of: session_error_rate, above: {above}, over: 1h, min_views: {views}}}\n"
        )
    };
    assert_eq!(added(&rule("5%", 1000)), [""; 0], "180,000 views, of which nobody knows the sessions");
    assert_eq!(added(&rule("5%", 10)).len(), 1, "what came since is judged");
}
