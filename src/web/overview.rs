//! What the page shows, as plain data.

use serde::Serialize;

use crate::model::{Severity, Timestamp};

/// The state of everything at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Overview {
    /// The moment.
    pub now: Timestamp,
    /// What stands in the way of taking events, if something does.
    pub trouble: Option<String>,
    /// What fires, the worst first.
    pub firing: Vec<IncidentRow>,
    /// The last incidents that are over, the latest first.
    pub recent: Vec<IncidentRow>,
    /// Sites and environments.
    pub sites: Vec<SiteTable>,
    /// Base of the example shown while nothing has come in, such as `http://127.0.0.1:7745`.
    pub base_url: String,
}

/// One incident.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IncidentRow {
    /// For ack and resolve.
    pub id: String,
    /// How urgent.
    #[serde(skip)]
    pub severity: Severity,
    /// What broke, in words: "Error spike in step 3 of checkout (payment)".
    pub headline: String,
    /// The numbers in one sentence; may be empty.
    pub detail: String,
    /// Which property.
    pub site: String,
    /// Which environment.
    pub env: String,
    /// Who owns it; may be empty.
    pub owner: String,
    /// When the trouble began.
    pub began: Timestamp,
    /// When it was over.
    pub ended: Option<Timestamp>,
    /// Whether somebody looks after it.
    pub acked: bool,
}

/// The pages and steps of a site in one environment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SiteTable {
    /// Which property.
    pub site: String,
    /// Which environment.
    pub env: String,
    /// What the counts cover: "last hour".
    pub window: String,
    /// The busiest first, or in funnel order.
    pub rows: Vec<PageRow>,
    /// Pages that are not shown.
    pub more: u64,
}

/// One page or step.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PageRow {
    /// The page template.
    pub page: String,
    /// The funnel step; may be empty.
    pub step: String,
    /// Views in the window.
    pub views: u64,
    /// Errors in the window.
    pub errors: u64,
    /// Errors / views; absent without views.
    pub rate: Option<f64>,
    /// What is usual.
    pub usual: Option<f64>,
    /// Whether an alert fires for it.
    pub firing: bool,
    /// Views and errors in equal steps, oldest first.
    pub spark: Vec<(u64, u64)>,
}
