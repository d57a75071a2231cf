//! What is usual: a day level, hour-of-day factors, and two local levels that follow slower and faster drifts. O(1) per series.
//!
//! All are ratios of decayed sums of errors to decayed sums of views (or of predictions), shrunk towards a prior or towards the
//! next coarser level, so that thin data says little: a Gamma–Poisson posterior mean with exponential forgetting (West &
//! Harrison, *Bayesian Forecasting and Dynamic Models*, 2nd ed. 1997, section 10.8, "discount" models).

use serde::{Deserialize, Serialize};

use super::decay;

/// Half-life of the day level.
const DAY_HALF_LIFE: f64 = 2.0 * 86_400.0;
/// Half-life of the hour factors.
const HOUR_HALF_LIFE: f64 = 7.0 * 86_400.0;
/// Half-life of the local level.
const LOCAL_HALF_LIFE: f64 = 3_600.0;
/// Half-life of the fast level.
const FAST_HALF_LIFE: f64 = 900.0;
/// Errors' worth of shrinkage of an hour factor towards 1.
const HOUR_SHRINK: f64 = 80.0;
/// Most errors' worth of shrinkage of a local level towards the level above it.
const LOCAL_SHRINK_MAX: f64 = 100.0;
/// The prior of the day level: half an error in 50 views.
pub const PRIOR_ERRORS: f64 = 0.5;
/// See [`PRIOR_ERRORS`].
pub const PRIOR_VIEWS: f64 = 50.0;
/// A collapse of the rate (bots that add views without errors) is not learned until it has lasted this long.
const COLLAPSE_SECS: f64 = 12.0 * 3_600.0;
/// The local level beneath which, and the fast level beneath which, a collapse is suspected.
const COLLAPSE: (f64, f64) = (0.6, 0.7);
/// Errors' worth of shrinkage of the fast level where a collapse is looked for.
const COLLAPSE_SHRINK: f64 = 20.0;

/// A whole line of traffic: a minute or more of one series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// When it ended, in seconds since the epoch.
    pub end: f64,
    /// How many seconds it stands for.
    pub secs: f32,
    /// Views.
    pub views: f32,
    /// Errors that count.
    pub errors: f32,
    /// Errors that were predicted when it came.
    pub predicted: f32,
    /// Season factor used in that prediction.
    pub season: f32,
}

/// What the baseline expects at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// The expected rate.
    pub rate: f64,
    /// Day level × season, before the local level.
    pub seasonal: f64,
    /// Season factor.
    pub season: f64,
    /// Local level.
    pub local: f64,
    /// Fast level.
    pub fast: f64,
}

/// The learned state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    day: (f64, f64),
    local: (f64, f64),
    quick: (f64, f64),
    hours: [HourFactor; 24],
    learned_to: f64,
    quick_to: f64,
    collapse_secs: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct HourFactor {
    errors: f32,
    predicted: f32,
    /// Hours since the epoch of the newest line learned: enough resolution for a half-life of a week.
    newest_hour: f32,
}

impl HourFactor {
    fn factor(self) -> f64 {
        (f64::from(self.errors) + HOUR_SHRINK) / (f64::from(self.predicted) + HOUR_SHRINK)
    }
}

impl Default for Baseline {
    fn default() -> Self {
        Self {
            day: (PRIOR_ERRORS, PRIOR_VIEWS),
            local: (0.0, 0.0),
            quick: (0.0, 0.0),
            hours: [HourFactor::default(); 24],
            learned_to: 0.0,
            quick_to: 0.0,
            collapse_secs: 0.0,
        }
    }
}

/// Shrinkage of a local level where the rate wanders by `wander` (relative standard deviation): the more, the less.
pub fn shrinkage(wander: f64) -> f64 {
    LOCAL_SHRINK_MAX.min(1.0 / (wander * wander).max(1e-4))
}

impl Baseline {
    /// Learns a line that is old enough. `local_secs` is the line's end on the site's own clock.
    pub fn learn(&mut self, line: &Line, local_secs: f64) {
        let elapsed = (line.end - self.learned_to).max(0.0);
        self.learned_to = line.end;
        let (errors, views) = (f64::from(line.errors), f64::from(line.views));
        let hour = hour_of(local_secs);
        let season = self.hours[hour].factor();

        let local = ratio(self.local, LOCAL_SHRINK_MAX, 1.0);
        let quick = ratio(self.quick, COLLAPSE_SHRINK, local);
        let collapsed = local < COLLAPSE.0 || quick < COLLAPSE.1;
        self.collapse_secs = if collapsed { self.collapse_secs + f64::from(line.secs) } else { 0.0 };
        let keep = !collapsed || self.collapse_secs > COLLAPSE_SECS;

        if keep {
            let day = decay(elapsed, DAY_HALF_LIFE);
            self.day.0 = PRIOR_ERRORS + (self.day.0 - PRIOR_ERRORS) * day + errors;
            self.day.1 = PRIOR_VIEWS + (self.day.1 - PRIOR_VIEWS) * day + views * season;
        }
        let level = self.day.0 / self.day.1;
        let local = decay(elapsed, LOCAL_HALF_LIFE);
        self.local.0 = self.local.0 * local + errors;
        self.local.1 = self.local.1 * local + views * level * season;
        let factor = &mut self.hours[hour];
        let now_hour = (line.end / 3600.0) as f32;
        if now_hour > factor.newest_hour {
            let fade = decay(f64::from(now_hour - factor.newest_hour) * 3600.0, HOUR_HALF_LIFE) as f32;
            factor.errors *= fade;
            factor.predicted *= fade;
            factor.newest_hour = now_hour;
        }
        if keep {
            factor.errors += line.errors;
            factor.predicted += (views * level) as f32;
        }
    }

