//! What a rule means. `config` builds these types from YAML; `watch` evaluates them.
//!
//! One file per condition holds its parameters, its state and its decision. A condition sees counts, never events, files or
//! clocks. It says `Verdict`s; whether an alert then fires is `alert::state`'s business (`for`, `keep_firing_for`).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Dim, Labels, Metric, Severity};

pub mod detector;
pub mod drop;
pub mod first_seen;
pub mod flow;
pub mod lateness;
pub mod matcher;
pub mod release;
pub mod spike;
pub mod week;
pub mod window;

pub use matcher::{Pattern, Select};

/// A checked rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// `alert:` its name, unique among all rules.
    pub alert: String,
    /// `where:` what it looks at.
    pub select: Select,
    /// `by:` the keys of a group beyond `site` and `env`, which are always in it.
    pub by: Vec<GroupBy>,
    /// The one condition.
    pub condition: Condition,
    /// Pending until the condition has held for this long.
    pub hold: Duration,
    /// Stays firing for this long after the condition has cleared.
    pub keep_firing: Duration,
    /// `severity:` fixed, or by the numbers.
    pub severity: SeverityChoice,
    /// `owner:`; empty where nobody is named (the site's `owners` may still name one).
    pub owner: String,
    /// Labels that routes see.
    pub labels: Labels,
    /// `summary`, `description`, `runbook_url`, …
    pub annotations: Labels,
    /// Where it is written.
    pub place: Place,
}

impl Rule {
    /// What the learned and firing state depends on: an edit that leaves this alone keeps the state.
    pub fn condition_id(&self) -> u64 {
        let text = format!("{}\n{:?}\n{:?}\n{:?}", self.alert, self.select, self.by, self.condition);
        crate::model::batch::hash_text(&text)
    }
}

/// Where a rule is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The file as it was named.
    pub file: String,
    /// From 1.
    pub line: usize,
}

/// A key of `by:`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum GroupBy {
    /// The page template.
    Page,
    /// The funnel step.
    Step,
    /// A dimension.
    Dim(Dim),
    /// A declared tag.
    Tag(String),
}

impl GroupBy {
    /// The label's name.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Page => "page",
            Self::Step => "step",
            Self::Dim(dim) => dim.as_str(),
            Self::Tag(name) => name,
        }
    }
}

/// `severity:`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SeverityChoice {
    /// As written.
    Fixed(Severity),
    /// By how many are hit and where in the funnel: see docs/rules.md.
    Auto,
}

/// The condition of a rule: a closed set, so that the compiler lists every place a new one must be handled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Condition {
    /// A rate or count rose beyond what is usual.
    Spike(Spike),
    /// Views or another count fell beneath what is usual.
    Drop(DropRule),
    /// An error that was never seen before.
    FirstSeen(FirstSeen),
    /// More than so many within a time.
    Frequency(Frequency),
    /// Above or below a fixed value.
    Threshold(Threshold),
    /// Nothing came for a time.
    Absent(Absent),
    /// A new release fails more often than those beside it.
    Release(ReleaseRule),
}

impl Condition {
    /// The condition's key in a rule file.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Spike(_) => "spike",
            Self::Drop(_) => "drop",
            Self::FirstSeen(_) => "first_seen",
            Self::Frequency(_) => "frequency",
            Self::Threshold(_) => "threshold",
            Self::Absent(_) => "absent",
            Self::Release(_) => "release",
        }
    }

    /// What it measures (`of:`); `None` of `first_seen`, which looks at errors one by one.
    pub const fn metric(&self) -> Option<&Metric> {
        match self {
            Self::Spike(c) => Some(&c.of),
            Self::Drop(c) => Some(&c.of),
            Self::FirstSeen(_) => None,
            Self::Frequency(c) => Some(&c.of),
            Self::Threshold(c) => Some(&c.of),
            Self::Absent(c) => Some(&c.of),
            Self::Release(c) => Some(&c.of),
        }
    }
}

