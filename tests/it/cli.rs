//! The command line: exit codes, what goes where, and the shape of what programs read.

use std::fs;
use std::io::Write;
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::harness::{Place, run, spiked};

const RULES: &str = "rules:\n  - alert: Burst\n    frequency: {of: errors, more_than: 3, within: 5m}\n    severity: P1\n";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn check(output: &Output, code: i32, stdout: &str, stderr: &str) {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}\n{err}");
    assert!(out.contains(stdout), "stdout: {out}");
    assert!(err.contains(stderr), "stderr: {err}");
}

/// An hour of a page: a view a second, with errors in the minutes from 20 to 25.
fn history() -> String {
    let mut lines = String::new();
    for secs in 0..3600 {
        let ts = format!("2026-11-21T07:{:02}:{:02}Z", secs / 60, secs % 60);
        lines.push_str(&format!(
            "{{\"ts\":\"{ts}\",\"type\":\"view\",\"site\":\"shop\",\"page\":\"/pay\",\"session\":\"s{}\"}}\n",
            secs / 3
        ));
        if (1200..1500).contains(&secs) && secs % 10 == 0 {
            let error = r#""error":{"type":"E","message":"m"}"#;
            lines.push_str(&format!(
                "{{\"ts\":\"{ts}\",\"type\":\"error\",\"site\":\"shop\",\"page\":\"/pay\",\"session\":\"s{}\",{error}}}\n",
                secs / 3
            ));
        }
    }
    lines
}

#[test]
fn check_says_every_mistake_with_its_exit_code() {
    let place = Place::new("", RULES);
    check(&run(place.folder(), &["check", "rules/test.yaml"], b""), 0, "", "");
    check(&run(place.folder(), &["check"], b""), 0, "", "");
    place.write(
        "rules/bad.yaml",
        "rules:\n  - alert: A\n    spke: {of: errors}\n  - alert: B\n    frequency: {of: errors, within: 5}\n",
    );
    let found = run(place.folder(), &["check", "rules/bad.yaml"], b"");
    check(&found, 1, "rules/bad.yaml:3:5", "");
    check(&found, 1, "rules/bad.yaml:5:", "");
    let json = run(place.folder(), &["check", "--format", "json", "rules/bad.yaml"], b"");
    let listed: Vec<Value> = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json.status.code(), Some(1));
    assert!(listed.len() >= 2 && listed.iter().all(|found| found["line"].is_u64() && found["file"].is_string()), "{listed:?}");
    check(&run(place.folder(), &["check", "rules/none.yaml"], b""), 2, "", "");
    check(&run(place.folder(), &["check", "--colour"], b""), 2, "", "--colour");
    check(&run(place.folder(), &["chek"], b""), 2, "", "chek");
    check(&run(place.folder(), &["--version"], b""), 0, "spiked ", "");
}

