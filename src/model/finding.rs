//! What a rule found: the numbers behind an alert, each with its sample size, ready for words and pictures.

use serde::{Deserialize, Serialize};

use super::labels::Labels;
use super::time::Timestamp;

/// What is measured (`of:` in a rule).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Metric {
    /// Errors / views.
    #[default]
    ErrorRate,
    /// Sessions with an error / sessions.
    SessionErrorRate,
    /// Errors.
    Errors,
    /// Views.
    Views,
    /// Sessions with an error.
    AffectedSessions,
    /// Sessions at the next step / sessions at this one.
    Conversion,
    /// A named analytics event.
    Track(String),
}

impl Metric {
    /// The metric's name in rules and messages.
    pub fn as_str(&self) -> &str {
        match self {
            Self::ErrorRate => "error_rate",
            Self::SessionErrorRate => "session_error_rate",
            Self::Errors => "errors",
            Self::Views => "views",
            Self::AffectedSessions => "affected_sessions",
            Self::Conversion => "conversion",
            Self::Track(name) => name,
        }
    }

    /// Whether its values are shares (0 to 1, printed as per cent) rather than counts.
    pub const fn is_rate(&self) -> bool {
        matches!(self, Self::ErrorRate | Self::SessionErrorRate | Self::Conversion)
    }
}

/// The numbers of a decision. Counts cover `began` to `at`; what is not known is `None`, never zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// What was measured.
    pub metric: Metric,
    /// Its value since `began`.
    pub value: Option<f64>,
    /// What is usual for this hour, from the frozen baseline.
    pub baseline: Option<f64>,
    /// An 80 % interval of the baseline.
    pub baseline_range: Option<(f64, f64)>,
    /// `value / baseline`.
    pub ratio: Option<f64>,
    /// Errors since `began`.
    pub errors: u64,
    /// Views since `began`.
    pub views: u64,
    /// Distinct sessions with an error since `began`; `None` where sessions are unknown.
    pub sessions: Option<u64>,
    /// Evidence that was there, and what was needed, in nats above the share of a single quiet minute.
    pub evidence: Option<(f64, f64)>,
    /// Over-dispersion of the noise (1: Poisson).
    pub dispersion: Option<f64>,
    /// How this hour compares with the day (1: like the average hour).
    pub season: Option<f64>,
    /// Who is hit: values of dimensions that carry most of the excess, best first.
    pub facets: Vec<Facet>,
    /// A release seen shortly before the onset.
    pub deploy: Option<Deploy>,
    /// Views and errors of the last hours in equal steps, oldest first.
    pub chart: Vec<ChartPoint>,
    /// The most frequent errors since `began`.
    pub top_errors: Vec<TopError>,
    /// Position of the step in its funnel and the funnel's length, from 1: (3, 4).
    pub funnel: Option<FunnelPlace>,
}

/// One value of a dimension, and how much of the trouble is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facet {
    /// `browser`
    pub dim: String,
    /// `Mobile Safari`
    pub value: String,
    /// Share of the errors since `began` (0 to 1).
    pub share_of_errors: f64,
    /// Share of the views in the same time (0 to 1).
    pub share_of_views: f64,
}

/// A release that came shortly before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deploy {
    /// `web@4.2.1`
    pub release: String,
    /// When it was announced, or first seen in traffic.
    pub at: Timestamp,
}

/// One step of the chart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChartPoint {
    /// Start of the step.
    pub at: Timestamp,
    /// Views in it.
    pub views: u64,
    /// Errors in it.
    pub errors: u64,
    /// The usual rate at that time, where a baseline was there.
    pub usual: Option<f64>,
}

/// One kind of error and how often it came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopError {
    /// The error's fingerprint.
    pub fingerprint: String,
    /// `PaymentError`
    pub class: String,
    /// A scrubbed sample of its message; may be empty.
    pub message: String,
    /// First frame of the site's own code; may be empty.
    pub frame: String,
    /// How often since `began`.
    pub count: u64,
}

/// Where a step stands in its funnel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FunnelPlace {
    /// `checkout`
    pub funnel: String,
    /// From 1.
    pub step: usize,
    /// How many steps there are.
    pub of: usize,
}

impl Finding {
    /// The facets as labels (`slice` in the output): only those that tell more than the page does.
    pub fn slice(&self) -> Labels {
        self.facets.iter().map(|facet| (facet.dim.clone(), facet.value.clone())).collect()
    }
}
