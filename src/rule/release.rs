//! `release`: a new release fails more often than those beside it, in the same minutes.
//!
//! Where a new release comes to a group while an older one still has traffic there, a *trial* begins: errors of the new against
//! errors of the others, minute by minute, by [`crate::stats::concurrent`]. What hits both alike (an outage, a sale, the night)
//! says nothing, so nothing needs to be learned of the group but how its errors cluster. Where no other release has traffic in
//! the same minutes, nothing can be told, and nothing is.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ReleaseRule;
use super::detector::Counts;
use crate::model::Timestamp;
use crate::model::limits::{RELEASE_TRIALS, SLICE_NAMED_SESSIONS_MIN};
use crate::stats::baseline::{Line, PRIOR_ERRORS, PRIOR_VIEWS};
use crate::stats::dispersion::LineNoise;
use crate::stats::{WEEK_SECS, decay};
use crate::window::Visited;

#[cfg(test)]
mod tests;
mod trial;

use trial::{Cell, Fired, Trial, Weight};

pub use trial::Sums;

/// Minutes that may still grow, as events may be so late.
const OPEN_MINUTES: i64 = 6;
/// A new release is when things break: the first half hour of a trial weighs so many times as much …
const YOUNG: (i64, f64) = (1800, 20.0);
/// … out of exposure that was saved while nothing was compared, so that a week never weighs more than a week. Seconds.
const SAVED_MAX: f64 = 86_400.0;
/// Half-life of the group's rate, which says how dense its errors lie.
const RATE_HALF_LIFE: f64 = 86_400.0;
/// Most evidence of one minute while it is not known how errors cluster here (nats).
const CENSOR: f64 = 3.0;
/// Evidence above a quiet minute's share at which nothing is learned any more (nats).
const SUSPICION: f64 = 6.0;
/// "Still worse" is two thirds of the ratio that raised the alert, within these bounds …
const STILL_WORSE: (f64, f64) = (1.5, 3.0);
/// … and so many nats against it end the alert.
const RESOLVE_NATS: f64 = 7.0;

/// A release that is new to a site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Newcomer {
    /// Hash of its name.
    pub hash: u32,
    /// `web@4.3.0`
    pub name: String,
    /// When it was announced, or first carried traffic worth the name.
    pub at: Timestamp,
}

/// One event as a trial counts it.
#[derive(Clone, Copy, Debug)]
pub struct Came<'a> {
    /// Arrival.
    pub now: Timestamp,
    /// Event time.
    pub at: Timestamp,
    /// Hash of its release's name.
    pub hash: u32,
    /// The name.
    pub release: &'a str,
    /// When its visit began.
    pub visit: Visited,
    /// What it counts.
    pub counts: Counts,
    /// Hash of its error's fingerprint; 0 where it is none.
    pub error: u64,
}

/// Why an alert is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// The new release fails no more than the others.
    Back,
    /// It has no traffic any more, while others have.
    Gone,
    /// The time of the comparison has run out.
    TimeOut,
}

/// What is shown of a trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// The new release.
    pub release: Newcomer,
    /// Counts since the most likely start.
    pub since: Sums,
    /// Evidence ΣwR, to be held against the rule's threshold.
    pub evidence: f64,
    /// Variance over mean of the group's errors.
    pub phi: f64,
    /// Errors of the new release by fingerprint hash, the most frequent first.
    pub kinds: Vec<(u64, u64)>,
}

/// What one `release` rule knows of a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trials {
    running: Vec<Trial>,
    noise: Noise,
    /// Seconds of exposure that are saved, and up to when.
    saved: (f64, i64),
    /// The trial that raised the alert.
    lead: Option<u32>,
    /// The trial that ended last while it fired.
    ended: Option<(Newcomer, Sums, End)>,
    /// Seconds for which a release is new.
    within: u64,
    /// Evidence is building up: nothing is learned.
    hot: bool,
}

/// How the errors of the group cluster, learned from its minutes while nothing fires.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Noise {
    lines: LineNoise,
    minute: i64,
    open: [f64; 2],
    /// When the last line ended, and its decayed sums: errors, views.
    end: f64,
    sums: [f64; 2],
}

impl Noise {
    fn rate(&self) -> f64 {
        (self.sums[0] + PRIOR_ERRORS) / (self.sums[1] + PRIOR_VIEWS)
    }

