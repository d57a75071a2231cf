//! Releases through the whole watch: what a deploy changes for other rules, and what a `release` rule says and survives.

use std::fmt::Write as _;

use spiked::model::{State, Transition};
use spiked::watch::{Input, Output, Watch};

use super::scenarios::{BASE, Scenario, read_batches};

/// What is said of these events, when the watch is put away and taken up again after the batch number `interrupted`.
fn told(rules: &str, events: &str, size: usize, interrupted: Option<usize>) -> Vec<Transition> {
    let text = format!("```yaml rules\n{rules}\n```\n```ndjson events\n{events}\n```\n```text expected\n```\n");
    let scenario = Scenario::parse(&text);
    let (config, door) = scenario.build();
    let (mut watch, mut out) = (Watch::new(0, config.clone()), Output::default());
    for (number, batch) in read_batches(&door, &scenario.lines(), size).iter().enumerate() {
        watch.handle(number as u64, Input::Events(batch), &mut out);
        if interrupted == Some(number) {
            watch = Watch::restore(&watch.checkpoint(), config.clone()).unwrap();
        }
    }
    watch.handle(u64::MAX, Input::End, &mut out);
    out.transitions
}

const SPIKE: &str =
    "rules:\n  - alert: Spike\n    where: {page: /pay}\n    spike: {of: error_rate, false_alarms: 0.01 per series per week}";

