//! End to end against strict fakes of the real services that misbehave on purpose: everybody is told both ends of every incident.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Daemon, Place, error, request, times, view, wait_at_most};

/// Enough for all that is tried again.
const LONG: Duration = Duration::from_secs(60);
const PAGES: usize = 6;

const RULES: &str = "rules:\n  - alert: Burst\n    frequency: {of: errors, more_than: 3, within: 5s}\n    severity: P1\n";

/// The fakes; ended when they are dropped.
struct Sinks {
    child: Child,
    ready: Value,
    control: SocketAddr,
}

impl Sinks {
    fn start() -> Result<Self, &'static str> {
        // Beside the repository, or beside the folder of its worktrees.
        let places = ["../shared/sinks/sinks.py", "../../shared/sinks/sinks.py"];
        let mut scripts = places.into_iter().map(|place| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(place));
        let script = scripts.find(|script| script.is_file()).ok_or("the fake services are not here")?;
        let modules = Command::new("python3").args(["-c", "import aiohttp, aiosmtpd"]).stderr(Stdio::null()).status();
        if !modules.is_ok_and(|status| status.success()) {
            return Err("python3 with aiohttp and aiosmtpd is not here");
        }
        let mut child = Command::new("python3")
            .arg(script)
            .args(["serve", "--http", "127.0.0.1:0", "--smtp", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        let control = ready["http"].as_str().unwrap().trim_start_matches("http://").parse().unwrap();
        Ok(Self { child, ready, control })
    }

    fn config(&self) -> String {
        let http = self.ready["http"].as_str().unwrap();
        let (mail, secret) = (self.ready["smtp"].as_str().unwrap(), self.ready["hook_secret"].as_str().unwrap());
        format!(
            r#"
external_url: https://spiked.shop.example
route: {{receiver: everybody, group_by: ["..."], group_wait: 0s, group_interval: 1s}}
receivers:
  - name: everybody
    slack_configs: [{{api_url: "{http}/services/T0001/B0001/secret", timeout: 2s}}]
    pagerduty_configs: [{{routing_key: 0123456789abcdef0123456789abcdef, url: "{http}/v2/enqueue", timeout: 2s}}]
    webhook_configs: [{{url: "{http}/hook/spiked", signing_secret: "{secret}", timeout: 2s}}]
    email_configs: [{{to: "oncall@shop.example", from: "alerts@shop.example", smarthost: "{mail}", require_tls: false, hello: spiked.shop.example}}]
"#
        )
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = request(self.control, method, path, &[("content-type", "application/json")], body.as_bytes()).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        serde_json::from_slice(&answer.body).unwrap_or_default()
    }
}

impl Drop for Sinks {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// How many incidents this channel was told of for this reason.
fn told(daemon: &Daemon, channel: &str, reason: &str) -> usize {
    let all = daemon.json("/api/v1/deliveries")["deliveries"].as_array().unwrap().clone();
    let fits = |row: &&Value| row["channel"] == channel && row["reason"] == reason && row["state"] == "delivered";
    let incidents: std::collections::BTreeSet<String> =
        all.iter().filter(fits).map(|row| row["incident"].as_str().unwrap().to_owned()).collect();
    incidents.len()
}

/// Whether a message waits for its next try.
fn is_waiting(daemon: &Daemon) -> bool {
    daemon.json("/api/v1/deliveries")["deliveries"].as_array().unwrap().iter().any(|row| row["state"] == "queued")
}

#[test]
fn everybody_is_told_both_ends_although_every_service_misbehaves() {
    let sinks = match Sinks::start() {
        Ok(sinks) => sinks,
        Err(why) => return eprintln!("skipped: {why}"),
    };
    let fault =
        |sink: &str, skip: u32, count: u32, fault: Value| json!({"sink": sink, "skip": skip, "count": count, "fault": fault});
    let faults = json!({"seed": 7, "rules": [
        fault("slack_webhook", 0, 1, json!({"kind": "status", "status": 429, "retry_after": 2})),
        fault("slack_webhook", 1, 1, json!({"kind": "reset", "when": "before"})),
        fault("pagerduty", 0, 1, json!({"kind": "status", "status": 500})),
        fault("pagerduty", 0, 1, json!({"kind": "lost_ack", "how": "reset"})),
        fault("webhook", 0, 1, json!({"kind": "hang", "seconds": 4})),
        fault("webhook", 1, 1, json!({"kind": "lost_ack", "how": "reset"})),
    ]});
    sinks.ask("POST", "/_control/faults", &faults);

    let place = Place::new(&sinks.config(), RULES);
    let daemon = place.start();
    let pages: Vec<String> = (0..PAGES).map(|n| format!("/page-{}", char::from(b'a' + n as u8))).collect();
    for page in &pages {
        daemon.send(&times(5, &error(page)));
    }
    let channels = ["slack", "pagerduty", "webhook", "email"];
    // Incidents that begin together are one message. Errors go on until everybody knows; then only views come.
    wait_at_most(LONG, "everybody to be told", || {
        for page in &pages {
            daemon.send(&times(4, &error(page)));
        }
        let all = daemon.incidents("firing").len() == PAGES && !is_waiting(&daemon);
        (all && channels.iter().all(|channel| told(&daemon, channel, "fire") >= 1)).then_some(())
    });
    wait_at_most(LONG, "everybody to be told that it is over", || {
        for page in &pages {
            daemon.send(&[view(page)]);
        }
        let all = daemon.incidents("resolved").len() == PAGES && !is_waiting(&daemon);
        let both = |channel: &&str| told(&daemon, channel, "resolve") == told(&daemon, channel, "fire");
        (all && channels.iter().all(both)).then_some(())
    });

    let report = sinks.ask("GET", "/_control/report", &Value::Null);
    let empty = |name: &str| assert!(report[name].as_array().is_none_or(Vec::is_empty), "{name}: {:#}", report[name]);
    empty("flags");
    empty("bad");
    assert_eq!(report["pagerduty"]["open"], json!([]));
    for sink in ["slack_webhook", "pagerduty", "webhook", "smtp"] {
        let counts = &report["counts"][sink];
        let seen = counts["delivered"].as_u64().unwrap_or(0) + counts["delivered_unacked"].as_u64().unwrap_or(0);
        assert!(seen >= 2, "{sink}: {counts}");
    }
    let duplicates: u64 = report["duplicates"].as_object().unwrap().values().map(|times| times.as_u64().unwrap() - 1).sum();
    assert!(duplicates <= 2, "more than the lost answers explain: {:#}", report["duplicates"]);
    for fault in report["faults"].as_array().unwrap() {
        assert_eq!(fault["hits"], 1, "a fault that was not met: {fault}");
    }
    assert!(daemon.stop().0.success());
}
