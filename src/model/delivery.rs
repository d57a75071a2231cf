//! One message on its way to one integration of a receiver.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::notification::Notification;
use super::time::Timestamp;

/// Where a delivery goes: one entry of one receiver, for example the second Slack webhook of `web-team`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Target {
    /// The receiver's name.
    pub receiver: String,
    /// `slack`, `email`, `pagerduty`, `webhook` or `terminal`.
    pub channel: String,
    /// Position among the receiver's entries of that channel, from 0.
    pub index: usize,
}

/// A message to deliver at least once. The outbox keeps it until it was taken or given up aloud.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// Unique and rising; the order within an incident and target.
    pub id: u64,
    /// Where to.
    pub target: Target,
    /// What to say.
    pub notification: Notification,
    /// Tries so far.
    pub attempts: u32,
    /// Not before then.
    pub due: Timestamp,
    /// When it was first enqueued.
    pub created: Timestamp,
    /// What the channel must know of earlier messages of this incident: Slack's `ts`, the first mail's Message-ID.
    pub reference: Option<String>,
    /// Send the plain, shortened form (the full one was refused for its content).
    pub plain: bool,
}

/// How a try to deliver ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttemptResult {
    /// Taken by the service; `reference` is what later messages of the incident need (Slack's `channel:ts`).
    Delivered {
        /// For threads and edits.
        reference: Option<String>,
    },
    /// Try again: no route, reset, time-out, 429, 5xx, SMTP 4yz.
    Transient {
        /// What happened, without secrets.
        reason: String,
        /// What the service asked for; it holds for the whole target.
        retry_after: Option<Duration>,
    },
    /// Taken for some of its recipients (mail): try again for the others. `reference` says who has it and must be kept for the retry.
    Partial {
        /// Becomes the delivery's `reference`.
        reference: String,
        /// What happened, without secrets.
        reason: String,
        /// What the service asked for.
        retry_after: Option<Duration>,
    },
    /// These bytes will never be taken; a plain form might be.
    BadMessage {
        /// What happened, without secrets.
        reason: String,
    },
    /// This target takes nothing until someone repairs it (revoked, gone, forbidden).
    BadTarget {
        /// What happened, without secrets.
        reason: String,
    },
}

impl AttemptResult {
    /// The name as in metrics.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Delivered { .. } => "delivered",
            Self::Transient { .. } => "transient",
            Self::Partial { .. } => "partial",
            Self::BadMessage { .. } => "bad_message",
            Self::BadTarget { .. } => "bad_target",
        }
    }
}
