//! What the outbox knows of its targets: who they are, whose fallback takes their messages, and how they fare.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::Timestamp;
use crate::model::delivery::Target;

/// How often a stopped target is tried again.
pub const PROBE_EVERY: Duration = Duration::from_secs(3600);
/// Messages on their way to one target at the same time, while all is well. One while it fails.
pub const IN_FLIGHT_MAX: usize = 4;

/// A receiver as the desk needs to know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReceiverPlan {
    /// Its name.
    pub name: String,
    /// The receiver that hears what this one could not be told; empty: none.
    pub fallback: String,
    /// Its integrations.
    pub targets: Vec<TargetPlan>,
}

/// One integration of a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetPlan {
    /// Its name.
    pub target: Target,
    /// Whether it hears of the end.
    pub send_resolved: bool,
}

/// How a target fares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetState {
    /// Which.
    pub target: Target,
    /// Tries that failed since the last that did not.
    pub failures: u32,
    /// It asked to be left alone until then.
    pub hold_until: Option<Timestamp>,
    /// It takes nothing until someone repairs it.
    pub stopped: Option<Stopped>,
}

/// A target that is broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// Since when.
    pub since: Timestamp,
    /// When it is tried again.
    pub probe_at: Timestamp,
    /// What it said.
    pub reason: String,
}

impl TargetState {
    /// A target of which nothing bad is known.
    pub const fn new(target: Target) -> Self {
        Self { target, failures: 0, hold_until: None, stopped: None }
    }

    /// Earliest time of the next try.
    pub fn open_at(&self) -> Timestamp {
        let probe = self.stopped.as_ref().map(|s| s.probe_at);
        probe.max(self.hold_until).unwrap_or(Timestamp(i64::MIN))
    }

    /// How many messages may be on their way at once.
    pub const fn width(&self) -> usize {
        if self.failures > 0 || self.stopped.is_some() { 1 } else { IN_FLIGHT_MAX }
    }
}

/// For each known target, the targets that take its messages when it cannot.
pub fn fallbacks(receivers: &[ReceiverPlan]) -> BTreeMap<Target, Vec<Target>> {
    let mut all = BTreeMap::new();
    for receiver in receivers {
        let fallback = receivers.iter().find(|r| r.name == receiver.fallback && r.name != receiver.name);
        let to: Vec<Target> = fallback.into_iter().flat_map(|f| f.targets.iter().map(|t| t.target.clone())).collect();
        for plan in &receiver.targets {
            all.insert(plan.target.clone(), to.clone());
        }
    }
    all
}
