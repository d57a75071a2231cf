//! Every channel: what it says, and how it reads the ends that a delivery can take.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use chrono_tz::Tz;
use serde_json::{Value, json};
use spiked::config::{Email, HttpConfig, Integration, MailTls, PagerDuty, Receiver, Slack, View, Webhook};
use spiked::model::delivery::Target;
use spiked::model::{AttemptResult, Delivery, Notification, Reason, Secret, State, Timestamp};
use spiked::notifier::{Clients, email, mail_body, pagerduty, send, slack, terminal, webhook};
use spiked::render::{Audience, sample, tell};

use crate::fakes::{self, Http};

const HOSTILE: &str = "<!channel> *x* & </b> \r\nBcc: a@b.example {{x}} @all /close `z` \u{202e}漢字 👩\u{200d}👩\u{200d}👧 ";

fn audience(view: View) -> Audience<'static> {
    let time_zone = if view == View::Business { Tz::Europe__Berlin } else { Tz::UTC };
    Audience { view, time_zone, external_url: "https://spiked.shop.example" }
}

fn http(timeout_millis: u64) -> HttpConfig {
    HttpConfig { timeout: Some(Duration::from_millis(timeout_millis)), ..HttpConfig::default() }
}

fn slack_to(url: &str) -> Integration {
    Integration::Slack(Slack { api_url: Secret::new(url), send_resolved: true, http: http(1500) })
}

fn mail_to(smarthost: &str, to: &[&str]) -> Integration {
    Integration::Email(Email {
        to: to.iter().map(ToString::to_string).collect(),
        from: "spiked <alerts@shop.example>".into(),
        smarthost: smarthost.into(),
        hello: "spiked.shop.example".into(),
        auth_username: String::new(),
        auth_password: None,
        tls: MailTls::None,
        ca_file: None,
        send_resolved: true,
    })
}

fn receiver(integrations: Vec<Integration>, view: View) -> Receiver {
    Receiver { name: "web-team".into(), view, time_zone: None, fallback: String::new(), integrations }
}

fn delivery(channel: &str, index: usize, notification: Notification) -> Delivery {
    let target = Target { receiver: "web-team".into(), channel: channel.into(), index };
    let now = notification.at;
    Delivery { id: 1, target, notification, attempts: 0, due: now, created: now, reference: None, plain: false }
}

fn now() -> Timestamp {
    Timestamp::from_secs(spiked::daemon::clock::now().secs())
}

async fn attempt(integration: Integration, delivery: &Delivery) -> AttemptResult {
    let receiver = receiver(vec![integration], View::Technical);
    let clients = Clients::new(std::slice::from_ref(&receiver)).unwrap();
    send(delivery, &receiver, &clients, now(), "https://spiked.shop.example", Tz::UTC).await
}

#[track_caller]
fn class(result: &AttemptResult) -> &'static str {
    let text = format!("{result:?}");
    assert!(!text.contains("secret") && !text.contains("127.0.0.1"), "a secret is told: {text}");
    match result {
        AttemptResult::Delivered { .. } => "delivered",
        AttemptResult::Transient { .. } => "transient",
        AttemptResult::Partial { .. } => "partial",
        AttemptResult::BadMessage { .. } => "message",
        AttemptResult::BadTarget { .. } => "target",
    }
}

