//! The only clock.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::model::Timestamp;

/// The time now. It never goes back: when the system's clock is set back, time goes on from where it was.
pub fn now() -> Timestamp {
    static AHEAD: AtomicI64 = AtomicI64::new(i64::MIN);
    #[expect(clippy::disallowed_methods, reason = "the only clock")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let wall = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    let risen = i64::try_from(monotonic().as_millis()).unwrap_or(i64::MAX);
    let ahead = AHEAD.fetch_max(wall - risen, Ordering::AcqRel).max(wall - risen);
    Timestamp(risen + ahead)
}

/// Time since the process began, which only rises: for measuring.
pub fn monotonic() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "the only clock")]
    let now = Instant::now();
    now.duration_since(*START.get_or_init(|| now))
}
