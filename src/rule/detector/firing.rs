//! While a rule fires: is it over?
//!
//! Two hypotheses are weighed against each other, look by look: "the rate is as high as this episode's" and "it is back". The height is
//! that of the time in which nothing spoke for the end: counts in doubt (since the score was last zero) are kept apart, so that
//! the height does not follow the falling rate. A maximum of noisy rates would stand too high and end the episode too soon.

use serde::{Deserialize, Serialize};

use super::{Counts, Detector, Onsets, OpenLine, OpenStep, Since};
use crate::stats::baseline::Forecast;
use crate::stats::decay;
use crate::stats::nb1::log_likelihood_ratio;
use crate::stats::totals::Spread;

/// Nats of evidence for "it is over" …
const NATS: f64 = 7.0;
/// … and one more for each e-fold of so many seconds, because the longer it lasts, the more often chance may end it.
const NATS_SECS: f64 = 600.0;
/// "Still on" is a rate this many times lower than the episode's height, but clearly above the boundary.
const BELOW_HEIGHT: f64 = 1.2;
const ABOVE_BOUNDARY: f64 = 1.25;
/// Half-life of the height.
const HEIGHT_SECS: f64 = 7200.0;
/// A change is the new usual after three times the stream's age, within these bounds.
const LASTING: (f64, f64) = (3600.0, 86_400.0);
/// Errors' worth of belief in the new usual.
const NEW_USUAL_ERRORS: f64 = 100.0;

/// Why a firing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Over {
    /// The rate is back.
    Back,
    /// It lasted so long that it is the new usual.
    NewUsual,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Firing {
    pub(super) at: f64,
    pub(super) began: f64,
    /// Nats for "it is over".
    pub(super) closed: f64,
    /// The last time at which nothing spoke for the end.
    pub(super) held_to: f64,
    /// Whether a rule told of it. If not, it recurs.
    pub(super) told: bool,
    /// What was usual when it began, where lines are totals: they go on being learned, but it is judged by this.
    pub(super) totals: Option<Spread>,
    /// Errors and views of the episode, fading.
    height: (f64, f64),
    /// Those since the score was last zero.
    doubt: (f64, f64),
}

impl Firing {
    pub(super) fn new(now: f64, since: &Since, told: bool, totals: Option<Spread>) -> Self {
        let height = (since.units, since.views.max(1.0));
        Self { at: now, began: since.began, closed: 0.0, held_to: now, told, totals, height, doubt: (0.0, 0.0) }
    }

    /// The episode's rate.
    pub(super) fn rate(&self) -> f64 {
        self.height.0 / self.height.1
    }

    fn add(&mut self, now: f64, elapsed: f64, units: f64, views: f64, llr: f64) {
        self.doubt.0 += units;
        self.doubt.1 += views;
        self.closed += llr;
        if self.closed <= 0.0 {
            let fade = decay(elapsed, HEIGHT_SECS);
            self.height = (self.height.0 * fade + self.doubt.0, self.height.1 * fade + self.doubt.1);
            (self.closed, self.doubt, self.held_to) = (0.0, (0.0, 0.0), now);
        }
    }
}

impl Detector {
    /// Weighs a look's counts for and against the end. `local` is now on the site's own clock.
    pub(super) fn weigh_end(
        &mut self,
        local: f64,
        elapsed: f64,
        counts: Counts,
        forecast: &Forecast,
        boundary: f64,
    ) -> Option<Over> {
        let (now, line_phi) = (self.seen, f64::from(self.step.phi));
        let born = self.born;
        let firing = self.firing.as_mut()?;
        let views = counts.views.max(1.0);
        let height = firing.rate().max(boundary * 1.3);
        let middle = (ABOVE_BOUNDARY * boundary).max(height / BELOW_HEIGHT);
        let back = forecast.rate.min(middle / 1.2);
        let llr = log_likelihood_ratio(counts.units, views * middle, views * back, line_phi);
        firing.add(now, elapsed, counts.units, views, llr);
        let needed = NATS + ((now - firing.at) / NATS_SECS).ln_1p();
        let lasting = now - firing.at > (3.0 * (firing.at - born)).clamp(LASTING.0, LASTING.1);
        if !lasting && firing.closed < needed {
            return None;
        }
        let firing = self.firing.take()?;
        self.remember(local, &firing);
        if lasting {
            self.restart(now, &firing);
            return Some(Over::NewUsual);
        }
        self.quiet();
        self.pending.clear();
        self.line = OpenLine { end: now as u32, ..OpenLine::default() };
        self.step = OpenStep::default();
        self.noise.cut();
        self.slow.cut();
        self.fast.cut();
        Some(Over::Back)
    }

    /// Begins anew, with the rate of the episode as what is usual. Seasons are kept.
    fn restart(&mut self, now: f64, firing: &Firing) {
        let (errors, views) = firing.height;
        let believed = (NEW_USUAL_ERRORS / errors.max(1.0)).min(1.0);
        self.baseline.restart(errors * believed, views * believed);
        if let Some(totals) = &mut self.totals {
            totals.rebase(firing.rate());
        }
        let fresh = Self::new(now);
        *self = Self { baseline: self.baseline.clone(), episodes: self.episodes.take(), totals: self.totals.take(), ..fresh };
    }

    /// Forgets that a rule fired, and keeps what was learned.
    pub fn forget_firing(&mut self) {
        if self.firing.take().is_some() {
            self.quiet();
        }
    }

    /// Forgets what was told: nobody heard of what is in a history.
    pub fn forget_episodes(&mut self) {
        self.episodes = None;
    }

    /// Forgets evidence, where nothing fires: it spoke of something that recurs.
    pub fn forget_evidence(&mut self) {
        if self.firing.is_none() {
            self.quiet();
        }
    }

    fn quiet(&mut self) {
        self.mixture.reset();
        self.total = 0.0;
        // The score of what is over would name its start as that of the next trouble.
        self.onsets = Onsets::new(self.seen);
    }
}