#[tokio::test]
async fn slacks_answers_are_told_apart() {
    let cases = [
        (Http::Answer("200 OK", "ok"), "delivered"),
        (Http::Answer("200 OK", "<html>hello</html>"), "transient"),
        (Http::Answer("429 Too Many Requests\r\nretry-after: 7", "{}"), "transient"),
        (Http::Answer("503 Service Unavailable", ""), "transient"),
        (Http::Answer("302 Found\r\nlocation: http://elsewhere.example/", ""), "transient"),
        (Http::Answer("308 Permanent Redirect\r\nlocation: http://elsewhere.example/", ""), "target"),
        (Http::Answer("400 Bad Request", "invalid_blocks"), "message"),
        (Http::Answer("404 Not Found", "no_service"), "target"),
        (Http::Answer("410 Gone", "channel_is_archived"), "target"),
        (Http::Hang, "transient"),
        (Http::Reset, "transient"),
    ];
    for (behaviour, expected) in cases {
        let url = fakes::http(behaviour.clone()).await;
        let result = attempt(slack_to(&url), &delivery("slack", 0, sample::fire())).await;
        assert_eq!(class(&result), expected, "{behaviour:?} {result:?}");
        if let (AttemptResult::Transient { retry_after, .. }, Http::Answer(head, _)) = (&result, &behaviour)
            && head.starts_with("429")
        {
            assert_eq!(*retry_after, Some(Duration::from_secs(7)));
        }
    }
    let result = attempt(slack_to("http://127.0.0.1:9/secret"), &delivery("slack", 0, sample::fire())).await;
    assert_eq!(class(&result), "transient");
    let result = attempt(slack_to("no url"), &delivery("slack", 0, sample::fire())).await;
    assert_eq!(class(&result), "target");
}

#[tokio::test]
async fn a_retry_of_mail_reaches_only_those_who_have_none() {
    let (server, mails) = fakes::smtp().await;
    let mut first = delivery("email", 0, sample::fire());
    let everybody = ["ana@shop.example", "later@shop.example", "nobody@shop.example", "bo@shop.example"];
    let result = attempt(mail_to(&server, &everybody), &first).await;
    assert_eq!(class(&result), "partial");
    let AttemptResult::Partial { reference, retry_after, .. } = result else { unreachable!() };
    assert_eq!(retry_after, Some(Duration::from_secs(60)));
    first.reference = Some(reference);
    let result = attempt(mail_to(&server, &everybody), &first).await;
    assert_eq!(class(&result), "partial");
    let to: Vec<String> = mails.lock().unwrap().iter().map(|(to, _)| to.clone()).collect();
    assert_eq!(to, ["ana@shop.example", "bo@shop.example"]);
    assert_eq!(class(&attempt(mail_to(&server, &["later@x.example"]), &delivery("email", 0, sample::fire())).await), "transient");
    assert_eq!(class(&attempt(mail_to(&server, &["nobody@x.example"]), &delivery("email", 0, sample::fire())).await), "target");
    assert_eq!(
        class(&attempt(mail_to("127.0.0.1:9", &["a@x.example"]), &delivery("email", 0, sample::fire())).await),
        "transient"
    );
}

fn hostile() -> Notification {
    let mut notification = sample::fire();
    let long = HOSTILE.repeat(60);
    let t = &mut notification.alerts[0].firing;
    for name in ["page", "step", "site"] {
        t.group.set(name, long.clone());
        t.labels.set(name, long.clone());
    }
    t.owner = "<!here> *x* & </b>".into();
    t.alert.clone_from(&long);
    t.annotations.set("summary", format!("{{{{ labels.page }}}} {long}"));
    t.annotations.set("description", "{% raw %}".to_string() + &long + "{% endraw %}");
    t.annotations.set("runbook_url", "javascript:alert(1)");
    t.finding.top_errors[0].class.clone_from(&long);
    t.finding.top_errors[0].message.clone_from(&long);
    t.finding.facets[0].value.clone_from(&long);
    t.finding.deploy.as_mut().unwrap().release.clone_from(&long);
    t.finding.funnel.as_mut().unwrap().funnel = long;
    (t.finding.value, t.finding.baseline) = (Some(f64::NAN), Some(f64::INFINITY));
    let alert = notification.alerts[0].clone();
    notification.alerts = vec![alert; 50];
    notification.truncated = 7;
    notification
}

