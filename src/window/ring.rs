//! Views and errors in cells of event time: ten seconds wide for the newest six minutes, a minute for 70 minutes, ten minutes
//! for 25 hours, an hour for eight days.
//!
//! Cells of one width are joined into wider ones as they age; widths divide each other and cells are aligned to the epoch, so a
//! joined cell holds exactly what would have been counted into it. Only cells in which something came exist: a quiet series is
//! small. A window's sum takes every cell that reaches into the window, so it covers up to one cell more than was asked.

use serde::{Deserialize, Serialize};

use crate::model::Timestamp;

/// Width of a cell and the age until which it is kept, in seconds, finest first.
const LEVELS: [(i64, i64); 4] = [(10, 360), (60, 4_200), (600, 90_000), (3_600, 691_200)];

/// Sums over a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Views.
    pub views: u64,
    /// Errors.
    pub errors: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.views = self.views.saturating_add(other.views);
        self.errors = self.errors.saturating_add(other.errors);
    }
}

/// The counts of one cell, 16 bytes: a busy page and its slices have hundreds of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Cell {
    /// Seconds since the epoch, a multiple of the width.
    start: u32,
    /// Index into [`LEVELS`].
    level: u8,
    /// Above the lower 32 bits of each count; what does not fit any more stays at the greatest count there is.
    views_high: u8,
    errors_high: u8,
    views: u32,
    errors: u32,
}

/// The greatest count of a cell.
const COUNT_MAX: u64 = (1 << 40) - 1;

impl Cell {
    fn new(start: i64, level: usize, tally: Tally) -> Self {
        let mut cell = Self { start: start as u32, level: level as u8, views_high: 0, errors_high: 0, views: 0, errors: 0 };
        cell.set(tally);
        cell
    }

    const fn start(&self) -> i64 {
        self.start as i64
    }

    const fn width(&self) -> i64 {
        LEVELS[self.level as usize].0
    }

    const fn end(&self) -> i64 {
        self.start() + self.width()
    }

    fn tally(&self) -> Tally {
        let whole = |high: u8, low: u32| u64::from(high) << 32 | u64::from(low);
        Tally { views: whole(self.views_high, self.views), errors: whole(self.errors_high, self.errors) }
    }

    fn set(&mut self, tally: Tally) {
        let (views, errors) = (tally.views.min(COUNT_MAX), tally.errors.min(COUNT_MAX));
        (self.views_high, self.views) = ((views >> 32) as u8, views as u32);
        (self.errors_high, self.errors) = ((errors >> 32) as u8, errors as u32);
    }

    fn add(&mut self, tally: Tally) {
        let mut sum = self.tally();
        sum.add(tally);
        self.set(sum);
    }
}

/// Rolling counts of one series or slice, oldest cell first. Cells never overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ring {
    cells: Vec<Cell>,
    /// Cells were last joined at this time, in whole minutes since the epoch.
    joined: u32,
    /// A cell was put among older ones that is finer than its age asks for.
    ragged: bool,
}

impl Ring {
    /// Counts at event time `at`. `now` is the arrival time, which never decreases.
    pub fn add(&mut self, now: Timestamp, at: Timestamp, views: u64, errors: u64) {
        self.join(now);
        let tally = Tally { views, errors };
        let secs = at.secs().clamp(0, i64::from(u32::MAX));
        if let Some(last) = self.cells.last_mut().filter(|cell| cell.start() <= secs && secs < cell.end()) {
            last.add(tally);
            return;
        }
        let place = self.cells.partition_point(|cell| cell.end() <= secs);
        match self.cells.get_mut(place) {
            Some(cell) if cell.start() <= secs => cell.add(tally),
            _ => {
                let Some(level) = self.level_for(now, secs, place) else { return };
                let width = LEVELS[level].0;
                self.cells.insert(place, Cell::new(secs.div_euclid(width) * width, level, tally));
            }
        }
    }

