//! Durations as Prometheus writes them: `5m`, `1h30m`, `30d`, `500ms`; units from years to milliseconds, each at most once, in order.

use std::time::Duration;

const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 24 * 3600 * 1000),
    ("w", 7 * 24 * 3600 * 1000),
    ("d", 24 * 3600 * 1000),
    ("h", 3600 * 1000),
    ("m", 60 * 1000),
    ("s", 1000),
    ("ms", 1),
];

/// Parses `1h30m`; a bare `0` is allowed. The error says what was expected, without naming the place.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let expected = || format!("`{text}` is not a duration; write for example 30s, 5m, 1h30m or 30d");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut next_unit = 0;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(expected)?;
        let number: u64 = rest[..digits].parse().map_err(|_| expected())?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = UNITS.iter().position(|(name, _)| *name == &rest[..end]).ok_or_else(expected)?;
        if unit < next_unit {
            return Err(expected());
        }
        next_unit = unit + 1;
        rest = &rest[end..];
        total = number
            .checked_mul(UNITS[unit].1)
            .and_then(|part| total.checked_add(part))
            .filter(|total| *total <= i64::MAX as u64 / 4)
            .ok_or_else(|| format!("`{text}` is too long a duration"))?;
    }
    if text.is_empty() { Err(expected()) } else { Ok(Duration::from_millis(total)) }
}

/// Prints a duration so that [`parse_duration`] gives it back: `1h30m`, `0s`.
pub fn format_duration(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if left == 0 {
        return "0s".into();
    }
    let mut out = String::new();
    for (unit, millis) in UNITS {
        // Weeks and years are spelled as days unless they are exact, as Prometheus prints them.
        if (unit == "y" || unit == "w") && left % millis != 0 {
            continue;
        }
        if left >= millis {
            out += &(left / millis).to_string();
            out += unit;
            left %= millis;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, secs: u64) {
        assert_eq!(parse_duration(text), Ok(Duration::from_secs(secs)), "{text}");
    }

    #[test]
    fn prometheus_examples() {
        check("0", 0);
        check("5m", 300);
        check("1h30m", 5400);
        check("30d", 30 * 86400);
        check("1y", 365 * 86400);
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "5", "m", "30m1h", "1h1h", "-5m", "5 m", "1.5h", "5min", "99999999999999999999d", "9999999999y"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn printing_and_parsing_are_inverse(millis in 0u64..10_000_000_000_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }
    }
}
