//! A seeded world of clean traffic, and what the watch says of it: how many false alarms a budget really costs.
//!
//! The traffic is made here and handed to the core as events; no bytes are parsed. Each series runs alone in a watch of its own,
//! once for each budget, so that no alert of one budget freezes what another learns from, and no series is excused by a site.

pub(crate) mod chance;
pub(crate) mod class;
pub(crate) mod rules;
pub(crate) mod series;
pub(crate) mod tally;
pub(crate) mod trial;
