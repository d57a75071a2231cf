//! How noisy "usual" is: the variance of one line, and the wander of the rate over minutes and over hours.
//!
//! The variance of a line with mean μ is φμ + s²μ². Both are learned from differences of neighbouring lines, which cancel slow
//! drifts (von Neumann 1941; Rice 1984): d²/v regressed on (1, v). Wander is measured apart on blocks of lines, as the excess of
//! squared prediction errors over the noise (blocks of 20 min) or of squared differences (10 min, an Allan variance: Allan 1966).

use serde::{Deserialize, Serialize};

use super::baseline::Line;
use super::decay;

const HALF_LIFE: f64 = 2.0 * 86_400.0;
/// Prior: φ = 2 with the weight of this many pairs …
const PRIOR_PAIRS: f64 = 5.0;
/// … that is, these squared differences.
const PRIOR_SQUARES: f64 = 10.0;
/// Ridge that keeps s² at zero until lines are large enough to tell it from φ.
const RIDGE: f64 = 100.0;
/// Residuals are capped at 36 times their expectation plus this, so that one spike does not inflate φ for days.
const CAP_FLOOR: f64 = 25.0;
/// Prior of s²: standard deviation 0.3, with the weight of two pairs.
const UNKNOWN_NOISE: (f64, f64) = (0.09, 2.0);
/// φ is used this many relative standard errors above its estimate.
const CAUTION: f64 = 0.3;
/// Fewer pairs than this: the kind of noise is not known yet.
const KNOWN_PAIRS: f64 = 10.0;
/// Fewer pairs than this: even the size of clusters is a guess.
const GUESSED_PAIRS: f64 = 3.0;

/// Noise of a single line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LineNoise {
    pairs: f64,
    s1: f64,
    s2: f64,
    y0: f64,
    y1: f64,
    previous: (f32, f32),
    phi: f32,
    square: f32,
}

impl Default for LineNoise {
    fn default() -> Self {
        Self { pairs: PRIOR_PAIRS, s1: 0.0, s2: 0.0, y0: PRIOR_SQUARES, y1: 0.0, previous: (0.0, 0.0), phi: 2.0, square: 0.0 }
    }
}

impl LineNoise {
    /// Learns a line against its neighbour. `elapsed` is the time since the line before.
    pub fn learn(&mut self, line: &Line, elapsed: f64) {
        let (errors, mean) = (f64::from(line.errors), f64::from(line.predicted));
        let (errors0, mean0) = (f64::from(self.previous.0), f64::from(self.previous.1));
        if mean0 > 0.0 {
            let (phi, square) = (self.phi(), f64::from(self.square));
            let sum = mean + mean0;
            let v = mean * mean0 / sum;
            let d = (errors * mean0 - errors0 * mean) / sum;
            let y = (d * d).min(36.0 * (phi * v + square * v * v) + CAP_FLOOR) / v;
            let w = v / (1.0 + v);
            let fade = decay(elapsed, HALF_LIFE);
            self.pairs = PRIOR_PAIRS + (self.pairs - PRIOR_PAIRS) * fade + w;
            self.s1 = self.s1 * fade + w * v;
            self.s2 = self.s2 * fade + w * v * v;
            self.y0 = PRIOR_SQUARES + (self.y0 - PRIOR_SQUARES) * fade + w * y;
            self.y1 = self.y1 * fade + w * y * v;
            let spread = self.pairs * self.s2 - self.s1 * self.s1 + self.pairs * RIDGE;
            let square = (self.pairs * self.y1 - self.s1 * self.y0).max(0.0) / spread;
            self.square = square as f32;
            self.phi = ((self.y0 - square * self.s1) / self.pairs).max(1.0) as f32;
        }
        self.previous = (line.errors, line.predicted);
    }

    /// The next line has no neighbour: something was left out between.
    pub fn cut(&mut self) {
        self.previous = (0.0, 0.0);
    }