    /// The level of a new cell at `secs`: that of its age, as cells of that age were last joined.
    fn level_for(&mut self, now: Timestamp, secs: i64, place: usize) -> Option<usize> {
        let reference = if self.joined == 0 { now.secs() } else { i64::from(self.joined) * 60 };
        let level = LEVELS.iter().position(|(width, keep)| cell_end(secs, *width) > reference - keep)?;
        // Never overlap a neighbour: next to finer cells stay fine.
        let width = LEVELS[level].0;
        let start = secs.div_euclid(width) * width;
        let free_before = place == 0 || self.cells[place - 1].end() <= start;
        let free_after = self.cells.get(place).is_none_or(|cell| cell.start() >= start + width);
        if free_before && free_after {
            return Some(level);
        }
        self.ragged |= level > 0;
        Some(0)
    }

    /// Joins cells that have grown older than their width allows, and forgets the oldest. Once a minute is enough.
    fn join(&mut self, now: Timestamp) {
        let minute = now.secs().div_euclid(60).clamp(0, i64::from(u32::MAX)) as u32;
        if minute <= self.joined {
            return;
        }
        self.joined = minute;
        let now = i64::from(minute) * 60;
        if std::mem::take(&mut self.ragged) {
            return self.join_all(now);
        }
        for level in 0..LEVELS.len() {
            self.join_level(level, now);
        }
    }

    /// Joins the cells of one level whose time is over with the next level's; of the last level they are forgotten. They stand
    /// together, just before those that are young enough, so nothing else is looked at.
    fn join_level(&mut self, level: usize, now: i64) {
        let (width, keep) = LEVELS[level];
        let bound = (now - keep).div_euclid(width) * width;
        if self.cells.first().is_none_or(|oldest| oldest.start() >= bound) {
            return;
        }
        let end = self.cells.partition_point(|cell| cell.start() < bound);
        let old = self.cells[..end].iter().rev().take_while(|cell| usize::from(cell.level) <= level).count();
        let begin = end - old;
        let Some((wider, _)) = LEVELS.get(level + 1) else {
            self.cells.drain(..end);
            return;
        };
        let (mut kept, mut at) = (begin, begin);
        // A wider cell may reach over younger ones.
        while at < end || (kept > begin && self.cells.get(at).is_some_and(|cell| cell.start() < self.cells[kept - 1].end())) {
            let cell = self.cells[at];
            let start = cell.start().div_euclid(*wider) * wider;
            if kept > 0 && self.cells[kept - 1].end() > start {
                self.cells[kept - 1].add(cell.tally());
            } else {
                self.cells[kept] = Cell::new(start, level + 1, cell.tally());
                kept += 1;
            }
            at += 1;
        }
        self.cells.drain(kept..at);
    }

    /// The same for cells in any order of width.
    fn join_all(&mut self, now: i64) {
        let mut kept: Vec<Cell> = Vec::with_capacity(self.cells.len());
        for cell in &self.cells {
            let Some(level) = LEVELS.iter().position(|(width, keep)| cell_end(cell.start(), *width) > now - keep) else {
                continue;
            };
            let level = level.max(usize::from(cell.level));
            let width = LEVELS[level].0;
            let start = cell.start().div_euclid(width) * width;
            match kept.last_mut() {
                Some(last) if last.end() > start => last.add(cell.tally()),
                _ => kept.push(Cell::new(start, level, cell.tally())),
            }
        }
        self.cells = kept;
    }

    /// The sum over the `secs` seconds that end at `now`.
    pub fn sum(&self, now: Timestamp, secs: i64) -> Tally {
        self.sum_since(Timestamp::from_secs(now.secs() - secs))
    }

    /// The sum from a time on (whole cells).
    pub fn sum_since(&self, from: Timestamp) -> Tally {
        let from = from.secs();
        let mut sum = Tally::default();
        for cell in self.cells.iter().rev().take_while(|cell| cell.end() > from) {
            sum.add(cell.tally());
        }
        sum
    }

    /// Equal steps that end at `now`, oldest first: start and counts of each, for a chart. A wide cell is counted where it starts.
    pub fn steps(&self, now: Timestamp, step_secs: i64, count: usize) -> Vec<(Timestamp, Tally)> {
        let end = (now.secs().div_euclid(step_secs) + 1) * step_secs;
        let begin = end - step_secs * count as i64;
        let mut steps: Vec<_> =
            (0..count as i64).map(|i| (Timestamp::from_secs(begin + i * step_secs), Tally::default())).collect();
        for cell in self.cells.iter().filter(|cell| cell.start() >= begin && cell.start() < end) {
            steps[((cell.start() - begin) / step_secs) as usize].1.add(cell.tally());
        }
        steps
    }

