//! Early judgement: a bound that is passed stays passed, whatever the rest of the second brings.
//!
//! Views and errors of one second are judged together, because an error may come before its view. A `frequency` of errors has
//! no views in it: a group that has passed its bound is judged a few milliseconds later and not kept waiting until its second is
//! over. Like all else it follows from arrival times alone: a replay judges early at the same times.
//!
//! A rate is not judged early. Even where the views of a whole second could not explain the errors, they would still lower the rate
//! of the episode, and what is left of the second would then look like its end.
//!
//! Only the first of a second is told early. Where one cause breaks many pages, the others are judged at the end of the second as
//! ever: together, so that people hear of them together.

use crate::alert::state::AlertState;
use crate::model::{Metric, Timestamp};
use crate::rule::Condition;

use super::group::Group;
use super::{Output, Watch};

/// Milliseconds of arrival that are judged together.
const TOGETHER_MS: i64 = 10;

/// In the last milliseconds of a second its end is waited for: nothing is told just before the others.
const LAST_MS: i64 = 100;

impl Watch {
    /// Notes a group that an error has just come to, if it may have passed a bound.
    pub(super) fn note_suspect(&mut self, cut: u32, index: u32, now: Timestamp) {
        if self.state.early_second == now.secs() || now.millis().rem_euclid(1000) >= 1000 - LAST_MS {
            return;
        }
        let group = &self.state.cuts[cut as usize].groups[index as usize];
        if group.suspect || !self.is_over_a_bound(cut, group, now) {
            return;
        }
        self.state.cuts[cut as usize].groups[index as usize].suspect = true;
        self.state.suspects.push((cut, index));
        if self.state.suspects.len() == 1 {
            self.state.early = Timestamp((now.millis().div_euclid(TOGETHER_MS) + 1) * TOGETHER_MS);
        }
    }

    /// When suspects are judged, if there are any.
    pub(super) fn early(&self) -> Option<Timestamp> {
        (!self.state.suspects.is_empty()).then_some(self.state.early)
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
}
