//! A small slice of the simulated world of clean traffic, so that a change that costs many false alarms is seen at once. The
//! full measurement is `cargo bench --bench false_alarms`.

use crate::sim::chance::Chance;
use crate::sim::class::CLASSES;
use crate::sim::tally::{Tally, bound, poisson_interval};
use crate::sim::trial::{RULES, budgeted, world};

const SEED: u64 = 20_260_302;
const ALPHA: f64 = 0.1;
const WEEKS: f64 = 20.0;

/// Twice the budget is what is promised; a run as small as this fails only where chance does not explain that there are more.
#[test]
fn clean_traffic_costs_about_the_budget() {
    let budgets = [budgeted(ALPHA)];
    let mut tallies = [Tally::default(); RULES.len()];
    let mut told = String::new();
    for which in world(SEED, WEEKS, None).into_iter().filter(|which| CLASSES[which.class].promised) {
        let trial = which.run(SEED, &budgets);
        for (rule, tally) in tallies.iter_mut().enumerate() {
            let alarms = trial.alarms.iter().filter(|alarm| alarm.rule == rule);
            tally.add(trial.weeks, alarms.clone().count() as u64);
            for alarm in alarms {
                told += &format!("{} {}: {} {}\n", CLASSES[which.class].name, which.number, RULES[rule], alarm.reason);
            }
        }
    }
    for (tally, rule) in tallies.iter().zip(RULES) {
        assert!(!tally.exceeds(bound(ALPHA)), "{rule}: {tally:?} at a budget of {ALPHA}\n{told}");
    }
}

#[test]
fn the_same_seed_gives_the_same_alarms() {
    let budgets = [budgeted(10.0)];
    let which = world(SEED, 1.0, CLASSES.iter().position(|class| class.name == "cold start"))[0];
    let (one, other) = (which.run(SEED, &budgets), which.run(SEED, &budgets));
    assert_eq!(one.lines, other.lines);
    assert_eq!(format!("{:?}", one.alarms), format!("{:?}", other.alarms));
}

#[test]
fn counts_have_the_mean_and_the_dispersion_that_are_asked_for() {
    for (mean, phi) in [(0.02, 1.0), (0.02, 8.0), (3.0, 1.0), (3.0, 2.0), (3.0, 8.0), (40.0, 1.0), (400.0, 1.2), (5_000.0, 30.0)]
    {
        let mut chance = Chance::new(SEED, 7, 1);
        let draws = 60_000;
        let drawn: Vec<f64> = (0..draws).map(|_| chance.clustered(mean, phi) as f64).collect();
        let found = drawn.iter().sum::<f64>() / f64::from(draws);
        let variance = drawn.iter().map(|count| (count - found).powi(2)).sum::<f64>() / f64::from(draws);
        let error = (phi * mean / f64::from(draws)).sqrt();
        assert!((found - mean).abs() < 4.5 * error, "mean {found} for {mean}, {phi}");
        // The variance of a variance: twice its square over the number, and the fourth cumulant of a cluster process.
        let spread = (2.0 + 6.0 * phi * phi / mean).sqrt() * phi * mean / f64::from(draws).sqrt();
        assert!((variance - phi * mean).abs() < 4.5 * spread, "variance {variance} for {mean}, {phi}");
    }
}

#[test]
fn intervals_are_those_of_the_tables() {
    for (count, low, high) in [(0, 0.0, 3.689), (1, 0.0253, 5.572), (10, 4.795, 18.390), (100, 81.36, 121.63)] {
        let (found_low, found_high) = poisson_interval(count, 0.95);
        assert!((found_low - low).abs() < 0.01 && (found_high - high).abs() < 0.01, "{count}: {found_low} to {found_high}");
    }
}
