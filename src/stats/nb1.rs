//! The noise model: counts with mean μ and variance φμ (negative binomial, "NB1"), and likelihood ratios of two means.
//!
//! NB1 keeps φ whatever the length of an interval (a Poisson number of logarithmic clusters, so it is infinitely divisible),
//! which NB2 and the beta-binomial do not: Cameron & Trivedi, *Regression Analysis of Count Data*, 2nd ed. 2013, section 3.3.
//! Size r = μ/(φ−1), success probability 1/φ; φ = 1 is Poisson.

/// Below this φ the Poisson limit is used: the negative binomial's size would exceed 50 μ.
const POISSON: f64 = 1.02;

/// Counts up to this are multiplied out, which is exact and faster; above it logarithms of gamma functions are cheaper.
const PRODUCT_MAX: f64 = 24.0;

/// ln NB1(count; mean1, φ) − ln NB1(count; mean0, φ) in nats. Means must be positive, `count` a whole number, not negative.
pub fn log_likelihood_ratio(count: f64, mean0: f64, mean1: f64, phi: f64) -> f64 {
    let null = NullCount::new(count, mean0, phi);
    null.product(mean1 / mean0).map_or_else(|| null.log_rise(mean1 / mean0), f64::ln) - null.fall(mean1 / mean0)
}

/// One count under its null, to be held against many alternatives: what they share is computed once.
///
/// The likelihood ratio is Γ(count + a₁)Γ(a₀) / (Γ(a₁)Γ(count + a₀)) · φ^(a₀ − a₁) with sizes a = μ/(φ − 1).
#[derive(Clone, Copy, Debug)]
pub struct NullCount {
    count: f64,
    mean: f64,
    /// a₀; zero in the Poisson limit.
    size: f64,
    /// ln φ/(φ − 1): how fast the likelihood of seeing nothing more falls with the mean.
    slope: f64,
    /// ln Γ(count + a₀) − ln Γ(a₀), where counts are too large for products.
    rising: f64,
}

impl NullCount {
    /// A count that the null expects to be `mean`, with variance `phi` times as large.
    pub fn new(count: f64, mean: f64, phi: f64) -> Self {
        if phi < POISSON {
            return Self { count, mean, size: 0.0, slope: 1.0, rising: 0.0 };
        }
        let size = mean / (phi - 1.0);
        let rising = if count > PRODUCT_MAX { log_rising(count, size) } else { 0.0 };
        Self { count, mean, size, slope: phi.ln() / (phi - 1.0), rising }
    }

    /// Likelihood of a mean `ratio` times the null's, over that of the null.
    pub fn likelihood_ratio(&self, ratio: f64) -> f64 {
        let fall = self.fall(ratio);
        self.product(ratio).map_or_else(|| (self.log_rise(ratio) - fall).exp(), |product| product * (-fall).exp())
    }

    fn fall(&self, ratio: f64) -> f64 {
        (ratio - 1.0) * self.mean * self.slope
    }

    /// Π (a₁ + i)/(a₀ + i) over the errors of a small count.
    fn product(&self, ratio: f64) -> Option<f64> {
        if self.count > PRODUCT_MAX {
            return None;
        }
        if self.size == 0.0 {
            return Some(ratio.powi(self.count as i32));
        }
        let other = self.size * ratio;
        let (mut over, mut under) = (1.0, 1.0);
        let mut i = 0.0;
        while i < self.count {
            over *= other + i;
            under *= self.size + i;
            i += 1.0;
        }
        Some(over / under)
    }

    fn log_rise(&self, ratio: f64) -> f64 {
        if self.size == 0.0 { self.count * ratio.ln() } else { log_rising(self.count, self.size * ratio) - self.rising }
    }
}

/// ln Γ(count + size) − ln Γ(size) for a count that is not small. Stirling's series (Abramowitz & Stegun 1964, 6.1.41) from 8 on,
/// the recurrence below it: 1e-12 relative, and several times faster than two calls of a general ln Γ.
fn log_rising(count: f64, size: f64) -> f64 {
    let (mut product, mut from) = (1.0, size);
    while from < 8.0 {
        product *= from;
        from += 1.0;
    }
    stirling(count + size) - stirling(from) + product.ln()
}

fn stirling(x: f64) -> f64 {
    let square = 1.0 / (x * x);
    let series = 1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square / 1680.0));
    (x - 0.5) * x.ln() - x + series / x
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
