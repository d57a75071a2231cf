//! Two streams side by side in the same minutes: does the one fail more often than the other, whatever both share?
//!
//! Given the errors of both streams in a minute, how they fall to the two does not depend on the rate that both share: an outage,
//! a sale or the hour of the day cancels. If errors are Poisson, that share is binomial with p = r·n₁/(r·n₁ + n₂), r the ratio of
//! the rates (Przyborowski & Wilenski, *Biometrika* 31, 1940). If they come in clusters, variance over mean φ, there are two models:
//!
//! - many small clusters and a few large ones (NB1, see [`super::nb1`]): the share is beta-binomial with sizes μ₁/(φ−1) and
//!   μ₂/(φ−1), as a gamma's share of a sum of gammas is beta. It needs μ, and is too sure when an outage makes μ larger than expected.
//! - clusters of φ errors each: each falls to one side, so the binomial's log likelihood ratio is divided by φ (the power
//!   likelihood: Royall & Tsou, *JRSS B* 65, 2003). It needs no μ, and is too sure of one large cluster in a stream with a small
//!   share.
//!
//! The smaller of the two log likelihood ratios is evidence under either.
//!
//! Evidence is kept as in [`super::shiryaev_roberts`]: R ← (R + ω) e^ℓ for each ratio looked for, ω the share of a week that the
//! minute stands for. Under "r is at most [`ALIKE`]" E e^ℓ ≤ 1, so ΣwR − Σω is a supermartingale, and the mean time to ΣwR > A is
//! at least A weeks of comparing, however often one looks: Robbins, *Annals of Mathematical Statistics* 41 (1970); Johari et al.,
//! *Always valid inference*, Operations Research 70 (2022); Shin, Ramdas & Rinaldo 2022 (arXiv 2203.03532).

use serde::{Deserialize, Serialize};
use statrs::function::gamma::ln_gamma;

/// Rates whose ratio is at most this are called alike: two groups of visitors never are quite the same.
pub const ALIKE: f64 = 1.2;

/// How many ratios are weighed against each other.
pub const SIZES: usize = 7;

/// The ratios looked for.
const RATIOS: [f64; SIZES] = [1.6, 2.2, 3.5, 6.0, 12.0, 40.0, 200.0];

/// Their prior weights, which sum to 1.
const WEIGHTS: [f64; SIZES] = [1.5 / 10.5, 2.0 / 10.5, 2.0 / 10.5, 2.0 / 10.5, 1.5 / 10.5, 1.0 / 10.5, 0.5 / 10.5];

/// Below this φ the binomial limit is used.
const POISSON: f64 = 1.02;

/// Where far more errors came than were expected, this share of them is taken for expected: a rate that has really risen is not one
/// huge cluster. More than a third would let single clusters through.
const UNEXPECTED: f64 = 1.0 / 3.0;

/// Evidence is clamped here, far above every threshold, so that it never overflows.
const CLAMP: f64 = 1e200;

/// What came to the two streams in the same time: `[0]` is the one in question, `[1]` the one it is held against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// Errors (whole numbers).
    pub errors: [f64; 2],
    /// Views.
    pub views: [f64; 2],
    /// Errors that were expected of both together: what was known before they came.
    pub mean: f64,
    /// Variance over mean of the count of errors.
    pub phi: f64,
}

impl Pair {
    /// Whether anything can be told from it: both had views, and something failed.
    pub fn tells(&self) -> bool {
        self.views[0] > 0.0 && self.views[1] > 0.0 && self.errors[0] + self.errors[1] > 0.0
    }

    /// The share of the errors that falls to the first if its rate is `ratio` times that of the second.
    fn share(&self, ratio: f64) -> f64 {
        let first = ratio * self.views[0];
        first / (first + self.views[1])
    }

