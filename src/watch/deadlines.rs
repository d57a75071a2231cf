//! When rules look at groups again even if nothing comes.
//!
//! A deadline that is put off, as that of an absence is with every event, costs nothing: the old entry stays, and when its time
//! comes it is put where it belongs. So a rule of a group has one entry for the time it is booked at, and at most some old ones,
//! which are passed over.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::Timestamp;

/// A rule of a group: cut, group, place among the group's rules.
pub(super) type Spot = (u32, u32, u32);

/// Booked spots by second.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Deadlines {
    seconds: BTreeMap<i64, Vec<Spot>>,
}

impl Deadlines {
    /// The first second that anything is booked at.
    pub(super) fn first(&self) -> Option<Timestamp> {
        self.seconds.first_key_value().map(|(second, _)| Timestamp::from_secs(*second))
    }

    /// Books a spot for a second.
    pub(super) fn book(&mut self, second: i64, spot: Spot) {
        self.seconds.entry(second).or_default().push(spot);
    }

    /// Takes the spots of the first second, each once and in order, if it is not after `to`.
    pub(super) fn take(&mut self, to: Timestamp) -> Option<(Timestamp, Vec<Spot>)> {
        let entry = self.seconds.first_entry().filter(|entry| *entry.key() <= to.secs())?;
        let at = Timestamp::from_secs(*entry.key());
        let mut spots = entry.remove();
        spots.sort_unstable();
        spots.dedup();
        Some((at, spots))
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.seconds.clear();
    }
}
