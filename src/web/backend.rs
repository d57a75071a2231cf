//! What the doors need of the daemon behind them.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::auth::Access;
use super::overview::Overview;
use crate::model::{Batch, Timestamp};
use crate::telemetry::Metrics;

/// Which door a body came through. A closed set, so that it can be a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Door {
    /// `POST /v1/events`
    Events,
    /// `POST /v1/beacon`
    Beacon,
    /// `/v1/heartbeat/{job}`; the body is one native event.
    Heartbeat,
    /// `POST /v1/deploy`; the body is one native event.
    Deploy,
}

impl Door {
    /// The door's name as a metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Events => "native",
            Self::Beacon => "beacon",
            Self::Heartbeat => "heartbeat",
            Self::Deploy => "deploy",
        }
    }
}

/// A body to decode.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// Where it came in.
    pub door: Door,
    /// As sent: still compressed.
    pub body: &'a [u8],
    /// `Content-Encoding` as sent; empty where there was none.
    pub encoding: &'a str,
    /// The site of the key, which overrides the events'; absent without keys.
    pub site: Option<&'a str>,
    /// `User-Agent` as sent; empty where there was none.
    pub user_agent: &'a str,
    /// When it arrived.
    pub now: Timestamp,
}

/// What a body became.
#[derive(Clone, Debug, Default)]
pub struct Decoded {
    /// The events to keep.
    pub batch: Batch,
    /// Lines that were read: duplicates, late and filtered ones included.
    pub accepted: u64,
    /// Lines that were not.
    pub rejected: Vec<Rejected>,
}

/// A line that was refused alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// From 1.
    pub line: u64,
    /// What is wrong, without the line's content.
    pub error: String,
}

/// Why a body was refused as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// 415.
    #[error("{0}")]
    UnknownEncoding(String),
    /// 413: over `limits.inflated_bytes`.
    #[error("{0}")]
    TooLarge(String),
    /// 400: truncated, or not what it says it is.
    #[error("{0}")]
    Unreadable(String),
}

/// Why a batch was not taken. What was refused so may be sent again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IngestError {
    /// 429.
    #[error("more comes in than can be taken; try again later")]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// 503: the log cannot be written, or spiked is starting or stopping.
    #[error("{reason}")]
    Unavailable {
        /// What is wrong.
        reason: String,
        /// When to try again.
        retry_after: Duration,
    },
}

/// `GET /api/v1/series`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesQuery {
    /// The window that ends now, 5 minutes to 24 hours.
    pub window: Duration,
    /// Exact filters; `None` takes all.
    pub site: Option<String>,
    /// The environment.
    pub env: Option<String>,
    /// The page template.
    pub page: Option<String>,
    /// The funnel step; the empty text means "in no funnel".
    pub step: Option<String>,
}

/// One series' sums over a window. What is not known is null, never zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SeriesRow {
    /// Which property.
    pub site: String,
    /// Which environment.
    pub env: String,
    /// The page template.
    pub page: Option<String>,
    /// The funnel step.
    pub step: Option<String>,
    /// Views.
    pub views: u64,
    /// Errors.
    pub errors: u64,
    /// Sessions, where any is known.
    pub sessions: Option<u64>,
    /// Sessions with an error, where any is known.
    pub affected_sessions: Option<u64>,
    /// Errors / views; null without views.
    pub error_rate: Option<f64>,
    /// The baseline, where there is one.
    pub usual_rate: Option<f64>,
}

/// The lists of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// `GET /api/v1/incidents`
    Incidents,
    /// `GET /api/v1/rules`
    Rules,
    /// `GET /api/v1/deliveries`
    Deliveries,
    /// `GET /api/v1/outcomes`
    Outcomes,
}

impl List {
    /// The plural name under which the objects stand.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Incidents => "incidents",
            Self::Rules => "rules",
            Self::Deliveries => "deliveries",
            Self::Outcomes => "outcomes",
        }
    }
}

/// What a person may do to an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Somebody looks after it.
    Ack,
    /// It is over, whatever the numbers say.
    Resolve,
}

/// Why an incident was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// 404.
    #[error("no incident has this id; see /api/v1/incidents")]
    Unknown,
    /// 409.
    #[error("{0}")]
    Conflict(String),
}

/// The daemon as the doors see it.
pub trait Backend: Send + Sync + 'static {
    /// The time of arrival.
    fn now(&self) -> Timestamp;

    /// Keys and token in force.
    fn access(&self) -> Arc<Access>;

    /// Most bytes of a body as sent (`limits.body_bytes`).
    fn body_bytes_max(&self) -> usize;

    /// Whether people reach the page over TLS (`external_url`).
    fn is_behind_tls(&self) -> bool;

    /// Where the doors report to.
    fn metrics(&self) -> &Metrics;

    /// Turns a body into events, and counts the lines that it refuses or filters.
    fn decode(&self, incoming: Incoming<'_>) -> Result<Decoded, DecodeError>;

    /// Resolves once the batch is durable.
    fn ingest(&self, door: Door, batch: Batch) -> impl Future<Output = Result<(), IngestError>> + Send;

    /// Sums of the series that fit.
    fn series(&self, query: SeriesQuery) -> impl Future<Output = Vec<SeriesRow>> + Send;

    /// Objects of a list, each with an `id`.
    fn list(&self, list: List) -> impl Future<Output = Vec<serde_json::Value>> + Send;

    /// One incident.
    fn incident(&self, id: &str) -> impl Future<Output = Option<serde_json::Value>> + Send;

    /// Changes an incident and returns it.
    fn change(&self, id: &str, change: Change) -> impl Future<Output = Result<serde_json::Value, ChangeError>> + Send;

    /// Whether events are taken, else why not.
    fn ready(&self) -> Result<(), String>;

    /// Reads the configuration again; what it says, or the diagnostics. It goes on when nobody waits for it any more.
    fn reload(self: Arc<Self>) -> impl Future<Output = Result<String, String>> + Send;

    /// What the page shows.
    fn overview(&self) -> impl Future<Output = Overview> + Send;
}