    /// Log likelihood ratio, in nats, of "the first fails `ratio` times as often" against "`null` times", given all errors.
    pub fn log_likelihood_ratio(&self, null: f64, ratio: f64) -> f64 {
        let power = self.power_ratio(null, ratio);
        if self.phi < POISSON {
            return power;
        }
        let [mine, theirs] = self.errors;
        let (p0, p1) = (self.share(null), self.share(ratio));
        let mean = self.mean.max(UNEXPECTED * (mine + theirs));
        let size = mean / (self.phi - 1.0);
        let mine_falls = rising(mine, size * p1) - rising(mine, size * p0);
        let theirs_falls = rising(theirs, size * (1.0 - p1)) - rising(theirs, size * (1.0 - p0));
        (mine_falls + theirs_falls).min(power)
    }

    /// The power likelihood ratio alone: fair to both sides, where the lesser of two would favour `null`.
    pub fn power_ratio(&self, null: f64, ratio: f64) -> f64 {
        let [mine, theirs] = self.errors;
        let (p0, p1) = (self.share(null), self.share(ratio));
        let binomial = mine * (p1 / p0).ln() + theirs * ((1.0 - p1) / (1.0 - p0)).ln();
        if self.phi < POISSON { binomial } else { binomial / self.phi }
    }
}

/// ln Γ(count + size) − ln Γ(size); as a sum for small counts.
fn rising(count: f64, size: f64) -> f64 {
    if count < 8.0 {
        (0..count as u32).map(|i| (size + f64::from(i)).ln()).sum()
    } else {
        ln_gamma(count + size) - ln_gamma(size)
    }
}

/// Evidence that the first stream fails more often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    sums: [f64; SIZES],
}

impl Evidence {
    /// Adds a pair that stands for the share `omega` of a week, and at most `cap` nats for each ratio.
    pub fn add(&mut self, pair: &Pair, omega: f64, cap: f64) {
        for (sum, ratio) in self.sums.iter_mut().zip(RATIOS) {
            let nats = if pair.tells() { pair.log_likelihood_ratio(ALIKE, ratio).min(cap) } else { 0.0 };
            *sum = ((*sum + omega) * nats.exp()).min(CLAMP);
        }
    }

    /// ΣwR, to be held against [`threshold`].
    pub fn total(&self) -> f64 {
        self.sums.iter().zip(WEIGHTS).map(|(sum, weight)| sum * weight).sum()
    }
}

