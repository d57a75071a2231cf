//! Chance from a seed, with the distributions that traffic is made of. Exact laws, not approximations: what is measured are tails.

use statrs::function::gamma::ln_gamma;

/// Means from which Poisson counts are drawn by rejection; beneath, by adding up the law.
const POISSON_LARGE: f64 = 12.0;
/// Expected clusters up to which a negative binomial is drawn cluster by cluster.
const CLUSTERS_FEW: f64 = 4.0;
/// Dispersion beneath which a count is Poisson.
const PHI_MIN: f64 = 1.0001;

/// A stream of chance: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
#[derive(Clone, Debug)]
pub(crate) struct Chance {
    state: u64,
    spare: Option<f64>,
}

fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

impl Chance {
    /// A stream of its own for each seed and pair of numbers.
    pub(crate) fn new(seed: u64, kind: u64, number: u64) -> Self {
        let state = mix(mix(mix(seed).wrapping_add(kind)).wrapping_add(number));
        Self { state, spare: None }
    }

    /// 64 bits.
    pub(crate) fn word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// A share above 0 and beneath 1.
    pub(crate) fn share(&mut self) -> f64 {
        ((self.word() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Whether something of this probability happens.
    pub(crate) fn happens(&mut self, probability: f64) -> bool {
        self.share() < probability
    }

    /// Between two numbers, all alike.
    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.share()
    }

    /// Between two numbers, all orders of magnitude alike.
    pub(crate) fn magnitude(&mut self, low: f64, high: f64) -> f64 {
        self.between(low.ln(), high.ln()).exp()
    }

    /// A waiting time with this mean.
    pub(crate) fn wait(&mut self, mean: f64) -> f64 {
        -mean * self.share().ln()
    }

    /// The standard normal law, by Marsaglia's polar method (SIAM Review 6, 1964).
    pub(crate) fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let (x, y) = (self.between(-1.0, 1.0), self.between(-1.0, 1.0));
            let square = x * x + y * y;
            if square < 1.0 {
                let scale = (-2.0 * square.ln() / square).sqrt();
                self.spare = Some(y * scale);
                return x * scale;
            }
        }
    }

    /// A gamma variable of this shape and scale 1 (Marsaglia and Tsang, ACM TOMS 26, 2000); `shape` at least 1.
    fn gamma(&mut self, shape: f64) -> f64 {
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && self.share().ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }

    /// A Poisson count.
    pub(crate) fn poisson(&mut self, mean: f64) -> u64 {
        if mean <= 0.0 {
            return 0;
        }
        if mean >= POISSON_LARGE {
            return self.poisson_large(mean);
        }
        let (mut count, mut term) = (0, (-mean).exp());
        let mut left = self.share() - term;
        while left > 0.0 && term > 0.0 {
            count += 1;
            term *= mean / count as f64;
            left -= term;
        }
        count
    }

    /// Transformed rejection, algorithm PTRS (Hörmann, Insurance: Mathematics and Economics 12, 1993).
    fn poisson_large(&mut self, mean: f64) -> u64 {
        let b = 0.931 + 2.53 * mean.sqrt();
        let a = -0.059 + 0.024_83 * b;
        let inverse_alpha = 1.1239 + 1.1328 / (b - 3.4);
        let easy = 0.9277 - 3.6224 / (b - 2.0);
        loop {
            let (u, v) = (self.share() - 0.5, self.share());
            let edge = 0.5 - u.abs();
            let count = ((2.0 * a / edge + b) * u + mean + 0.43).floor();
            if edge >= 0.07 && v <= easy {
                return count as u64;
            }
            if count < 0.0 || (edge < 0.013 && v > edge) {
                continue;
            }
            let bound = count * mean.ln() - mean - ln_gamma(count + 1.0);
            if (v * inverse_alpha / (a / (edge * edge) + b)).ln() <= bound {
                return count as u64;
            }
        }
    }

    /// A count whose variance is `phi` times its mean: a negative binomial ("NB1"), which is a Poisson number of clusters whose
    /// sizes follow the logarithmic law, so that `phi` is the same for lines of any length.
    pub(crate) fn clustered(&mut self, mean: f64, phi: f64) -> u64 {
        if mean <= 0.0 {
            return 0;
        }
        if phi < PHI_MIN {
            return self.poisson(mean);
        }
        let size = mean / (phi - 1.0);
        let clusters = size * phi.ln();
        if clusters < CLUSTERS_FEW || size < 1.0 {
            let count = self.poisson(clusters);
            return (0..count).map(|_| self.cluster(1.0 - 1.0 / phi)).sum();
        }
        let mixed = self.gamma(size) * (phi - 1.0);
        self.poisson(mixed)
    }

    /// The logarithmic law with parameter `p` (Kemp, Applied Statistics 30, 1981, algorithm LK).
    fn cluster(&mut self, p: f64) -> u64 {
        let (v, u) = (self.share(), self.share());
        if v >= p {
            return 1;
        }
        let q = -((1.0 - p).ln() * u).exp_m1();
        (1.0 + v.ln() / q.ln()).floor().max(1.0) as u64
    }
}
