//! Generic webhooks: Alertmanager's version 4 body, so that its receivers work, signed as Standard Webhooks ask.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::http::{self, Clients};
use crate::config;
use crate::model::{AlertView, AttemptResult, Labels, Notification, Reason, State, Timestamp};
use crate::render::story::{alert_link, annotations};
use crate::render::{Audience, Story, tell};

/// Alertmanager's zero time: the alert has not ended.
const NOT_ENDED: &str = "0001-01-01T00:00:00Z";

/// The body. `max_alerts` 0 means all. `plain` is not needed: there is no shorter form that a program could read.
pub fn payload(notification: &Notification, story: &Story, audience: &Audience, max_alerts: usize) -> Value {
    let shown = if max_alerts == 0 { notification.alerts.len() } else { max_alerts.min(notification.alerts.len()) };
    let alerts: Vec<Value> = notification.alerts[..shown].iter().map(|alert| alert_json(notification, alert, audience)).collect();
    let kind = match notification.reason {
        Reason::Fire => "incident.opened",
        Reason::Update => "incident.updated",
        Reason::Repeat => "incident.repeated",
        Reason::Resolve => "incident.resolved",
    };
    let all_labels: Vec<Labels> = notification.alerts.iter().map(labels).collect();
    let all_notes: Vec<Labels> = notification.alerts.iter().map(|alert| notes(notification, alert, audience)).collect();
    json!({
        "type": kind,
        "timestamp": notification.at.to_string(),
        "version": "4",
        "groupKey": notification.group_key,
        "truncatedAlerts": notification.truncated + notification.alerts.len() - shown,
        "status": notification.state().as_str(),
        "receiver": notification.receiver,
        "groupLabels": notification.group_labels,
        "commonLabels": Labels::common(all_labels.iter()),
        "commonAnnotations": Labels::common(all_notes.iter()),
        "externalURL": audience.external_url,
        "alerts": alerts,
        "data": {
            "incident": notification.incident,
            "title": story.title,
            "text": story.line,
            "severity": notification.severity.as_str(),
            "opened": notification.opened.to_string(),
            "late_since": notification.late_since.map(|at| at.to_string()),
        },
    })
}

fn labels(alert: &AlertView) -> Labels {
    alert.firing.labels.iter().chain(alert.firing.group.iter()).collect()
}

/// The rule's annotations with their templates filled in; a rule without a summary gets the default words.
fn notes(notification: &Notification, alert: &AlertView, audience: &Audience) -> Labels {
    let one = Notification { alerts: vec![alert.clone()], truncated: 0, ..notification.clone() };
    let (mut notes, _) = annotations(&one);
    if !notes.contains("summary") {
        notes.set("summary", tell(&one, audience).line);
    }
    notes
}

fn alert_json(notification: &Notification, alert: &AlertView, audience: &Audience) -> Value {
    let (transition, finding) = (&alert.firing, &alert.firing.finding);
    let ended = alert.resolved.as_ref().map(|resolved| resolved.at.to_string());
    let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
    json!({
        "status": alert.state().as_str(),
        "labels": labels(alert),
        "annotations": notes(notification, alert, audience),
        "startsAt": transition.at.to_string(),
        "endsAt": if alert.state() == State::Resolved { ended.as_deref().unwrap_or(NOT_ENDED) } else { NOT_ENDED },
        "generatorURL": alert_link(notification, alert, audience),
        "incident": alert.incident,
        "fingerprint": format!("{:016x}", transition.key()),
        "slice": transition.slice,
        "began": transition.began.to_string(),
        "value": finite(finding.value),
        "baseline": finite(finding.baseline),
        "errors": finding.errors,
        "views": finding.views,
        "sessions": finding.sessions,
    })
}

/// The receiver drops a second message with the same id: the notification's, without full stops.
pub fn message_id(notification: &Notification) -> String {
    let id: String = notification.id.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
    let key = format!("{}\n{}", notification.dedup_key, notification.receiver);
    format!("msg_{id}_{:08x}", xxhash_rust::xxh3::xxh3_64(key.as_bytes()) as u32)
}

/// `v1,` and the HMAC of `id.timestamp.body`; `None` where the secret is no `whsec_` key.
pub fn signature(secret: &str, id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
    let key = BASE64_STANDARD.decode(secret.strip_prefix("whsec_").unwrap_or(secret)).ok()?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    Some(format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes())))
}

/// Posts the body; what is signed is what is sent. Any 2xx is success.
pub async fn send(
    config: &config::Webhook,
    clients: &Clients,
    notification: &Notification,
    audience: &Audience<'_>,
    now: Timestamp,
) -> AttemptResult {
    let story = super::told(notification, audience);
    let body = payload(notification, &story, audience, config.max_alerts).to_string().into_bytes();
    let id = message_id(notification);
    let mut headers = vec![("webhook-id", id.clone()), ("webhook-timestamp", now.secs().to_string())];
    if let Some(secret) = &config.signing_secret {
        match signature(secret.expose(), &id, now.secs(), &body) {
            Some(signature) => headers.push(("webhook-signature", signature)),
            None => {
                return AttemptResult::BadTarget { reason: "the signing secret is not whsec_ and base64; make a new one".into() };
            }
        }
    }
    match http::post(clients, &config.http, config.url.expose(), &headers, body, now).await {
        Ok(answer) if (200..300).contains(&answer.status) => AttemptResult::Delivered { reference: None },
        Ok(answer) => http::classify(&answer, ""),
        Err(result) => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specifications_test_vector_holds() {
        let signature = signature(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature.as_deref(), Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
    }

    #[test]
    fn the_id_is_stable_and_has_no_full_stop() {
        let id = message_id(&crate::render::sample::fire());
        assert_eq!(id, message_id(&crate::render::sample::fire()));
        assert!(id.starts_with("msg_SPK-1432_1_") && !id.contains('.'), "{id}");
    }

    #[test]
    fn each_alert_links_to_its_own_incident() {
        let notification = crate::render::sample::easing(2, 1);
        let audience =
            Audience { view: config::View::Technical, time_zone: chrono_tz::UTC, external_url: "https://spiked.shop.example" };
        let body = payload(&notification, &tell(&notification, &audience), &audience, 0);
        let links: Vec<&str> = body["alerts"].as_array().unwrap().iter().map(|a| a["generatorURL"].as_str().unwrap()).collect();
        let expected = ["SPK-1432", "SPK-1433", "SPK-1434"].map(|name| format!("https://spiked.shop.example/#{name}"));
        assert_eq!(links, expected);
    }
}
