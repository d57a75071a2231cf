//! What is usual: a day level, hour-of-day factors, and two local levels that follow slower and faster drifts. O(1) per series.
//!
//! On top of the hours of the day lie those of the week, where there is enough data to tell them from chance.
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

/// Relative standard deviation that is expected of an hour of the week against the same hour of other days.
const WEEK_SPREAD: f64 = 0.2;
/// An hour of the week is kept when the data say at least this much of it (1 would be all).
const WEEK_GAIN_MIN: f64 = 0.2;
/// Steps of a nat in which factors of the week are kept: a byte each, to 2 % up to a factor of 14.
const WEEK_STEPS: f64 = 48.0;

/// A whole line of traffic: a minute or more of one series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// When it ended, in seconds since the epoch.
    pub end: u32,
    /// Views.
    pub views: f32,
    /// Errors that count.
    pub errors: f32,
    /// Errors that were predicted when it came.
    pub predicted: f32,
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
    local: (f32, f32),
    quick: (f32, f32),
    hours: [(f32, f32); 24],
    week: Week,
    learned_to: u32,
    quick_to: u32,
    collapse_secs: f32,
    /// Hours since the epoch up to which the hour factors have faded.
    faded_to: u32,
}

/// Factors of the hours of the week on top of those of the day.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Week {
    /// ln factor in steps, Monday's first hour first; nothing while no hour has data enough.
    factors: Option<Box<[i8]>>,
    /// The hour that is being gathered, on the site's own clock, since the epoch.
    hour: u32,
    errors: f32,
    predicted: f32,
}

impl Week {
    /// 1970 began on a Thursday.
    fn place(hour: u32) -> usize {
        ((hour + 72) % 168) as usize
    }

    fn factor(&self, hour: u32) -> f64 {
        self.factors.as_ref().map_or(1.0, |factors| (f64::from(factors[Self::place(hour)]) / WEEK_STEPS).exp())
    }

    /// Adds a line of this hour, and learns the hour before when it is over.
    fn learn(&mut self, hour: u32, errors: f32, predicted: f32, noise: &Noise) {
        if hour != self.hour {
            self.fold(noise);
            (self.hour, self.errors, self.predicted) = (hour, 0.0, 0.0);
        }
        self.errors += errors;
        self.predicted += predicted;
    }

    /// A Kalman step towards what the hour showed, as far as it can be told from noise and wander.
    fn fold(&mut self, noise: &Noise) {
        let spread = WEEK_SPREAD * WEEK_SPREAD;
        let gain = spread / (spread + noise.phi / f64::from(self.predicted).max(1e-9) + noise.wander * noise.wander);
        if gain < WEEK_GAIN_MIN {
            return;
        }
        let seen = ((f64::from(self.errors) + 0.5) / (f64::from(self.predicted) + 0.5)).ln();
        let factors = self.factors.get_or_insert_with(|| vec![0; 168].into_boxed_slice());
        let place = &mut factors[Self::place(self.hour)];
        let old = f64::from(*place) / WEEK_STEPS;
        *place = ((old + gain * (seen - old)) * WEEK_STEPS).round().clamp(-127.0, 127.0) as i8;
    }
}

/// How noisy the rate is where a line is learned.
#[derive(Clone, Copy, Debug)]
pub struct Noise {
    /// Variance over mean of small counts.
    pub phi: f64,
    /// Relative wander within hours.
    pub wander: f64,
}

impl Default for Baseline {
    fn default() -> Self {
        Self {
            day: (PRIOR_ERRORS, PRIOR_VIEWS),
            local: (0.0, 0.0),
            quick: (0.0, 0.0),
            hours: [(0.0, 0.0); 24],
            week: Week::default(),
            learned_to: 0,
            quick_to: 0,
            collapse_secs: 0.0,
            faded_to: 0,
        }
    }
}

