//! Conversion: who is at a funnel step, and who at the next one.
//!
//! A group of such a cut is a step (and dimensions, where `by` names some). A view counts for its own step and for the step before
//! it. A step belongs to the first funnel of its site that has it, as everywhere.

use crate::model::{Batch, Event, Kind};

use super::Watch;

impl Watch {
    /// The steps for which a view of `step` counts, and whether it counts as one that went on.
    pub(super) fn steps_counted(&self, site: &str, step: &str) -> Vec<(String, bool)> {
        if step.is_empty() {
            return Vec::new();
        }
        let funnels = &self.config.sites.get(site).unwrap_or(&self.config.default_site).funnels;
        let next_of = |step: &str| {
            let (steps, place) =
                funnels.iter().find_map(|(_, steps)| Some((steps, steps.iter().position(|known| known == step)?)))?;
            steps.get(place + 1)
        };
        let mut counted: Vec<(String, bool)> = Vec::new();
        if next_of(step).is_some() {
            counted.push((step.to_owned(), false));
        }
        for before in funnels.iter().flat_map(|(_, steps)| steps) {
            let goes_on = next_of(before).is_some_and(|next| next == step);
            if goes_on && !counted.iter().any(|(known, at_next)| *at_next && known == before) {
                counted.push((before.clone(), true));
            }
        }
        counted
    }

    /// Counts a view into the groups of its own step and of the one before.
    pub(super) fn count_step(&mut self, cut: u32, site: u32, batch: &Batch, event: &Event) {
        let spec = &self.plan.cuts[cut as usize];
        if event.kind != Kind::View || !spec.event_passes(batch, event) {
            return;
        }
        let known = &self.state.sites[site as usize];
        let passes = |step: &str| spec.select.series_passes(&known.name, &known.env, "", step);
        let mut counted = self.steps_counted(&known.name, batch.str(event.step));
        counted.retain(|(step, _)| passes(step));
        for (step, at_next) in counted {
            let group = self.event_group(cut, site, batch, event, &step);
            let found = &mut self.state.cuts[cut as usize].groups[group as usize];
            found.add_step(event, at_next);
            if !found.touched {
                found.touched = true;
                self.state.touched.push((cut, group));
            }
        }
    }
}
