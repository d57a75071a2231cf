//! When it began: Page's CUSUM (Biometrika 41, 1954) against three sizes of change.

use serde::{Deserialize, Serialize};

use super::Counts;

/// Changes for which an onset is kept. The larger the change, the sooner its score forgets a chance error.
const RATIOS: [f64; 3] = [1.25, 3.5, 12.0];

/// Counts since the estimated onset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Since {
    /// Estimated start, seconds since the epoch.
    pub began: f64,
    /// Errors as counted, for people.
    pub errors: f64,
    /// Errors, one per session and hour where sessions are known: what gates are held against.
    pub units: f64,
    /// Views.
    pub views: f64,
}

/// The scores; the last zero of each is the most likely start of a change of its size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Onsets([Onset; RATIOS.len()]);

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Onset {
    score: f32,
    errors: f32,
    units: f32,
    views: f32,
    began: u32,
}

impl Onset {
    const fn at(now: u32) -> Self {
        Self { score: 0.0, errors: 0.0, units: 0.0, views: 0.0, began: now }
    }
}

impl Onsets {
    pub(super) const fn new(now: f64) -> Self {
        Self([Onset::at(now as u32); RATIOS.len()])
    }

    /// Adds the counts of a look against the boundary. While it fires (`held`) the onset stands.
    pub(super) fn add(&mut self, now: f64, counts: Counts, boundary: f64, phi: f64, held: bool) {
        let phi = phi.max(1.0);
        let mean = counts.views.max(1.0) * boundary;
        for (onset, ratio) in self.0.iter_mut().zip(RATIOS) {
            onset.score += ((counts.units * ratio.ln() - mean * (ratio - 1.0)) / phi) as f32;
            onset.errors += counts.errors as f32;
            onset.units += counts.units as f32;
            onset.views += counts.views as f32;
            if onset.score <= 0.0 && !held {
                *onset = Onset::at(now as u32);
            }
        }
    }

    /// That of the change which explains most.
    pub(super) fn best(&self) -> Since {
        let best = self.0.iter().max_by(|a, b| a.score.total_cmp(&b.score)).expect("there are three");
        let (errors, units, views) = (f64::from(best.errors), f64::from(best.units), f64::from(best.views));
        Since { began: f64::from(best.began), errors, units, views }
    }
}
