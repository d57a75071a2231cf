//! Evidence that something has changed: a Shiryaev–Roberts mixture over sizes of the change, in units of weeks.
//!
//! R_j ← (R_j + ω) e^{ℓ_j}, where ℓ_j is the log likelihood ratio of "the rate is r_j times the null boundary" and ω the share
//! of a week that the observation stands for. Under the null E e^{ℓ_j} ≤ 1, so ΣwR − Σω is a supermartingale, and by optional
//! stopping the mean time to ΣwR > A is at least A weeks, whatever the traffic does: Shiryaev 1963; Roberts 1966; Pollak,
//! Annals of Statistics 13 (1985) for mixtures; Shin, Ramdas & Rinaldo 2022 (arXiv 2203.03532) for e-detectors.
//!
//! An observation may be looked at while it grows: evidence is kept up to the last closed one, and the open one is put on top.

use serde::{Deserialize, Serialize};

use super::nb1::NullCount;

/// How many sizes of change are weighed against each other.
pub const SIZES: usize = 9;

/// The changes looked for, as multiples of the null boundary.
pub const RATIOS: [f64; SIZES] = [1.25, 1.6, 2.2, 3.5, 6.0, 12.0, 30.0, 100.0, 400.0];

/// Their prior weights, which sum to 1.
const WEIGHTS: [f64; SIZES] =
    [1.0 / 12.0, 1.5 / 12.0, 2.0 / 12.0, 2.0 / 12.0, 2.0 / 12.0, 1.5 / 12.0, 1.0 / 12.0, 0.6 / 12.0, 0.4 / 12.0];

/// No more errors a view than this are imagined: larger alternatives are left out.
const RATE_MAX: f64 = 5.0;

/// Evidence is clamped here, far above every threshold, so that it never overflows (it is kept in single precision).
const CLAMP: f64 = 1e30;

/// Evidence for a rise, closed up to the last whole observation, with the open one on top.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Mixture {
    closed: [f32; SIZES],
    open: [f32; SIZES],
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
    /// Standard deviation of the count where it is a total of unknown make-up: then the smaller of two likelihood ratios counts,
    /// of normal totals with this deviation, and of independent errors.
    pub sd: Option<f64>,
}

impl Observation {
    /// Likelihood ratio of a normal total whose mean is `ratio` times the boundary's.
    fn total_ratio(&self, ratio: f64, sd: f64) -> f64 {
        let mean = self.boundary * self.views;
        let rise = (ratio - 1.0) * mean / sd;
        (rise * (self.count - mean) / sd - 0.5 * rise * rise).exp()
    }
}

impl Mixture {
    /// Looks at the open observation as if it ended now: the evidence with it on top.
    pub fn look(&mut self, seen: &Observation) -> f64 {
        let null = NullCount::new(seen.count, seen.boundary * seen.views, seen.phi);
        let (most, cap) = (RATE_MAX / seen.boundary, seen.cap.exp());
        let mut total = 0.0;
        for j in 0..SIZES {
            let ratio = RATIOS[j].min(most);
            let likely = || {
                let count = null.likelihood_ratio(ratio).min(cap);
                seen.sd.map_or(count, |sd| count.min(seen.total_ratio(ratio, sd)))
            };
            let grown = if ratio > 1.05 { (f64::from(self.closed[j]) + seen.omega) * likely() } else { 0.0 };
            self.open[j] = grown.min(CLAMP) as f32;
            total += WEIGHTS[j] * f64::from(self.open[j]);
        }
        total
    }

    /// Closes the open observation as it was last looked at: it will grow no more. What it said fades by `keep`, in (0, 1].
    pub fn close(&mut self, keep: f64) {
        self.closed = self.open.map(|evidence| evidence * keep as f32);
    }

