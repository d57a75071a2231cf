//! Measures what a budget of false alarms really costs on clean traffic: `spike` and `drop` rules at α = 0.1, 0.01 and 0.001 alarms
//! per series-week, over twenty kinds of simulated traffic (`tests/sim`), with exact 95 % intervals.
//!
//! ```sh
//! cargo bench --bench false_alarms                                             # a glance: 200 series-weeks
//! cargo bench --bench false_alarms -- --weeks 10000 --seed 1                   # the nightly run: 10,000 and more
//! cargo bench --bench false_alarms -- --weeks 400 --class "wander" --list      # one kind of traffic, each alarm with its reason
//! ```
//!
//! `--alpha A` measures one budget (it may come more than once), `--threads N` uses so many threads (2), `--seed N` draws other
//! traffic. The same seed gives the same figures on any machine and any number of threads.
//!
//! A cell shows the alarms, in how many series they were, their rate with its interval, and the rate over the budget. Drops during a
//! silence are no false alarms. What comes beneath the sum, rates that jump at fixed times of the night or the week, is not promised.
//!
//! It ends with code 1 when a `spike` rule's measured rate over what is promised exceeds 2α (3α below 0.01). In a run of less than 10,000
//! series-weeks only what is proved counts: there the lower end of the interval must exceed it.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints its tables")]

#[path = "../sim/mod.rs"]
mod sim;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use sim::class::CLASSES;
use sim::tally::{ENOUGH_WEEKS, Tally, bound};
use sim::trial::{RULES, Trial, Which, budgeted, world};

/// What was asked for.
struct Args {
    weeks: f64,
    seed: u64,
    alphas: Vec<f64>,
    threads: usize,
    class: Option<usize>,
    list: bool,
}

fn main() -> ExitCode {
    let args = match Args::read(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let series = world(args.seed, args.weeks, args.class);
    let trials = run(&args, &series);
    let lines: u64 = trials.iter().map(|(_, trial)| trial.lines).sum();
    println!("{} series, {lines} lines, seed {}", series.len(), args.seed);
    if args.list {
        list(&args, &trials);
    }
    let mut exceeded = false;
    for (rule, name) in RULES.iter().enumerate() {
        let sums = table(&args, &trials, rule);
        for (alpha, all) in args.alphas.iter().zip(&sums).filter(|_| *name == "Spike") {
            if all.exceeds(bound(*alpha)) {
                println!("\nEXCEEDED: more than {} false alarms per series-week at a budget of {alpha}", bound(*alpha));
                exceeded = true;
            }
        }
    }
    if args.weeks < ENOUGH_WEEKS {
        println!(
            "\nfewer than {ENOUGH_WEEKS} series-weeks: the bound counts as exceeded only where the whole interval is above it"
        );
    }
    ExitCode::from(u8::from(exceeded))
}

/// Runs all series on several threads; the answer does not depend on how many.
fn run(args: &Args, series: &[Which]) -> Vec<(Which, Trial)> {
    let budgets: Vec<_> = args.alphas.iter().map(|alpha| budgeted(*alpha)).collect();
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..args.threads {
            scope.spawn(|| {
                while let Some(which) = series.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let trial = which.run(args.seed, &budgets);
                    done.lock().expect("no thread panics with the lock").push((*which, trial));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no thread panics with the lock");
    done.sort_by_key(|(which, _)| *which);
    done
}

/// Prints each alarm with its reason and what the series was.
fn list(args: &Args, trials: &[(Which, Trial)]) {
    for (which, trial) in trials {
        let traits = CLASSES[which.class].draw(&mut which.chance(args.seed));
        for alarm in &trial.alarms {
            println!(
                "{} {} at {}: {} after {:.2} h; {:.3} views a minute, rate {:.2e}, noise {:.1}: {}",
                CLASSES[which.class].name,
                which.number,
                args.alphas[alarm.budget],
                RULES[alarm.rule],
                alarm.secs / 3600.0,
                traits.views,
                traits.rate,
                traits.phi,
                alarm.reason
            );
        }
    }
}

/// Prints the table of one rule; returns the sums over what is promised, for each budget.
fn table(args: &Args, trials: &[(Which, Trial)], rule: usize) -> Vec<Tally> {
    let mut tallies = vec![vec![Tally::default(); args.alphas.len()]; CLASSES.len()];
    for (which, trial) in trials {
        for (budget, tally) in tallies[which.class].iter_mut().enumerate() {
            let alarms = trial.alarms.iter().filter(|alarm| alarm.rule == rule && alarm.budget == budget).count();
            tally.add(trial.weeks, alarms as u64);
        }
    }
    let heads = args.alphas.iter().map(|alpha| format!(" {alpha}: alarms (series) | per series-week | / budget |"));
    println!("\n{}, by budget of false alarms per series-week\n", RULES[rule]);
    println!("| traffic | series-weeks |{}", heads.collect::<String>());
    println!("| --- | ---: |{}", " ---: | ---: | ---: |".repeat(args.alphas.len()));
    let mut sums = vec![Tally::default(); args.alphas.len()];
    for promised in [true, false] {
        for (class, tallies) in CLASSES.iter().zip(&tallies).filter(|(class, _)| class.promised == promised) {
            if tallies[0].weeks == 0.0 {
                continue;
            }
            row(class.name, tallies, &args.alphas);
            for (sum, tally) in sums.iter_mut().zip(tallies).filter(|_| promised) {
                sum.join(tally);
            }
        }
        if promised && sums[0].weeks > 0.0 {
            row("**all above**", &sums, &args.alphas);
        }
    }
    sums
}

fn row(name: &str, tallies: &[Tally], alphas: &[f64]) {
    let cells = tallies.iter().zip(alphas).map(|(tally, alpha)| {
        let ((low, high), rate) = (tally.interval(), tally.rate());
        format!(" {} ({}) | {rate:.4} ({low:.4} to {high:.4}) | {:.2} |", tally.alarms, tally.noisy, rate / alpha)
    });
    println!("| {name} | {:.1} |{}", tallies[0].weeks, cells.collect::<String>());
}

impl Args {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut args = Self { weeks: 200.0, seed: 1, alphas: Vec::new(), threads: 2, class: None, list: false };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--weeks" => args.weeks = number(&value()?)?,
                "--seed" => args.seed = number(&value()?)? as u64,
                "--alpha" => args.alphas.push(number(&value()?)?),
                "--threads" => args.threads = (number(&value()?)? as usize).max(1),
                "--class" => {
                    let name = value()?;
                    let place = CLASSES.iter().position(|class| class.name == name);
                    let names = || CLASSES.iter().map(|class| class.name).collect::<Vec<_>>().join("; ");
                    args.class = Some(place.ok_or_else(|| format!("`{name}` is none of: {}", names()))?);
                }
                "--list" => args.list = true,
                // What `cargo bench` adds.
                "--bench" => {}
                other => return Err(format!("`{other}` is not known here")),
            }
        }
        if args.alphas.is_empty() {
            args.alphas = vec![0.1, 0.01, 0.001];
        }
        Ok(args)
    }
}

fn number(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}
