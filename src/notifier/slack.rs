//! Slack incoming webhooks: few, whole messages, since a webhook can neither thread nor edit.

use serde_json::{Value, json};

use super::http::{self, Clients};
use crate::config;
use crate::model::{AttemptResult, Notification, Timestamp};
use crate::render::foreign::cut;
use crate::render::story::Row;
use crate::render::{Audience, Phrase, Span, Story};

/// Characters of all sections together (messages.md section 4).
const TEXT_MAX: usize = 1500;
const FIELDS_MAX: usize = 6;

/// The message body. `plain` is the text alone, for when Slack refused the blocks.
pub fn payload(notification: &Notification, story: &Story, plain: bool) -> Value {
    let text = notification_line(story);
    if plain {
        let small = escape(&broken_mentions(&format!("{} · {}", story.fact.text(), notification.incident)));
        return json!({"text": format!("{text}\n{small}"), "mrkdwn": false, "unfurl_links": false, "unfurl_media": false});
    }
    let mut budget = TEXT_MAX;
    let mut blocks = vec![json!({"type": "header", "text": {
        "type": "plain_text", "emoji": true, "text": escape(&broken_mentions(&format!("{} {}", story.symbol, story.title)))}})];
    let section = |text: String| json!({"type": "section", "text": mrkdwn(&text)});
    let mut first = mark_up(&story.fact);
    if let Some(who) = &story.who {
        first = format!("{first}\n{}", mark_up(who));
    }
    if let Some(late) = &story.late {
        first = format!("{first}\n_{}_", escape(&defuse(late)));
    }
    budget = budget.saturating_sub(first.chars().count());
    blocks.push(section(first));
    let fields: Vec<Value> = story.rows.iter().take(FIELDS_MAX).map(field).collect();
    budget = budget.saturating_sub(fields.iter().map(|field| field["text"].as_str().map_or(0, |t| t.chars().count())).sum());
    if !story.others.is_empty() {
        let lines: Vec<String> = story.others.iter().map(|other| format!("• {}", mark_up(other))).collect();
        let text = lines.join("\n");
        budget = budget.saturating_sub(text.chars().count());
        blocks.push(section(text));
    }
    if let Some(note) = story.note.as_ref().filter(|_| budget > 200) {
        // Escaping may lengthen every character fivefold; a short note keeps the whole within its limit all the same.
        blocks.push(section(escape(&defuse(&cut(note, (budget - 150).min(300))))));
    }
    if !fields.is_empty() {
        blocks.push(json!({"type": "section", "fields": fields}));
    }
    blocks.push(json!({"type": "actions", "elements": buttons(story)}));
    blocks.push(json!({"type": "context", "elements": [mrkdwn(&escape(&defuse(&story.context)))]}));
    json!({"text": text, "blocks": blocks, "unfurl_links": false, "unfurl_media": false})
}

/// The top-level text, short after escaping too.
fn notification_line(story: &Story) -> String {
    let line = |max| escape(&broken_mentions(&format!("{} {}", story.symbol, cut(&story.line, max))));
    let fits = [120, 100, 80, 60].into_iter().map(line).find(|text| text.chars().count() <= 140);
    fits.unwrap_or_else(|| line(24))
}

fn mrkdwn(text: &str) -> Value {
    // `verbatim`: Slack makes no links or mentions of its own from what looks like one.
    json!({"type": "mrkdwn", "text": text, "verbatim": true})
}

fn field(row: &Row) -> Value {
    mrkdwn(&format!("*{}*\n{}", escape(&defuse(&row.name)), mark_up(&row.value)))
}

fn buttons(story: &Story) -> Vec<Value> {
    let button = |id: &str, label: &str, url: &str| json!({"type": "button", "action_id": id, "url": url, "text": {"type": "plain_text", "text": label}});
    let mut buttons = vec![button("incident", "Open incident", &story.link)];
    buttons.extend(story.runbook.as_ref().map(|url| button("runbook", "Runbook", url)));
    buttons
}

/// Exactly the three characters that Slack asks for, once.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Takes the formatting out of foreign text: Slack has no escape for `*`, `_`, `~`.
fn defuse(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let inner = |i: usize| i > 0 && i + 1 < chars.len() && chars[i - 1].is_alphanumeric() && chars[i + 1].is_alphanumeric();
    let mut out = String::with_capacity(text.len());
    for (i, c) in chars.iter().enumerate() {
        match c {
            '*' => out.push('∗'),
            '~' => out.push('∼'),
            '`' => out.push('\''),
            '_' if !inner(i) => out.push(' '),
            c => out.push(*c),
        }
    }
    broken_mentions(&out)
}

/// `@here` and its like must not ring, wherever Slack would look for them; `web@4.2.1` stays.
fn broken_mentions(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = ' ';
    for c in text.chars() {
        out.push(if matches!(c, '@' | '#') && !before.is_alphanumeric() { if c == '@' { '＠' } else { '＃' } } else { c });
        before = c;
    }
    out
}

/// A sentence in Slack's own markup.
fn mark_up(phrase: &Phrase) -> String {
    let span = |span: &Span| match span {
        Span::Plain(text) => escape(&defuse(text)),
        Span::Strong(text) => format!("*{}*", escape(&defuse(text))),
        Span::Code(text) => format!("`{}`", escape(&broken_mentions(&text.replace('`', "'")))),
    };
    phrase.0.iter().filter(|s| !s.text().is_empty()).map(span).collect()
}

/// Posts the message. Success is 200 with the body `ok`, nothing else.
pub async fn send(
    config: &config::Slack,
    clients: &Clients,
    notification: &Notification,
    audience: &Audience<'_>,
    plain: bool,
    now: Timestamp,
) -> AttemptResult {
    let story = super::told(notification, audience);
    let body = payload(notification, &story, plain).to_string().into_bytes();
    match http::post(clients, &config.http, config.api_url.expose(), &[], body, now).await {
        Ok(answer) if answer.status == 200 && answer.body.trim() == "ok" => AttemptResult::Delivered { reference: None },
        Ok(answer) => classify(&answer),
        Err(result) => result,
    }
}

fn classify(answer: &http::Answer) -> AttemptResult {
    let word = http::error_word(&answer.body);
    match word {
        "user_not_found" | "channel_not_found" | "no_service" | "no_team" | "channel_is_archived" | "invalid_token" => {
            AttemptResult::BadTarget { reason: format!("{}: {word}", answer.status) }
        }
        _ => http::classify(answer, word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_cannot_ring_link_or_format() {
        let phrase = Phrase::new().plain("<!channel> *x* & @here _y_ web@4.2.1 a_b ").code("`<@U1>`");
        assert_eq!(mark_up(&phrase), "&lt;!channel&gt; ∗x∗ &amp; ＠here  y  web@4.2.1 a_b `'&lt;＠U1&gt;'`");
    }

    #[test]
    fn answers_are_classified_by_status_and_word() {
        let class = |status: u16, body: &str| match classify(&http::Answer { status, retry_after: None, body: body.into() }) {
            AttemptResult::BadMessage { .. } => "message",
            AttemptResult::BadTarget { .. } => "target",
            AttemptResult::Transient { .. } => "transient",
            _ => "delivered",
        };
        assert_eq!(class(400, "invalid_blocks"), "message");
        assert_eq!(class(404, "no_service"), "target");
        assert_eq!(class(410, "channel_is_archived"), "target");
        assert_eq!(class(429, ""), "transient");
        assert_eq!(class(500, "rollup_error"), "transient");
        assert_eq!(class(200, "<html>"), "transient");
        assert_eq!(class(302, ""), "transient");
    }
}