    /// Forgets all evidence.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

/// The threshold on the evidence for a budget of `alpha` false alarms per series-week.
///
/// (0.1/α)^1.15 is a calibration, not the theorem's 1/α: on stationary traffic the floor and the quantile of the null boundary
/// make the bound about ten times too careful; what is left in the tail comes from violated models. docs/detection.md has what
/// was measured.
pub fn threshold(alpha: f64) -> f64 {
    (0.1 / alpha).powf(1.15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn quiet(count: f64) -> Observation {
        Observation { count, views: 100.0, boundary: 0.01, phi: 1.0, omega: 60.0 / super::super::WEEK_SECS, cap: 300.0, sd: None }
    }

    /// Looks at an observation once and closes it; what it said does not fade.
    fn close(mixture: &mut Mixture, seen: &Observation) -> f64 {
        let total = mixture.look(seen);
        mixture.close(1.0);
        total
    }

    #[test]
    fn weights_sum_to_one_and_thresholds_are_the_stated_ones() {
        assert!((WEIGHTS.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        for (alpha, expected) in [(0.1, 1.0), (0.01, 14.125_375), (0.001, 199.526_231)] {
            assert!((threshold(alpha) / expected - 1.0).abs() < 1e-6);
        }
    }

    proptest! {
        #[test]
        fn a_smaller_budget_needs_more_evidence(alpha in 1e-6f64..1.0, less in 0.01f64..0.999) {
            prop_assert!(threshold(alpha * less) > threshold(alpha));
        }

        #[test]
        fn more_errors_are_more_evidence(count in 0u32..60, more in 1u32..40, rate in 1e-5f64..0.3, phi in 1.0f64..6.0) {
            let evidence = |count: u32| {
                let seen = Observation { boundary: rate, phi, ..quiet(f64::from(count)) };
                Mixture::default().look(&seen)
            };
            prop_assert!(evidence(count + more) >= evidence(count) * (1.0 - 1e-6));
        }
    }

    #[test]
    fn looking_again_at_an_open_observation_changes_nothing() {
        let mut mixture = Mixture::default();
        close(&mut mixture, &quiet(1.0));
        let first = mixture.look(&quiet(5.0));
        mixture.look(&quiet(0.0));
        assert_eq!(mixture.look(&quiet(5.0)), first);
    }

    #[test]
    fn evidence_grows_with_errors_and_fades_without() {
        let mut mixture = Mixture::default();
        let mut usual = 0.0;
        for _ in 0..20 {
            usual = close(&mut mixture, &quiet(1.0));
        }
        let mut high = 0.0;
        for _ in 0..5 {
            high = close(&mut mixture, &quiet(8.0));
        }
        assert!(high > usual * 1e6);
        let best = (0..SIZES).max_by(|a, b| {
            (WEIGHTS[*a] * f64::from(mixture.closed[*a])).total_cmp(&(WEIGHTS[*b] * f64::from(mixture.closed[*b])))
        });
        assert_eq!(RATIOS[best.unwrap()], 6.0);
        let mut low = high;
        for _ in 0..200 {
            low = close(&mut mixture, &quiet(0.0));
        }
        assert!(low < usual);
    }

    #[test]
    fn closed_evidence_leaks_as_told() {
        let mut mixture = Mixture::default();
        let before = mixture.look(&quiet(8.0));
        mixture.close(0.5);
        let after: f64 = mixture.closed.iter().zip(WEIGHTS).map(|(r, w)| f64::from(*r) * w).sum();
        assert!((after / before - 0.5).abs() < 1e-6);
    }

    /// ΣwR − Σω is a supermartingale under the null: its mean over many runs of 60 looks is not above the exposure.
    #[test]
    fn under_the_null_evidence_is_no_more_than_the_exposure() {
        let (runs, looks, omega) = (20_000, 60, 1e-3);
        for phi in [1.0, 2.5] {
            let mut state = 5u64;
            let mut sum = 0.0;
            for _ in 0..runs {
                let mut mixture = Mixture::default();
                let mut last = 0.0;
                for _ in 0..looks {
                    let count = draw(&mut state, 0.4, phi);
                    last = close(
                        &mut mixture,
                        &Observation { count, views: 40.0, boundary: 0.01, phi, omega, cap: 300.0, sd: None },
                    );
                }
                sum += last;
            }
            let mean = sum / f64::from(runs);
            // Few runs carry most of a heavy tail, so a sample lies below its mean rather than above.
            assert!(mean < 1.25 * omega * f64::from(looks), "φ {phi}: {mean}");
            assert!(mean > 0.2 * omega * f64::from(looks), "φ {phi}: {mean}");
        }
    }

    /// A count of the given mean, NB1 with `phi`: a Poisson number of clusters of logarithmic size.
    fn draw(state: &mut u64, mean: f64, phi: f64) -> f64 {
        let mut uniform = || {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((*state >> 11) as f64 + 0.5) / (1u64 << 53) as f64
        };
        let p = 1.0 - 1.0 / phi;
        let clusters = if phi > 1.0 { mean * phi.ln() / (phi - 1.0) } else { mean };
        let (limit, mut product, mut count) = ((-clusters).exp(), uniform(), 0.0);
        while product > limit {
            let mut size = 1.0;
            if phi > 1.0 {
                let (mut term, mut left) = (p / phi.ln(), uniform());
                while left > term {
                    left -= term;
                    size += 1.0;
                    term *= p * (size - 1.0) / size;
                }
            }
            count += size;
            product *= uniform();
        }
        count
    }
}
