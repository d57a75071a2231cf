//! Sources that report totals: a line an hour, with a thousand views in it.
//!
//! Such a line is no count of independent events. Whatever moved the rate within the hour is in it, so its noise multiplies the
//! rate; and the line before it is too far away for a local level. What can be known is how far such lines lie from their
//! mean: a control chart (Shewhart 1931) of exponentially weighted moments (Roberts, Technometrics 1, 1959), every line
//! winsorised, so that one spike does not hide the next (Huber, *Robust Statistics*, 1981, section 1.7).

use serde::{Deserialize, Serialize};

use super::baseline::Line;

/// Lines that come at least this far apart …
const APART_SECS: f64 = 900.0;
/// … with at least this many views …
const VIEWS: f64 = 30.0;
/// … and at least this many errors usual in them are totals.
const ERRORS: f64 = 1.0;
/// They are judged as such when there were so many more of them than of other lines …
const KNOWN: f32 = 24.0;
/// … where another line counts as this many …
const OTHER: f32 = 4.0;
/// … and no more than so many are remembered.
const KNOWN_MAX: f32 = 48.0;
/// Mean and spread are known from this many lines on: no line is winsorised before.
const FIRST: f32 = 3.0;
/// Half-life of the moments, in lines.
const HALF_LIFE_LINES: f64 = 100.0;
/// A line is learned as if it were no more standard deviations than this above the mean; and while a rule fires.
const WINSOR: (f64, f64) = (6.0, 2.0);

/// The rate of such lines: mean and standard deviation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Mean of the rate.
    pub rate: f64,
    /// Standard deviation of the rate of one line.
    pub sd: f64,
}

impl Spread {
    /// Standard deviation of the errors of a line of `views`: never below that of independent errors.
    pub fn of(&self, views: f64) -> f64 {
        (self.sd * views).max((self.rate * views).sqrt())
    }
}

/// What is learned of a stream's lines, if they are totals.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    learned_to: u32,
    known: f32,
    weight: f32,
    rate: f32,
    variance: f32,
}

impl Totals {
    /// Begins with the first line that may be a total: far from the end of the line `before`, and large.
    pub fn begin(line: &Line, before: u32) -> Option<Self> {
        let mut totals = Self { learned_to: before, ..Self::default() };
        totals.learn(line, false);
        (!totals.are_none()).then_some(totals)
    }

    /// Learns a line; of one that belongs to an episode (`told`) little.
    pub fn learn(&mut self, line: &Line, told: bool) {
        let (views, errors) = (f64::from(line.views), f64::from(line.errors));
        let apart = f64::from(line.end.saturating_sub(self.learned_to));
        self.learned_to = line.end;
        let mean = f64::from(self.rate);
        let young = self.weight < FIRST;
        let total = apart >= APART_SECS && views >= VIEWS && (young || views * mean >= ERRORS);
        self.known = if total { (self.known + 1.0).min(KNOWN_MAX) } else { (self.known - OTHER).max(0.0) };
        let winsor = if told { WINSOR.1 } else { WINSOR.0 };
        let most = mean + winsor * self.spread().of(views) / views;
        let rate = if young { errors / views } else { (errors / views).min(most) };
        let weight = f64::from(self.weight) * (-std::f64::consts::LN_2 / HALF_LIFE_LINES).exp() + 1.0;
        let (gain, off) = (1.0 / weight, rate - mean);
        self.weight = weight as f32;
        self.rate = (mean + gain * off) as f32;
        self.variance = ((1.0 - gain) * (f64::from(self.variance) + gain * off * off)) as f32;
    }

    /// What is usual, where lines are totals.
    pub fn usual(&self) -> Option<Spread> {
        (self.known >= KNOWN).then(|| self.spread())
    }

    /// The rate has changed for good: it spreads as it did, around another mean.
    pub fn rebase(&mut self, rate: f64) {
        let ratio = rate / self.spread().rate;
        self.rate = rate as f32;
        self.variance *= (ratio * ratio) as f32;
    }

    /// None of late: there is nothing to know.
    pub fn are_none(&self) -> bool {
        self.known <= 0.0
    }

    fn spread(&self) -> Spread {
        Spread { rate: f64::from(self.rate).max(1e-9), sd: f64::from(self.variance).sqrt() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(end: u32, views: f32, errors: f64) -> Line {
        Line { end, views, errors: errors as f32, predicted: 0.0 }
    }

    fn hourly(lines: u32, errors: impl Fn(u32) -> f64) -> Totals {
        let mut totals = Totals::default();
        (1..=lines).for_each(|hour| totals.learn(&line(hour * 3600, 1000.0, errors(hour)), false));
        totals
    }

    #[test]
    fn mean_and_spread_are_those_of_the_lines() {
        let spread = hourly(400, |hour| if hour % 2 == 0 { 20.0 } else { 40.0 }).usual().unwrap();
        assert!((spread.rate / 0.030 - 1.0).abs() < 0.01, "{spread:?}");
        assert!((spread.sd / 0.010 - 1.0).abs() < 0.01, "{spread:?}");
    }

    #[test]
    fn one_spike_does_not_hide_the_next() {
        let noisy = |hour: u32| 30.0 + f64::from(hour % 5) * 5.0;
        let calm = hourly(200, noisy).usual().unwrap();
        let after = hourly(200, |hour| if hour == 190 { 900.0 } else { noisy(hour) }).usual().unwrap();
        assert!(after.sd < 1.25 * calm.sd, "{after:?} against {calm:?}");
    }

    #[test]
    fn a_long_episode_does_not_become_usual_and_a_lasting_change_does() {
        let noisy = |hour: u32| 30.0 + f64::from(hour % 5) * 5.0;
        let mut totals = hourly(200, noisy);
        let before = totals.usual().unwrap();
        (201..225).for_each(|hour| totals.learn(&line(hour * 3600, 1000.0, 300.0), true));
        let after = totals.usual().unwrap();
        assert!(after.rate < 1.1 * before.rate && after.sd < 1.4 * before.sd, "{after:?} against {before:?}");
        totals.rebase(0.3);
        let changed = totals.usual().unwrap();
        assert!(
            (changed.rate / 0.3 - 1.0).abs() < 1e-6 && (changed.sd / changed.rate / after.sd * after.rate - 1.0).abs() < 1e-5
        );
    }

    #[test]
    fn minutes_of_ordinary_traffic_are_no_totals() {
        let mut totals = hourly(100, |_| 30.0);
        assert!(totals.usual().is_some());
        (0..20).for_each(|minute| totals.learn(&line(400_000 + minute * 60, 1000.0, 30.0), false));
        assert!(totals.usual().is_none());
        assert!(totals.are_none());
        let few = line(7200, 5.0, 1.0);
        assert!(Totals::begin(&few, 3600).is_none(), "five views an hour are single events");
    }

    #[test]
    fn independent_errors_set_the_least_spread() {
        let spread = hourly(200, |_| 4.0).usual().unwrap();
        assert!(spread.sd < 1e-3);
        assert!((spread.of(1000.0) - 2.0).abs() < 0.01);
    }
}
