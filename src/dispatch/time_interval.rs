//! Named time intervals with zones, as in Alertmanager: start inclusive, end exclusive, weeks from Sunday, negative month days.

use chrono::{Datelike, NaiveDate, Timelike};
use chrono_tz::Tz;

use crate::model::Timestamp;

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

impl TimeInterval {
    /// Whether it holds `at`.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.spans.iter().any(|span| span.contains(at))
    }
}

impl Span {
    /// Whether all of its parts hold `at`, read on the clock of its zone.
    pub fn contains(&self, at: Timestamp) -> bool {
        let local = at.utc().with_timezone(&self.location);
        let minute = (local.hour() * 60 + local.minute()) as u16;
        let weekday = local.weekday().num_days_from_sunday() as u8;
        let (month, year) = (local.month() as u8, local.year());
        let day = local.day() as i8;
        let days = days_in_month(year, local.month());
        (self.times.is_empty() || self.times.iter().any(|&(from, to)| from <= minute && minute < to))
            && within(&self.weekdays, weekday)
            && within(&self.months, month)
            && within(&self.years, year)
            && (self.days_of_month.is_empty()
                || self.days_of_month.iter().any(|&(from, to)| {
                    let (from, to) = (day_of_month(from, days), day_of_month(to, days));
                    from <= day && day <= to
                }))
    }
}

fn within<T: PartialOrd + Copy>(ranges: &[(T, T)], value: T) -> bool {
    ranges.is_empty() || ranges.iter().any(|(from, to)| *from <= value && value <= *to)
}

/// Negative days count from the end of the month: -1 is the last. Ranges that reach over an end of a short month are cut there.
fn day_of_month(day: i8, days: i8) -> i8 {
    if day < 0 { (days + 1 + day).max(1) } else { day }
}

fn days_in_month(year: i32, month: u32) -> i8 {
    let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    NaiveDate::from_ymd_opt(next_year, next_month, 1).and_then(|first| first.pred_opt()).map_or(31, |last| last.day() as i8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span() -> Span {
        let location = chrono_tz::UTC;
        Span { times: vec![], weekdays: vec![], days_of_month: vec![], months: vec![], years: vec![], location }
    }

    #[track_caller]
    fn check(span: &Span, at: &str, expected: bool) {
        assert_eq!(span.contains(Timestamp::parse_rfc3339(at).unwrap()), expected, "{at}");
    }

    #[test]
    fn the_start_is_inside_and_the_end_is_not() {
        let office = Span { times: vec![(9 * 60, 17 * 60), (23 * 60, 1440)], weekdays: vec![(1, 5)], ..span() };
        check(&office, "2026-11-20T08:59:59.999Z", false);
        check(&office, "2026-11-20T09:00:00Z", true);
        check(&office, "2026-11-20T16:59:59Z", true);
        check(&office, "2026-11-20T17:00:00Z", false);
        check(&office, "2026-11-20T23:59:59Z", true);
        check(&office, "2026-11-21T10:00:00Z", false);
    }

    #[test]
    fn the_zone_decides_the_day_across_its_summer_time() {
        let noon = Span { times: vec![(720, 780)], location: chrono_tz::Europe::Berlin, ..span() };
        check(&noon, "2026-01-10T11:30:00Z", true);
        check(&noon, "2026-07-10T10:30:00Z", true);
        check(&noon, "2026-07-10T11:30:00Z", false);
    }

    #[test]
    fn negative_days_count_from_the_end_of_the_month() {
        let last = Span { days_of_month: vec![(-1, -1)], ..span() };
        check(&last, "2028-02-29T00:00:00Z", true);
        check(&last, "2026-02-28T00:00:00Z", true);
        check(&last, "2026-03-30T00:00:00Z", false);
        let mixed = Span { days_of_month: vec![(1, -2)], months: vec![(12, 12)], years: vec![(2026, 2026)], ..span() };
        check(&mixed, "2026-12-30T00:00:00Z", true);
        check(&mixed, "2026-12-31T00:00:00Z", false);
    }
}
