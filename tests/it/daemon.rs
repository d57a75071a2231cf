//! The daemon as its users meet it: statuses, exact numbers, reloads, restarts, secrets.

use std::io::Write;

use serde_json::Value;
use spiked::daemon::clock;
use spiked::model::Timestamp;

use crate::harness::{Answer, Daemon, Hook, Place, error, times, view, wait_for};

/// Fires within a second of some errors, and is over some seconds after the last one.
pub(crate) const BURST: &str = r#"
rules:
  - alert: Burst
    frequency: {of: errors, more_than: 3, within: 5s}
    severity: P1
    annotations: {summary: "Errors in a row"}
"#;

/// One webhook for everything, at once.
pub(crate) fn to_hook(url: &str) -> String {
    format!(
        "route: {{receiver: hook, group_by: [\"...\"], group_wait: 0s, group_interval: 1s}}\nreceivers: [{{name: hook, webhook_configs: [{{url: \"{url}\"}}]}}]\n"
    )
}

/// Sends views until the newest message about the alert is a resolve: silence resolves nothing.
#[track_caller]
pub(crate) fn resolve(daemon: &Daemon, hook: &Hook, alert: &str, page: &str) -> Value {
    wait_for(&format!("{alert} to be resolved"), || {
        daemon.send(&[view(page)]);
        hook.heard(alert).pop().filter(|body| body["status"] == "resolved")
    })
}

fn ago(secs: i64) -> String {
    Timestamp::from_secs(clock::now().secs() - secs).to_string()
}

#[track_caller]
fn check(answer: &Answer, status: u16, text: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert!(answer.text().contains(text), "{}", answer.text());
}

