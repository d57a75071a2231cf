//! Learning: late, and not while something looks wrong.

use serde::{Deserialize, Serialize};

use super::{Detector, LINE_SECS, YOUNG};
use crate::stats::WEEK_SECS;
use crate::stats::baseline::{Line, Noise};
use crate::stats::totals::Totals;

/// Lines are learned when they are this old; sooner while the stream is young.
const LAG: f64 = 1200.0;
/// The same for the fast level.
const LAG_FAST: f64 = 300.0;
/// A young stream learns at this share of its age.
const LAG_YOUNG: f64 = 0.5;
/// Unlearned lines kept; when learning is held up for longer, the oldest are joined.
const PENDING_MAX: usize = 21;
/// Evidence above one line's share, in nats, at which learning is held up: young, and later.
///
/// Not lower: while learning is held up the boundary does not follow a drift, so that suspicion feeds itself (4 nats in place of
/// 8 gave fifteen times the false alarms).
const SUSPICION: (f64, f64) = (6.0, 8.0);
/// It is held up for half of what is behind the stream at most, but no less and no more than this: evidence that has not decided
/// by then speaks of a baseline that is wrong, and a wrong baseline must not stay for good.
const HELD_UP: (f64, f64, f64) = (0.5, 1200.0, 14_400.0);

/// Lines that are not learned yet, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Pending {
    lines: Vec<Line>,
    /// How many, from the front, the fast level has learned.
    fast_learned: u8,
}

impl Pending {
    pub(super) fn clear(&mut self) {
        self.lines.clear();
        self.fast_learned = 0;
    }

    fn push(&mut self, line: Line) {
        if self.lines.len() >= PENDING_MAX {
            let second = self.lines.remove(1);
            let first = &mut self.lines[0];
            first.end = second.end;
            first.views += second.views;
            first.errors += second.errors;
            first.predicted += second.predicted;
            // Where the first alone was learned, the second goes unlearned rather than the first learned twice.
            self.fast_learned = if self.fast_learned > 1 { self.fast_learned - 1 } else { self.fast_learned };
        }
        // Few at first, because most series are quiet; then all at once and never again.
        let room = self.lines.capacity();
        if self.lines.len() == room {
            self.lines.reserve_exact(if room == 0 { 4 } else { PENDING_MAX - room });
        }
        self.lines.push(line);
    }

    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        self.lines.capacity() * size_of::<Line>()
    }

    fn older_than(&self, end: f64) -> usize {
        self.lines.iter().take_while(|line| f64::from(line.end) <= end).count()
    }
}

impl Detector {
    /// A line is over: it is learned later, or only as a season while something that recurs holds.
    pub(super) fn close_line(&mut self, zone_secs: f64) {
        let open = &self.line;
        if open.views <= 0.0 {
            return;
        }
        let line = Line { end: open.end, views: open.views, errors: open.units, predicted: open.predicted };
        self.learn_total(&line);
        match &self.firing {
            None => self.pending.push(line),
            Some(firing) if !firing.told => self.baseline.learn_season(&line, f64::from(line.end) + zone_secs),
            Some(_) => {}
        }
    }

    /// A total is learned at once and also while a rule fires, which judges by what was known when it began.
    fn learn_total(&mut self, line: &Line) {
        if let Some(totals) = &mut self.totals {
            totals.learn(line, self.firing.is_some());
            self.totals.take_if(|totals| totals.are_none());
            return;
        }
        let before = self.pending.lines.last().map_or(self.baseline.learned_to(), |line| line.end);
        self.totals = (before > 0).then(|| Totals::begin(line, before)).flatten().map(Box::new);
    }

    /// Nats of evidence above what one quiet line has.
    pub(super) fn suspicion(&self) -> f64 {
        (self.total * WEEK_SECS / LINE_SECS).ln()
    }

    /// Evidence is building up, or a rule fires: nothing is learned.
    pub(super) fn is_held_up(&mut self, now: f64) -> bool {
        if self.firing.is_some() {
            return true;
        }
        let nats = if now - self.born > YOUNG { SUSPICION.1 } else { SUSPICION.0 };
        if self.suspicion() <= nats {
            self.suspicious_since = now as u32;
            return false;
        }
        let (share, least, most) = HELD_UP;
        let since = f64::from(self.suspicious_since);
        now - since < (share * (since - self.born)).clamp(least, most)
    }

    pub(super) fn learn(&mut self, now: f64, zone_secs: f64) {
        let age = now - self.born;
        let ready = self.pending.older_than(now - LAG.min(LAG_YOUNG * age));
        for place in 0..ready {
            let line = self.pending.lines[place];
            self.learn_line(&line, zone_secs);
        }
        let quick = self.pending.older_than(now - LAG_FAST.min(LAG_YOUNG * age));
        let learned = usize::from(self.pending.fast_learned);
        for line in &self.pending.lines[learned.min(quick)..quick] {
            self.baseline.learn_fast(line, f64::from(line.end) + zone_secs);
        }
        self.pending.fast_learned = (learned.max(quick) - ready) as u8;
        self.pending.lines.drain(..ready);
        if ready > 0 {
            let young = now - self.born < 21_600.0;
            let wander = if young { self.slow.sigma().max(2.0 * self.fast.sigma()) } else { self.slow.sigma() };
            self.wander = wander as f32;
        }
    }

    fn learn_line(&mut self, line: &Line, zone_secs: f64) {
        let end = f64::from(line.end);
        let before = self.baseline.learned_to();
        let elapsed = if before == 0 { LINE_SECS } else { f64::from(line.end.saturating_sub(before)) };
        let noise = Noise { phi: self.noise.phi(), wander: self.slow.sigma() };
        self.baseline.learn(line, end + zone_secs, &noise);
        if line.predicted <= 0.0 {
            return;
        }
        self.noise.learn(line, elapsed);
        let uncertainty = 1.0 / self.shape();
        let phi = self.noise.phi();
        self.slow.learn(line, elapsed, phi, uncertainty, end - self.born > 3600.0);
        self.fast.learn(line, elapsed, phi, 0.0, true);
    }
}
