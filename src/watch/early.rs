//! Early judgement: what is beyond doubt is not kept waiting until its second is over.
//!
//! Views and errors of one second are judged together, because an error may come before its view. Where so many errors come at once
//! that the views still to come in this second cannot change the verdict, the group is judged a few milliseconds after them. Whether
//! that is so is tried on a copy of its detector, which is shown as many further views as the last second had, and one for each
//! error at least. What does not pass this trial leaves no trace. Like all else it follows from arrival times alone: a replay judges
//! early at the same times.
//!
//! Only the first of a second is told early. Where one cause breaks many pages, the others are judged at the end of the second as
//! ever: together, so that people hear of them together.

use crate::alert::state::AlertState;
use crate::model::{Metric, Timestamp};
use crate::rule::Condition;
use crate::rule::spike::{gates_pass, thresholds};

use super::group::Group;
use super::{Output, Watch};

/// Milliseconds of arrival that are tried together.
const TOGETHER_MS: i64 = 10;

/// In the last milliseconds of a second its end is waited for: nothing is told just before the others.
const LAST_MS: i64 = 100;

/// Fewer errors at once are never tried.
const UNITS_MIN: f64 = 3.0;

impl Watch {
    /// Notes a group that an error has just come to for an early trial, if it stands out.
    pub(super) fn note_suspect(&mut self, cut: u32, index: u32, now: Timestamp) {
        if self.state.early_second == now.secs() || now.millis().rem_euclid(1000) >= 1000 - LAST_MS {
            return;
        }
        let group = &self.state.cuts[cut as usize].groups[index as usize];
        if group.pending.fresh().units >= UNITS_MIN && !group.young.is_empty() {
            self.grow_up(cut, index, now);
        }
        let group = &self.state.cuts[cut as usize].groups[index as usize];
        if group.suspect || !(self.stands_out(cut, group) || self.is_over_a_bound(cut, group, now)) {
            return;
        }
        self.state.cuts[cut as usize].groups[index as usize].suspect = true;
        self.state.suspects.push((cut, index));
        if self.state.suspects.len() == 1 {
            self.state.early = Timestamp((now.millis().div_euclid(TOGETHER_MS) + 1) * TOGETHER_MS);
        }
    }

    /// When suspects are tried, if there are any.
    pub(super) fn early(&self) -> Option<Timestamp> {
        (!self.state.suspects.is_empty()).then_some(self.state.early)
    }

    /// Cheaply, for every error: whether a trial may be worth its while.
    fn stands_out(&self, cut: u32, group: &Group) -> bool {
        let units = group.pending.fresh().units;
        self.plan.cuts[cut as usize].asks.spikes
            && units >= UNITS_MIN
            && units > f64::from(group.boundary) * group.views_to_expect()
            && group.detector.as_ref().is_some_and(|detector| !detector.is_firing())
    }

    /// Whether a `frequency` of errors has passed its bound: views have no say in it.
    fn is_over_a_bound(&self, cut: u32, group: &Group, now: Timestamp) -> bool {
        self.plan.cuts[cut as usize].asks.frequencies
            && group.rules.iter().any(|state| match &self.plan.rules[state.rule].condition {
                Condition::Frequency(rule) if rule.of == Metric::Errors && state.alert == AlertState::Inactive => {
                    group.ring.sum(now, rule.within.as_secs() as i64).errors > rule.more_than
                }
                _ => false,
            })
    }

    /// The suspects' time has come.
    pub(super) fn judge_early(&mut self, now: Timestamp, out: &mut Output) {
        let said = out.transitions.len();
        for (cut, index) in std::mem::take(&mut self.state.suspects) {
            let group = &mut self.state.cuts[cut as usize].groups[index as usize];
            group.suspect = false;
            if self.state.early_second == now.secs() {
                continue;
            }
            let rules = group.rules.len();
            if self.passes_trial(cut, index, now) {
                self.state.cuts[cut as usize].groups[index as usize].settle(&self.state.names);
                self.judge_spike(cut, index, now, out);
            }
            for place in 0..rules {
                let group = &self.state.cuts[cut as usize].groups[index as usize];
                if matches!(self.plan.rules[group.rules[place].rule].condition, Condition::Frequency(_)) {
                    self.judge_rule(cut, index, place, now, out);
                }
            }
            if out.transitions.len() > said {
                self.state.early_second = now.secs();
            }
        }
    }

    /// The second is judged as a whole: nobody is suspected any more.
    pub(super) fn clear_suspects(&mut self) {
        for (cut, index) in std::mem::take(&mut self.state.suspects) {
            self.state.cuts[cut as usize].groups[index as usize].suspect = false;
        }
    }

    /// Whether a spike rule fires on the group as a whole even if the rest of the second brings its views and no error.
    fn passes_trial(&self, cut: u32, index: u32, now: Timestamp) -> bool {
        let group = &self.state.cuts[cut as usize].groups[index as usize];
        let Some(mut trial) = group.detector.as_deref().filter(|_| self.stands_out(cut, group)).cloned() else { return false };
        let mut counts = *group.pending.fresh();
        counts.views = group.views_to_expect();
        let look = trial.look(now.secs_f64(), counts, self.zone_secs(group.site, now), self.deploy_secs(group));
        group.rules.iter().any(|state| match &self.plan.rules[state.rule].condition {
            Condition::Spike(rule) if state.spike.first().is_none() && !look.recurs => {
                let (bar, _) = thresholds(self.alpha(state.rule), group.watched_slices());
                look.evidence > bar && gates_pass(rule, &look, trial.since())
            }
            _ => false,
        })
    }
}

impl Group {
    /// Views that the second at hand may have in the end.
    fn views_to_expect(&self) -> f64 {
        let fresh = self.pending.fresh();
        fresh.views + fresh.units.max(f64::from(self.views_before))
    }
}
