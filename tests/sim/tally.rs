//! False alarms per series-week, counted and judged.

use statrs::distribution::{ChiSquared, ContinuousCDF};

/// Series-weeks from which the measured rate itself must keep the bound. A smaller run can only refute: there, the lower end of the
/// interval must keep it.
pub(crate) const ENOUGH_WEEKS: f64 = 10_000.0;

/// What was counted over some series.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Exposure.
    pub(crate) weeks: f64,
    pub(crate) alarms: u64,
    /// Series with an alarm.
    pub(crate) noisy: u64,
}

impl Tally {
    /// Adds a series.
    pub(crate) fn add(&mut self, weeks: f64, alarms: u64) {
        self.join(&Self { weeks, alarms, noisy: u64::from(alarms > 0) });
    }

    /// Adds other series.
    pub(crate) fn join(&mut self, other: &Self) {
        self.weeks += other.weeks;
        self.alarms += other.alarms;
        self.noisy += other.noisy;
    }

    /// Alarms per series-week.
    pub(crate) fn rate(&self) -> f64 {
        self.alarms as f64 / self.weeks
    }

    /// An interval of the rate that covers it with a probability of 95 % (Garwood, Biometrika 28, 1936).
    pub(crate) fn interval(&self) -> (f64, f64) {
        let (low, high) = poisson_interval(self.alarms, 0.95);
        (low / self.weeks, high / self.weeks)
    }

    /// Whether more than `bound` alarms per series-week are proved, or measured where the run is large enough.
    pub(crate) fn exceeds(&self, bound: f64) -> bool {
        if self.weeks >= ENOUGH_WEEKS { self.rate() > bound } else { self.interval().0 > bound }
    }
}

/// The bound on the measured rate for a budget of `alpha`: twice as much, and three times below a hundredth, where no run that ends
/// within an hour counts more than a handful.
pub(crate) fn bound(alpha: f64) -> f64 {
    if alpha < 0.01 { 3.0 * alpha } else { 2.0 * alpha }
}

/// The exact central interval of a Poisson mean.
pub(crate) fn poisson_interval(count: u64, probability: f64) -> (f64, f64) {
    let tail = 0.5 * (1.0 - probability);
    let quantile = |freedom: f64, p: f64| ChiSquared::new(freedom).map_or(f64::NAN, |law| 0.5 * law.inverse_cdf(p));
    let low = if count == 0 { 0.0 } else { quantile(2.0 * count as f64, tail) };
    (low, quantile(2.0 * (count + 1) as f64, 1.0 - tail))
}