/// Shrinkage of a local level where the rate wanders by `wander` (relative standard deviation): the more, the less.
pub fn shrinkage(wander: f64) -> f64 {
    LOCAL_SHRINK_MAX.min(1.0 / (wander * wander).max(1e-4))
}

impl Baseline {
    /// Starts anew from a rate that is the usual from now on. What was learned of hours stays.
    pub fn restart(&mut self, errors: f64, views: f64) {
        self.day = (PRIOR_ERRORS + errors, PRIOR_VIEWS + views);
        (self.local, self.quick) = ((0.0, 0.0), (0.0, 0.0));
        (self.learned_to, self.quick_to, self.collapse_secs) = (0, 0, 0.0);
    }

    /// Learns a line that is old enough. `local_secs` is the line's end on the site's own clock.
    pub fn learn(&mut self, line: &Line, local_secs: f64, noise: &Noise) {
        let elapsed = f64::from(line.end.saturating_sub(self.learned_to));
        let first = self.learned_to == 0;
        self.learned_to = line.end;
        let (errors, views) = (f64::from(line.errors), f64::from(line.views));
        let hour = hour_of(local_secs);
        let week = self.week.factor(epoch_hour(local_secs));
        let season = self.hour_factor(hour) * week;

        let local = ratio(self.local, LOCAL_SHRINK_MAX, 1.0);
        let quick = ratio(self.quick, COLLAPSE_SHRINK, local);
        let collapsed = local < COLLAPSE.0 || quick < COLLAPSE.1;
        let secs = if first { 0.0 } else { elapsed as f32 };
        self.collapse_secs = if collapsed { self.collapse_secs + secs } else { 0.0 };
        let keep = !collapsed || f64::from(self.collapse_secs) > COLLAPSE_SECS;

        if keep {
            let day = decay(elapsed, DAY_HALF_LIFE);
            self.day.0 = PRIOR_ERRORS + (self.day.0 - PRIOR_ERRORS) * day + errors;
            self.day.1 = PRIOR_VIEWS + (self.day.1 - PRIOR_VIEWS) * day + views * season;
        }
        let level = self.level();
        let local = decay(elapsed, LOCAL_HALF_LIFE);
        self.local.0 = (f64::from(self.local.0) * local + errors) as f32;
        self.local.1 = (f64::from(self.local.1) * local + views * level * season) as f32;
        if keep {
            let usual = self.hour_factor(hour);
            self.week.learn(epoch_hour(local_secs), line.errors, (views * level * usual) as f32, noise);
            self.learn_hour(hour, line);
        }
    }

    /// Learns a line into the factor of its hour alone: of what comes at this hour anyway (a nightly batch).
    pub fn learn_season(&mut self, line: &Line, local_secs: f64) {
        self.learn_hour(hour_of(local_secs), line);
    }

    fn learn_hour(&mut self, hour: usize, line: &Line) {
        let now = line.end / 3600;
        if now > self.faded_to {
            let fade = decay(f64::from(now - self.faded_to) * 3600.0, HOUR_HALF_LIFE) as f32;
            for (errors, predicted) in &mut self.hours {
                *errors *= fade;
                *predicted *= fade;
            }
            self.faded_to = now;
        }
        let predicted = (f64::from(line.views) * self.level()) as f32;
        self.hours[hour].0 += line.errors;
        self.hours[hour].1 += predicted;
    }

    /// Learns a line into the fast level alone, which runs ahead of the others.
    pub fn learn_fast(&mut self, line: &Line, local_secs: f64) {
        let fade = decay(f64::from(line.end.saturating_sub(self.quick_to)), FAST_HALF_LIFE);
        self.quick_to = line.end;
        let predicted = f64::from(line.views) * self.level() * self.season(local_secs);
        self.quick.0 = (f64::from(self.quick.0) * fade + f64::from(line.errors)) as f32;
        self.quick.1 = (f64::from(self.quick.1) * fade + predicted) as f32;
    }