#[test]
fn hostile_text_does_no_harm_and_fits() {
    for view in [View::Technical, View::Business] {
        let (notification, audience) = (hostile(), audience(view));
        let story = tell(&notification, &audience);
        let slack = slack::payload(&notification, &story, false);
        let text = slack.to_string();
        for bad in ["<!channel>", "@all", "NaN", "inf ", "{{x}}", "javascript:"] {
            assert!(!text.contains(bad), "{bad} in {text}");
        }
        assert!(slack["blocks"][0]["text"]["text"].as_str().unwrap().chars().count() <= 150);
        assert!(slack["text"].as_str().unwrap().chars().count() <= 150);
        let mail = mail_body::payload(&notification, &story, &audience);
        assert!(!mail.html.contains("</b>"), "{}", mail.html);
        assert!(mail.html.len() <= 30_000, "{} bytes", mail.html.len());
        assert!(!mail.text.contains("a@b.example"), "{}", mail.text);
        let event = pagerduty::payload(&notification, &story, false);
        assert!(event["payload"]["summary"].as_str().unwrap().chars().count() <= 100);
        let Integration::Email(config) = mail_to("localhost:25", &["ana@shop.example"]) else { unreachable!() };
        let message = email::payload(&config, &notification, &story, &audience, "ana@shop.example", now()).unwrap();
        let source = String::from_utf8(message.formatted()).unwrap();
        let head = source.split("\r\n\r\n").next().unwrap();
        assert!(!head.lines().any(|line| line.starts_with("Bcc:")), "{head}");
    }
}

#[test]
fn marketers_read_no_jargon() {
    for notification in [sample::fire(), sample::update(), sample::resolve(), sample::worse()] {
        let audience = audience(View::Business);
        let mail = mail_body::payload(&notification, &tell(&notification, &audience), &audience);
        for word in ["PaymentError", "CheckoutErrorSpike", "p-value", "5xx", "threshold", "rule", "percentile", "null", "UTC"] {
            assert!(!mail.text.contains(word), "{word} in\n{}", mail.text);
        }
        assert!(mail.chart.unwrap().len() <= 40_000);
    }
}

#[test]
fn every_payload_is_as_it_was_reviewed() {
    let cases =
        [("fire", sample::fire()), ("update", sample::update()), ("resolve", sample::resolve()), ("worse", sample::worse())];
    for (name, notification) in cases {
        let engineers = audience(View::Technical);
        let story = tell(&notification, &engineers);
        let pretty = |value: Value| serde_json::to_string_pretty(&value).unwrap();
        insta::assert_snapshot!(format!("{name}-slack"), pretty(slack::payload(&notification, &story, false)));
        insta::assert_snapshot!(format!("{name}-slack-plain"), pretty(slack::payload(&notification, &story, true)));
        insta::assert_snapshot!(format!("{name}-pagerduty"), pretty(pagerduty::payload(&notification, &story, false)));
        insta::assert_snapshot!(format!("{name}-webhook"), pretty(webhook::payload(&notification, &story, &engineers, 0)));
        insta::assert_snapshot!(format!("{name}-terminal"), terminal::payload(&notification, &story, false));
        let marketers = audience(View::Business);
        let mail = mail_body::payload(&notification, &tell(&notification, &marketers), &marketers);
        insta::assert_snapshot!(format!("{name}-mail-text"), mail.text);
        insta::assert_snapshot!(format!("{name}-mail-html"), mail.html);
    }
}

/// Absence, a new error, a drop, counts: each kind has words of its own, and none shows what is not known.
#[test]
fn each_kind_of_alert_has_its_own_words() {
    use spiked::model::Metric;
    let line = |condition: &str, metric: Metric, value: Option<f64>| {
        let mut notification = sample::fire();
        let t = &mut notification.alerts[0].firing;
        t.condition = condition.into();
        (t.finding.metric, t.finding.value, t.finding.baseline, t.finding.ratio) = (metric, value, None, None);
        t.finding.facets.clear();
        t.owner.clear();
        t.labels.set("owner", "");
        let story = tell(&notification, &audience(View::Technical));
        format!("{} | {}", story.line, story.fact.text())
    };
    let mut lines = vec![
        line("spike", Metric::ErrorRate, Some(0.12)),
        line("spike", Metric::SessionErrorRate, Some(0.004)),
        line("spike", Metric::Errors, None),
        line("frequency", Metric::Errors, Some(124.0)),
        line("threshold", Metric::ErrorRate, Some(0.08)),
        line("drop", Metric::Views, None),
        line("drop", Metric::Conversion, Some(0.21)),
        line("drop", Metric::Track("purchase".into()), None),
        line("absent", Metric::Views, None),
        line("first_seen", Metric::Errors, None),
    ];
    lines.push(String::new());
    insta::assert_snapshot!("kinds", lines.join("\n"));
}

