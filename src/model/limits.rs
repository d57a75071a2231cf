//! Every cap of the process, with its unit and what happens beyond it. Nothing grows without one of these.

use std::time::Duration;

/// Limits that an operator may set under `limits:`; the rest are constants below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Series kept for each site and environment; later ones are counted in the series `other`.
    pub series_per_site: usize,
    /// Bytes of a request body as sent; more is refused with 413.
    pub body_bytes: usize,
    /// Bytes of one line; a longer one is refused alone (`limited: line_bytes`).
    pub line_bytes: usize,
    /// Bytes of a body after decompression; more is refused with 413.
    pub inflated_bytes: usize,
    /// Requests that may wait for the log; more are answered with 429.
    pub queue_entries: usize,
    /// Bytes of events, about, that may wait for the log, and again for the watch; more are answered with 429.
    pub queue_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            series_per_site: 50_000,
            body_bytes: 5_000_000,
            line_bytes: 64_000,
            inflated_bytes: 50_000_000,
            queue_entries: 8192,
            queue_bytes: 64_000_000,
        }
    }
}

/// The name that stands for all series, slice values or fingerprints beyond a cap.
pub const OTHER: &str = "other";

/// How far back an `id` is remembered to drop retries (interfaces.md: 15 minutes).
pub const DEDUP_WINDOW: Duration = Duration::from_secs(15 * 60);

/// How old an event may be against its arrival before it counts as late and teaches nothing.
pub const LATENESS: Duration = Duration::from_secs(5 * 60);

/// How far ahead of its arrival an event may be; a clock that is further ahead is set back to the arrival.
pub const FUTURE: Duration = Duration::from_secs(60);

/// Characters of a page template; a longer one is cut (`limited` is not needed: nothing is lost but the tail of a name).
pub const PAGE_CHARS: usize = 200;

/// Characters of a dimension value, step, site or environment.
pub const VALUE_CHARS: usize = 100;

/// Characters of an error message sample kept for people to read.
pub const MESSAGE_CHARS: usize = 300;

/// Distinct values of one dimension that a series keeps apart; the rest are pooled in `other`.
pub const SLICES_PER_DIM: usize = 24;

/// New releases that a `release` rule holds against the others in one group at a time; the one silent for longest gives way.
pub const RELEASE_TRIALS: usize = 4;

/// Releases remembered for one site and environment to know a new one by; the one not seen for longest is forgotten.
pub const RELEASES_PER_SITE: usize = 256;

/// Distinct error fingerprints remembered for each page; the least recent gives way.
pub const FINGERPRINTS_PER_PAGE: usize = 4096;

/// Sites and environments that may appear; events of further ones are refused (`limited: sites`).
pub const SITES: usize = 1000;

/// Environments of one site; events of further ones are refused (`limited: sites`), so that one key cannot use up all sites.
pub const ENVS_PER_SITE: usize = 32;

/// Ids remembered for one site to drop retries; beyond, the oldest are forgotten before their 15 minutes are over.
pub const IDS_PER_SITE: usize = 4_000_000;

/// Alerts named in one notification; the rest are counted ("and 14 more").
pub const ALERTS_PER_NOTIFICATION: usize = 100;

/// Fewest sessions (views, where sessions are unknown) a slice needs before a message may name it.
pub const SLICE_NAMED_SESSIONS_MIN: u64 = 5;
