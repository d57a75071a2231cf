//! After a start: how things stand by the first core against what was told.

use std::collections::BTreeSet;

use super::Desk;
use crate::alert::Incident;
use crate::model::transition::{CONFIGURATION, WITHDRAWN};
use crate::model::{State, Timestamp, Transition};

impl Desk {
    /// After a replay under rules that may not be those that were in force: what was told as firing and does not fire is over, and
    /// what fires and was never told is to be told. `firing` names all that fires by [`Transition::key`]; `began` is what of it began
    /// to fire within the replay. Their ids may be taken already, so what is returned has new ones.
    pub fn reconcile(&self, now: Timestamp, firing: &BTreeSet<u64>, began: Vec<Transition>) -> Vec<Transition> {
        let is_of_a_rule = |incident: &&Incident| incident.firing.condition != CONFIGURATION;
        let open = self.incidents().filter(is_of_a_rule).filter(|incident| incident.is_firing());
        let over = open.filter(|incident| !firing.contains(&incident.key));
        let over = over.map(|incident| {
            let reason = format!("{WITHDRAWN} while spiked was not running");
            Transition { at: now, state: State::Resolved, reason, ..incident.firing.clone() }
        });
        // An incident that somebody has ended by hand is known as well, and stays ended.
        let is_known = |transition: &Transition| {
            let mut same = self.incidents().filter(|incident| incident.key == transition.key());
            same.any(|incident| incident.is_firing() || incident.firing.at >= transition.at)
        };
        let mut all: Vec<Transition> = over.collect();
        all.extend(began.into_iter().filter(|transition| !is_known(transition)));
        let mut id = self.taken().get(&0).copied().unwrap_or_default();
        for transition in &mut all {
            id.number += 1;
            transition.id = id;
        }
        all
    }
}
