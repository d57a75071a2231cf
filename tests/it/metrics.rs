//! What `/metrics` gives, against the manual, the dashboard and the alert rules; and that outcomes add up.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use spiked::telemetry::Metrics;

use crate::daemon::{BURST, to_hook};
use crate::harness::{Hook, Place, error, times, view, wait_for};

fn text(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The rows of the manual: name, kind, labels, meaning.
fn rows() -> BTreeMap<String, (String, BTreeSet<String>, String)> {
    let page = text("docs/metrics.md");
    let cells =
        |line: &str| line.trim_matches('|').split(" | ").map(|cell| cell.trim_matches([' ', '|']).to_owned()).collect::<Vec<_>>();
    let row = |line: &str| {
        let cells = cells(line);
        let labels = cells[2].split(", ").map(|label| label.trim_matches('`').to_owned()).filter(|label| !label.is_empty());
        (cells[0].trim_matches('`').to_owned(), (cells[1].clone(), labels.collect(), cells[3].clone()))
    };
    page.lines().filter(|line| line.starts_with("| `")).map(|line| row(&line.replace("| |", "|  |"))).collect()
}

/// A sample's metric: what it is called without the ending of its kind.
fn metric_of(sample: &str, kinds: &BTreeMap<String, String>) -> String {
    let endings = ["_bucket", "_sum", "_count"];
    let base =
        endings.iter().find_map(|end| sample.strip_suffix(end)).filter(|base| kinds.get(*base).is_some_and(|k| k == "histogram"));
    base.unwrap_or(sample).to_owned()
}

#[test]
fn the_manual_has_every_metric_as_it_is_declared() {
    let metrics = Metrics::new();
    let rows = rows();
    for declared in metrics.declared() {
        let row = rows.get(&declared.name).unwrap_or_else(|| panic!("docs/metrics.md does not have {}", declared.name));
        assert_eq!((row.0.as_str(), &row.2), (declared.kind, &declared.help), "{}", declared.name);
    }
    let known: BTreeSet<&str> = metrics.declared().iter().map(|declared| declared.name.as_str()).collect();
    let gone: Vec<_> = rows.keys().filter(|name| !known.contains(name.as_str())).collect();
    assert!(gone.is_empty(), "docs/metrics.md has metrics that are not there: {gone:?}");
}

/// All `spiked_…` names in a text.
fn named(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts = text.match_indices("spiked_").filter(|(at, _)| !text[..*at].ends_with(is_part));
    starts.map(|(at, _)| text[at..].chars().take_while(|c| is_part(*c)).collect()).collect()
}

#[test]
fn the_dashboard_and_the_alert_rules_use_metrics_that_are_there() {
    let kinds: BTreeMap<String, String> =
        Metrics::new().declared().iter().map(|declared| (declared.name.clone(), declared.kind.to_owned())).collect();
    let board = text("docs/grafana/spiked.json");
    let parsed: Value = serde_json::from_str(&board).unwrap();
    let ids: Vec<i64> = parsed["panels"].as_array().unwrap().iter().map(|panel| panel["id"].as_i64().unwrap()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "panel ids are unique");
    assert!(parsed["schemaVersion"].as_i64().unwrap() >= 39 && parsed["uid"] == "spiked");
    for (file, said) in [("dashboard", &board), ("alert rules", &text("docs/prometheus/spiked-alerts.yaml"))] {
        let names = named(said);
        assert!(names.len() > 8, "{file}: {names:?}");
        for name in names {
            let known = name == "spiked_build_info" || kinds.contains_key(&metric_of(&name, &kinds));
            assert!(known, "the {file} has {name}, which is not a metric");
        }
    }
}

#[test]
fn promtool_takes_the_alert_rules_and_the_page() {
    let promtool = |args: &[&str]| Command::new("promtool").args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let Ok(checked) = promtool(&["check", "rules", "docs/prometheus/spiked-alerts.yaml"]) else {
        eprintln!("skipped: promtool is not here (apt-get install prometheus)");
        return;
    };
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let tested = promtool(&["test", "rules", "docs/prometheus/spiked-alerts.test.yaml"]).unwrap();
    assert!(tested.status.success(), "{}{}", String::from_utf8_lossy(&tested.stdout), String::from_utf8_lossy(&tested.stderr));
}

/// `name{labels}` and value of each sample.
fn samples(page: &str) -> Vec<(String, BTreeMap<String, String>, f64)> {
    let sample = |line: &str| {
        let (head, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = head.split_once('{').unwrap_or((head, ""));
        let labels = labels.trim_end_matches('}').split("\",").filter(|label| !label.is_empty());
        let pair =
            |label: &str| label.split_once("=\"").map(|(k, v)| (k.to_owned(), v.trim_end_matches('"').to_owned())).unwrap();
        (name.to_owned(), labels.map(pair).collect(), value.parse().unwrap())
    };
    page.lines().filter(|line| !line.starts_with('#')).map(sample).collect()
}

#[test]
fn outcomes_add_up_by_source_and_what_is_given_is_in_the_manual() {
    let hook = Hook::start();
    let dead = "{name: dead, webhook_configs: [{url: \"http://127.0.0.1:9/gone\"}]}";
    let config = to_hook(&hook.url)
        .replace("route: {", "route: {routes: [{receiver: dead, continue: true}, {receiver: hook}], ")
        .replace("receivers: [", &format!("receivers: [{dead}, "));
    let beats = Hook::start();
    let place = Place::new(&format!("{config}heartbeat: {{url: \"{}\", every: 1s}}\n", beats.url), BURST);
    let daemon = place.start();
    let old = r#"{"type":"view","site":"shop","page":"/old","ts":"2020-01-01T00:00:00Z"}"#.to_owned();
    let twice = r#"{"type":"view","site":"shop","page":"/twice","id":"a"}"#.to_owned();
    let native =
        [times(5, &error("/pay")), times(3, &view("/pay")), vec![old, twice.clone(), twice, "{".into(), "{}".into()]].concat();
    daemon.ask("POST", "/v1/events", &[], native.join("\n").as_bytes());
    daemon.ask("POST", "/v1/beacon", &[], view("/b").as_bytes());
    daemon.ask("POST", "/v1/heartbeat/nightly", &[], b"");
    daemon.ask("POST", "/v1/deploy?release=web@2", &[], b"");
    daemon.ask("POST", "/v1/deploy", &[], b"{}");
    hook.wait("Burst", "firing");
    let sums = || -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for (name, labels, value) in samples(&daemon.get("/metrics").text()) {
            if name == "spiked_ingest_lines_total" {
                *sums.entry(labels["source"].clone()).or_insert(0.0) += value;
            }
        }
        sums
    };
    let expected: BTreeMap<String, f64> =
        [("native", native.len()), ("beacon", 1), ("heartbeat", 1), ("deploy", 2)].map(|(k, v)| (k.to_owned(), v as f64)).into();
    let end = spiked::daemon::clock::monotonic() + std::time::Duration::from_secs(5);
    while sums() != expected && spiked::daemon::clock::monotonic() < end {
        std::thread::sleep(std::time::Duration::from_millis(25));
    }
    assert_eq!(sums(), expected);
    let has = |needle: &str| wait_for(needle, || daemon.get("/metrics").text().contains(needle).then_some(()));
    has(r#"spiked_deliveries_total{receiver="hook",channel="webhook",reason="fire",result="delivered"} 1"#);
    has(r#"spiked_delivery_attempts_total{receiver="dead",channel="webhook",result="transient"}"#);
    has(r#"spiked_delivery_waiting{receiver="dead",channel="webhook"} 1"#);
    has(r#"spiked_target_stopped{receiver="hook",channel="webhook"} 0"#);
    has(r#"spiked_heartbeats_total{result="success"}"#);
    has("spiked_rules 1");
    has("process_resident_memory_bytes");

    let rows = rows();
    let kinds = rows.iter().map(|(name, row)| (name.clone(), row.0.clone())).collect();
    let page = daemon.get("/metrics").text();
    assert!(page.ends_with("# EOF\n"), "the page is OpenMetrics");
    for (name, labels, _) in samples(&page).iter().filter(|(name, ..)| name.starts_with("spiked_") && name != "spiked_build_info")
    {
        let row = &rows[&metric_of(name, &kinds)];
        let labels: BTreeSet<String> = labels.keys().filter(|label| *label != "le").cloned().collect();
        assert_eq!(labels, row.1, "the labels of {name}");
    }
}
