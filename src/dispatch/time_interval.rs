//! Named time intervals with zones, as in Alertmanager: start inclusive, end exclusive, weeks from Sunday, negative month days.

use chrono_tz::Tz;

/// One entry of `time_intervals:`. It holds a time when one of its `spans` does.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeInterval {
    /// Its name.
    pub name: String,
    /// The alternatives.
    pub spans: Vec<Span>,
}

/// All of its non-empty lists must hold the time. Ranges are inclusive but for `times`.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Minutes of the day: start inclusive, end exclusive (1440: midnight).
    pub times: Vec<(u16, u16)>,
    /// 0: Sunday … 6: Saturday.
    pub weekdays: Vec<(u8, u8)>,
    /// 1 to 31, or -1 (last day) to -31.
    pub days_of_month: Vec<(i8, i8)>,
    /// 1 to 12.
    pub months: Vec<(u8, u8)>,
    /// Calendar years.
    pub years: Vec<(i32, i32)>,
    /// `location:`; UTC where not said.
    pub location: Tz,
}
