//! When each session of a site began: so that releases are compared by the visits that each of them had from the start.
//!
//! Right after a deploy the old release is left with visits that began long ago, whose errors of the first page lie behind them;
//! the new one has young visits alone. Comparing the two would find fault with every release. So the comparison asks for the
//! start of a visit: a session that was not heard of for half an hour begins anew, as web analytics counts it. (So does one that goes
//! on over midnight: its hash changes with the salt.)

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::Timestamp;

/// Silence after which a session is a new visit.
const IDLE_SECS: u32 = 1800;

/// Sessions kept; beyond, every second hash is dropped, and those visits are in no comparison.
const KEPT_MAX: usize = 65_536;

/// Seconds between two sweeps of visits that are over.
const SWEEP_SECS: u32 = 300;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Visit {
    /// Seconds since the epoch.
    began: u32,
    seen: u32,
}

/// The visits of a site that are going on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Starts {
    visits: BTreeMap<u64, Visit>,
    /// Only hashes whose lowest `thin` bits are zero are kept.
    thin: u32,
    swept: u32,
    /// Until then, a hash with fewer zeros than that may belong to a visit that began unseen.
    blind: (u32, u32),
}

/// What is known of an event's visit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Visited {
    /// It has no session.
    #[default]
    Unknown,
    /// It began then.
    Since(Timestamp),
    /// Its start is not kept.
    Unsampled,
}

impl Visited {
    /// Whether it may be taken for a visit that began at `from` or later. Without sessions nothing is known, and all count.
    pub fn began_after(self, from: Timestamp) -> bool {
        match self {
            Self::Unknown => true,
            Self::Since(began) => began >= from,
            Self::Unsampled => false,
        }
    }
}

impl Starts {
    /// Notes that a session was heard of at its arrival; 0 is none.
    pub fn note(&mut self, now: Timestamp, session: u64) -> Visited {
        if session == 0 {
            return Visited::Unknown;
        }
        if session.trailing_zeros() < self.thin {
            return Visited::Unsampled;
        }
        let secs = now.secs().clamp(0, i64::from(u32::MAX)) as u32;
        if self.swept == 0 {
            (self.swept, self.blind) = (secs, (secs + IDLE_SECS, u64::BITS + 1));
        }
        let unseen = secs < self.blind.0 && session.trailing_zeros() < self.blind.1;
        let visit = self.visits.entry(session).or_insert(Visit { began: if unseen { 0 } else { secs }, seen: secs });
        if secs.saturating_sub(visit.seen) > IDLE_SECS {
            visit.began = secs;
        }
        visit.seen = secs;
        let began = visit.began;
        if self.visits.len() > KEPT_MAX || secs.saturating_sub(self.swept) > SWEEP_SECS {
            self.sweep(secs);
        }
        Visited::Since(Timestamp::from_secs(i64::from(began)))
    }

    fn sweep(&mut self, now: u32) {
        self.swept = now;
        self.visits.retain(|_, visit| now.saturating_sub(visit.seen) <= IDLE_SECS);
        while self.visits.len() > KEPT_MAX {
            self.thin += 1;
            let thin = self.thin;
            self.visits.retain(|session, _| session.trailing_zeros() >= thin);
        }
        if self.thin > 0 && self.visits.len() < KEPT_MAX / 8 {
            let still = if now < self.blind.0 { self.blind.1 } else { 0 };
            self.blind = (now + IDLE_SECS, self.thin.max(still));
            self.thin -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(1_700_000_000 + secs)
    }

    /// Half an hour after the first event, so that nothing began unseen.
    fn watching() -> Starts {
        let mut starts = Starts::default();
        assert_eq!(starts.note(at(-2000), 1 << 63), Visited::Since(Timestamp::from_secs(0)), "it may have begun before");
        starts
    }

    #[test]
    fn a_visit_begins_with_its_first_event_and_again_after_half_an_hour_of_silence() {
        let mut starts = watching();
        assert_eq!(starts.note(at(0), 8), Visited::Since(at(0)));
        assert_eq!(starts.note(at(1700), 8), Visited::Since(at(0)));
        assert_eq!(starts.note(at(3400), 8), Visited::Since(at(0)));
        assert_eq!(starts.note(at(5300), 8), Visited::Since(at(5300)));
        assert!(starts.note(at(5300), 0).began_after(at(9999)), "without a session nothing is known");
    }

    #[test]
    fn many_sessions_are_a_sample_and_none_of_it_is_wrong() {
        let mut starts = watching();
        for session in 1..=200_000u64 {
            starts.note(at(session as i64 / 1000), session);
        }
        assert!(starts.visits.len() <= KEPT_MAX);
        assert_eq!(starts.note(at(201), 1), Visited::Unsampled);
        assert!(!Visited::Unsampled.began_after(at(0)));
        let kept = *starts.visits.keys().next().unwrap();
        assert_eq!(starts.note(at(202), kept), Visited::Since(at(kept as i64 / 1000)));
        // The rush is over, the sample grows again: what was left out of it is not taken for a new visit.
        let thin = starts.thin;
        starts.note(at(2100), 1 << 20);
        starts.note(at(2500), 1 << 20);
        assert!(starts.thin < thin);
        let left_out = (1 << (thin - 1)) | (1 << 40);
        assert!(!starts.note(at(2501), left_out).began_after(at(0)));
    }
}