/// Errors that come as if by chance, one in so many seconds on average.
fn errors(from: i64, to: i64, every: i64, page: &str) -> String {
    let (mut text, mut at, mut seed) = (String::new(), from, 7u64);
    loop {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let share = ((seed >> 11) as f64) / (1u64 << 53) as f64;
        at += 1 + (-(1.0 - share).ln() * every as f64) as i64;
        if at >= to {
            return text;
        }
        let clock = format!("{}d+{:02}:{:02}:{:02}", at / 86_400, at / 3600 % 24, at / 60 % 60, at % 60);
        let _ = writeln!(text, r#"{clock} {{"type":"error","page":"{page}","error":{{"type":"E","fingerprint":"e"}}}}"#);
    }
}

/// Two days of twenty views a minute; from the third on, `every` seconds an error where it was every ten minutes.
fn rise(every: i64) -> String {
    let mut text = r#"00:00:00 every 1m for 52h {"type":"view","page":"/pay","count":20}"#.to_owned() + "\n";
    text.push_str(&errors(0, 172_800, 600, "/pay"));
    text.push_str(&errors(172_800, 187_200, every, "/pay"));
    text
}

/// Seconds from the start of the third day until it fires.
fn fires_after(events: &str) -> Option<i64> {
    let told = told(SPIKE, events, 500, None);
    let first = told.iter().find(|transition| transition.state == State::Firing)?;
    Some(first.at.secs() - BASE - 172_800)
}

#[test]
fn after_a_deploy_a_moderate_rise_is_told_sooner() {
    let rise = rise(110);
    let plain = fires_after(&rise).expect("the rise is told in any case");
    let with = |deploy: &str| fires_after(&format!("{rise}1d+23:59:00 {deploy}\n")).expect("a deploy hides nothing");
    let of_site = with(r#"{"type":"deploy","release":"web@2"}"#);
    assert!(of_site < plain, "{of_site} s after a deploy, {plain} s without");
    assert_eq!(with(r#"{"type":"deploy","release":"web@2","page":"/pay"}"#), of_site);
    assert_eq!(with(r#"{"type":"deploy","release":"web@2","page":"/other"}"#), plain, "a deploy of another page");
    // No marker, but a release that is new in the traffic of the site.
    let mut seen = rise.clone();
    seen.push_str(r#"00:00:01 every 1m for 2d {"type":"view","page":"/home","release":"web@1","count":30}"#);
    seen.push('\n');
    seen.push_str(r#"1d+23:59:00 every 1m for 4h {"type":"view","page":"/home","release":"web@2","count":30}"#);
    assert_eq!(fires_after(&seen), Some(of_site));
}

#[test]
fn deploys_alone_raise_nothing() {
    let mut events = r#"00:00:00 every 1m for 5d {"type":"view","page":"/pay","count":20}"#.to_owned() + "\n";
    events.push_str(&errors(0, 5 * 86_400, 600, "/pay"));
    for hour in (12..120).step_by(6) {
        let _ = writeln!(events, r#"{}d+{:02}:00:00 {{"type":"deploy","release":"web@{hour}"}}"#, hour / 24, hour % 24);
    }
    assert_eq!(told(SPIKE, &events, 500, None), []);
}

#[test]
fn after_a_deploy_a_new_error_is_told_on_less() {
    let mut events = r#"00:00:00 every 1m for 3d {"type":"view","page":"/pay","count":20}"#.to_owned() + "\n";
    for n in 0..60 {
        // A page on which new kinds come now and then.
        let (day, hour) = (n / 24, n % 24);
        let _ = writeln!(
            events,
            r#"{day}d+{hour:02}:10:00 {{"type":"error","page":"/pay","error":{{"type":"K","fingerprint":"k{n}"}}}}"#
        );
    }
    events.push_str("2d+20:00:00 {\"type\":\"error\",\"page\":\"/pay\",\"error\":{\"type\":\"New\",\"fingerprint\":\"new\"}}\n");
    let tells = |budget: u32, events: &str| {
        let rules = format!("rules:\n  - alert: New\n    first_seen: {{false_alarms: {budget} per page per week}}");
        told(&rules, events, 500, None).iter().any(|transition| transition.group.get("fingerprint") == "new")
    };
    let deployed = format!("{events}2d+19:50:00 {{\"type\":\"deploy\",\"release\":\"web@2\"}}\n");
    let least = |events: &str| (0..14).map(|n| 1 << n).find(|budget| tells(*budget, events)).unwrap();
    let (plain, after) = (least(&events), least(&deployed));
    assert!(after < plain, "a budget of {after} a week is enough after a deploy, {plain} without");
}

const CANARY: &str = include_str!("../scenarios/release-canary.md");

fn canary() -> (String, String) {
    let block = |info: &str| {
        let (_, rest) = CANARY.split_once(&format!("```{info}\n")).unwrap();
        rest.split_once("```").unwrap().0.to_owned()
    };
    (block("yaml rules"), block("ndjson events"))
}

#[test]
fn a_worse_release_is_told_with_its_numbers_and_named_as_the_slice() {
    let (rules, events) = canary();
    let told = told(&rules, &events, 500, None);
    let [firing, over] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(firing.slice.get("release"), "web@2");
    assert_eq!(firing.condition, "release");
    let finding = &firing.finding;
    assert!(finding.value.unwrap() > 0.2 && finding.baseline.unwrap() < 0.02, "{finding:?}");
    assert_eq!(finding.top_errors[0].fingerprint, "t");
    assert_eq!(finding.top_errors[0].count, finding.errors);
    assert!(finding.chart.iter().any(|point| point.usual.is_some()));
    insta::assert_snapshot!(format!("{}\n{}", firing.reason, over.reason));
    assert_eq!((over.began, over.slice.get("release")), (firing.began, "web@2"));
    assert!(over.finding.errors >= finding.errors);
}

#[test]
fn a_restart_and_the_size_of_batches_change_nothing() {
    let (rules, events) = canary();
    let whole = told(&rules, &events, 500, None);
    let say = |told: &[Transition]| told.iter().map(|t| format!("{} {} {}", t.at, t.began, t.reason)).collect::<Vec<_>>();
    for (size, interrupted) in [(1, None), (7, Some(62)), (7, Some(70)), (500, Some(0)), (20, Some(26))] {
        let again = told(&rules, &events, size, interrupted);
        assert_eq!(say(&again), say(&whole), "in batches of {size}, interrupted after {interrupted:?}");
    }
}