    fn learn(&mut self, minute: i64, counts: &Counts) {
        if minute != self.minute {
            self.close();
            (self.minute, self.open) = (minute, [0.0; 2]);
        }
        self.open[0] += counts.units;
        self.open[1] += counts.views;
    }

    fn close(&mut self) {
        let [errors, views] = self.open;
        if views <= 0.0 {
            return;
        }
        let end = (self.minute + 1) as f64 * 60.0;
        let elapsed = if self.end > 0.0 { end - self.end } else { 60.0 };
        let (errors32, predicted) = (errors as f32, (self.rate() * views) as f32);
        let line = Line { end: end as u32, views: views as f32, errors: errors32, predicted };
        self.lines.learn(&line, elapsed);
        let fade = decay(elapsed, RATE_HALF_LIFE);
        self.sums = [self.sums[0] * fade + errors, self.sums[1] * fade + views];
        self.end = end;
    }
}

impl Trials {
    /// A group that the rule looks at from `now` on. A day of exposure is given in advance.
    pub fn new(now: Timestamp, within: Duration) -> Self {
        let (noise, saved, within) = (Noise::default(), (SAVED_MAX, now.secs()), within.as_secs());
        Self { running: Vec::new(), noise, saved, lead: None, ended: None, within, hot: false }
    }

    /// Learns from all that came to the group in a second.
    pub fn learn(&mut self, now: Timestamp, counts: &Counts) {
        if self.lead.is_none() && !self.hot {
            self.noise.learn((now.secs() - 1).div_euclid(60), counts);
        }
    }

    /// A release that is new to the site has come to the group.
    pub fn meet(&mut self, newcomer: &Newcomer, now: Timestamp) {
        let is_over = now.since(newcomer.at).as_secs() >= self.within;
        if is_over || self.running.iter().any(|trial| trial.release.hash == newcomer.hash) {
            return;
        }
        if self.running.len() >= RELEASE_TRIALS {
            let idle = self.running.iter().enumerate().filter(|(_, trial)| trial.fired.is_none());
            let Some(oldest) = idle.min_by_key(|(_, trial)| (trial.seen, trial.release.hash)).map(|(place, _)| place) else {
                return;
            };
            self.running.remove(oldest);
        }
        let (opened, minute) = (now.secs(), now.secs().div_euclid(60));
        self.running.push(Trial {
            release: newcomer.clone(),
            opened,
            closed: minute - OPEN_MINUTES - 1,
            weight: Weight::default(),
            cells: Vec::new(),
            views: [0.0; 2],
            seen: opened,
            since_seen: 0.0,
            kinds: Vec::new(),
            fired: None,
        });
    }

    /// Counts an event into the trials that it belongs to.
    pub fn count(&mut self, came: &Came) {
        let (minute, counts) = (came.at.secs().div_euclid(60), &came.counts);
        for place in 0..self.running.len() {
            let trial = &mut self.running[place];
            let side = usize::from(trial.release.hash != came.hash);
            if side == 1 && product(&trial.release.name) != product(came.release) {
                continue;
            }
            trial.note_views(side, came.now, counts.views);
            if minute <= trial.closed || !came.visit.began_after(trial.release.at) {
                continue;
            }
            if side == 0 && came.error != 0 {
                trial.note_kind(came.error, counts.errors as u64);
            }
            let cell = match trial.cells.iter().position(|cell| cell.sums.began == minute * 60) {
                Some(known) => known,
                None => self.new_cell(place, minute),
            };
            let sums = &mut self.running[place].cells[cell].sums;
            sums.views[side] += counts.views;
            sums.units[side] += counts.units;
            sums.errors[side] += counts.errors;
            if side == 0 && came.visit != Visited::Unknown {
                sums.sessions += counts.units;
            }
        }
    }

    fn new_cell(&mut self, place: usize, minute: i64) -> usize {
        let begin = minute * 60;
        let is_young = begin < self.running[place].opened + YOUNG.0;
        let wanted = if is_young { 60.0 * YOUNG.1 } else { 60.0 };
        let (saved, until) = self.saved;
        let saved = (saved + (begin - until).max(0) as f64).min(SAVED_MAX);
        let spent = wanted.min(saved);
        self.saved = (saved - spent, until.max(begin));
        let noise = &self.noise;
        let cell = Cell {
            sums: Sums { began: begin, ..Sums::default() },
            omega: spent / WEEK_SECS,
            phi: noise.lines.phi_for(0.0),
            rate: noise.rate(),
            cap: if noise.lines.is_known() { f64::INFINITY } else { CENSOR },
        };
        let cells = &mut self.running[place].cells;
        let at = cells.partition_point(|cell| cell.sums.began < begin);
        cells.insert(at, cell);
        at
    }

