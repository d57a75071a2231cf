//! Numbers people can feel: "12 in 100", "about 1,500 shoppers", "26 min", "07:05". Two figures are enough for a decision.

use std::time::Duration;

use chrono::Offset;
use chrono_tz::Tz;

use crate::model::Timestamp;

/// `1,031`
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 view`, `2,140 views`
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(number), if number == 1 { one } else { many })
}

/// Two figures from 100 upwards; small numbers as they are.
pub fn two_figures(number: u64) -> u64 {
    let mut unit = 1;
    while number / unit >= 100 {
        unit *= 10;
    }
    (number + unit / 2) / unit * unit
}

/// People: exact while they can be counted on hands and feet, then `about 118`, then two figures: `about 1,500`.
pub fn people(number: u64, one: &str, many: &str) -> String {
    match number {
        0..20 => count(number, one, many),
        20..1000 => format!("about {}", count(number, one, many)),
        _ => format!("about {}", count(two_figures(number), one, many)),
    }
}

/// A measured count that may have a fraction (an expectation): `3`, `0.4`, `about`-less.
pub fn amount(value: f64) -> String {
    if !value.is_finite() || value < 0.05 {
        "almost none".into()
    } else if value < 9.95 && (value - value.round()).abs() > 0.05 {
        format!("{value:.1}")
    } else {
        thousands(two_figures(value.round() as u64))
    }
}

/// A share as a percentage without false precision: `91 %`, `4.2 %`, `0.3 %`.
pub fn percent(share: f64) -> String {
    let value = share * 100.0;
    if !value.is_finite() {
        "an unknown share".into()
    } else if value >= 9.95 || value == 0.0 {
        format!("{value:.0} %")
    } else if value < 0.01 {
        "less than 0.01 %".into()
    } else {
        let text = format!("{value:.*}", if value < 0.1 { 2 } else { 1 });
        format!("{} %", text.strip_suffix(".0").unwrap_or(&text))
    }
}

/// A share and what is usual, in the same base so that they compare at a glance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rate {
    /// `12 in 100`
    pub now: String,
    /// `about 1 in 100`, `fewer than 1 in 100`, `none`: follows "usually".
    pub usual: Option<String>,
}

/// Puts a share (0 to 1) and its usual value into words.
pub fn rate(value: f64, usual: Option<f64>) -> Rate {
    let value = if value.is_finite() { value.clamp(0.0, 1.0) } else { 0.0 };
    let usual = usual.filter(|usual| usual.is_finite() && *usual >= 0.0);
    let base = base(value, usual);
    let scaled = value * base as f64;
    let now = if value >= 1.0 {
        "all".to_string()
    } else if value > 0.0 && scaled < 0.5 {
        format!("fewer than 1 in {}", thousands(base))
    } else if scaled > base as f64 - 0.5 {
        "nearly all".to_string()
    } else {
        format!("{} in {}", thousands(scaled.round() as u64), thousands(base))
    };
    let usual = usual.map(|usual| {
        let scaled = usual * base as f64;
        if usual < 1e-6 {
            "almost none".to_string()
        } else if scaled < 0.75 {
            format!("fewer than 1 in {}", thousands(base))
        } else {
            format!("about {} in {}", thousands(scaled.round() as u64), thousands(base))
        }
    });
    Rate { now, usual }
}

/// 100 where it tells the two apart; finer where both are small.
fn base(value: f64, usual: Option<f64>) -> u64 {
    let mut base = 100;
    while base < 10_000 {
        let now = (value * base as f64).round();
        let too_coarse = match usual {
            // Against a tenth and more the usual value's fraction of one no longer matters.
            Some(usual) => {
                let usual = usual * base as f64;
                now < 1.0 || (usual.round() == now && usual > 0.0) || (usual < 0.75 && usual > 0.0 && now < 10.0)
            }
            None => now < 1.0,
        };
        if !too_coarse {
            break;
        }
        base *= 10;
    }
    base
}

/// `45 s`, `26 min`, `3 h 10 min`, `2 days`.
pub fn duration(duration: Duration) -> String {
    let secs = duration.as_secs();
    match secs {
        0..60 => format!("{} s", secs.max(1)),
        60..5400 => format!("{} min", (secs + 30) / 60),
        5400..172_800 => match (secs + 30) / 60 {
            minutes if minutes % 60 == 0 => format!("{} h", minutes / 60),
            minutes => format!("{} h {} min", minutes / 60, minutes % 60),
        },
        _ => count((secs + 43_200) / 86_400, "day", "days"),
    }
}

/// `07:05`, or with its day (`20 Nov, 23:55`) when that is not the day of `now`.
pub fn clock(at: Timestamp, now: Timestamp, zone: Tz) -> String {
    let (at, now) = (at.utc().with_timezone(&zone), now.utc().with_timezone(&zone));
    let format = if at.date_naive() == now.date_naive() { "%H:%M" } else { "%-d %b, %H:%M" };
    at.format(format).to_string()
}

/// `2026-11-21 08:05`, for notes that are read weeks later.
pub fn day_and_clock(at: Timestamp, zone: Tz) -> String {
    at.utc().with_timezone(&zone).format("%Y-%m-%d %H:%M").to_string()
}

/// `Berlin time`, `UTC`.
pub fn zone_name(zone: Tz) -> String {
    let name = zone.name();
    match name.rsplit_once('/') {
        Some(("Etc", _)) | None => name.rsplit('/').next().unwrap_or(name).to_string(),
        Some((_, city)) => format!("{} time", city.replace('_', " ")),
    }
}

/// Minutes that the zone lies east of UTC at that time, for charts.
pub fn offset_minutes(at: Timestamp, zone: Tz) -> i64 {
    i64::from(at.utc().with_timezone(&zone).offset().fix().local_minus_utc()) / 60
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(value: f64, usual: f64, now: &str, usually: &str) {
        assert_eq!(rate(value, Some(usual)), Rate { now: now.into(), usual: Some(usually.into()) });
    }

    #[test]
    fn rates_share_a_base_that_tells_them_apart() {
        check(0.12, 0.011, "12 in 100", "about 1 in 100");
        check(0.061, 0.004, "61 in 1,000", "about 4 in 1,000");
        check(0.12, 0.0004, "12 in 100", "fewer than 1 in 100");
        check(0.004, 0.001, "4 in 1,000", "about 1 in 1,000");
        check(0.0004, 0.00001, "4 in 10,000", "fewer than 1 in 10,000");
        check(1.0, 0.01, "all", "about 1 in 100");
        check(0.3, 0.0, "30 in 100", "almost none");
        assert_eq!(rate(f64::NAN, None).now, "0 in 10,000");
    }

    #[test]
    fn plurals_thousands_and_roundings() {
        assert_eq!(count(1, "shopper", "shoppers"), "1 shopper");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(people(118, "shopper", "shoppers"), "about 118 shoppers");
        assert_eq!(people(1468, "shopper", "shoppers"), "about 1,500 shoppers");
        assert_eq!(percent(0.914), "91 %");
        assert_eq!(percent(0.003), "0.3 %");
        assert_eq!(duration(Duration::from_secs(26 * 60 + 3)), "26 min");
        assert_eq!(duration(Duration::from_secs(11_400)), "3 h 10 min");
    }

    #[test]
    fn one_clock_with_the_zone_named() {
        let at = Timestamp::parse_rfc3339("2026-11-21T07:05:43Z").unwrap();
        assert_eq!(clock(at, at, Tz::Europe__Berlin), "08:05");
        assert_eq!(clock(at, at + Duration::from_secs(86_400), Tz::UTC), "21 Nov, 07:05");
        assert_eq!(zone_name(Tz::Europe__Berlin), "Berlin time");
        assert_eq!(zone_name(Tz::America__Argentina__Buenos_Aires), "Buenos Aires time");
        assert_eq!(zone_name(Tz::UTC), "UTC");
    }

    proptest! {
        #[test]
        fn rates_never_look_odd(value in 0.0f64..1.0, usual in proptest::option::of(0.0f64..1.0)) {
            let rate = rate(value, usual);
            let text = format!("{} {}", rate.now, rate.usual.unwrap_or_default());
            prop_assert!(!text.contains("NaN") && !text.contains("inf") && !text.contains('.'), "{text}");
        }
    }
}
