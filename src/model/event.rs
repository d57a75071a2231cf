//! One event as the core sees it: resolved, scrubbed, with its texts in the batch that carries it.

use serde::{Deserialize, Serialize};

use super::batch::Text;
use super::time::Timestamp;

/// What an event says. A served request becomes a `View`, and an `Error` beside it when its status says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// A page load or a try at a step: the denominator.
    View,
    /// An error: the numerator.
    Error,
    /// A named analytics event.
    Track,
    /// A release marker.
    Deploy,
    /// A job's check-in.
    Heartbeat,
}

/// The dimensions that cut a series into slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Dim {
    /// `web@4.2.1`
    Release,
    /// `Mobile Safari`
    Browser,
    /// `iOS`
    Os,
    /// `mobile`
    Device,
    /// `DE`
    Country,
    /// `paid_social`
    Source,
    /// `autumn`
    Campaign,
    /// A third party: `psp.example`
    Vendor,
}

impl Dim {
    /// How many there are.
    pub const COUNT: usize = 8;

    /// All of them, in the order of [`Event::dims`].
    pub const ALL: [Self; Self::COUNT] =
        [Self::Release, Self::Browser, Self::Os, Self::Device, Self::Country, Self::Source, Self::Campaign, Self::Vendor];

    /// The field's name in events, rules and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Browser => "browser",
            Self::Os => "os",
            Self::Device => "device",
            Self::Country => "country",
            Self::Source => "source",
            Self::Campaign => "campaign",
            Self::Vendor => "vendor",
        }
    }

    /// The dimension of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dim| dim.as_str() == name)
    }
}

/// One event. Texts live in the [`Batch`](super::Batch) that carries it; an absent text is empty.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Event time, corrected for clients' clocks where the protocol allows.
    pub at: Timestamp,
    /// When it arrived; never decreasing within a batch, nor from one batch to the next.
    pub arrival: Timestamp,
    /// What it says.
    pub kind: Kind,
    /// It stands for so many like events; at least 1.
    pub count: u32,
    /// Made from the same line as the event before it (the error of a failed request): shares that event's outcome.
    pub companion: bool,
    /// Which property.
    pub site: Text,
    /// Which environment.
    pub env: Text,
    /// The page template, after ids were collapsed.
    pub page: Text,
    /// The funnel step, if any.
    pub step: Text,
    /// [`SeriesKey`](super::SeriesKey) hash of site, env, page and step.
    pub series: u64,
    /// The session's hash; 0 where unknown.
    pub session: u64,
    /// Hash of the event's `id`; 0 where it has none.
    pub id: u64,
    /// The dimensions, in the order of [`Dim::ALL`].
    pub dims: [Text; Dim::COUNT],
    /// Declared tags: a range of [`Batch::tags`](super::Batch).
    pub tags: (u32, u32),
    /// Index into `Batch::errors`, `tracks` or `heartbeats`, by `kind`; unused for views and deploys.
    pub part: u32,
}

/// The fingerprint of an error whose script another origin served: browsers say nothing of it, so it is never news.
pub const SCRIPT_ERROR: &str = "script-error";

/// What an error event says beyond the common fields. All texts are scrubbed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ErrorPart {
    /// `PaymentError`
    pub class: Text,
    /// The message as a sample for people; empty where `privacy.sample_messages` is off.
    pub message: Text,
    /// The first frame of the site's own code, without hashes and line numbers; empty where unknown.
    pub frame: Text,
    /// What names this error: the client's own fingerprint verbatim, or 16 hex digits.
    pub fingerprint: Text,
    /// Stable hash of `fingerprint`.
    pub fingerprint_hash: u64,
    /// `error`, `fatal`, `warning`, …
    pub level: Text,
    /// Whether the site's code caught it; absent where not said.
    pub handled: Option<bool>,
    /// HTTP status; 0 where it has none.
    pub status: u16,
}

/// A named analytics event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TrackPart {
    /// `purchase`
    pub name: Text,
    /// Its value, where it has one.
    pub value: Option<f64>,
    /// ISO 4217 code.
    pub currency: Text,
    /// Hash of the client's `event_id`; 0 where it has none.
    pub event_id: u64,
}

/// A job's check-in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HeartbeatPart {
    /// Which job.
    pub job: Text,
    /// `in_progress`, `ok` or `error`.
    pub status: Text,
}