    /// What is expected on the site's own clock, where the rate wanders by `wander` within hours and `wander_fast` within minutes.
    pub fn forecast(&self, local_secs: f64, wander: f64, wander_fast: f64) -> Forecast {
        let season = self.season(local_secs);
        let seasonal = self.level() * season;
        let local = ratio(self.local, shrinkage(wander), 1.0);
        let fast = ratio(self.quick, shrinkage(wander_fast), local);
        Forecast { rate: seasonal * local, seasonal, season, local, fast }
    }

    /// The season factor: linear between the centres of two hours.
    fn season(&self, local_secs: f64) -> f64 {
        let position = local_secs / 3600.0 - 0.5;
        let share = position - position.floor();
        let before = position.max(0.0) as u32;
        let factor = |hour: u32| self.hour_factor((hour % 24) as usize) * self.week.factor(hour);
        (1.0 - share) * factor(before) + share * factor(before + 1)
    }

    fn hour_factor(&self, hour: usize) -> f64 {
        let (errors, predicted) = self.hours[hour];
        (f64::from(errors) + HOUR_SHRINK) / (f64::from(predicted) + HOUR_SHRINK)
    }

    fn level(&self) -> f64 {
        self.day.0 / self.day.1
    }

    /// Decayed errors behind the day level; at the least those of the prior.
    pub fn day_errors(&self) -> f64 {
        self.day.0
    }

    /// Decayed errors behind the local level.
    pub fn local_errors(&self) -> f64 {
        f64::from(self.local.0)
    }

    /// Decayed errors behind the fast level.
    pub fn fast_errors(&self) -> f64 {
        f64::from(self.quick.0)
    }

    /// End of the newest line learned, seconds since the epoch; 0 before the first.
    pub fn learned_to(&self) -> u32 {
        self.learned_to
    }
}

fn ratio((errors, predicted): (f32, f32), shrink: f64, towards: f64) -> f64 {
    (f64::from(errors) + shrink * towards) / (f64::from(predicted) + shrink)
}

fn hour_of(local_secs: f64) -> usize {
    (epoch_hour(local_secs) % 24) as usize
}

fn epoch_hour(local_secs: f64) -> u32 {
    (local_secs / 3600.0).max(0.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOISE: Noise = Noise { phi: 1.0, wander: 0.02 };

    fn line(end: f64, views: f32, errors: f32) -> Line {
        Line { end: end as u32, views, errors, predicted: 0.0 }
    }

    fn learn_days(baseline: &mut Baseline, days: u32, rate: impl Fn(f64) -> f64) {
        for minute in 1..=days * 1440 {
            let end = f64::from(minute) * 60.0;
            baseline.learn(&line(end, 1000.0, (1000.0 * rate(end)) as f32), end, &NOISE);
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
            baseline.learn_fast(&bots, end);
            baseline.learn(&bots, end, &NOISE);
        }
        let after = baseline.day.0 / baseline.day.1;
        assert!(after > 0.7 * before, "{before} became {after}");
    }

    #[test]
    fn a_weekend_is_learned_as_hours_of_the_week_and_thin_data_keeps_to_the_day() {
        // 1970-01-03 was a Saturday.
        let weekend = |end: f64| if ((end / 86_400.0).floor() as i64 + 3) % 7 >= 5 { 0.02 } else { 0.01 };
        let mut baseline = Baseline::default();
        learn_days(&mut baseline, 28, weekend);
        let at = |day: f64| baseline.forecast((day + 0.52) * 86_400.0, 0.02, 0.02).seasonal;
        assert!(at(30.0) > 1.5 * at(28.0), "Saturday {} against Thursday {}", at(30.0), at(28.0));
        let mut thin = Baseline::default();
        for hour in 1..28 * 24 {
            let end = f64::from(hour) * 3600.0;
            thin.learn(&line(end, 100.0, (100.0 * weekend(end)) as f32), end, &NOISE);
        }
        assert!(thin.week.factors.is_none(), "one error an hour says nothing of an hour of the week");
    }
}
