//! Is a new kind of error news, or does this page always bring new kinds? Good–Turing novelty and Pitman–Yor repetition.
//!
//! The rate of new kinds is estimated from those seen so far with Good's missing mass (Biometrika 40, 1953) as its prior. A
//! kind that is new on a page where novelty never ends must repeat faster than new kinds do: under the Pitman–Yor process
//! (Annals of Probability 25, 1997) the share of a kind after its first occurrence is Beta(1−d, θ+N₀−1+d), so the number of
//! repeats among the next M errors is beta-binomial.

use statrs::function::beta::ln_beta;
use statrs::function::gamma::ln_gamma;

/// ln P(X ≥ k) for X ~ BetaBinomial(M, a, b). Sums at most 400 terms from k upwards: beyond them nothing is left.
pub fn ln_beta_binomial_tail(k: u64, trials: u64, a: f64, b: f64) -> f64 {
    if k == 0 {
        return 0.0;
    }
    if k > trials {
        return f64::NEG_INFINITY;
    }
    let m = trials as f64;
    let ln_term =
        |j: f64| ln_gamma(m + 1.0) - ln_gamma(j + 1.0) - ln_gamma(m - j + 1.0) + ln_beta(j + a, m - j + b) - ln_beta(a, b);
    let last = trials.min(k + 400);
    let terms: Vec<f64> = (k..=last).map(|j| ln_term(j as f64)).collect();
    let max = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (max + terms.iter().map(|t| (t - max).exp()).sum::<f64>().ln()).min(0.0)
}

/// Expected new kinds per week.
///
/// `novelties` and `weeks` are decayed sums since learning ended; the prior has the weight of 0.4 weeks and is the Good–Turing
/// missing mass: `errors_per_week · (singletons + 0.1) / errors`.
pub fn novelty_rate(novelties: f64, weeks: f64, errors_per_week: f64, errors: f64, singletons: f64) -> f64 {
    const PRIOR_WEEKS: f64 = 0.4;
    let prior = errors_per_week * (singletons + 0.1) / errors.max(1.0);
    (novelties + PRIOR_WEEKS * prior) / (weeks + PRIOR_WEEKS)
}

/// What is known of a page's errors when a kind is weighed.
#[derive(Clone, Copy, Debug)]
pub struct Weighing {
    /// Expected new kinds per week ([`novelty_rate`]).
    pub novelty_rate: f64,
    /// How often the kind has come, its first time included.
    pub seen: u64,
    /// Errors of the page since and without its first.
    pub errors_since: u64,
    /// Errors of the page up to and with its first.
    pub errors_before: u64,
    /// Kinds seen once over kinds seen: the discount d, clamped to 0.02 … 0.97.
    pub singleton_share: f64,
}

/// Whether to announce: ln(λ · P(as many repeats by chance)) ≤ ln(budget · w_k), where w_1 = 1 and w_k = 1/(k(k−1)) spends the
/// budget over all looks at one kind. `budget` is noise announcements per week.
pub fn is_news(w: &Weighing, budget: f64) -> bool {
    let d = w.singleton_share.clamp(0.02, 0.97);
    let repeats = ln_beta_binomial_tail(w.seen - 1, w.errors_since, 1.0 - d, w.errors_before as f64 + d);
    let look = if w.seen == 1 { 1.0 } else { 1.0 / (w.seen * (w.seen - 1)) as f64 };
    w.novelty_rate.max(1e-9).ln() + repeats <= (budget * look).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_agrees_with_a_plain_sum() {
        // BetaBinomial(4, 1, 1) is uniform on 0..=4.
        for k in 0..=4u64 {
            let expected = ((5 - k) as f64 / 5.0).ln();
            assert!((ln_beta_binomial_tail(k, 4, 1.0, 1.0) - expected).abs() < 1e-9);
        }
        assert_eq!(ln_beta_binomial_tail(5, 4, 1.0, 1.0), f64::NEG_INFINITY);
    }

    #[test]
    fn agrees_with_scipy() {
        // scipy.stats.betabinom.logsf(k - 1, M, a, b), version 1.11
        let cases = [(1, 50, 0.5, 100.5, -1.697_378_024_541_251_8), (3, 200, 0.9, 1000.1, -5.565_154_475_512_394)];
        for (k, m, a, b, expected) in cases {
            let got = ln_beta_binomial_tail(k, m, a, b);
            assert!((got - expected).abs() < 1e-6, "{got} against {expected}");
        }
    }

    #[test]
    fn a_clean_page_tells_at_once_and_a_noisy_one_waits() {
        let clean = Weighing { novelty_rate: 0.05, seen: 1, errors_since: 0, errors_before: 900, singleton_share: 0.02 };
        assert!(is_news(&clean, 0.4));
        let noisy = Weighing { novelty_rate: 300.0, seen: 1, errors_since: 0, errors_before: 900, singleton_share: 0.9 };
        assert!(!is_news(&noisy, 0.4));
        assert!(is_news(&Weighing { seen: 6, errors_since: 12, ..noisy }, 0.4));
    }
}
