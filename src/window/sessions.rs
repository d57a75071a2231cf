//! Who came: distinct sessions of any window that ends now, and which of them met an error.
//!
//! For each session the last view and the last error are kept, so "distinct sessions in the last five minutes" is a count of
//! those seen since. Exact up to [`SAMPLE_MAX`] sessions; beyond, every second hash is dropped and the rest stands for all
//! (distinct sampling: Gibbons, VLDB 2001), with a relative error of about 3 %. Hashes decide, so the order of arrival does not.

use serde::{Deserialize, Serialize};

use crate::model::{HashedMap, Timestamp};

/// Sessions kept for one series.
pub const SAMPLE_MAX: usize = 1024;

/// Fewer sampled sessions in a window than this say too little when not all are kept.
const SAMPLE_JUDGED_MIN: usize = 30;

/// Sessions are forgotten when they were not seen for this long.
const KEEP_SECS: i64 = 25 * 3600;

/// One error of a session counts as evidence once in this time.
const UNIT_SECS: i64 = 3600;

/// Sessions whose last unit of evidence is remembered; beyond, those whose unit is oldest are forgotten first.
const UNITS_MAX: usize = 4096;

/// Seconds since the epoch; 0 is never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Visit {
    view: u32,
    error: u32,
}

impl Visit {
    fn newest(self) -> i64 {
        i64::from(self.view.max(self.error))
    }
}

/// The sessions of one series.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    visits: HashedMap<Visit>,
    /// Only hashes whose lowest `thin` bits are zero are kept.
    thin: u32,
    swept: i64,
    /// When a session's errors (and views) counted last. Apart from the sample: one client in a loop is one client however many
    /// others there are.
    units: HashedMap<i64>,
}

impl Sessions {
    /// Notes a view or an error of a session at event time `at`.
    pub fn note(&mut self, at: Timestamp, session: u64, is_error: bool) {
        if self.thin > 0 && session.trailing_zeros() < self.thin {
            return;
        }
        let secs = at.secs();
        let visit = self.visits.entry(session).or_default();
        let last = if is_error { &mut visit.error } else { &mut visit.view };
        *last = (*last).max(secs.clamp(0, i64::from(u32::MAX)) as u32);
        if self.visits.len() > SAMPLE_MAX {
            self.shrink(secs);
        }
    }

    /// Whether a view or an error of a session at event time `at` counts as evidence: its first within an hour.
    pub fn is_unit(&mut self, at: Timestamp, session: u64, is_error: bool) -> bool {
        let secs = at.secs();
        let last = self.units.entry(session << 1 | u64::from(is_error)).or_insert(i64::MIN / 2);
        if (secs - *last).abs() < UNIT_SECS {
            return false;
        }
        *last = secs;
        if self.units.len() > UNITS_MAX {
            let mut times: Vec<i64> = self.units.values().copied().collect();
            times.sort_unstable();
            let oldest_kept = times[UNITS_MAX / 4].max(secs - UNIT_SECS);
            self.units.retain(|_, last| *last > oldest_kept);
        }
        true
    }

    /// Whether the sample holds enough of a window's sessions to judge by: all of them, or some dozens.
    pub fn can_judge(&self, from: Timestamp) -> bool {
        let from = from.secs();
        self.thin == 0 || self.visits.values().filter(|visit| visit.newest() >= from).count() >= SAMPLE_JUDGED_MIN
    }

    fn shrink(&mut self, now: i64) {
        if now - self.swept > 600 {
            self.swept = now;
            self.visits.retain(|_, visit| visit.newest() > now - KEEP_SECS);
        }
        while self.visits.len() > SAMPLE_MAX {
            self.thin += 1;
            let thin = self.thin;
            self.visits.retain(|session, _| session.trailing_zeros() >= thin);
        }
    }

    /// Distinct sessions since a time: with a view or an error, and with an error. `None` where no session was ever known.
    pub fn since(&self, from: Timestamp) -> Option<(u64, u64)> {
        if self.visits.is_empty() {
            return None;
        }
        let from = from.secs();
        let all = self.visits.values().filter(|visit| visit.newest() >= from).count() as u64;
        let affected = self.visits.values().filter(|visit| visit.error > 0 && i64::from(visit.error) >= from).count() as u64;
        Some((all << self.thin, affected << self.thin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::batch::hash_text;
    use proptest::prelude::*;

    fn session(i: u64) -> u64 {
        hash_text(&format!("s{i}"))
    }

    /// Notes an event and says whether it is evidence.
    fn note(sessions: &mut Sessions, secs: i64, id: u64, is_error: bool) -> bool {
        sessions.note(Timestamp::from_secs(secs), session(id), is_error);
        sessions.is_unit(Timestamp::from_secs(secs), session(id), is_error)
    }

    #[test]
    fn a_client_in_a_loop_is_one_client() {
        let mut sessions = Sessions::default();
        let counted = (0..50).filter(|i| note(&mut sessions, 1000 + i, 1, true)).count();
        assert_eq!(counted, 1);
        assert_eq!(sessions.since(Timestamp::from_secs(0)), Some((1, 1)));
        assert!(note(&mut sessions, 1000 + 3600, 1, true));
    }

    #[test]
    fn a_client_in_a_loop_is_one_client_among_many() {
        let mut sessions = Sessions::default();
        for i in 0..20_000u64 {
            note(&mut sessions, 1000 + i as i64 / 20, i, false);
        }
        let looping = (0..500).filter(|i| note(&mut sessions, 2000 + i, 7, true)).count();
        assert_eq!(looping, 1);
        assert!(sessions.units.len() <= UNITS_MAX);
    }

    #[test]
    fn unknown_sessions_are_not_zero_sessions() {
        assert_eq!(Sessions::default().since(Timestamp::from_secs(0)), None);
    }

    #[test]
    fn many_sessions_are_estimated_to_a_few_percent() {
        let mut sessions = Sessions::default();
        for i in 0..50_000u64 {
            sessions.note(Timestamp::from_secs(1000 + i as i64 / 50), session(i), i % 10 == 0);
        }
        let (all, affected) = sessions.since(Timestamp::from_secs(1000)).unwrap();
        assert!((all as f64 / 50_000.0 - 1.0).abs() < 0.12, "{all}");
        assert!((affected as f64 / 5_000.0 - 1.0).abs() < 0.3, "{affected}");
        assert!(sessions.visits.len() <= SAMPLE_MAX);
    }

    proptest! {
        #[test]
        fn few_sessions_are_exact_for_every_window(visits in prop::collection::vec((0u64..40, 0i64..5000, any::<bool>()), 1..200), from in 0i64..5000) {
            let mut sessions = Sessions::default();
            for (id, at, is_error) in &visits {
                sessions.note(Timestamp::from_secs(10_000 + at), session(*id), *is_error);
            }
            let distinct = |errors_only: bool| {
                let mut ids: Vec<_> = visits.iter().filter(|(_, at, e)| *at >= from && (*e || !errors_only)).map(|v| v.0).collect();
                ids.sort_unstable();
                ids.dedup();
                ids.len() as u64
            };
            prop_assert_eq!(sessions.since(Timestamp::from_secs(10_000 + from)), Some((distinct(false), distinct(true))));
        }
    }
}