#[test]
fn every_batch_is_answered_with_its_status_and_every_line_is_counted() {
    let place = Place::new("limits: {body_bytes: 10KB, line_bytes: 2KB, inflated_bytes: 50KB}\n", "rules: []\n");
    let daemon = place.start();
    let post = |headers: &[(&str, &str)], body: &[u8]| daemon.ask("POST", "/v1/events", headers, body);
    check(&post(&[], b""), 200, r#"{"accepted":0,"rejected":[]}"#);
    check(&post(&[], view("/cart").as_bytes()), 200, r#"{"accepted":1,"rejected":[]}"#);
    check(&post(&[], format!("[{},{}]", view("/cart"), error("/cart")).as_bytes()), 200, r#"{"accepted":2,"rejected":[]}"#);
    let mixed = post(&[], [view("/cart"), "{".into(), r#"{"type":"view"}"#.into(), view("/cart")].join("\n").as_bytes());
    check(&mixed, 200, r#"{"accepted":2,"rejected":[{"line":2,"error":""#);
    let answer: Value = serde_json::from_slice(&mixed.body).unwrap();
    assert_eq!((answer["rejected"].as_array().unwrap().len(), &answer["rejected"][1]["line"]), (2, &Value::from(3)));
    check(&post(&[], b"{\nnonsense\n"), 400, r#"{"accepted":0,"rejected":[{"line":1,"error":""#);
    check(&post(&[], &[b'x'; 20_000]), 413, "limits.body_bytes");
    check(&post(&[("content-encoding", "lzma")], b"x"), 415, r#"{"accepted":0,"rejected":[{"line":1,"error":""#);
    check(&post(&[("content-encoding", "gzip")], b"x"), 400, r#"{"accepted":0,"rejected":[{"line":1,"error":""#);
    check(&post(&[("content-encoding", "gzip")], &gzip(&[b'x'; 100_000])), 413, "when unpacked");
    check(&post(&[("host", "elsewhere.example")], b"{}"), 401, "");
    check(&daemon.get("/v1/events"), 405, "");
    let long = view("/long").replace('{', &format!("{{\"pad\":\"{}\",", "x".repeat(3000)));
    check(&post(&[], long.as_bytes()), 400, r#"[{"line":1,"error":""#);

    let two = format!("{}\n{}\n", view("/zip"), view("/zip"));
    let zlib = {
        let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        out.write_all(two.as_bytes()).unwrap();
        out.finish().unwrap()
    };
    let zstd = ruzstd::encoding::compress_to_vec(two.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest);
    for (encoding, body) in [("gzip", gzip(two.as_bytes())), ("deflate", zlib), ("zstd", zstd), ("br", brotli())] {
        check(&post(&[("content-encoding", encoding)], &body), 200, r#"{"accepted":2,"rejected":[]}"#);
    }
    let rows = daemon.counts("window=5m", 12);
    let row = |page: &str, views, errors| (page.to_owned(), views, errors);
    // The packed lines name no site; those of `default` come first.
    assert_eq!(rows, [row("/cart", 2, 0), row("/cart", 4, 1), row("/zip", 6, 0)]);

    // Refused: two lines of the mixed batch, two of the bad one, the long line; two bodies too large, and two that cannot be read.
    let outcomes = outcomes(&daemon);
    let sum =
        |name: &str| outcomes.iter().filter(|row| row["outcome"] == name).map(|row| row["lines"].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("accepted"), sum("invalid") + sum("limited")), (13, 9), "{outcomes:?}");
}

fn outcomes(daemon: &Daemon) -> Vec<Value> {
    daemon.json("/api/v1/outcomes")["outcomes"].as_array().unwrap().clone()
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(data).unwrap();
    out.finish().unwrap()
}

/// Two views of `/cart`, as node's `zlib.brotliCompressSync` packs them.
fn brotli() -> Vec<u8> {
    vec![
        27, 61, 0, 64, 44, 14, 108, 71, 28, 211, 144, 32, 216, 179, 123, 245, 165, 136, 220, 94, 43, 188, 140, 209, 73, 29, 150,
        190, 10, 203, 107, 145, 50, 56, 58, 169, 137, 46, 69, 21, 38, 211, 61, 129, 145, 181, 128, 105, 102, 0,
    ]
}

#[test]
fn keys_open_their_site_only_and_browser_keys_count_from_listed_origins() {
    let sites = r#"
sites:
  shop: {keys: [{key: server-key, kind: server}, {key: browser-key, kind: browser, origins: ["https://shop.example"]}]}
  blog: {keys: [{key: slow-key, kind: server, quota: 3 per second}]}
"#;
    let place = Place::new(sites, "rules: []\n");
    let daemon = place.start();
    let line = r#"{"type":"view","site":"blog","page":"/a"}"#;
    let post = |path: &str, headers: &[(&str, &str)]| daemon.ask("POST", path, headers, line.as_bytes());
    check(&post("/v1/events", &[]), 401, "");
    check(&post("/v1/events?key=wrong", &[]), 401, "");
    check(&post("/v1/events?key=server-key", &[]), 200, r#""accepted":1"#);
    check(&post("/v1/events", &[("authorization", "Bearer server-key")]), 200, r#""accepted":1"#);
    check(&post("/v1/events", &[("authorization", "Basic c2VydmVyLWtleTo=")]), 200, r#""accepted":1"#);
    check(&post("/v1/events?key=browser-key", &[]), 403, "");
    check(&post("/v1/events?key=browser-key", &[("origin", "https://evil.example")]), 403, "");
    let listed = post("/v1/events?key=browser-key", &[("origin", "https://shop.example")]);
    check(&listed, 200, r#""accepted":1"#);
    assert!(listed.head.to_lowercase().contains("access-control-allow-origin: https://shop.example"), "{}", listed.head);
    let beacon = post("/v1/beacon?key=browser-key", &[("origin", "https://shop.example"), ("content-type", "text/plain")]);
    check(&beacon, 204, "");
    // The key's site holds, whatever the line says.
    let rows = wait_for("the counts", || {
        let rows = daemon.json("/api/v1/series")["series"].clone();
        (rows[0]["views"] == 5).then_some(rows)
    });
    assert_eq!((rows.as_array().unwrap().len(), &rows[0]["site"]), (1, &Value::from("shop")));

    let refused = wait_for("the quota to be used up", || {
        let answer = daemon.ask("POST", "/v1/events?key=slow-key", &[], times(3, line).join("\n").as_bytes());
        (answer.status != 200).then_some(answer)
    });
    assert_eq!(refused.status, 429);
    assert!(refused.head.to_lowercase().contains("retry-after: "), "{}", refused.head);
}

#[test]
fn sums_are_exact_over_windows_filters_and_sessions() {
    let place = Place::new("lateness: 2h\n", "rules: []\n");
    let daemon = place.start();
    let at = |secs: i64, rest: &str| format!(r#"{{"ts":"{}","site":"shop",{rest}}}"#, ago(secs));
    let with = |kind: &str, page: &str, session: &str| {
        let error = if kind == "error" { r#","error":{"type":"E","message":"m"}"# } else { "" };
        format!(r#""type":"{kind}","page":"{page}","session":"{session}"{error}"#)
    };
    let mut lines = Vec::new();
    for (secs, page, session) in
        [(10, "/pay", "a"), (20, "/pay", "a"), (30, "/pay", "b"), (1200, "/pay", "c"), (15, "/cart", "a")]
    {
        lines.push(at(secs, &with("view", page, session)));
    }
    for secs in [5, 6, 1100] {
        lines.push(at(secs, &with("error", "/pay", if secs == 1100 { "c" } else { "a" })));
    }
    lines.push(at(3, r#""type":"view","page":"/pay","env":"staging","count":7"#));
    lines.push(at(3, r#""type":"view","page":"/thanks","step":"confirm","count":4"#));
    daemon.send(&lines);
    daemon.counts("window=1h", 5 + 7 + 4);
    let row = |query: &str| {
        let rows = daemon.json(&format!("/api/v1/series?{query}"))["series"].as_array().unwrap().clone();
        assert_eq!(rows.len(), 1, "{query}: {rows:?}");
        let row = rows[0].clone();
        let numbers = ["views", "errors", "sessions", "affected_sessions"].map(|name| row[name].as_u64());
        (numbers.to_vec(), row["error_rate"].as_f64())
    };
    let some = |numbers: [u64; 4]| numbers.map(Some).to_vec();
    assert_eq!(row("site=shop&env=production&page=/pay"), (some([3, 2, 2, 1]), Some(2.0 / 3.0)));
    assert_eq!(row("window=1h&env=production&page=/pay"), (some([4, 3, 3, 2]), Some(0.75)));
    assert_eq!(row("window=24h&page=/cart"), (some([1, 0, 1, 0]), Some(0.0)));
    assert_eq!(row("env=staging"), (vec![Some(7), Some(0), None, None], Some(0.0)));
    assert_eq!(row("step=confirm"), (vec![Some(4), Some(0), None, None], Some(0.0)));
    assert_eq!(daemon.json("/api/v1/series?page=/pa")["series"], Value::Array(Vec::new()), "filters are exact");
    assert_eq!(daemon.json("/api/v1/series?site=nobody")["series"], Value::Array(Vec::new()));
    for bad in ["window=4m", "window=25h", "window=soon"] {
        assert_eq!(daemon.get(&format!("/api/v1/series?{bad}")).status, 400, "{bad}");
    }
}

#[test]
fn what_was_acknowledged_is_counted_once_after_kill_9_and_ids_are_remembered() {
    let place = Place::new("", "rules: []\n");
    let mut acknowledged = 0;
    for round in 0..3 {
        let daemon = place.start();
        let address = daemon.address;
        // Batches go out from two sides until the daemon is killed in the middle of them.
        let senders: Vec<_> = (0..2)
            .map(|side| {
                std::thread::spawn(move || {
                    let mut taken = 0;
                    for batch in 0.. {
                        let line =
                            |n| format!(r#"{{"type":"view","site":"shop","page":"/k","id":"{round}-{side}-{batch}-{n}"}}"#);
                        let body: Vec<String> = (0..20).map(line).collect();
                        let sent = crate::harness::request(address, "POST", "/v1/events", &[], body.join("\n").as_bytes());
                        match sent {
                            Ok(answer) if answer.status == 200 => taken = batch + 1,
                            _ => return (side, taken, body),
                        }
                    }
                    unreachable!("the loop has no end");
                })
            })
            .collect();
        wait_for("some batches", || {
            (daemon.json("/api/v1/series")["series"][0]["views"].as_u64()? > acknowledged + 400).then_some(())
        });
        daemon.kill();
        let ended: Vec<_> = senders.into_iter().map(|sender| sender.join().unwrap()).collect();
        let daemon = place.start();
        // The batch in flight may be there or not: sent again, it is there once.
        for (_, taken, in_flight) in ended {
            daemon.send(&in_flight);
            acknowledged += (taken + 1) * 20;
        }
        daemon.counts("page=/k", acknowledged);
        let again = format!(r#"{{"type":"view","site":"shop","page":"/k","id":"{round}-0-0-0"}}"#);
        daemon.send(&[again]);
        wait_for("the repeat to be counted as one", || {
            outcomes(&daemon).iter().any(|row| row["outcome"] == "duplicate").then_some(())
        });
        daemon.counts("page=/k", acknowledged);
        // Killed also while nothing happens, and stopped in an orderly way in the last round.
        if round == 2 {
            assert!(daemon.stop().0.success());
        }
    }
    place.start().counts("page=/k", acknowledged);
}

#[test]
fn a_second_daemon_on_the_same_data_is_refused() {
    let place = Place::new("", "rules: []\n");
    let daemon = place.start();
    let config = place.path("spiked.yaml").display().to_string();
    let second = crate::harness::run(place.folder(), &["run", "--config", &config], b"");
    assert_eq!(second.status.code(), Some(2));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("is in use by another spiked"), "{said}");
    assert_eq!(daemon.get("/-/ready").text(), "spiked is ready\n");
    assert_eq!(daemon.get("/-/healthy").status, 200);
}

#[test]
fn a_reload_keeps_what_it_does_not_change_and_a_broken_file_keeps_the_last_good_rules() {
    let hook = Hook::start();
    let place = Place::new(&to_hook(&hook.url), BURST);
    let daemon = place.start();
    daemon.send(&times(5, &error("/pay")));
    daemon.send(&times(5, &view("/pay")));
    let told = hook.wait("Burst", "firing");
    let before = daemon.incidents("firing");
    let page = daemon.get("/").text().replace("&#x2f;", "/");
    assert!(page.contains("<title>(1) spiked") && page.contains("/pay") && page.contains("SPK-1"), "{page}");

    place.write("rules/test.yaml", &BURST.replace("more_than", "more_then"));
    daemon.signal("-HUP");
    daemon.wait_log("event=\"reload_refused\"");
    let reloaded = daemon.ask("POST", "/-/reload", &[], b"");
    check(&reloaded, 500, "test.yaml:4:");
    assert_eq!(daemon.json("/api/v1/rules")["rules"][0]["alert"], "Burst");

    let more = "  - alert: Other\n    threshold: {of: errors, above: 1000, over: 5m}\n";
    place.write("rules/test.yaml", &format!("{}{more}", BURST.replace("in a row", "in a line")));
    check(&daemon.ask("POST", "/-/reload", &[], b""), 200, "");
    assert_eq!(daemon.json("/api/v1/rules")["rules"].as_array().unwrap().len(), 2);
    let after = daemon.incidents("firing");
    assert_eq!((before.len(), &before[0]["dedup_key"]), (after.len(), &after[0]["dedup_key"]));
    let over = resolve(&daemon, &hook, "Burst", "/pay");
    assert_eq!(over["data"]["incident"], told["data"]["incident"]);
    assert_eq!(hook.heard("Burst").len(), 2, "told once, resolved once");
}

#[test]
fn a_rule_that_is_deleted_while_it_fires_is_resolved_to_who_was_told() {
    let hook = Hook::start();
    let place = Place::new(&to_hook(&hook.url), BURST);
    let daemon = place.start();
    daemon.send(&times(5, &error("/pay")));
    let told = hook.wait("Burst", "firing");
    place.write("rules/test.yaml", "rules: []\n");
    daemon.signal("-HUP");
    let over = hook.wait("Burst", "resolved");
    assert_eq!(over["data"]["incident"], told["data"]["incident"]);
    assert_eq!(daemon.json("/api/v1/rules")["rules"], Value::Array(Vec::new()));
    assert!(daemon.incidents("firing").is_empty());

    // And while the daemon is away: after a crash, and after an orderly stop.
    let mut daemon = daemon;
    for crash in [true, false] {
        let before = hook.told("Burst").len();
        let other = BURST.replace("alert: Burst", "alert: Other");
        place.write("rules/test.yaml", &format!("{other}{}", BURST.trim_start().trim_start_matches("rules:\n")));
        check(&daemon.ask("POST", "/-/reload", &[], b""), 200, "");
        daemon.send(&times(5, &error("/cart")));
        wait_for("both alerts", || (hook.told("Burst").len() > before && !hook.heard("Other").is_empty()).then_some(()));
        if crash {
            daemon.kill();
        } else {
            assert!(daemon.stop().0.success());
        }
        place.write("rules/test.yaml", &other);
        daemon = place.start();
        hook.wait("Burst", "resolved");
        assert_eq!(hook.told("Burst").len(), before + 2);
        let others = hook.heard("Other");
        assert!(others.iter().all(|body| body["status"] == "firing"), "the other rule's alert goes on: {others:?}");
        assert_eq!(daemon.incidents("firing").len(), 1);
    }
}

#[test]
fn an_alert_that_fires_is_resolved_after_restarts_under_the_same_key() {
    let hook = Hook::start();
    let place = Place::new(&to_hook(&hook.url), BURST);
    let daemon = place.start();
    daemon.send(&times(5, &error("/pay")));
    let told = hook.wait("Burst", "firing");
    let key = daemon.incidents("firing")[0]["dedup_key"].clone();
    daemon.kill();
    // Errors go on through a kill and an orderly stop.
    let daemon = place.start();
    daemon.send(&times(5, &error("/pay")));
    assert!(daemon.stop().0.success());
    let daemon = place.start();
    daemon.send(&times(5, &error("/pay")));
    assert_eq!(daemon.incidents("firing")[0]["dedup_key"], key);
    let over = resolve(&daemon, &hook, "Burst", "/pay");
    assert_eq!((&over["groupKey"], &over["data"]["incident"]), (&told["groupKey"], &told["data"]["incident"]));
    assert_eq!(over["alerts"][0]["fingerprint"], told["alerts"][0]["fingerprint"]);
    assert_eq!(daemon.incidents("resolved")[0]["dedup_key"], key);
    assert_eq!(hook.heard("Burst").len(), 2, "{:#?}", hook.heard("Burst"));
}

#[test]
fn nothing_is_missed_that_nobody_was_there_to_hear() {
    let hook = Hook::start();
    let rules = "rules:\n  - alert: Silent\n    absent: {of: views, for: 4s}\n";
    let place = Place::new(&to_hook(&hook.url), rules);
    let daemon = place.start();
    daemon.send(&[view("/pay")]);
    daemon.kill();
    let end = clock::now().secs() + 6;
    wait_for("the time of the alert", || (clock::now().secs() > end).then_some(()));
    // Away for longer than the rule waits: at the start, and again when the log is read another time.
    let daemon = place.start();
    daemon.send(&[view("/pay")]);
    daemon.kill();
    let daemon = place.start();
    assert!(!daemon.log().contains("alert=Silent"), "{}", daemon.log());
    daemon.send(&[view("/pay")]);
    daemon.counts("page=/pay", 3);
    assert!(hook.heard("Silent").is_empty() && daemon.incidents("firing").is_empty());
    // Silence from now on is real.
    hook.wait("Silent", "firing");
    daemon.send(&[view("/pay")]);
    hook.wait("Silent", "resolved");
}

#[test]
fn secrets_of_the_configuration_show_nowhere() {
    let hook = Hook::start();
    let config = format!(
        "{}admin_token: planted-admin\nsites: {{shop: {{keys: [planted-key]}}}}\n",
        to_hook(&format!("{}/planted-hook", hook.url)).replace("}]}]", ", signing_secret: whsec_cGxhbnRlZC1zaWdu}]}]")
    );
    let place = Place::new(&config, BURST);
    // A second receiver that cannot be reached: its errors are told without its address.
    let dead = "  - {name: dead, webhook_configs: [{url: \"http://127.0.0.1:9/planted-dead\"}]}\n";
    let both = config.replace("receivers: [{", "receivers:\n  - {").replace("}]}]\n", &format!("}}]}}\n{dead}"));
    place.configure(
        &both.replace("route: {", "route: {routes: [{receiver: dead, matchers: [], continue: true}, {receiver: hook}], "),
    );
    let daemon = place.start_with(&["--log", "debug"]);
    check(&daemon.get("/api/v1/series"), 401, "");
    let admin = [("authorization", "Bearer planted-admin")];
    let line = times(5, &error("/pay")).join("\n");
    let sent = daemon.ask("POST", "/v1/events", &[("authorization", "Bearer planted-key")], line.as_bytes());
    check(&sent, 200, "");
    hook.wait("Burst", "firing");
    daemon.wait_log("receiver=dead");
    let mut shown = String::new();
    for path in
        ["/", "/api/v1/incidents", "/api/v1/deliveries", "/api/v1/rules", "/api/v1/outcomes", "/metrics", "/api/v1/series"]
    {
        let answer = daemon.ask("GET", path, &admin, b"");
        assert_eq!(answer.status, 200, "{path}");
        shown.push_str(&answer.text());
    }
    shown.push_str(&daemon.ask("POST", "/-/reload", &admin, b"").text());
    place.write("spiked.yaml", "admin_token: planted-admin\nlisten: planted-key here\n");
    shown.push_str(&daemon.ask("POST", "/-/reload", &admin, b"").text());
    let (_, log) = daemon.stop();
    shown.push_str(&log);
    for secret in ["planted-admin", "planted-hook", "planted-dead", "cGxhbnRlZC1zaWdu", "planted-sign"] {
        let at = shown.find(secret).map(|at| shown[at.saturating_sub(200)..(at + 60).min(shown.len())].to_owned());
        assert_eq!(at, None, "{secret}");
    }
    assert!(!log.contains("Bearer planted"), "a key is in the log");
}
