//! One event before resolution: what every format produces, borrowed from the body wherever the body allows it.

use std::borrow::Cow;

use crate::model::{Dim, Timestamp};

/// What a raw event says it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RawKind {
    /// A page load or a try at a step.
    #[default]
    View,
    /// An error.
    Error,
    /// A named analytics event.
    Track,
    /// A served request: a view, and an error beside it from status 500 up.
    Request {
        /// The HTTP status it was answered with.
        status: u16,
    },
    /// A release marker.
    Deploy,
    /// A job's check-in.
    Heartbeat,
}

/// Raw fields of one event. An empty text is an absent one.
#[derive(Clone, Debug)]
pub struct RawEvent<'a> {
    /// Event time; absent: the arrival.
    pub at: Option<Timestamp>,
    /// What it says.
    pub kind: RawKind,
    /// Which property; absent: `default`.
    pub site: Cow<'a, str>,
    /// Which environment; absent: `production`.
    pub env: Cow<'a, str>,
    /// Path or URL as the client wrote it.
    pub page: Cow<'a, str>,
    /// Funnel step; absent: from the page by the site's funnels.
    pub step: Cow<'a, str>,
    /// The session as the client names it.
    pub session: Cow<'a, str>,
    /// It stands for so many like events; at least 1.
    pub count: u32,
    /// De-duplicates retries within the site.
    pub id: Cow<'a, str>,
    /// The dimensions, in the order of [`Dim::ALL`].
    pub dims: [Cow<'a, str>; Dim::COUNT],
    /// Tags as sent; those that the site does not declare are dropped.
    pub tags: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// For errors, and for requests that failed with more to say than their status.
    pub error: RawError<'a>,
    /// Name of a `Track` event.
    pub name: Cow<'a, str>,
    /// Value of a `Track` event.
    pub value: Option<f64>,
    /// Currency of a `Track` event.
    pub currency: Cow<'a, str>,
    /// The client's own id of a `Track` event.
    pub event_id: Cow<'a, str>,
    /// Job of a `Heartbeat`.
    pub job: Cow<'a, str>,
    /// Status of a `Heartbeat`: `in_progress`, `ok` or `error`; absent: `ok`.
    pub job_status: Cow<'a, str>,
}

/// What an error says.
#[derive(Clone, Debug, Default)]
pub struct RawError<'a> {
    /// Its type.
    pub class: Cow<'a, str>,
    /// Its message.
    pub message: Cow<'a, str>,
    /// The stack trace as text.
    pub stack: Cow<'a, str>,
    /// The client's own name for it; used verbatim.
    pub fingerprint: Cow<'a, str>,
    /// `error`, `fatal`, `warning`, …
    pub level: Cow<'a, str>,
    /// Whether the site's code caught it.
    pub handled: Option<bool>,
    /// HTTP status; 0 where it has none.
    pub status: u16,
}

impl Default for RawEvent<'_> {
    fn default() -> Self {
        Self {
            at: None,
            kind: RawKind::default(),
            site: Cow::default(),
            env: Cow::default(),
            page: Cow::default(),
            step: Cow::default(),
            session: Cow::default(),
            count: 1,
            id: Cow::default(),
            dims: Default::default(),
            tags: Vec::new(),
            error: RawError::default(),
            name: Cow::default(),
            value: None,
            currency: Cow::default(),
            event_id: Cow::default(),
            job: Cow::default(),
            job_status: Cow::default(),
        }
    }
}