    /// The end of the newest cell, where there is one.
    pub fn newest(&self) -> Option<Timestamp> {
        self.cells.last().map(|cell| Timestamp::from_secs(cell.end()))
    }
}

const fn cell_end(secs: i64, width: i64) -> i64 {
    secs.div_euclid(width) * width + width
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ts(secs: i64) -> Timestamp {
        Timestamp::from_secs(1_000_000_000 + secs)
    }

    /// A naive recount with the same rounding to cells is not possible without the cells, so it bounds: the sum lies between
    /// the exact count of the window and that of the window widened by the widest cell in reach.
    fn bounds(events: &[(i64, u64, u64)], now: i64, secs: i64, slack: i64) -> (Tally, Tally) {
        let count = |from: i64| {
            events.iter().filter(|(at, ..)| *at >= from && *at <= now).fold(Tally::default(), |mut sum, (_, views, errors)| {
                sum.add(Tally { views: *views, errors: *errors });
                sum
            })
        };
        (count(now - secs), count(now - secs - slack))
    }

    proptest! {
        #[test]
        fn sums_agree_with_a_naive_recount(
            gaps in prop::collection::vec((0i64..400, 0i64..300, 0u64..5, 0u64..3), 1..300),
            window in prop::sample::select(vec![300i64, 3600, 86_400]),
        ) {
            let (mut ring, mut now, mut events) = (Ring::default(), 0, Vec::new());
            for (gap, late, views, errors) in gaps {
                now += gap;
                ring.add(ts(now), ts(now - late), views, errors);
                events.push((now - late, views, errors));
            }
            let slack = match window { 300 => 10, 3600 => 60, _ => 600 };
            let (least, most) = bounds(&events, now, window, slack);
            let got = ring.sum(ts(now), window);
            prop_assert!(least.views <= got.views && got.views <= most.views, "{least:?} {got:?} {most:?}");
            prop_assert!(least.errors <= got.errors && got.errors <= most.errors);
        }

        #[test]
        fn joining_at_the_edges_alone_is_joining_all(gaps in prop::collection::vec((0i64..9_000, 0i64..400, 1u64..5), 1..400)) {
            let (mut ring, mut plain, mut now) = (Ring::default(), Ring::default(), 0);
            for (gap, late, views) in gaps {
                now += if gap > 3_000 { gap * 20 } else { gap / 20 };
                plain.ragged = true;
                for ring in [&mut ring, &mut plain] {
                    ring.add(ts(now), ts(now - late), views, 0);
                }
                prop_assert_eq!(&ring.cells, &plain.cells);
            }
        }

        #[test]
        fn the_order_of_arrival_does_not_matter(
            events in prop::collection::vec((0i64..300, 0u64..5, 0u64..3), 1..100),
            seed in any::<u64>(),
        ) {
            let fill = |events: &[(i64, u64, u64)]| {
                let mut ring = Ring::default();
                for (at, views, errors) in events {
                    ring.add(ts(300), ts(*at), *views, *errors);
                }
                ring
            };
            let mut shuffled = events.clone();
            let mut state = seed;
            for i in (1..shuffled.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                shuffled.swap(i, (state >> 33) as usize % (i + 1));
            }
            prop_assert_eq!(fill(&events), fill(&shuffled));
        }
    }

    #[test]
    fn a_week_of_steady_traffic_stays_small_and_is_kept() {
        let mut ring = Ring::default();
        for second in (0..7 * 86_400).step_by(5) {
            ring.add(ts(second), ts(second), 1, 0);
        }
        assert!(ring.cells.len() < 500, "{}", ring.cells.len());
        let week = ring.sum(ts(7 * 86_400), 7 * 86_400).views;
        assert_eq!(week, 7 * 86_400 / 5);
    }

    #[test]
    fn steps_for_a_chart_are_aligned_and_complete() {
        let mut ring = Ring::default();
        for second in 0..600 {
            ring.add(ts(second), ts(second), 1, 0);
        }
        let steps = ring.steps(ts(599), 60, 11);
        assert_eq!(steps.len(), 11);
        assert_eq!(steps.iter().map(|(_, tally)| tally.views).sum::<u64>(), 600);
    }
}
