//! Budgets: how many false alarms a rule may spend on each of its groups.
//!
//! A budget for a whole rule is shared by the groups that have traffic: they are counted once an hour, and the strictest of the last
//! 24 hours holds, so that a night with few visitors loosens nothing.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::model::Timestamp;
use crate::rule::{BudgetPer, Condition, Rule};

use super::Watch;

/// A rule's budget is divided by at least so many groups.
const GROUPS_MIN: u32 = 20;

/// Groups with a view in the last 24 hours, hour by hour, for each rule whose budget they share.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Budgets {
    hour: i64,
    counts: BTreeMap<u64, VecDeque<u32>>,
    /// False alarms per group and week in force, for each rule of the plan.
    #[serde(skip)]
    alphas: Vec<f64>,
}

impl Budgets {
    /// False alarms per group and week that a rule of the plan may spend.
    pub(super) fn alpha(&self, rule: usize) -> f64 {
        self.alphas[rule]
    }
}

impl Watch {
    /// When groups are counted next: at each full hour, but no more than a day of hours is made up for.
    pub(super) fn next_count(&self, to: Timestamp) -> Option<Timestamp> {
        if self.state.sites.is_empty() {
            return None;
        }
        let hour = (self.state.budgets.hour + 1).max(to.secs() / 3600 - 24);
        Some(Timestamp::from_secs(hour * 3600))
    }

    /// Counts the groups that rules share their budget with, once an hour.
    pub(super) fn count_groups(&mut self, now: Timestamp) {
        self.state.budgets.hour = now.secs() / 3600;
        let shared: Vec<usize> = (0..self.plan.rules.len()).filter(|rule| shares_budget(&self.plan.rules[*rule])).collect();
        if shared.is_empty() {
            return;
        }
        let day_ago = now.secs() - 86_400;
        let mut counts = vec![0u32; self.plan.rules.len()];
        for groups in self.state.cuts.iter().map(|cut| &cut.groups) {
            for (index, head) in groups.heads().filter(|(_, head)| head.view_seen >= day_ago) {
                groups.for_rules(index, head, |rule| counts[rule] += 1);
            }
        }
        for rule in shared {
            let history = self.state.budgets.counts.entry(self.plan.conditions[rule]).or_default();
            history.push_back(counts[rule]);
            if history.len() > 24 {
                history.pop_front();
            }
        }
        self.set_alphas();
    }

    /// False alarms per group and week that a rule of the plan may spend.
    pub(super) fn alpha(&self, rule: usize) -> f64 {
        self.state.budgets.alpha(rule)
    }

    /// False alarms per group and week for each rule: the strictest of the last 24 hours.
    pub(super) fn set_alphas(&mut self) {
        let budgets = &mut self.state.budgets;
        budgets.alphas = self
            .plan
            .rules
            .iter()
            .map(|rule| {
                let Some(budget) = budget_of(rule) else { return 0.0 };
                match budget.per {
                    BudgetPer::Series => budget.per_week(),
                    BudgetPer::Rule => {
                        let most = budgets.counts.get(&rule.condition_id()).and_then(|history| history.iter().max());
                        budget.per_week() / f64::from(most.copied().unwrap_or(0).max(GROUPS_MIN))
                    }
                }
            })
            .collect();
    }
}

fn budget_of(rule: &Rule) -> Option<&crate::rule::FalseAlarms> {
    match &rule.condition {
        Condition::Spike(c) => Some(&c.false_alarms),
        Condition::Drop(c) => Some(&c.false_alarms),
        Condition::FirstSeen(c) => Some(&c.false_alarms),
        Condition::Release(c) => Some(&c.false_alarms),
        Condition::Frequency(_) | Condition::Threshold(_) | Condition::Absent(_) => None,
    }
}

fn shares_budget(rule: &Rule) -> bool {
    budget_of(rule).is_some_and(|budget| budget.per == BudgetPer::Rule)
}
