//! The channels: each has a pure `payload()` (what is said there) and an async `send()` (one attempt, classified once).
//!
//! Nothing here retries, waits or remembers; that is `outbox`'s business. No reason that leaves here holds a secret.

pub mod email;
pub mod http;
pub mod mail_body;
pub mod pagerduty;
pub mod slack;
pub mod terminal;
pub mod webhook;

use std::io::IsTerminal as _;

use chrono_tz::Tz;

pub use self::http::{ClientError, Clients};
use crate::config::{Integration, Receiver};
use crate::model::{AttemptResult, Delivery, Notification, Timestamp};
use crate::render::{Audience, Story, tell};

/// Makes one attempt to deliver. `default_zone` is the clock of receivers that name none (the site's).
pub async fn send(
    delivery: &Delivery,
    receiver: &Receiver,
    clients: &Clients,
    now: Timestamp,
    external_url: &str,
    default_zone: Tz,
) -> AttemptResult {
    let target = &delivery.target;
    let mut of_channel = receiver.integrations.iter().filter(|integration| integration.channel() == target.channel);
    let Some(integration) = of_channel.nth(target.index) else {
        return AttemptResult::BadTarget {
            reason: format!("receiver {} has no such {} entry any more", receiver.name, target.channel),
        };
    };
    let audience = Audience { view: receiver.view, time_zone: receiver.time_zone.unwrap_or(default_zone), external_url };
    let (notification, plain) = (&delivery.notification, delivery.plain);
    match integration {
        Integration::Slack(slack) => slack::send(slack, clients, notification, &audience, plain, now).await,
        Integration::PagerDuty(pagerduty) => pagerduty::send(pagerduty, clients, notification, &audience, plain, now).await,
        Integration::Webhook(webhook) => webhook::send(webhook, clients, notification, &audience, now).await,
        Integration::Email(email) => email::send(email, delivery, &audience, now).await,
        Integration::Terminal => {
            let mut out = std::io::stderr().lock();
            let colour = out.is_terminal();
            terminal::send(&mut out, colour, notification, &told(notification, &audience))
        }
    }
}

/// The story of a notification; annotations that failed are logged, and the default words stand in for them.
fn told(notification: &Notification, audience: &Audience) -> Story {
    let story = tell(notification, audience);
    for error in &story.template_errors {
        tracing::warn!(event = "template_failed", incident = %notification.incident, %error, "default words were sent instead");
    }
    story
}