    /// Looks at all trials. Whether the alert's condition holds.
    pub fn judge(&mut self, rule: &ReleaseRule, now: Timestamp, bar: f64) -> bool {
        let secs = now.secs();
        let mut kept = Vec::with_capacity(self.running.len());
        self.hot = false;
        for mut trial in std::mem::take(&mut self.running) {
            trial.close_before(secs.div_euclid(60) - OPEN_MINUTES);
            let weight = trial.weigh();
            self.hot |= (weight.evidence.total() * WEEK_SECS / 60.0).ln() > SUSPICION;
            let end = if now.since(trial.release.at).as_secs() >= self.within {
                Some(End::TimeOut)
            } else if trial.is_gone(secs) {
                Some(End::Gone)
            } else if weight.back >= RESOLVE_NATS {
                Some(End::Back)
            } else {
                None
            };
            if let Some(end) = end.filter(|_| trial.fired.is_some()) {
                self.ended = Some((trial.release.clone(), *weight.since(trial.fired), end));
            }
            match end {
                Some(End::Back) => trial.begin_anew(secs),
                Some(End::TimeOut | End::Gone) => continue,
                None if trial.fired.is_none() && weight.evidence.total() > bar && gates_pass(rule, weight.since(None)) => {
                    let (low, high) = STILL_WORSE;
                    let still = (weight.since(None).ratio() / 1.5).clamp(low, high);
                    trial.fired = Some(Fired { at: secs, still, whole: weight.is_whole() });
                }
                None => {}
            }
            kept.push(trial);
        }
        self.running = kept;
        let fires = |trial: &&Trial| trial.fired.is_some();
        let leads = self.running.iter().filter(fires).any(|trial| Some(trial.release.hash) == self.lead);
        if !leads {
            let first = self.running.iter().filter(fires).min_by_key(|trial| trial.fired.map(|fired| fired.at));
            self.lead = first.map(|trial| trial.release.hash);
        }
        self.lead.is_some()
    }

    /// The trial that raised the alert.
    pub fn lead(&self) -> Option<Shown> {
        let trial = self.running.iter().find(|trial| Some(trial.release.hash) == self.lead)?;
        let weight = trial.weigh();
        let phi = trial.cells.last().map_or(1.0, |cell| cell.phi);
        let mut kinds = trial.kinds.clone();
        kinds.sort_by_key(|(hash, count)| (std::cmp::Reverse(*count), *hash));
        let (release, since, evidence) = (trial.release.clone(), *weight.since(trial.fired), weight.evidence.total());
        Some(Shown { release, since, evidence, phi, kinds })
    }

    /// How the last firing trial ended: its release, counts from its start to its end, and why.
    pub fn ended(&self) -> Option<(&Newcomer, &Sums, End)> {
        self.ended.as_ref().map(|(release, sums, end)| (release, sums, *end))
    }

    /// When the comparison that fires runs out.
    pub fn wake(&self) -> Option<Timestamp> {
        let ends = |trial: &Trial| trial.release.at + Duration::from_secs(self.within);
        self.running.iter().filter(|trial| trial.fired.is_some()).map(ends).min()
    }

    /// Forgets what fires, keeps what was learned.
    pub fn forget(&mut self) {
        self.running.clear();
        (self.lead, self.ended) = (None, None);
    }
}

/// What a release is a release of: `web` of `web@4.3.0`, as Sentry names them; empty where the name has no `@`.
pub fn product(release: &str) -> &str {
    release.split_once('@').map_or("", |(product, _)| product)
}

fn gates_pass(rule: &ReleaseRule, since: &Sums) -> bool {
    let views_min = rule.min_views.max(SLICE_NAMED_SESSIONS_MIN) as f64;
    since.views[0] >= views_min && since.units[0] >= rule.min_errors as f64 && since.ratio() >= rule.min_ratio
}
