//! PagerDuty Events API v2: one alert per incident, opened and closed by its dedup key.

use serde_json::{Map, Value, json};

use super::http::{self, Clients};
use crate::config;
use crate::model::transition::CONFIGURATION;
use crate::model::{AttemptResult, Notification, Timestamp, Transition};
use crate::render::foreign::cut;
use crate::render::{Audience, Story, foreign};

/// Characters of the summary: it is read aloud on calls.
const SUMMARY_CHARS: usize = 100;
/// PagerDuty's limit of the key.
const KEY_BYTES: usize = 255;
/// PagerDuty refuses more than 512 kB; the details go first.
const EVENT_BYTES: usize = 500_000;

/// The event. `plain` leaves the details out. The routing key is added by [`send`], so that a payload may be shown.
pub fn payload(notification: &Notification, story: &Story, plain: bool) -> Value {
    let key = dedup_key(notification);
    if story.over {
        return json!({"event_action": "resolve", "dedup_key": key});
    }
    let transition = &notification.lead().firing;
    let label = |name: &str| foreign::clean(transition.group.get(name));
    let source: Vec<String> = ["site", "env", "page"]
        .into_iter()
        .map(label)
        .map(|part| part.trim_start_matches('/').into())
        .filter(|p: &String| !p.is_empty())
        .collect();
    let source = if source.is_empty() { "spiked".into() } else { source.join("/") };
    let component = if label("step").is_empty() { label("page") } else { label("step") };
    let mut payload = json!({
        "summary": speakable(&story.line),
        "source": cut(&source, 200),
        "severity": notification.severity.word(),
        "timestamp": transition.began.to_string(),
        "class": class(transition),
    });
    for (name, value) in [("component", component), ("group", label("site"))] {
        if !value.is_empty() {
            payload[name] = cut(&value, 200).into();
        }
    }
    if !plain {
        payload["custom_details"] = details(notification, story);
    }
    let mut links = vec![json!({"href": story.link, "text": format!("Incident {}", notification.incident)})];
    links.extend(story.runbook.as_ref().map(|url| json!({"href": url, "text": "Runbook"})));
    let mut event = json!({"event_action": "trigger", "dedup_key": key, "client": "spiked", "client_url": story.link,
        "links": links, "payload": payload});
    if event.to_string().len() > EVENT_BYTES
        && let Some(payload) = event["payload"].as_object_mut()
    {
        payload.remove("custom_details");
    }
    event
}

/// What kind of trouble it is.
fn class(transition: &Transition) -> String {
    if transition.condition == CONFIGURATION {
        return CONFIGURATION.to_owned();
    }
    transition.finding.metric.as_str().replace('_', "-")
}

/// The same for all messages of an episode; one too long is replaced by its hash.
fn dedup_key(notification: &Notification) -> String {
    let key = &notification.dedup_key;
    if key.len() <= KEY_BYTES { key.clone() } else { format!("spiked-{:016x}", xxhash_rust::xxh3::xxh3_64(key.as_bytes())) }
}

/// Without signs that a voice would stumble over.
fn speakable(line: &str) -> String {
    let words: String =
        line.chars().map(|c| if matches!(c, '<' | '>' | '*' | '_' | '&' | '|' | '“' | '”') { ' ' } else { c }).collect();
    cut(&foreign::clean(&words.replace("://", " ")), SUMMARY_CHARS)
}

/// Few, flat, numbered so that they keep their order.
fn details(notification: &Notification, story: &Story) -> Value {
    let mut details = Map::new();
    let mut add = |name: &str, value: String| {
        if !value.is_empty() {
            details.insert(name.to_string(), cut(&value, 600).into());
        }
    };
    let row =
        |name: &str| story.rows.iter().find(|row| row.name.starts_with(name)).map(|row| row.value.text()).unwrap_or_default();
    add("1 what", story.fact.text());
    add("2 where", row("Where"));
    let who: Vec<String> = [row("Affected"), story.who.as_ref().map(crate::render::Phrase::text).unwrap_or_default()]
        .into_iter()
        .filter(|t| !t.is_empty())
        .collect();
    add("3 who", who.join(". "));
    add("4 changed", row("Changed"));
    add("5 error", row("Top error"));
    add(
        "6 first step",
        story.runbook.clone().map_or_else(|| story.note.clone().unwrap_or_default(), |url| format!("Runbook: {url}")),
    );
    add("7 owner", row("Owner"));
    add("8 also", story.others.iter().map(crate::render::Phrase::text).collect::<Vec<_>>().join("; "));
    add("9 small print", [Some(story.context.clone()), story.late.clone()].into_iter().flatten().collect::<Vec<_>>().join(" · "));
    add("rule", foreign::name(&notification.lead().firing.alert));
    details.into()
}

/// Sends the event. Success is 202.
pub async fn send(
    config: &config::PagerDuty,
    clients: &Clients,
    notification: &Notification,
    audience: &Audience<'_>,
    plain: bool,
    now: Timestamp,
) -> AttemptResult {
    let story = super::told(notification, audience);
    let mut event = payload(notification, &story, plain);
    event["routing_key"] = config.routing_key.expose().into();
    match http::post(clients, &config.http, &config.url, &[], event.to_string().into_bytes(), now).await {
        Ok(answer) if answer.status == 202 => AttemptResult::Delivered { reference: None },
        Ok(answer) => http::classify(&answer, ""),
        Err(result) => result,
    }
}
