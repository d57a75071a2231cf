//! Chance from a seed: a few distributions over SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), enough for a shop.

/// A small seeded source of chance.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A stream of its own for each seed and number.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut rng = Self(seed ^ stream.wrapping_mul(0xd1b5_4a32_d192_ed03));
        rng.word();
        rng
    }

    /// 64 bits.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A share from 0 up to, not including, 1.
    pub fn share(&mut self) -> f64 {
        (self.word() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Whether something of this probability happens.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.share() < probability
    }

    /// A number beneath `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.word() % bound
    }

    /// A waiting time with this mean.
    pub fn wait(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.share()).ln()
    }

    /// A count with this mean, as independent happenings give it: by waiting times where small, by the normal law where large.
    pub fn count(&mut self, mean: f64) -> u64 {
        if mean > 60.0 {
            let normal: f64 = (0..12).map(|_| self.share()).sum::<f64>() - 6.0;
            return (mean + mean.sqrt() * normal).round().max(0.0) as u64;
        }
        let (mut count, mut waited) = (0, self.wait(1.0));
        while waited < mean {
            count += 1;
            waited += self.wait(1.0);
        }
        count
    }

    /// One of the items by their weights; `None` when the weights, which may sum up to less than 1, chose none.
    pub fn pick<'a, T>(&mut self, items: &'a [T], weight: impl Fn(&T) -> f64) -> Option<&'a T> {
        let mut left = self.share();
        items.iter().find(|item| {
            left -= weight(item);
            left < 0.0
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_their_mean_and_its_variance() {
        for mean in [0.3, 7.0, 200.0] {
            let mut rng = Rng::new(1, 2);
            let drawn: Vec<f64> = (0..20_000).map(|_| rng.count(mean) as f64).collect();
            let found = drawn.iter().sum::<f64>() / 20_000.0;
            let variance = drawn.iter().map(|n| (n - found).powi(2)).sum::<f64>() / 20_000.0;
            assert!((found / mean - 1.0).abs() < 0.03, "mean {found} for {mean}");
            assert!((variance / mean - 1.0).abs() < 0.05, "variance {variance} for {mean}");
        }
    }
}
