//! Another configuration, or the same after a restart: series, groups and rules are joined anew, as far as they changed.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{SeriesKey, Timestamp};

use super::group::Group;
use super::plan::Plan;
use super::site::Site;
use super::{CutState, Output, RuleState, Watch, WatchConfig, judges_silence};

impl Watch {
    /// Puts another configuration in force. What a rule's condition left as it was keeps its state; alerts of rules that are
    /// gone are resolved.
    pub fn set_config(&mut self, config: Arc<WatchConfig>, offset: u64, out: &mut Output) {
        self.begin(offset);
        let now = self.newest_arrival();
        let plan = Plan::new(config.rules.clone());
        let links = plan.links_hash(&config);
        if links == self.state.links_hash {
            // No group has to be looked at: all that changed is words.
            (self.plan, self.config) = (plan, config);
            return self.set_alphas();
        }
        self.state.links_hash = links;
        self.clear_suspects();
        self.retire(&plan, now, out);
        let mut old: HashMap<u64, CutState> = std::mem::take(&mut self.state.cuts).into_iter().map(|cut| (cut.id, cut)).collect();
        self.state.cuts = plan
            .cuts
            .iter()
            .map(|cut| old.remove(&cut.id).unwrap_or_else(|| CutState { id: cut.id, ..CutState::default() }))
            .collect();
        (self.plan, self.config) = (plan, config);
        self.state.touched.clear();
        self.relink();
        self.book_all();
        self.relink_drops();
        self.set_alphas();
    }

    /// Books all wakes.
    fn book_all(&mut self) {
        self.state.deadlines.clear();
        for (cut, state) in self.state.cuts.iter_mut().enumerate() {
            let deadlines = &mut self.state.deadlines;
            state.groups.for_each_mut(|index, group| {
                for (place, rule) in group.rules.iter_mut().enumerate() {
                    rule.booked = rule.wake.map_or(0, Timestamp::secs);
                    if rule.booked != 0 {
                        deadlines.book(rule.booked, (cut as u32, index as u32, place as u32));
                    }
                }
            });
        }
    }

    /// Joins series, groups and rules anew after a change of the plan.
    fn relink(&mut self) {
        let now = self.newest_arrival();
        let mut keys = Vec::with_capacity(self.state.cuts[0].groups.len());
        for index in 0..self.state.cuts[0].groups.len() {
            let group = self.state.cuts[0].groups.look(index);
            let key = key_of(&self.state.sites, &group);
            keys.push((group.site, key, group.seen));
        }
        for (cut, state) in self.state.cuts.iter_mut().enumerate() {
            let spec = &self.plan.cuts[cut];
            state.groups.for_each_mut(|index, group| {
                let key = key_of(&self.state.sites, group);
                let mut kept = std::mem::take(&mut group.rules);
                group.rules = Self::rule_states(spec, &self.plan, &key);
                for rule in &mut group.rules {
                    if let Some(place) = kept.iter().position(|old| old.condition == rule.condition) {
                        *rule = RuleState { rule: rule.rule, ..kept.swap_remove(place) };
                    }
                }
                if group.touched {
                    self.state.touched.push((cut as u32, index as u32));
                }
                for rule in &mut group.rules {
                    // A rule that is new to a group looks at it once even if nothing comes: it may be silent already.
                    if rule.wake.is_none() && !rule.alert.is_firing() && judges_silence(&self.plan.rules[rule.rule]) {
                        rule.wake = Some(Timestamp::from_secs(now.secs() + 1));
                    }
                }
            });
        }
        self.state.links.clear();
        for (site, key, seen) in keys {
            self.add_series(key.hash(), site, &key, seen);
        }
    }
}

/// The series that a group stands for, as far as the group knows it.
fn key_of(sites: &[Site], group: &Group) -> SeriesKey {
    let site = &sites[group.site as usize];
    let (page, step) = (group.key.page.clone(), group.key.step.clone());
    SeriesKey { site: site.name.clone(), env: site.env.clone(), page, step }
}
