//! What the benches of cost share: a clock, a median, the process's memory, and who is hit how often.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::chance::Chance;

/// How long something takes.
pub(crate) fn timed(work: impl FnOnce()) -> Duration {
    #[allow(clippy::disallowed_methods, reason = "a bench measures real time")]
    let begin = Instant::now();
    work();
    begin.elapsed()
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Bytes of memory that the process occupies; 0 where the system does not say (it does on Linux).
pub(crate) fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kilobytes.unwrap_or_default() * 1024.0
}

/// Which series each line is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// One after the other.
    RoundRobin,
    /// The k-th in a share of 1/k, in no order: most traffic is of a few pages.
    Zipf,
}

/// Draws series by Zipf's law with exponent 1.
pub(crate) struct Zipf {
    cumulated: Vec<f64>,
}

impl Zipf {
    pub(crate) fn new(count: usize) -> Self {
        let mut sum = 0.0;
        let cumulated = (1..=count).map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        });
        Self { cumulated: cumulated.collect() }
    }

    /// A series. Neighbours in rank are not neighbours in memory.
    pub(crate) fn draw(&self, chance: &mut Chance) -> usize {
        let count = self.cumulated.len();
        let rank = self.cumulated.partition_point(|sum| *sum < chance.share() * self.cumulated[count - 1]);
        (rank.min(count - 1) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize % count
    }
}

/// Nanoseconds to count a line in a hash map, the least that anybody must do with it: what other costs are held against.
pub(crate) fn counting(keys: &[u64], known: &[u64]) -> f64 {
    let mut counts: HashMap<u64, (u64, u64)> = known.iter().map(|key| (*key, (0, 0))).collect();
    let runs = (0..5).map(|_| {
        let took = timed(|| {
            for key in keys {
                let entry = counts.entry(*key).or_default();
                entry.0 += 1;
                entry.1 += key & 1;
            }
        });
        black_box(&counts);
        took.as_nanos() as f64 / keys.len() as f64
    });
    median(runs.collect())
}

/// Sizes from a thousand series to a hundred thousand, or to a million.
pub(crate) fn sizes(smallest: &[usize]) -> Vec<usize> {
    let large = std::env::args().any(|word| word == "--large");
    smallest.iter().copied().chain(large.then_some(1_000_000)).collect()
}
