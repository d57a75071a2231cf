//! Evidence that something has changed: a Shiryaev–Roberts mixture over sizes of the change, in units of weeks.
//!
//! R_j ← (R_j + ω) e^{ℓ_j}, where ℓ_j is the log likelihood ratio of "the rate is r_j times the null boundary" and ω the share
//! of a week that the observation stands for. Under the null E e^{ℓ_j} ≤ 1, so ΣwR − Σω is a supermartingale, and by optional
//! stopping the mean time to ΣwR > A is at least A weeks, whatever the traffic does: Shiryaev 1963; Roberts 1966; Pollak,
//! Annals of Statistics 13 (1985) for mixtures; Shin, Ramdas & Rinaldo 2022 (arXiv 2203.03532) for e-detectors.
//!
//! An observation may be looked at while it grows: evidence is kept up to the last closed one, and the open one is put on top.

use serde::{Deserialize, Serialize};

use super::nb1::log_likelihood_ratio;

/// How many sizes of change are weighed against each other.
pub const SIZES: usize = 9;

/// The changes looked for, as multiples of the null boundary.
pub const RATIOS: [f64; SIZES] = [1.25, 1.6, 2.2, 3.5, 6.0, 12.0, 30.0, 100.0, 400.0];

/// Their prior weights, which sum to 1.
const WEIGHTS: [f64; SIZES] =
    [1.0 / 12.0, 1.5 / 12.0, 2.0 / 12.0, 2.0 / 12.0, 2.0 / 12.0, 1.5 / 12.0, 1.0 / 12.0, 0.6 / 12.0, 0.4 / 12.0];

/// No more errors a view than this are imagined: larger alternatives are left out.
const RATE_MAX: f64 = 5.0;

/// Evidence is clamped here, far above every threshold, so that it never overflows.
const CLAMP: f64 = 1e200;

/// Evidence for a rise, closed up to the last whole observation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Mixture {
    closed: [f64; SIZES],
}

/// One observation against its null.
#[derive(Clone, Copy, Debug)]
pub struct Observation {
    /// Errors (or other numerator).
    pub count: f64,
    /// Views (or other denominator); at least 1.
    pub views: f64,
    /// The null boundary as a rate: mean0 = boundary × views.
    pub boundary: f64,
    /// Variance over mean of the count.
    pub phi: f64,
    /// The share of a week it stands for.
    pub omega: f64,
    /// The most evidence it may add to one size, in nats.
    pub cap: f64,
}

impl Mixture {
    /// Evidence with the open observation on top, and which size carries most of it.
    pub fn with(&self, open: &Observation) -> (f64, usize) {
        let next = self.step(open);
        let mut best = 0;
        let mut total = 0.0;
        for j in 0..SIZES {
            total += WEIGHTS[j] * next[j];
            if WEIGHTS[j] * next[j] > WEIGHTS[best] * next[best] {
                best = j;
            }
        }
        (total, best)
    }

    /// Closes an observation: it will grow no more.
    pub fn close(&mut self, observation: &Observation) {
        self.closed = self.step(observation);
    }

    /// Evidence up to the last closed observation.
    pub fn total(&self) -> f64 {
        self.closed.iter().zip(WEIGHTS).map(|(r, w)| r * w).sum()
    }

    /// Forgets all evidence.
    pub fn reset(&mut self) {
        self.closed = [0.0; SIZES];
    }

    fn step(&self, seen: &Observation) -> [f64; SIZES] {
        let mean0 = seen.boundary * seen.views;
        let mut next = [0.0; SIZES];
        for j in 0..SIZES {
            let mean1 = (mean0 * RATIOS[j]).min(RATE_MAX * seen.views);
            if mean1 <= mean0 * 1.05 {
                continue;
            }
            let llr = log_likelihood_ratio(seen.count, mean0, mean1, seen.phi).min(seen.cap);
            next[j] = ((self.closed[j] + seen.omega) * llr.exp()).min(CLAMP);
        }
        next
    }
}

/// The threshold on the evidence for a budget of `alpha` false alarms per series-week.
///
/// (0.1/α)^1.5 is a calibration, not the theorem's 1/α: on stationary traffic the floor and the quantile of the null boundary
/// make the bound about ten times too careful; what is left in the tail comes from violated models and falls more slowly.
pub fn threshold(alpha: f64) -> f64 {
    (0.1 / alpha).powf(1.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet(count: f64) -> Observation {
        Observation { count, views: 100.0, boundary: 0.01, phi: 1.0, omega: 60.0 / super::super::WEEK_SECS, cap: 300.0 }
    }

    #[test]
    fn weights_sum_to_one_and_thresholds_are_the_stated_ones() {
        assert!((WEIGHTS.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        for (alpha, expected) in [(0.1, 1.0), (0.01, 31.622_776), (0.001, 1000.0)] {
            assert!((threshold(alpha) / expected - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn looking_at_an_open_observation_changes_nothing() {
        let mut mixture = Mixture::default();
        mixture.close(&quiet(1.0));
        let before = mixture.clone();
        let (seen, _) = mixture.with(&quiet(5.0));
        assert_eq!(mixture, before);
        mixture.close(&quiet(5.0));
        assert!((mixture.total() / seen - 1.0).abs() < 1e-12);
    }

    #[test]
    fn evidence_grows_with_errors_and_fades_without() {
        let mut mixture = Mixture::default();
        for _ in 0..20 {
            mixture.close(&quiet(1.0));
        }
        let usual = mixture.total();
        for _ in 0..5 {
            mixture.close(&quiet(8.0));
        }
        assert!(mixture.total() > usual * 1e6);
        let (_, best) = mixture.with(&quiet(8.0));
        assert_eq!(RATIOS[best], 6.0);
        for _ in 0..200 {
            mixture.close(&quiet(0.0));
        }
        assert!(mixture.total() < usual);
    }
}
