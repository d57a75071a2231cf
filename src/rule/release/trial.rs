//! One new release held against the others: minutes of counts, the evidence they add up to, and the most likely start.

use serde::{Deserialize, Serialize};

use super::Newcomer;
use crate::model::Timestamp;
use crate::stats::concurrent::{ALIKE, Evidence, Pair};

/// The ratio for which an onset is kept.
const ONSET_RATIO: f64 = 2.2;
/// The whole trial is told where it explains at least this share of what the best onset explains.
const WHOLE_SHARE: f64 = 0.8;
/// A release without a view for so long is gone, if the others' traffic says that it should have had `GONE_VIEWS`.
const GONE_SECS: i64 = 900;
const GONE_VIEWS: f64 = 5.0;
/// Kinds of error kept for the words of a message.
const KINDS_MAX: usize = 16;

/// Counts of the new release `[0]` and of the others `[1]` in the same minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sums {
    /// Start of the first minute, seconds since the epoch.
    pub began: i64,
    /// Views.
    pub views: [f64; 2],
    /// Errors, one for each session and hour where sessions are known: the unit of evidence.
    pub units: [f64; 2],
    /// Errors as they came, for people.
    pub errors: [f64; 2],
    /// Units of the new release that have a session: who is hit.
    pub sessions: f64,
}

impl Sums {
    fn add(&mut self, other: &Self) {
        for side in 0..2 {
            self.views[side] += other.views[side];
            self.units[side] += other.units[side];
            self.errors[side] += other.errors[side];
        }
        self.sessions += other.sessions;
    }

    /// Errors / views of a side, where it had views.
    pub fn rate(&self, side: usize) -> Option<f64> {
        (self.views[side] > 0.0).then(|| self.errors[side] / self.views[side])
    }

    /// How many times the others' rate, by the units of evidence; infinite where nothing else failed.
    pub(super) fn ratio(&self) -> f64 {
        let rate = |side: usize| self.units[side] / self.views[side].max(1.0);
        if rate(0) > 0.0 { rate(0) / rate(1) } else { 0.0 }
    }
}

/// One minute of a trial, with what was known when it began.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Cell {
    pub(super) sums: Sums,
    /// The share of a week that it stands for.
    pub(super) omega: f64,
    pub(super) phi: f64,
    /// Errors a view in the group.
    pub(super) rate: f64,
    pub(super) cap: f64,
}

impl Cell {
    fn pair(&self) -> Pair {
        let views = self.sums.views;
        Pair { errors: self.sums.units, views, mean: self.rate * (views[0] + views[1]), phi: self.phi }
    }
}

/// What a trial has shown up to some minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Weight {
    pub(super) evidence: Evidence,
    /// Page's CUSUM (Biometrika 41, 1954): its last zero is the most likely start.
    pub(super) onset: f64,
    pub(super) since_onset: Sums,
    /// The same without zeros, from the start of the trial.
    pub(super) whole: f64,
    pub(super) since_start: Sums,
    /// While it fires: nats of evidence that the new release is like the others.
    pub(super) back: f64,
}

impl Weight {
    fn take(&mut self, cell: &Cell, fired: Option<Fired>) {
        let pair = cell.pair();
        if pair.views[0] <= 0.0 || pair.views[1] <= 0.0 {
            return;
        }
        self.evidence.add(&pair, cell.omega, cell.cap);
        let nats = if pair.tells() { pair.log_likelihood_ratio(ALIKE, ONSET_RATIO).min(cell.cap) } else { 0.0 };
        let fired = fired.filter(|fired| cell.sums.began > fired.at);
        // Once it is told, its start stands.
        if fired.is_some() || self.onset + nats > 0.0 {
            if self.onset == 0.0 && fired.is_none() {
                self.since_onset = Sums { began: cell.sums.began, ..Sums::default() };
            }
            self.onset += nats;
            self.since_onset.add(&cell.sums);
        } else {
            self.onset = 0.0;
        }
        if self.since_start.began == 0 {
            self.since_start.began = cell.sums.began;
        }
        self.whole += nats;
        self.since_start.add(&cell.sums);
        if let Some(fired) = fired.filter(|_| pair.tells()) {
            self.back = (self.back + pair.power_ratio(fired.still, 1.0)).max(0.0);
        }
    }

    /// Whether it was so from the start of the trial.
    pub(super) fn is_whole(&self) -> bool {
        self.whole >= WHOLE_SHARE * self.onset
    }

    /// Counts since the most likely start.
    pub(super) fn since(&self, fired: Option<Fired>) -> &Sums {
        if fired.map_or_else(|| self.is_whole(), |fired| fired.whole) { &self.since_start } else { &self.since_onset }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Fired {
    /// Seconds since the epoch.
    pub(super) at: i64,
    /// The ratio that stands for "still worse".
    pub(super) still: f64,
    /// It was worse from the start of the trial.
    pub(super) whole: bool,
}

/// One new release held against the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Trial {
    pub(super) release: Newcomer,
    /// Seconds since the epoch.
    pub(super) opened: i64,
    /// Minutes up to this one are closed.
    pub(super) closed: i64,
    pub(super) weight: Weight,
    pub(super) cells: Vec<Cell>,
    /// All views of the new release and of the others, and when the new one had its last.
    pub(super) views: [f64; 2],
    pub(super) seen: i64,
    /// Views of the others since then.
    pub(super) since_seen: f64,
    /// Errors of the new release by fingerprint hash.
    pub(super) kinds: Vec<(u64, u64)>,
    pub(super) fired: Option<Fired>,
}

impl Trial {
    pub(super) fn note_views(&mut self, side: usize, now: Timestamp, views: f64) {
        self.views[side] += views;
        if side == 1 {
            self.since_seen += views;
        } else if views > 0.0 {
            (self.seen, self.since_seen) = (now.secs(), 0.0);
        }
    }

    /// Counts a kind of error; beyond some, the rarest gives way and leaves its count to the new one, so that a frequent one is
    /// never missed (Metwally, Agrawal & El Abbadi, ICDT 2005).
    pub(super) fn note_kind(&mut self, hash: u64, count: u64) {
        if let Some(known) = self.kinds.iter_mut().find(|(known, _)| *known == hash) {
            known.1 += count;
        } else if self.kinds.len() < KINDS_MAX {
            self.kinds.push((hash, count));
        } else if let Some(rarest) = self.kinds.iter_mut().min_by_key(|(_, count)| *count) {
            *rarest = (hash, rarest.1 + count);
        }
    }

    pub(super) fn is_gone(&self, secs: i64) -> bool {
        let expected = self.since_seen * self.views[0] / self.views[1].max(1.0);
        secs - self.seen >= GONE_SECS && expected >= GONE_VIEWS
    }

    pub(super) fn close_before(&mut self, minute: i64) {
        self.closed = self.closed.max(minute - 1);
        let closed = self.cells.partition_point(|cell| cell.sums.began < minute * 60);
        for cell in self.cells.drain(..closed) {
            self.weight.take(&cell, self.fired);
        }
    }

    /// What it shows with the open minutes on top.
    pub(super) fn weigh(&self) -> Weight {
        let mut weight = self.weight;
        for cell in &self.cells {
            weight.take(cell, self.fired);
        }
        weight
    }

    /// It is like the others: what comes from now on is judged alone.
    pub(super) fn begin_anew(&mut self, secs: i64) {
        self.cells.clear();
        self.closed = secs.div_euclid(60);
        (self.weight, self.fired) = (Weight::default(), None);
    }
}