#[test]
fn backtest_prints_transitions_as_json_from_plain_packed_and_piped_events() {
    let place = Place::new("", RULES);
    let events = history();
    let gz = {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(events.as_bytes()).unwrap();
        out.finish().unwrap()
    };
    let zst = ruzstd::encoding::compress_to_vec(events.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest);
    for (name, bytes) in [("events.ndjson", events.as_bytes()), ("events.gz", &gz), ("events.zst", &zst)] {
        fs::write(place.path(name), bytes).unwrap();
    }
    let backtest = |name: &str, input: &[u8]| {
        let output = run(place.folder(), &["backtest", "--rules", "rules/test.yaml", "--events", name, "--json"], input);
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{name}");
        text(&output.stdout)
    };
    let plain = backtest("events.ndjson", b"");
    assert_eq!(backtest("-", events.as_bytes()), plain);
    assert_eq!(backtest("events.gz", b""), plain);
    assert_eq!(backtest("events.zst", b""), plain);

    let lines: Vec<Value> = plain.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().map(|line| line["state"].as_str().unwrap()).collect::<Vec<_>>(), ["firing", "resolved"]);
    let first = plain.lines().next().unwrap();
    let keys = [
        "at", "alert", "state", "group", "severity", "value", "baseline", "ratio", "errors", "views", "sessions", "began",
        "reason",
    ];
    let places: Vec<_> =
        keys.iter().map(|key| first.find(&format!("\"{key}\":")).unwrap_or_else(|| panic!("{key}: {first}"))).collect();
    assert!(places.is_sorted(), "{first}");
    let (firing, resolved) = (&lines[0], &lines[1]);
    assert_eq!(firing["group"], resolved["group"]);
    assert_eq!(firing["group"], serde_json::json!({"site": "shop", "env": "production", "page": "/pay"}));
    assert_eq!((&firing["alert"], &firing["severity"]), (&"Burst".into(), &"P1".into()));
    // More than 3 within 5 minutes: with the fourth error, 30 s after the first.
    let at = |line: &Value| line["at"].as_str().unwrap().to_owned();
    assert!(at(firing).starts_with("2026-11-21T07:20:3"), "{first}");
    assert!(at(resolved).starts_with("2026-11-21T07:29:"), "{}", at(resolved));
    assert!(first.contains("\"at\":\"2026-11-21T07:20:") && first.contains("Z\""), "{first}");
}

#[test]
fn backtest_without_what_it_needs_is_told_on_standard_error() {
    let place = Place::new("", RULES);
    fs::write(place.path("events"), history()).unwrap();
    check(&run(place.folder(), &["backtest", "--rules", "rules/test.yaml", "--events", "none"], b""), 2, "", "cannot read none");
    check(&run(place.folder(), &["backtest", "--rules", "none.yaml", "--events", "events"], b""), 2, "", "none.yaml");
    check(&run(place.folder(), &["backtest", "--rules", "rules/test.yaml"], b""), 2, "", "--events");
    place.write("bad.yaml", "rules:\n  - alert: A\n    spke: 1\n");
    check(&run(place.folder(), &["backtest", "--rules", "bad.yaml", "--events", "events"], b""), 2, "", "bad.yaml:3:5");
    let people = run(place.folder(), &["backtest", "--rules", "rules", "--events", "events"], b"");
    check(&people, 0, "Burst", "1 fired, 1 resolved");
    // A bad line is told and the rest is replayed.
    let mixed = format!("nonsense\n{}", history());
    let output = run(place.folder(), &["backtest", "--rules", "rules", "--events", "-", "--json"], mixed.as_bytes());
    check(&output, 0, "\"firing\"", "-:1: ");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let place = Place::new("", RULES);
    fs::write(place.path("events"), history()).unwrap();
    let commands: [&[&str]; 5] = [
        &["schema", "rules"],
        &["completions", "bash"],
        &["backtest", "--rules", "rules", "--events", "events", "--json"],
        &["decode", "--format", "native", "events"],
        &["check", "rules"],
    ];
    for command in commands {
        let mut child =
            spiked().args(command).current_dir(place.folder()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{command:?}: {}", text(&output.stderr));
        assert!(
            !text(&output.stderr).contains("panicked") && !text(&output.stderr).contains("error"),
            "{}",
            text(&output.stderr)
        );
    }
}

#[test]
fn decode_gives_native_events_that_backtest_reads() {
    let place = Place::new("", RULES);
    let log = b"203.0.113.4 - - [21/Nov/2026:07:37:55 +0000] \"POST /pay?x=1 HTTP/1.1\" 502 600 \"-\" \"Mozilla/5.0 (X11; Linux x86_64) Chrome/141.0.0.0 Safari/537.36\"\n";
    let output = run(place.folder(), &["decode", "--format", "combined"], log);
    check(&output, 0, "\"page\":\"/pay\"", "");
    let events: Vec<Value> = text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.iter().any(|event| event["type"] == "error"), "{events:?}");
    let again = run(place.folder(), &["decode", "--format", "native", "--received", "2026-11-21T07:38:00Z"], &output.stdout);
    assert_eq!((again.status.code(), text(&again.stdout)), (Some(0), text(&output.stdout)), "{}", text(&again.stderr));
    check(&run(place.folder(), &["decode", "--format", "native"], b"{}\n"), 1, "", "line 1: ");
    check(&run(place.folder(), &["decode", "--format", "nonsense"], b""), 2, "", "nonsense");
    check(&run(place.folder(), &["decode", "--format", "native", "none"], b""), 2, "", "cannot read none");
}

