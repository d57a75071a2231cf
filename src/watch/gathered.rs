//! Counts that wait to be judged: with the second they came in, or, where they came late, with others of their minute.

use serde::{Deserialize, Serialize};

use crate::model::Timestamp;
use crate::rule::detector::Counts;

/// Events that come this late wait before they are judged: bundles bring views first and errors after, seconds apart.
const LATE_SECS: i64 = 60;
/// They wait for the end of the minute after that in which the first event of their minute came.
const LATE_MINUTES: i64 = 2;
/// Minutes that wait at once; beyond this the oldest are judged together.
const LATE_MAX: usize = 8;

/// Counts that wait to be judged.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Gathered {
    fresh: Counts,
    late: Vec<Late>,
}

/// Late counts of one minute.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Late {
    minute: i64,
    /// The minute of arrival of the first of them.
    since: i64,
    counts: Counts,
}

impl Gathered {
    pub(super) fn add(&mut self, counts: &Counts, at: Timestamp, now: Timestamp) {
        if now.secs() - at.secs() < LATE_SECS {
            self.fresh.add(counts);
            return;
        }
        let minute = at.secs().div_euclid(60);
        let full = self.late.len() >= LATE_MAX;
        match self.late.iter_mut().find(|late| late.minute == minute || full) {
            Some(late) => late.counts.add(counts),
            None => self.late.push(Late { minute, since: now.secs().div_euclid(60), counts: *counts }),
        }
    }

    /// Takes what is to be judged at `now`.
    pub(crate) fn take(&mut self, now: Timestamp) -> Counts {
        let mut counts = std::mem::take(&mut self.fresh);
        let minute = now.secs().div_euclid(60);
        self.late.retain(|late| {
            let waits = late.since + LATE_MINUTES > minute;
            if !waits {
                counts.add(&late.counts);
            }
            waits
        });
        counts
    }

    /// Gives counts back that no judgement is made of: errors of sessions that have been counted.
    pub(crate) fn give_back(&mut self, counts: &Counts) {
        self.fresh.add(counts);
    }

    /// Forgets late counts from before a time.
    pub(super) fn forget_before(&mut self, time: Timestamp) {
        self.late.retain(|late| late.minute * 60 >= time.secs());
    }

    /// When late counts are to be judged, if any wait.
    pub(super) fn wake(&self) -> Option<Timestamp> {
        self.late.iter().map(|late| Timestamp::from_secs((late.since + LATE_MINUTES) * 60)).min()
    }
}
