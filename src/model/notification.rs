//! What a receiver is told, before any channel gives it a shape.

use serde::{Deserialize, Serialize};

use super::labels::Labels;
use super::severity::Severity;
use super::time::Timestamp;
use super::transition::{State, Transition};

/// Why a notification is sent. Channels choose their words by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The incident is new to this receiver.
    Fire,
    /// Something changed that could change a decision: an alert joined, or severity rose.
    Update,
    /// Nothing changed, and `repeat_interval` has passed.
    Repeat,
    /// All of it is over.
    Resolve,
}

impl Reason {
    /// `fire`, `update`, `repeat`, `resolve`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fire => "fire",
            Self::Update => "update",
            Self::Repeat => "repeat",
            Self::Resolve => "resolve",
        }
    }
}

/// One alert inside a notification: its newest transition, and when it began and ended to fire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertView {
    /// The incident's name for people: `SPK-12`. Empty in what was stored before it was kept.
    #[serde(default)]
    pub incident: String,
    /// The newest `firing` transition of the alert (a resolved alert keeps the numbers it fired with).
    pub firing: Transition,
    /// When it was resolved, where it was.
    pub resolved: Option<Transition>,
}

impl AlertView {
    /// Whether it fires or is over.
    pub const fn state(&self) -> State {
        if self.resolved.is_some() { State::Resolved } else { State::Firing }
    }
}

/// The whole of what a receiver is told about one group, channel by channel the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    /// Stable over retries: `<incident>.<sequence>`. Message-ID, webhook-id and footers derive from it.
    pub id: String,
    /// The incident's name for people: `SPK-12`.
    pub incident: String,
    /// Stable through updates, restarts and reloads; new for each episode: PagerDuty's `dedup_key`.
    pub dedup_key: String,
    /// 1 for the first notification of this incident to this receiver.
    pub sequence: u32,
    /// Why now.
    pub reason: Reason,
    /// When it was decided.
    pub at: Timestamp,
    /// When the incident opened (the first alert fired).
    pub opened: Timestamp,
    /// The receiver's name.
    pub receiver: String,
    /// Identifies the notification group, as in Alertmanager.
    pub group_key: String,
    /// The labels of `group_by`.
    pub group_labels: Labels,
    /// The worst severity among the alerts that fire (or fired).
    pub severity: Severity,
    /// Firing first, then resolved, the worst first; at most `limits::ALERTS_PER_NOTIFICATION`.
    pub alerts: Vec<AlertView>,
    /// How many alerts more there are than `alerts` names.
    pub truncated: usize,
    /// Set when this is told late (the receiver was away): since when it should have been told.
    pub late_since: Option<Timestamp>,
    /// When one will hear again at the latest while it goes on (`repeat_interval`).
    pub next_by: Option<Timestamp>,
}

impl Notification {
    /// Whether anything still fires.
    pub fn state(&self) -> State {
        if self.reason == Reason::Resolve || self.alerts.iter().all(|a| a.state() == State::Resolved) {
            State::Resolved
        } else {
            State::Firing
        }
    }

    /// The alert to speak of first.
    ///
    /// # Panics
    /// Never: the desk makes no notification without an alert.
    pub fn lead(&self) -> &AlertView {
        self.alerts.first().expect("a notification names at least one alert")
    }
}