    /// Learns a line into the fast level alone, which runs ahead of the others.
    pub fn learn_fast(&mut self, line: &Line) {
        let fade = decay((line.end - self.quick_to).max(0.0), FAST_HALF_LIFE);
        self.quick_to = line.end;
        self.quick.0 = self.quick.0 * fade + f64::from(line.errors);
        self.quick.1 = self.quick.1 * fade + f64::from(line.views) * self.day.0 / self.day.1 * f64::from(line.season);
    }

    /// What is expected on the site's own clock, where the rate wanders by `wander` within hours and `wander_fast` within minutes.
    pub fn forecast(&self, local_secs: f64, wander: f64, wander_fast: f64) -> Forecast {
        let season = self.season(local_secs);
        let seasonal = self.day.0 / self.day.1 * season;
        let local = ratio(self.local, shrinkage(wander), 1.0);
        let fast = ratio(self.quick, shrinkage(wander_fast), local);
        Forecast { rate: seasonal * local, seasonal, season, local, fast }
    }

    /// The season factor: linear between the centres of two hours.
    fn season(&self, local_secs: f64) -> f64 {
        let position = (local_secs / 3600.0 - 0.5).rem_euclid(24.0);
        let (before, share) = (position as usize % 24, position.fract());
        (1.0 - share) * self.hours[before].factor() + share * self.hours[(before + 1) % 24].factor()
    }

    /// Decayed errors behind the day level; at the least those of the prior.
    pub fn day_errors(&self) -> f64 {
        self.day.0
    }

    /// Decayed errors behind the local level.
    pub fn local_errors(&self) -> f64 {
        self.local.0
    }

    /// Decayed errors behind the fast level.
    pub fn fast_errors(&self) -> f64 {
        self.quick.0
    }
}

fn ratio((errors, predicted): (f64, f64), shrink: f64, towards: f64) -> f64 {
    (errors + shrink * towards) / (predicted + shrink)
}

fn hour_of(local_secs: f64) -> usize {
    (local_secs / 3600.0).rem_euclid(24.0) as usize % 24
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(end: f64, views: f32, errors: f32) -> Line {
        Line { end, secs: 60.0, views, errors, predicted: 0.0, season: 1.0 }
    }

    fn learn_days(baseline: &mut Baseline, days: u32, rate: impl Fn(f64) -> f64) {
        for minute in 1..=days * 1440 {
            let end = f64::from(minute) * 60.0;
            baseline.learn(&line(end, 1000.0, (1000.0 * rate(end)) as f32), end);
        }
    }

    #[test]
    fn zero_history_is_a_prior_and_not_a_zero() {
        let forecast = Baseline::default().forecast(0.0, 0.05, 0.05);
        assert_eq!(forecast.rate, PRIOR_ERRORS / PRIOR_VIEWS);
        assert_eq!(forecast.season, 1.0);
    }

    #[test]
    fn a_steady_rate_is_learned_to_a_percent() {
        let mut baseline = Baseline::default();
        learn_days(&mut baseline, 3, |_| 0.02);
        let rate = baseline.forecast(3.0 * 86_400.0, 0.05, 0.05).rate;
        assert!((rate / 0.02 - 1.0).abs() < 0.01, "{rate}");
    }

    #[test]
    fn the_nightly_batch_is_learned_as_a_season() {
        let mut baseline = Baseline::default();
        let night = |end: f64| if (3.0..4.0).contains(&(end / 3600.0 % 24.0)) { 0.10 } else { 0.01 };
        learn_days(&mut baseline, 7, night);
        let at = |hour: f64| baseline.forecast(7.0 * 86_400.0 + hour * 3600.0, 0.05, 0.05).season;
        assert!(at(3.5) > 3.0 * at(12.5), "night {} against noon {}", at(3.5), at(12.5));
    }

    #[test]
    fn a_collapse_is_not_learned_for_hours() {
        let mut baseline = Baseline::default();
        learn_days(&mut baseline, 3, |_| 0.02);
        let before = baseline.day.0 / baseline.day.1;
        for minute in 1..=300 {
            let end = 3.0 * 86_400.0 + f64::from(minute) * 60.0;
            let bots = line(end, 10_000.0, 20.0);
            baseline.learn_fast(&bots);
            baseline.learn(&bots, end);
        }
        let after = baseline.day.0 / baseline.day.1;
        assert!(after > 0.7 * before, "{before} became {after}");
    }
}