/// The threshold on the evidence for `alpha` false alarms a week: the theorem's own bound, as nothing is estimated that could bias
/// the null hypothesis.
pub fn threshold(alpha: f64) -> f64 {
    1.0 / alpha
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::WEEK_SECS;
    use proptest::prelude::*;

    #[track_caller]
    fn check(errors: [f64; 2], views: [f64; 2], mean: f64, phi: f64, ratio: f64, expected: f64) {
        let pair = Pair { errors, views, mean, phi };
        let got = pair.log_likelihood_ratio(ALIKE, ratio);
        assert!((got - expected).abs() < 1e-9, "{got} against {expected}");
    }

    #[test]
    fn agrees_with_scipy() {
        // scipy.stats.betabinom.logpmf(k, n, a p, a (1 - p)) with a = mean / (phi - 1), or binom.logpmf / phi if that is less;
        // version 1.17
        check([3.0, 2.0], [200.0, 800.0], 4.0, 2.0, 3.0, 0.631_307_289_141_403);
        check([45.0, 15.0], [400.0, 400.0], 20.0, 1.5, 5.0, 1.580_731_681_310_837_2);
        check([0.0, 9.0], [100.0, 100.0], 3.0, 1.2, 2.0, -2.326_161_962_278_796);
        check([7.0, 5.0], [100.0, 300.0], 3.0, 1.0, 3.0, 2.133_935_795_854_297_7);
    }

    #[test]
    fn weights_sum_to_one_and_nothing_is_told_where_one_side_is_silent() {
        assert!((WEIGHTS.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let mut evidence = Evidence::default();
        evidence.add(&Pair { errors: [50.0, 0.0], views: [100.0, 0.0], mean: 1.0, phi: 1.0 }, 1e-4, f64::INFINITY);
        assert!((evidence.total() - 1e-4).abs() < 1e-12);
    }

    proptest! {
        /// The mean of e^ℓ is at most 1 if errors are NB1: what makes the evidence a supermartingale.
        #[test]
        fn the_evidence_is_a_supermartingale(total in 1u32..40, share in 0.05f64..0.9, mean in 0.1f64..20.0,
                                                phi in 1.05f64..4.0, ratio in 1.3f64..50.0) {
            let (views, size) = ([share, 1.0 - share], mean / (phi - 1.0));
            let p = Pair { errors: [0.0; 2], views, mean, phi }.share(ALIKE);
            let ln_pmf = |k: f64, n: f64| {
                ln_gamma(n + 1.0) - ln_gamma(k + 1.0) - ln_gamma(n - k + 1.0) + rising(k, size * p)
                    + rising(n - k, size * (1.0 - p)) - rising(n, size)
            };
            let n = f64::from(total);
            // What is told of a minute with far more errors than expected is not of this model.
            prop_assume!(n * UNEXPECTED <= mean);
            let llr = |k: f64| Pair { errors: [k, n - k], views, mean, phi }.log_likelihood_ratio(ALIKE, ratio);
            let expected: f64 = (0..=total).map(f64::from).map(|k| (ln_pmf(k, n) + llr(k)).exp()).sum();
            prop_assert!(expected < 1.0 + 1e-6, "{expected}");
        }
    }

    /// A small generator for tests: the same numbers on every machine.
    fn uniform(state: &mut u64) -> f64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((*state >> 11) as f64) / (1u64 << 53) as f64
    }

    fn poisson(state: &mut u64, mean: f64) -> f64 {
        let (limit, mut product, mut count) = ((-mean).exp(), uniform(state), 0.0);
        while product > limit {
            product *= uniform(state);
            count += 1.0;
        }
        count
    }

    /// Clusters of two on average (1 to 3), so that φ = E s² / E s = 7/3.
    fn clustered(state: &mut u64, mean: f64) -> f64 {
        let clusters = poisson(state, mean / 2.0) as u32;
        (0..clusters).map(|_| 1.0 + (3.0 * uniform(state)).floor()).sum()
    }

    /// Alarms in so many weeks of minutes; `rates` are errors a minute that are expected of the two.
    fn alarms(weeks: u32, alpha: f64, mut rates: impl FnMut(u32) -> ([f64; 2], [f64; 2])) -> u32 {
        let (mut state, mut count, mut evidence) = (17, 0, Evidence::default());
        for minute in 0..weeks * 10_080 {
            let (views, means) = rates(minute);
            let errors = means.map(|mean| clustered(&mut state, mean));
            evidence.add(&Pair { errors, views, mean: 1.5, phi: 7.0 / 3.0 }, 60.0 / WEEK_SECS, f64::INFINITY);
            if evidence.total() > threshold(alpha) {
                count += 1;
                evidence = Evidence::default();
            }
        }
        count
    }

    #[test]
    fn false_alarms_stay_within_the_budget_even_through_outages_that_hit_both() {
        // One false alarm a week is allowed, and outages of twenty times the errors come for an hour each day.
        let shared = |minute: u32| if minute % 1440 < 60 { 20.0 } else { 1.0 };
        let equal = |minute: u32| ([200.0, 800.0], [0.3 * shared(minute), 1.2 * shared(minute)]);
        let count = alarms(20, 1.0, equal);
        assert!(count <= 20, "{count} alarms in 20 weeks");
        // As far apart as is still called alike.
        let edge = |_| ([500.0, 500.0], [0.75 * ALIKE, 0.75]);
        let count = alarms(20, 1.0, edge);
        assert!((1..=20).contains(&count), "{count} alarms in 20 weeks");
    }

    #[test]
    fn a_worse_stream_is_found_within_minutes() {
        let (mut state, mut evidence) = (5, Evidence::default());
        let mut minutes = 0;
        while evidence.total() < threshold(0.01) {
            let errors = [clustered(&mut state, 3.0), clustered(&mut state, 1.2)];
            evidence.add(&Pair { errors, views: [200.0, 800.0], mean: 1.5, phi: 7.0 / 3.0 }, 60.0 / WEEK_SECS, f64::INFINITY);
            minutes += 1;
            assert!(minutes < 120, "ten times the rate is not seen after two hours");
        }
        assert!(minutes > 3, "{minutes} minutes are too few to know");
    }
}
