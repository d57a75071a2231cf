//! The route tree: which receivers hear of an alert, grouped how, with which timers. Alertmanager's meaning throughout.

use std::time::Duration;

use super::matcher::Matcher;

/// A node of the checked tree. What a child does not say, it has from its parent (`config` has filled it in).
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Stable path in the tree (`{}/{team="checkout"}`), part of the group key.
    pub path: String,
    /// All must match. The root matches everything.
    pub matchers: Vec<Matcher>,
    /// Who hears.
    pub receiver: String,
    /// Labels that make one group.
    pub group_by: GroupLabels,
    /// Delay of a group's first notification.
    pub group_wait: Duration,
    /// Shortest time between notifications of a group that changed.
    pub group_interval: Duration,
    /// Resend while nothing changed. Exact: does not depend on `group_interval`.
    pub repeat_interval: Duration,
    /// Go on with the next sibling after a match.
    pub go_on: bool,
    /// Names of intervals in which nothing is sent.
    pub mute_time_intervals: Vec<String>,
    /// Names of intervals outside of which nothing is sent; empty: always active.
    pub active_time_intervals: Vec<String>,
    /// Children, in order.
    pub routes: Vec<Route>,
}

/// `group_by:`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupLabels {
    /// `['...']`: every label set is a group of its own.
    All,
    /// These labels.
    These(Vec<String>),
}

/// Alertmanager's defaults.
pub const GROUP_WAIT: Duration = Duration::from_secs(30);
/// See [`GROUP_WAIT`].
pub const GROUP_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// See [`GROUP_WAIT`].
pub const REPEAT_INTERVAL: Duration = Duration::from_secs(4 * 3600);
