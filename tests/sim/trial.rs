//! One series through the watch, once for each budget.

use std::sync::Arc;

use spiked::model::{Batch, State, Timestamp};
use spiked::watch::{Input, Output, Watch, WatchConfig};

use super::chance::Chance;
use super::class::{CLASSES, DAY, Effect, Stretch};
use super::rules::config_of;
use super::series::Series;

/// The rules that are measured, in this order: everything but the budget at its default.
pub(crate) const RULES: [&str; 2] = ["Spike", "Drop"];
/// Minutes of traffic in memory at a time.
const MINUTES: u32 = 240;
/// So long after a silence ends, a drop is still no false alarm: late lines, and the minute that is being filled.
const SILENCE_GRACE_SECS: f64 = 420.0;
const WEEK_SECS: f64 = 604_800.0;

/// An alarm for which there was no reason.
#[derive(Clone, Debug)]
pub(crate) struct Alarm {
    /// Index into [`RULES`].
    pub(crate) rule: usize,
    /// Index into the budgets.
    pub(crate) budget: usize,
    /// Seconds since the series began.
    pub(crate) secs: f64,
    pub(crate) reason: String,
}

/// What one series did.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    /// Exposure.
    pub(crate) weeks: f64,
    pub(crate) lines: u64,
    pub(crate) alarms: Vec<Alarm>,
}

/// Which series: index into [`CLASSES`], and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Which {
    pub(crate) class: usize,
    pub(crate) number: u64,
}

/// The measured rules with a budget of `alpha` false alarms per series-week each.
pub(crate) fn budgeted(alpha: f64) -> Arc<WatchConfig> {
    config_of(&format!(
        "rules:\n  - alert: Spike\n    spike: {{of: error_rate, false_alarms: {alpha} per series per week}}\n  \
         - alert: Drop\n    drop: {{of: views, false_alarms: {alpha} per series per week}}\n"
    ))
}

/// Series until each class has its share of `weeks` series-weeks; of `class` alone where one is given.
pub(crate) fn world(seed: u64, weeks: f64, class: Option<usize>) -> Vec<Which> {
    let all: f64 = CLASSES.iter().map(|class| class.weight).sum();
    let mut found = Vec::new();
    for (place, kind) in CLASSES.iter().enumerate().filter(|(place, _)| class.is_none_or(|class| class == *place)) {
        let mut left = if class.is_some() { weeks } else { weeks * kind.weight / all };
        for number in 0.. {
            if left <= 1e-9 {
                break;
            }
            let which = Which { class: place, number };
            left -= which.weeks(seed);
            found.push(which);
        }
    }
    found
}

impl Which {
    /// The series' own stream of chance.
    pub(crate) fn chance(self, seed: u64) -> Chance {
        Chance::new(seed, self.class as u64, self.number)
    }

    /// Its exposure.
    fn weeks(self, seed: u64) -> f64 {
        let class = &CLASSES[self.class];
        (class.draw(&mut self.chance(seed)).secs - class.seen_after * DAY) / WEEK_SECS
    }

    /// Runs it through a watch for each budget.
    pub(crate) fn run(self, seed: u64, budgets: &[Arc<WatchConfig>]) -> Trial {
        let mut chance = self.chance(seed);
        let traits = CLASSES[self.class].draw(&mut chance);
        let stretches = traits.stretches.clone();
        let mut batch = Batch::new();
        let mut series = Series::new(traits, chance, &mut batch);
        let (start, end) = (series.start(), series.end());
        let mut runs: Vec<_> = budgets.iter().map(|config| (Watch::new(0, Arc::clone(config)), Output::default())).collect();
        let (mut lines, mut offset) = (0, 0);
        loop {
            let more = series.fill(MINUTES, &mut batch);
            lines += batch.events.len() as u64;
            for (watch, out) in &mut runs {
                watch.handle(offset, Input::Events(&batch), out);
            }
            offset += 1;
            if !more {
                break;
            }
        }
        let mut alarms = Vec::new();
        for (budget, (watch, out)) in runs.iter_mut().enumerate() {
            watch.handle(offset, Input::Tick(end), out);
            alarms.extend(false_alarms(out, budget, start, &stretches));
        }
        alarms.retain(|alarm| alarm.secs >= CLASSES[self.class].seen_after * DAY);
        Trial { weeks: self.weeks(seed), lines, alarms }
    }
}

/// Everything that fired, but drops for which there was a silence.
fn false_alarms(out: &Output, budget: usize, start: Timestamp, stretches: &[Stretch]) -> Vec<Alarm> {
    let mut found = Vec::new();
    for told in out.transitions.iter().filter(|told| told.state == State::Firing) {
        let rule = RULES.iter().position(|name| *name == told.alert).expect("there are no other rules");
        let secs = told.at.secs_f64() - start.secs_f64();
        let silent = |stretch: &Stretch| {
            stretch.effect == Effect::Silence && stretch.from < secs && secs <= stretch.to + SILENCE_GRACE_SECS
        };
        if RULES[rule] == "Drop" && stretches.iter().any(silent) {
            continue;
        }
        found.push(Alarm { rule, budget, secs, reason: told.reason.clone() });
    }
    found
}
