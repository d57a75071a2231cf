//! The noise model: counts with mean μ and variance φμ (negative binomial, "NB1"), and likelihood ratios of two means.
//!
//! NB1 keeps φ whatever the length of an interval (a Poisson number of logarithmic clusters, so it is infinitely divisible),
//! which NB2 and the beta-binomial do not: Cameron & Trivedi, *Regression Analysis of Count Data*, 2nd ed. 2013, section 3.3.
//! Size r = μ/(φ−1), success probability 1/φ; φ = 1 is Poisson.

use statrs::function::gamma::ln_gamma;

/// Below this φ the Poisson limit is used: the negative binomial's size would exceed 50 μ.
const POISSON: f64 = 1.02;

/// ln NB1(count; mean1, φ) − ln NB1(count; mean0, φ) in nats. Means must be positive, `count` not negative.
pub fn log_likelihood_ratio(count: f64, mean0: f64, mean1: f64, phi: f64) -> f64 {
    if phi < POISSON {
        return count * (mean1 / mean0).ln() - (mean1 - mean0);
    }
    let (size0, size1) = (mean0 / (phi - 1.0), mean1 / (phi - 1.0));
    rising(count, size1) - rising(count, size0) - (size1 - size0) * phi.ln()
}

/// ln Γ(count + size) − ln Γ(size): for small counts as a product, which is both faster and exact.
fn rising(count: f64, size: f64) -> f64 {
    if count < 8.0 {
        let mut product = 1.0;
        let mut i = 0.0;
        while i < count {
            product *= size + i;
            i += 1.0;
        }
        product.ln()
    } else {
        ln_gamma(count + size) - ln_gamma(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use statrs::distribution::{Discrete, NegativeBinomial, Poisson};

    #[track_caller]
    fn check(count: u32, mean0: f64, mean1: f64, phi: f64, expected: f64) {
        let got = log_likelihood_ratio(f64::from(count), mean0, mean1, phi);
        assert!((got - expected).abs() < 1e-9 * expected.abs().max(1.0), "{got} against {expected}");
    }

    #[test]
    fn agrees_with_the_distributions_themselves() {
        for (count, mean0, mean1, phi) in [(0, 0.3, 0.9, 1.5), (5, 0.3, 0.9, 1.5), (40, 10.0, 22.0, 3.0), (12, 2.0, 1.0, 2.0)] {
            let ln_p = |mean: f64| NegativeBinomial::new(mean / (phi - 1.0), 1.0 / phi).unwrap().ln_pmf(count);
            check(count as u32, mean0, mean1, phi, ln_p(mean1) - ln_p(mean0));
        }
        let ln_p = |mean: f64| Poisson::new(mean).unwrap().ln_pmf(7);
        check(7, 2.0, 5.0, 1.0, ln_p(5.0) - ln_p(2.0));
    }

    #[test]
    fn agrees_with_scipy() {
        // scipy.stats.nbinom.logpmf(k, mu/(phi-1), 1/phi), version 1.11
        check(3, 1.0, 2.5, 2.0, 0.841_650_857_077_824_5);
        check(25, 4.0, 12.0, 1.3, 11.833_461_823_881_159);
    }

    proptest! {
        /// The mean of e^ℓ under the null is 1: what makes the evidence a martingale.
        #[test]
        fn the_likelihood_ratio_is_a_martingale(mean0 in 0.05f64..8.0, ratio in 1.1f64..4.0, phi in 1.05f64..4.0) {
            let null = NegativeBinomial::new(mean0 / (phi - 1.0), 1.0 / phi).unwrap();
            let total: f64 = (0..4000u32).map(|k| (null.ln_pmf(u64::from(k)) + log_likelihood_ratio(f64::from(k), mean0, ratio * mean0, phi)).exp()).sum();
            prop_assert!((total - 1.0).abs() < 1e-6, "{total}");
        }
    }
}
