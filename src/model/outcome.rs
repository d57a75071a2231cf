//! What became of a line. Every line that comes in ends in exactly one outcome, and the counters add up.

use std::fmt;

/// The six ends of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Counted in a window.
    Accepted,
    /// Its `id` was seen within the last 15 minutes.
    Duplicate,
    /// Older than `lateness` when it arrived: counted here, learned by nothing.
    Late,
    /// Left out on purpose.
    Filtered(Refusal),
    /// Over a cap.
    Limited(Refusal),
    /// Not readable, or without what its type needs.
    Invalid(Refusal),
}

/// Why a line was filtered, limited or invalid. A closed set, so that it can be a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// A crawler or monitor by its user agent.
    Bot,
    /// A file of the page rather than the page (script, style, picture).
    Asset,
    /// A health check or probe.
    Probe,
    /// Thrown by a browser extension or another script that is not the site's.
    Extension,
    /// An item kind that carries nothing we count.
    Kind,
    /// A line over `limits.line_bytes`.
    LineBytes,
    /// More sites or environments than may exist.
    Sites,
    /// Over the quota of its key.
    Quota,
    /// More came in than could be taken: answered with 429, and may be sent again.
    Overload,
    /// The log could not be written, or spiked was starting or stopping: answered with 503, and may be sent again.
    Unavailable,
    /// Not JSON, or not a log line of the configured format.
    Syntax,
    /// A field that is missing or of the wrong type.
    Field,
    /// A time that is no time.
    Time,
}

impl Outcome {
    /// The outcome's name as a metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Late => "late",
            Self::Filtered(_) => "filtered",
            Self::Limited(_) => "limited",
            Self::Invalid(_) => "invalid",
        }
    }

    /// The reason as a metric label; empty where there is none to give.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Accepted | Self::Duplicate | Self::Late => "",
            Self::Filtered(reason) | Self::Limited(reason) | Self::Invalid(reason) => reason.as_str(),
        }
    }
}

impl Refusal {
    /// The reason's name as a metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bot => "bot",
            Self::Asset => "asset",
            Self::Probe => "probe",
            Self::Extension => "extension",
            Self::Kind => "kind",
            Self::LineBytes => "line_bytes",
            Self::Sites => "sites",
            Self::Quota => "quota",
            Self::Overload => "overload",
            Self::Unavailable => "unavailable",
            Self::Syntax => "syntax",
            Self::Field => "field",
            Self::Time => "time",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason() {
            "" => f.write_str(self.as_str()),
            reason => write!(f, "{}({reason})", self.as_str()),
        }
    }
}