/// Which errors count (`errors:`); empty lists mean all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ErrorFilter {
    /// Error types: `PaymentError`, globs, `!x` excludes.
    pub class: Vec<Pattern>,
    /// Status classes or codes: `5xx`, `404`.
    pub status: Vec<Pattern>,
    /// Third parties.
    pub vendor: Vec<Pattern>,
    /// Levels: `error`, `fatal`.
    pub level: Vec<Pattern>,
}

impl ErrorFilter {
    /// Whether every error passes.
    pub fn is_all(&self) -> bool {
        self.class.is_empty() && self.status.is_empty() && self.vendor.is_empty() && self.level.is_empty()
    }
}

/// `spike:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spike {
    /// What is measured.
    pub of: Metric,
    /// Which errors count.
    pub errors: ErrorFilter,
    /// Smallest rise worth an alert: a gate on the estimate since `began`, beside the evidence. Default 1.15.
    pub min_ratio: f64,
    /// Fewest errors since `began`. Default 3.
    pub min_errors: u64,
    /// Fewest views since `began`. Default 0.
    pub min_views: u64,
    /// The budget.
    pub false_alarms: FalseAlarms,
}

/// `drop:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DropRule {
    /// What is measured: views, a named event, or the conversion of a funnel step.
    pub of: Metric,
    /// The budget.
    pub false_alarms: FalseAlarms,
}

/// `first_seen:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FirstSeen {
    /// Which errors count.
    pub errors: ErrorFilter,
    /// The budget of announcements that turn out to be noise.
    pub false_alarms: FalseAlarms,
}

/// `frequency:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Frequency {
    /// What is counted.
    pub of: Metric,
    /// Which errors count.
    pub errors: ErrorFilter,
    /// Fires above this.
    pub more_than: u64,
    /// Within this time.
    pub within: Duration,
}

/// `threshold:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// What is measured.
    pub of: Metric,
    /// Which errors count.
    pub errors: ErrorFilter,
    /// Fires above or below this (a share for rates, a number for counts).
    pub bound: Bound,
    /// Over this time.
    pub over: Duration,
    /// Not judged on fewer views than this. Default 0; at least 1 for rates.
    pub min_views: u64,
}

/// `above:` or `below:`
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Bound {
    /// Fires while the value is greater.
    Above(f64),
    /// Fires while the value is smaller.
    Below(f64),
}

/// `absent:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Absent {
    /// What should be there.
    pub of: Metric,
    /// Fires when nothing came for this long.
    pub over: Duration,
}

/// `release:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReleaseRule {
    /// What is measured: a rate.
    pub of: Metric,
    /// Which errors count.
    pub errors: ErrorFilter,
    /// Smallest ratio of the new release's rate to that of the others worth an alert. Default 1.5.
    pub min_ratio: f64,
    /// Fewest errors of the new release. Default 3.
    pub min_errors: u64,
    /// Fewest views of the new release. Default 0; five are always asked for, so that nobody is named.
    pub min_views: u64,
    /// A release is new for this long. Default 24 h.
    pub within: Duration,
    /// The budget.
    pub false_alarms: FalseAlarms,
}

/// A false-alarm budget: `1 per 30d`, `0.001 per series per week`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FalseAlarms {
    /// The expected number of alerts when nothing has changed …
    pub count: f64,
    /// … over this time …
    pub period: Duration,
    /// … for each of these.
    pub per: BudgetPer,
}

/// What a budget is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BudgetPer {
    /// Each group with its slices.
    Series,
    /// The whole rule, shared by its groups.
    Rule,
}

impl FalseAlarms {
    /// Seconds of a week, the unit of the statistics.
    pub const WEEK_SECS: f64 = 604_800.0;

    /// Alarms per week that the budget allows, for each group or the whole rule.
    pub fn per_week(&self) -> f64 {
        self.count * Self::WEEK_SECS / self.period.as_secs_f64()
    }
}
