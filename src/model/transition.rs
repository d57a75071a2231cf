//! A change of an alert's state: what the first core says and the second core hears.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::finding::Finding;
use super::labels::Labels;
use super::severity::Severity;
use super::time::Timestamp;

/// Names a transition for ever: the shard, the log offset it was decided at, and its number there. A desk that has taken it
/// once does not take it again, so a crash between the cores neither loses nor repeats it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TransitionId {
    /// Which shard of the watch.
    pub shard: u32,
    /// The log offset whose input led to it.
    pub offset: u64,
    /// From 0, among the transitions of that offset.
    pub number: u32,
}

impl fmt::Display for TransitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.shard, self.offset, self.number)
    }
}

/// What an alert became.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The condition holds, and has held for the rule's `for`.
    Firing,
    /// It is over, by the same statistics that raised it.
    Resolved,
}

impl State {
    /// `firing` or `resolved`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

/// How the reason of a resolve begins that no number has brought about: nobody knows whether the trouble is over.
pub const WITHDRAWN: &str = "its rule was removed or changed";

/// The condition of the alert about spiked's own configuration: it is about a file, and has no series.
pub const CONFIGURATION: &str = "configuration";

/// How the reason of a `release` alert's resolve ends: its release fails no more than those beside it …
pub const NO_WORSE: &str = "it fails no more often than the other releases in the same minutes";
/// … or has no traffic any more (rolled back, replaced) …
pub const TRAFFIC_GONE: &str = "its traffic is gone";
/// … or was compared for as long as the rule says, and nobody knows more.
pub const COMPARISON_OVER: &str = "the comparison ends";

/// An alert began to fire, or was resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    /// Its name for ever.
    pub id: TransitionId,
    /// When it was decided (arrival time).
    pub at: Timestamp,
    /// The rule's `alert`.
    pub alert: String,
    /// What the alert became.
    pub state: State,
    /// The group: `site`, `env` and the rule's `by`, without absent keys. Firing and resolved carry the same.
    pub group: Labels,
    /// What tells more than the page does: `{browser: Mobile Safari}`. Never part of the identity.
    pub slice: Labels,
    /// What routes see: alertname, severity, owner, the group, and the rule's labels.
    pub labels: Labels,
    /// The rule's annotations, as written (templates are rendered with the message).
    pub annotations: Labels,
    /// How urgent.
    pub severity: Severity,
    /// Who owns it; empty where nobody is named.
    pub owner: String,
    /// Estimated start of the trouble.
    pub began: Timestamp,
    /// The numbers.
    pub finding: Finding,
    /// One sentence for an engineer: why.
    pub reason: String,
    /// The condition's name: `spike`, `first_seen`, …
    pub condition: String,
}

impl Transition {
    /// Whether this resolve only says that nobody looks any more.
    pub fn is_withdrawn(&self) -> bool {
        self.reason.starts_with(WITHDRAWN)
    }

    /// The alert's identity: rule and group. One open firing at a time for each.
    pub fn key(&self) -> u64 {
        self.group.clone().with("alertname", self.alert.clone()).fingerprint()
    }
}
