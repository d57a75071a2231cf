//! The false-alarm budget: `N per [series|page per] (DURATION|day|week)`.

use std::time::Duration;

use crate::model::parse_duration;
use crate::rule::{BudgetPer, FalseAlarms};

const DAY: Duration = Duration::from_secs(86_400);
const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// What `spike` and `drop` have where nothing is said: one alert a month that nothing has caused, over the whole rule.
pub const ONE_PER_MONTH: FalseAlarms = FalseAlarms { count: 1.0, period: Duration::from_secs(30 * 86_400), per: BudgetPer::Rule };

/// What `first_seen` has where nothing is said: one needless announcement for each page and week.
pub const ONE_PER_PAGE_AND_WEEK: FalseAlarms = FalseAlarms { count: 1.0, period: WEEK, per: BudgetPer::Series };

/// Reads a budget. The error says what was expected.
pub fn parse_budget(text: &str) -> Result<FalseAlarms, String> {
    let expected = || format!("`{text}` is not a false-alarm budget");
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let (count, per, period) = match words.as_slice() {
        [count, "per", "series" | "page", "per", period] => (count, BudgetPer::Series, period),
        [count, "per", period] => (count, BudgetPer::Rule, period),
        _ => return Err(expected()),
    };
    let is_decimal = count.chars().all(|c| c.is_ascii_digit() || c == '.');
    let number = count.parse::<f64>().ok().filter(|_| is_decimal).ok_or_else(expected)?;
    if !(number > 0.0 && number <= 1e6) {
        return Err(format!("`{count}` in a false-alarm budget must be more than 0 and at most a million"));
    }
    let period = match *period {
        "day" => DAY,
        "week" => WEEK,
        "series" | "page" => return Err(expected()),
        duration => parse_duration(duration)?,
    };
    if period.is_zero() {
        return Err("the period of a false-alarm budget must be longer than zero".to_owned());
    }
    Ok(FalseAlarms { count: number, period, per })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, count: f64, per: BudgetPer, days: u64) {
        assert_eq!(parse_budget(text), Ok(FalseAlarms { count, period: DAY * days as u32, per }), "{text}");
    }

    #[test]
    fn the_grammar_of_the_manual() {
        check("1 per 30d", 1.0, BudgetPer::Rule, 30);
        check("0.001 per series per week", 0.001, BudgetPer::Series, 7);
        check("1 per page per week", 1.0, BudgetPer::Series, 7);
        check("2 per day", 2.0, BudgetPer::Rule, 1);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "1",
            "1 per",
            "one per week",
            "0 per week",
            "-1 per week",
            "1 per month",
            "1/week",
            "1 per series",
            "1e3 per day",
            "1 per 0s",
            "1 per site per week",
        ] {
            assert!(parse_budget(text).is_err(), "{text}");
        }
    }
}