/// A release alert ends for three reasons, and each is told as what it is.
#[test]
fn a_release_that_was_worse_ends_in_words() {
    let mut lines = Vec::new();
    for reason in [
        "the comparison ends after 1d",
        "its traffic is gone",
        "it fails no more often than the other releases in the same minutes",
    ] {
        for view in [View::Technical, View::Business] {
            let mut notification = sample::worse();
            notification.reason = Reason::Resolve;
            let mut end = notification.alerts[0].firing.clone();
            (end.state, end.at) = (State::Resolved, sample::at("07:31"));
            end.reason = format!("over after 26m: {reason}");
            notification.alerts[0].resolved = Some(end);
            let story = tell(&notification, &audience(view));
            lines.push(format!("{}\n{}\n{}", story.title, story.line, story.fact.text()));
        }
    }
    insta::assert_snapshot!(lines.join("\n"));
}

/// Writes what is sent into a folder, to be looked at: `SPIKED_LOOK=dir cargo test --test it look`.
#[test]
fn look_at_what_is_said() {
    let Some(folder) = std::env::var_os("SPIKED_LOOK").map(PathBuf::from) else { return };
    let cases = [("fire", sample::fire()), ("update", sample::update()), ("resolve", sample::resolve()), ("hostile", hostile())];
    for (name, notification) in cases {
        for (view, word) in [(View::Technical, "technical"), (View::Business, "business")] {
            let audience = audience(view);
            let story = tell(&notification, &audience);
            let write = |end: &str, bytes: &[u8]| std::fs::write(folder.join(format!("{name}-{word}{end}")), bytes).unwrap();
            write(".slack.json", slack::payload(&notification, &story, false).to_string().as_bytes());
            write(".webhook.json", webhook::payload(&notification, &story, &audience, 0).to_string().as_bytes());
            let mut event = pagerduty::payload(&notification, &story, false);
            event["routing_key"] = "0123456789abcdef0123456789abcdef".into();
            write(".pagerduty.json", event.to_string().as_bytes());
            write(".txt", terminal::payload(&notification, &story, false).as_bytes());
            let mail = mail_body::payload(&notification, &story, &audience);
            write(".mail.txt", mail.text.as_bytes());
            write(".html", mail.html.replace(&format!("cid:{}", mail_body::CHART_ID), &format!("{name}-{word}.png")).as_bytes());
            write(".png", &mail.chart.unwrap_or_default());
            let Integration::Email(config) = mail_to("localhost:25", &["ana@shop.example"]) else { unreachable!() };
            write(
                ".eml",
                &email::payload(&config, &notification, &story, &audience, "ana@shop.example", now()).unwrap().formatted(),
            );
        }
    }
}

/// The strict fakes, if they and their Python modules are here.
struct Sinks {
    child: std::process::Child,
    http: String,
    smtp: String,
    hook_secret: String,
}

impl Sinks {
    fn start() -> Option<Self> {
        let script =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).ancestors().map(|up| up.join("shared/sinks/sinks.py")).find(|p| p.exists());
        let script = script.or_else(|| {
            eprintln!("skipped: no shared/sinks/sinks.py beside the project");
            None
        })?;
        let modules = Command::new("python3").args(["-c", "import aiohttp, aiosmtpd"]).stderr(Stdio::null()).status();
        if !modules.is_ok_and(|status| status.success()) {
            eprintln!("skipped: python3 lacks aiohttp or aiosmtpd");
            return None;
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
        let said: Value = serde_json::from_str(&line).unwrap();
        let text = |name: &str| said[name].as_str().unwrap().to_string();
        Some(Self { child, http: text("http"), smtp: text("smtp"), hook_secret: text("hook_secret") })
    }