#[test]
fn schemas_completions_and_a_first_configuration() {
    let place = Place::new("", RULES);
    for what in ["rules", "config", "events"] {
        let output = run(place.folder(), &["schema", what], b"");
        let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(schema["$schema"].is_string() && output.stderr.is_empty(), "{what}");
    }
    check(&run(place.folder(), &["schema", "nothing"], b""), 2, "", "nothing");
    check(&run(place.folder(), &["completions", "bash"], b""), 0, "_spiked()", "");
    check(&run(place.folder(), &["init", "new"], b""), 0, "", "spiked check");
    check(&run(place.folder(), &["check", "new/spiked.yaml", "new/rules"], b""), 0, "", "");
    check(&run(&place.path("new"), &["check"], b""), 0, "", "");
    check(&run(place.folder(), &["init", "new"], b""), 2, "", "there already");
    check(&run(place.folder(), &["run", "--config", "none.yaml"], b""), 2, "", "none.yaml");
    place.write("broken.yaml", "listen: 127.0.0.1:0\nsuprise: 1\n");
    check(&run(place.folder(), &["run", "--config", "broken.yaml"], b""), 2, "", "broken.yaml:2:1");
}

#[test]
fn incidents_are_seen_acknowledged_and_resolved_from_the_command_line() {
    use crate::harness::{Place, error, spiked, times, wait_for};
    let token = "a-token-that-is-long";
    let place = Place::new(&format!("admin_token: {token}\nsites: {{shop: {{keys: [k]}}}}\n"), crate::daemon::BURST);
    let daemon = place.start();
    place.write("token", &format!("{token}\n"));
    let url = format!("http://{}", daemon.address);
    let ask = |args: &[&str]| {
        let mut command = spiked();
        let out = command.arg("incident").args(args).args(["--url", &url]).current_dir(place.folder()).output().unwrap();
        (out.status.code(), text(&out.stdout), text(&out.stderr))
    };
    let with_token = |args: &[&str]| ask(&[args, &["--token-file", "token"]].concat());
    let (code, _, said) = ask(&["list"]);
    assert!(code == Some(2) && said.contains("401") && !said.contains(token), "{said}");
    assert_eq!(with_token(&["list"]), (Some(0), String::new(), "nothing fires\n".to_owned()));
    let sent = daemon.ask("POST", "/v1/events?key=k", &[], times(5, &error("/pay")).join("\n").as_bytes());
    assert_eq!(sent.status, 200);
    let listed = wait_for("the incident", || Some(with_token(&["list"]).1).filter(|listed| !listed.is_empty()));
    assert!(listed.starts_with("SPK-1     firing    P1  ") && listed.contains("Errors in a row"), "{listed}");
    let (_, shown, _) = with_token(&["ack", "spk-1"]);
    assert!(shown.contains("acknowledged by admin") && shown.contains("page=/pay"), "{shown}");
    let (_, json, _) = with_token(&["show", "1", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["acknowledged_by"], "admin");
    assert_eq!(with_token(&["resolve", "SPK-1"]).0, Some(0));
    let (code, _, said) = with_token(&["resolve", "SPK-1"]);
    assert!(code == Some(2) && said.contains("409: SPK-1 is over already"), "{said}");
    assert!(with_token(&["list", "--all"]).1.contains("resolved"));
    assert_eq!(with_token(&["show", "SPK-9"]).0, Some(2));
}