    /// φ for a line of this mean, with what is not known about the noise.
    pub fn phi_for(&self, mean: f64) -> f64 {
        let (prior, weight) = UNKNOWN_NOISE;
        let square = f64::from(self.square) + prior * weight / (self.pairs - PRIOR_PAIRS + weight);
        (self.phi() + square * mean) * (1.0 + CAUTION * (2.0 / (self.pairs + 1.0)).sqrt())
    }

    /// φ of small lines, as estimated.
    pub fn phi(&self) -> f64 {
        f64::from(self.phi)
    }

    /// Whether enough pairs were learned to know what kind of noise this is.
    pub fn is_known(&self) -> bool {
        self.pairs - PRIOR_PAIRS >= KNOWN_PAIRS
    }

    /// Whether hardly anything was learned: then even the size of clusters is a guess.
    pub fn is_a_guess(&self) -> bool {
        self.pairs - PRIOR_PAIRS < GUESSED_PAIRS
    }
}

/// Which squared deviations a [`Wander`] is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deviation {
    /// Of what came from what was predicted: sees drifts of hours.
    Prediction,
    /// Of one block from the block before: sees only quick ones.
    Neighbour,
}

/// Prior of the wander, 5 %, with the weight of so many blocks.
const WANDER_PRIOR: (f64, f64) = (0.0025, 4.0);
/// Wander too small to be told from noise by this many standard errors counts as none.
const WANDER_DOUBT: f64 = 2.0;

/// Relative wander of the rate over blocks of lines. Single precision is enough for what is an estimate to a tenth at best.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wander {
    kind: Deviation,
    errors: f32,
    mean: f32,
    secs: f32,
    previous: (f32, f32),
    squares: f32,
    noise: f32,
    weight: f32,
    noise_squares: f32,
    blocks: f32,
    sigma: f32,
}

impl Wander {
    /// Blocks of 20 minutes against their prediction.
    pub fn slow() -> Self {
        Self::new(Deviation::Prediction)
    }

    /// Blocks of 10 minutes against their neighbour.
    pub fn fast() -> Self {
        Self::new(Deviation::Neighbour)
    }

    fn new(kind: Deviation) -> Self {
        Self {
            kind,
            errors: 0.0,
            mean: 0.0,
            secs: 0.0,
            previous: (0.0, 0.0),
            squares: 0.0,
            noise: 0.0,
            weight: 0.0,
            noise_squares: 0.0,
            blocks: 0.0,
            sigma: WANDER_PRIOR.0.sqrt() as f32,
        }
    }

    /// Adds a learned line, `elapsed` seconds after the one before. `phi` is the noise of lines; `uncertainty` the relative variance
    /// of the prediction; `counts` is false while the prediction is still that of the prior.
    pub fn learn(&mut self, line: &Line, elapsed: f64, phi: f64, uncertainty: f64, counts: bool) {
        self.errors += line.errors;
        self.mean += line.predicted;
        self.secs += elapsed as f32;
        let block_secs = if self.kind == Deviation::Prediction { 1200.0 } else { 600.0 };
        if self.secs < block_secs {
            return;
        }
        let (errors, mean) = (f64::from(self.errors), f64::from(self.mean));
        let (errors0, mean0) = (f64::from(self.previous.0), f64::from(self.previous.1));
        if mean0 > 0.0 && mean > 0.0 {
            let (d, v, noise) = match self.kind {
                Deviation::Prediction => (errors - mean, mean, phi * mean + mean * mean * uncertainty),
                Deviation::Neighbour => {
                    let sum = mean + mean0;
                    let v = mean * mean0 / sum;
                    ((errors * mean0 - errors0 * mean) / sum, v, phi * v)
                }
            };
            if counts || self.kind == Deviation::Neighbour {
                self.add_block(d, v, noise);
            }
            let excess = f64::from(self.squares - self.noise) - WANDER_DOUBT * f64::from(self.noise_squares).sqrt();
            let (excess, blocks) = (excess.max(0.0) / (f64::from(self.weight) + 1e-9), f64::from(self.blocks));
            let (prior, prior_blocks) = WANDER_PRIOR;
            self.sigma = ((excess * blocks + prior * prior_blocks) / (blocks + prior_blocks)).sqrt() as f32;
        }
        self.previous = (self.errors, self.mean);
        (self.errors, self.mean, self.secs) = (0.0, 0.0, 0.0);
    }