    fn integrations(&self) -> Vec<Integration> {
        vec![
            slack_to(&format!("{}/services/T0AAAAAAA/B0AAAAAAA/abcdefghijklmnopqrstuvwx", self.http)),
            Integration::PagerDuty(PagerDuty {
                routing_key: Secret::new("0123456789abcdef0123456789abcdef"),
                url: format!("{}/v2/enqueue", self.http),
                send_resolved: true,
                http: http(1500),
            }),
            Integration::Webhook(Webhook {
                url: Secret::new(format!("{}/hook/team", self.http)),
                signing_secret: Some(Secret::new(&self.hook_secret)),
                max_alerts: 0,
                send_resolved: true,
                http: http(1500),
            }),
            mail_to(&self.smtp, &["ana@shop.example"]),
        ]
    }
}

impl Drop for Sinks {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn the_strict_fakes_take_everything_while_they_misbehave() {
    let Some(sinks) = Sinks::start() else { return };
    // The client is ours and plain: the control paths are not what is tested.
    Clients::new(&[]).unwrap();
    let control = reqwest::Client::new();
    let faults = json!({"seed": 7, "rules": [
        {"sink": "slack_webhook", "count": 1, "fault": {"kind": "status", "status": 429, "retry_after": 1}},
        {"sink": "pagerduty", "count": 1, "fault": {"kind": "status", "status": 502}},
        {"sink": "webhook", "count": 1, "fault": {"kind": "reset", "when": "before"}},
        {"sink": "smtp", "stage": "rcpt", "count": 1, "fault": {"kind": "reply", "code": 451, "text": "4.7.1 greylisted"}}]});
    let posted = control.post(format!("{}/_control/faults", sinks.http)).body(faults.to_string()).send().await.unwrap();
    assert!(posted.status().is_success());
    for (view, name) in [(View::Technical, "web-team"), (View::Business, "marketing")] {
        let mut receiver = receiver(sinks.integrations(), view);
        receiver.name = name.into();
        let clients = Clients::new(std::slice::from_ref(&receiver)).unwrap();
        for mut notification in [sample::fire(), sample::update(), sample::resolve()] {
            notification.receiver = name.into();
            notification.dedup_key = format!("{}:{name}", notification.dedup_key);
            for channel in ["slack", "pagerduty", "webhook", "email"] {
                until_delivered(&receiver, &clients, delivery(channel, 0, notification.clone())).await;
            }
        }
    }
    let report: Value =
        serde_json::from_str(&control.get(format!("{}/_control/report", sinks.http)).send().await.unwrap().text().await.unwrap())
            .unwrap();
    let records: Value = serde_json::from_str(
        &control.get(format!("{}/_control/records", sinks.http)).send().await.unwrap().text().await.unwrap(),
    )
    .unwrap();
    let records = records.as_array().or_else(|| records["records"].as_array()).cloned().unwrap_or_default();
    let mut delivered = 0;
    for record in &records {
        for list in ["reject", "violations", "lint"] {
            assert!(record[list].as_array().is_none_or(Vec::is_empty), "{list}: {record:#}");
        }
        delivered += usize::from(record["outcome"] == "delivered");
    }
    assert_eq!(delivered, 24, "{report:#}");
    assert!(report["flags"].as_array().is_none_or(Vec::is_empty), "{report:#}");
}

/// As the outbox would, with its patience shortened: at most a second and a bit between tries.
async fn until_delivered(receiver: &Receiver, clients: &Clients, mut delivery: Delivery) {
    for _ in 0..8 {
        match send(&delivery, receiver, clients, now(), "https://spiked.shop.example", Tz::Europe__Berlin).await {
            AttemptResult::Delivered { .. } => return,
            AttemptResult::Partial { reference, .. } => delivery.reference = Some(reference),
            AttemptResult::Transient { retry_after, .. } => {
                let wait = retry_after.unwrap_or(Duration::from_millis(50)).min(Duration::from_millis(1200));
                tokio::time::sleep(wait).await;
            }
            other => panic!("{} of {}: {other:?}", delivery.target.channel, delivery.notification.id),
        }
    }
    panic!("{} was never taken", delivery.target.channel);
}
