//! What the benches of cost share: a clock, a median, the process's memory, and who is hit how often.

use std::collections::HashMap;
use std::hint::black_box;
use std::process::Command;
use std::time::Instant;

use crate::chance::Chance;

/// Nanoseconds of processor time that something takes: what else runs on the machine hardly counts. Real time where the system
/// does not say. Give it tens of milliseconds of work: the kernel adds up by ticks.
pub(crate) fn timed(work: impl FnOnce()) -> f64 {
    #[allow(clippy::disallowed_methods, reason = "a bench measures real time")]
    let (begin, begin_busy) = (Instant::now(), busy());
    work();
    match (begin_busy, busy()) {
        (Some(before), Some(after)) => after - before,
        _ => begin.elapsed().as_nanos() as f64,
    }
}

/// Nanoseconds that this thread has run.
fn busy() -> Option<f64> {
    std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split_whitespace().next()?.parse().ok()
}

/// The words that follow `--one` in the arguments, where this process is to measure a single thing.
pub(crate) fn one() -> Option<Vec<String>> {
    let words: Vec<String> = std::env::args().collect();
    let at = words.iter().position(|word| word == "--one")?;
    Some(words[at + 1..].to_vec())
}

/// Lets a process of its own measure one thing and print its numbers: memory that another measurement left is not in them.
pub(crate) fn in_own_process(words: &[String]) -> Vec<f64> {
    let program = std::env::current_exe().expect("a bench knows its own file");
    let done = Command::new(program).arg("--one").args(words).output().expect("a bench can start itself");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).split_whitespace().filter_map(|word| word.parse().ok()).collect()
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

/// Draws series by Zipf's law with exponent 1: most traffic is of a few pages.
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
        let drawn = chance.share() * self.cumulated[count - 1];
        let rank = self.cumulated.partition_point(|sum| *sum < drawn);
        (rank.min(count - 1) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize % count
    }
}

/// Lines counted in one run, at least.
const COUNTED: usize = 3_000_000;

/// Nanoseconds to count a line in a hash map, the least that anybody must do with it: what other costs are held against.
pub(crate) fn counting(keys: &[u64], known: &[u64]) -> f64 {
    let mut counts: HashMap<u64, (u64, u64)> = known.iter().map(|key| (*key, (0, 0))).collect();
    let runs = (0..5).map(|_| {
        let took = timed(|| {
            for key in keys.iter().cycle().take(COUNTED.max(keys.len())) {
                let entry = counts.entry(*key).or_default();
                entry.0 += 1;
                entry.1 += key & 1;
            }
        });
        black_box(&counts);
        took / COUNTED.max(keys.len()) as f64
    });
    median(runs.collect())
}

/// Sizes from a thousand series to a hundred thousand, or to a million.
pub(crate) fn sizes(smallest: &[usize]) -> Vec<usize> {
    let large = std::env::args().any(|word| word == "--large");
    smallest.iter().copied().chain(large.then_some(1_000_000)).collect()
}