    /// Adds a block's deviation `d` from what is expected, of size `v`, where noise alone gives a variance of `noise`.
    fn add_block(&mut self, d: f64, v: f64, noise: f64) {
        let fade = decay(f64::from(self.secs), HALF_LIFE);
        let cap = 16.0 * (noise + self.sigma() * self.sigma() * v * v) + 4.0;
        let add = |sum: &mut f32, fade: f64, more: f64| *sum = (f64::from(*sum) * fade + more) as f32;
        add(&mut self.squares, fade, (d * d).min(cap));
        add(&mut self.noise, fade, noise);
        add(&mut self.weight, fade, v * v);
        add(&mut self.noise_squares, fade * fade, 2.0 * noise * noise);
        add(&mut self.blocks, fade, 1.0);
    }

    /// Starts a new block with no neighbour: something was left out between.
    pub fn cut(&mut self) {
        self.previous = (0.0, 0.0);
        (self.errors, self.mean, self.secs) = (0.0, 0.0, 0.0);
    }

    /// Relative standard deviation of the rate from block to block.
    pub fn sigma(&self) -> f64 {
        f64::from(self.sigma)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small generator for tests: the same numbers on every machine.
    fn uniform(state: &mut u64) -> f64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((*state >> 11) as f64) / (1u64 << 53) as f64
    }

    fn poisson(state: &mut u64, mean: f64) -> f64 {
        let (limit, mut product, mut count) = ((-mean).exp(), 1.0, 0.0);
        loop {
            product *= uniform(state);
            if product < limit {
                return count;
            }
            count += 1.0;
        }
    }

    fn line(errors: f64, predicted: f64) -> Line {
        Line { end: 0, views: 1000.0, errors: errors as f32, predicted: predicted as f32 }
    }

    #[test]
    fn poisson_noise_is_found_to_be_poisson_even_while_the_rate_drifts() {
        let (mut state, mut noise) = (7, LineNoise::default());
        for i in 0..4000 {
            let mean = 5.0 + 3.0 * (f64::from(i) / 300.0).sin();
            noise.learn(&line(poisson(&mut state, mean), 5.0), 60.0);
        }
        assert!((noise.phi() - 1.0).abs() < 0.15, "{}", noise.phi());
        assert!(noise.is_known());
    }

    #[test]
    fn clustered_errors_raise_phi() {
        let (mut state, mut noise) = (11, LineNoise::default());
        for _ in 0..4000 {
            noise.learn(&line(4.0 * poisson(&mut state, 1.0), 4.0), 60.0);
        }
        assert!((3.0..5.0).contains(&noise.phi()), "{}", noise.phi());
    }

    #[test]
    fn a_rate_that_stands_still_does_not_wander_and_one_that_moves_does() {
        let (mut state, mut still, mut moving) = (3, Wander::slow(), Wander::slow());
        for i in 0..6000 {
            still.learn(&line(poisson(&mut state, 20.0), 20.0), 60.0, 1.0, 0.0, true);
            let mean = 20.0 * (1.0 + 0.4 * (f64::from(i) / 200.0).sin());
            moving.learn(&line(poisson(&mut state, mean), 20.0), 60.0, 1.0, 0.0, true);
        }
        assert!(still.sigma() < 0.03, "{}", still.sigma());
        assert!((0.2..0.4).contains(&moving.sigma()), "{}", moving.sigma());
    }
}
