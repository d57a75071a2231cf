//! How the parts of a week compare with the same hours on other days: a shop for offices is nearly empty on Sundays.
//!
//! Six hours of one weekday are a part. Its factor is learned when the part is over, so a drop does not excuse itself, and also while
//! a drop is told, so a Sunday that was told once is not told every week; but silence teaches nothing. Factors only lower what is
//! expected.

use serde::{Deserialize, Serialize};

/// Parts of a week, and minutes of each.
const PARTS: usize = 28;
const PART_MINUTES: f64 = 360.0;
/// Minutes by which a factor is drawn to 1.
const PRIOR: f64 = 60.0;
/// What is kept of a part from one week to the next.
const KEEP: f32 = 0.7;

/// The parts of a week.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Week {
    /// Minutes' worth of the usual that came, and minutes.
    parts: [(f32, f32); PARTS],
    /// The same of the part that runs, and which one that is.
    open: (f32, f32),
    part: u8,
}

impl Default for Week {
    fn default() -> Self {
        Self { parts: [(0.0, 0.0); PARTS], open: (0.0, 0.0), part: 0 }
    }
}

fn part_of(minute: i64, zone_secs: f64) -> usize {
    ((minute as f64 + zone_secs / 60.0) / PART_MINUTES).floor().rem_euclid(PARTS as f64) as usize
}

impl Week {
    /// A minute showed so many times what is usual at its hour.
    pub fn learn(&mut self, minute: i64, zone_secs: f64, times_usual: f64, weight: f64) {
        let part = part_of(minute, zone_secs) as u8;
        if part != self.part {
            let known = &mut self.parts[usize::from(self.part)];
            *known = (known.0 * KEEP + self.open.0, known.1 * KEEP + self.open.1);
            (self.open, self.part) = ((0.0, 0.0), part);
        }
        self.open = (self.open.0 + (times_usual * weight) as f32, self.open.1 + weight as f32);
    }

    /// From now on this share of what was expected is usual; each part learns again as it comes.
    pub fn scale(&mut self, left: f64) {
        let left = left.clamp(0.0, 1.0) as f32;
        for (came, minutes) in &mut self.parts {
            let was = if *minutes > 0.0 { (*came / *minutes).min(1.0) } else { 1.0 };
            (*came, *minutes) = (was * left * PART_MINUTES as f32, PART_MINUTES as f32);
        }
    }

    /// What is expected of a minute, as a share of what is usual at its hour.
    pub fn factor(&self, minute: i64, zone_secs: f64) -> f64 {
        let (came, minutes) = self.parts[part_of(minute, zone_secs)];
        ((f64::from(came) + PRIOR) / (f64::from(minutes) + PRIOR)).min(1.0)
    }
}
