//! Measures the machine behind `spike` alone: time for each line of a series, from one series to a hundred thousand, against
//! counting the same lines in a hash map in the same process, and memory for each series.
//!
//! ```sh
//! cargo bench --bench detector                # up to 100,000 series
//! cargo bench --bench detector -- --large     # up to 1,000,000: about 1.5 GB
//! ```
//!
//! A line is a minute of one series with 20 views on average; every series has run for an hour before, so that it learns while it
//! is measured. Times are medians of five runs. Ratios can be compared between machines, nanoseconds cannot.
//!
//! Memory is the growth of the resident set by all detectors, with the allocator's overhead; beside it stand the size of the
//! struct and of its checkpoint. Each row is measured in a process of its own. Allocations are not counted: that needs unsafe
//! code, which this crate forbids.
#![allow(clippy::print_stdout, reason = "a bench prints its tables")]

#[path = "../sim/chance.rs"]
#[allow(dead_code, reason = "traffic needs more kinds of chance than a bench")]
mod chance;
#[allow(dead_code, reason = "each bench uses its part")]
mod measure;

use std::hint::black_box;

use chance::Chance;
use measure::{Zipf, counting, in_own_process, median, one, resident, sizes, timed};
use spiked::rule::detector::{Counts, Detector};

/// 2026-03-02T00:00:00Z.
const BASE: f64 = 1_772_409_600.0;
/// Minutes that each series has run for before it is measured.
const HISTORY: usize = 60;
/// Lines of one run, at least; and runs.
const LINES: usize = 300_000;
const RUNS: usize = 5;
/// What a page shows.
const VIEWS: f64 = 20.0;
const RATE: f64 = 0.01;
const PHI: f64 = 1.5;

/// In which order series get their lines: one after the other, or the k-th in a share of 1/k.
const ORDERS: [&str; 2] = ["round-robin", "Zipf"];

fn main() {
    if let Some(words) = one() {
        let series = words[0].parse().expect("the number of series");
        cost(series, words[1] == "Zipf");
        return;
    }
    println!("a detector is {} bytes, what it points to aside\n", size_of::<Detector>());
    println!("| series | order | ns a line | counting, ns a line | ratio | resident bytes a series | checkpoint bytes |");
    println!("| ---: | --- | ---: | ---: | ---: | ---: | ---: |");
    for series in sizes(&[1, 1_000, 10_000, 100_000]) {
        for order in ORDERS {
            let found = in_own_process(&[series.to_string(), order.to_owned()]);
            let [line, counting, bytes, checkpoint] = found[..] else { panic!("four numbers, not {found:?}") };
            let ratio = line / counting;
            println!("| {series} | {order} | {line:.0} | {counting:.1} | {ratio:.1} | {bytes:.0} | {checkpoint:.0} |");
        }
    }
}

/// Measures and prints: nanoseconds a line, the same for counting alone, resident bytes a series, bytes of a checkpoint.
fn cost(series: usize, zipf: bool) {
    let mut chance = Chance::new(1, series as u64, 0);
    let lines: Vec<Counts> = (0..4_096).map(|_| line(&mut chance)).collect();
    let before = resident();
    let mut detectors: Vec<Detector> = (0..series).map(|_| Detector::new(BASE)).collect();
    let mut minute = 0;
    for _ in 0..HISTORY {
        minute += 1;
        for (place, detector) in detectors.iter_mut().enumerate() {
            look(detector, minute, &lines[(place * 7 + minute) & 4_095]);
        }
    }
    let bytes = (resident() - before).max(0.0) / series as f64;
    let checkpoint = postcard::to_stdvec(&detectors[0]).map_or(0, |bytes| bytes.len());
    let law = Zipf::new(series);
    let count = LINES.max(series);
    let places: Vec<usize> = (0..count).map(|place| if zipf { law.draw(&mut chance) } else { place % series }).collect();
    let runs = (0..RUNS).map(|_| {
        let took = timed(|| {
            for (turn, place) in places.iter().enumerate() {
                // A minute has passed when as many lines came as there are series.
                let at = minute + 1 + turn / series;
                look(&mut detectors[*place], at, &lines[(turn * 7) & 4_095]);
            }
        });
        minute += 1 + count / series;
        took / count as f64
    });
    let line = median(runs.collect());
    let key = |place: usize| (place as u64).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let keys: Vec<u64> = places.iter().map(|place| key(*place)).collect();
    let known: Vec<u64> = (0..series).map(key).collect();
    println!("{line} {} {bytes} {checkpoint}", counting(&keys, &known));
}

fn line(chance: &mut Chance) -> Counts {
    let views = chance.clustered(VIEWS, 1.2).max(1) as f64;
    let errors = chance.clustered(views * RATE, PHI) as f64;
    Counts { views, units: errors, errors }
}

fn look(detector: &mut Detector, minute: usize, counts: &Counts) {
    black_box(detector.look(BASE + 60.0 * minute as f64, *counts, 0.0, None));
}
