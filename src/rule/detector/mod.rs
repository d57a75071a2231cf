//! One stream of errors over views, watched for a rise: the machine behind `spike`.
//!
//! A stream is a group or one slice of it. It learns late and only while all is quiet, draws a boundary above what is usual, and
//! gathers evidence that the rate is beyond it. It has no threshold of its own: the rules that look at it have, so one stream
//! serves several rules, and an edited rule keeps what was learned. While a rule fires on it the baseline is frozen, and the
//! stream gathers evidence of the opposite: that the rate is back (`firing`). What came at this time before is
//! `recurring` and not told again.
//!
//! Counts come as they arrive, at most once a second. Evidence is closed in steps of ten seconds and the open step is judged at
//! each look as if it ended now, so the answer hardly depends on how often one looks. What is learned are lines of a minute.

mod firing;
mod learning;
mod onset;
mod recurring;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::stats::WEEK_SECS;
use crate::stats::baseline::{Baseline, Forecast, PRIOR_ERRORS, shrinkage};
use crate::stats::dispersion::{LineNoise, Wander};
use crate::stats::gamma::{quantile_factor, upper_factor};
use crate::stats::shiryaev_roberts::{Mixture, Observation};
use crate::stats::totals::{Spread, Totals};

use firing::Firing;
pub use firing::Over;
use learning::Pending;
use onset::Onsets;
pub use onset::Since;
use recurring::Episodes;

/// Seconds of a line, the unit of learning.
const LINE_SECS: f64 = 60.0;
/// Seconds of a step, the unit of evidence: a jump is not diluted by more than this of what came before it.
const STEP_SECS: f64 = 10.0;
/// One step stands for at most so many seconds of exposure.
const OMEGA_SECS_MAX: f64 = 120.0;
/// A stream is young for this long.
const YOUNG: f64 = 7200.0;
/// The standard-normal deviate of the boundary's quantile, and what is added at birth (fading over half an hour) and while the
/// level is mostly prior.
const DEVIATE: (f64, f64, f64) = (0.8, 0.3, 1.0);
/// The smallest effect worth evidence: relative rise, and the same while the daily profile is unknown.
const FLOOR: (f64, f64) = (1.10, 1.25);
/// The boundary is raised by e to this many times the wander.
const WANDER_CAUTION: f64 = 4.0;
/// The local levels are not believed below this: coming back from an unusually good hour is no spike.
const LOCAL_MIN: f64 = 0.9;
/// The rate's boundary never exceeds this.
const BOUNDARY_MAX: f64 = 0.9;
/// Most evidence one step may add where noise multiplies the rate or its kind is unknown (Huber's censored likelihood ratio).
const CENSOR: f64 = 3.0;
/// The same while hardly anything is known of the noise: one burst of a stream never seen before does not decide alone.
const CENSOR_GUESS: f64 = 10.0;
/// No censoring.
const CENSOR_NONE: f64 = 300.0;
/// Nats that evidence loses in an hour. A spike gains far more; a rate that creeps does not get there in half a day.
const LEAK_PER_HOUR: f64 = 1.0;
/// A release raises the prior by this factor for half an hour.
const DEPLOY_FACTOR: f64 = 20.0;
const DEPLOY_SECS: f64 = 1800.0;

/// What a look at a stream shows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Look {
    /// Evidence ΣwR, to be held against a rule's threshold.
    pub evidence: f64,
    /// What is usual now.
    pub usual: f64,
    /// An 80 % interval of it.
    pub usual_range: (f64, f64),
    /// The highest rate that is still taken as usual: what evidence is held against.
    pub boundary: f64,
    /// Variance over mean of the open line.
    pub phi: f64,
    /// Season factor.
    pub season: f64,
    /// It comes at this time, as high and as long, on other days too: nobody is told.
    pub recurs: bool,
    /// While firing: the stream has just found that it is over.
    pub over: Option<Over>,
}

/// Counts of one look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Views.
    pub views: f64,
    /// Errors, one per session and hour where sessions are known: the unit of evidence.
    pub units: f64,
    /// Errors as they came, for people.
    pub errors: f64,
}

impl Counts {
    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        self.views += other.views;
        self.units += other.units;
        self.errors += other.errors;
    }
}

/// The state of one stream: 688 bytes, and up to 336 more for the lines of a busy page that are not learned yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detector {
    born: f64,
    seen: f64,
    baseline: Baseline,
    noise: LineNoise,
    slow: Wander,
    fast: Wander,
    wander: f32,
    /// When learning was last held up by suspicion; the newest look while it is not.
    suspicious_since: u32,
    pending: Pending,
    line: OpenLine,
    step: OpenStep,
    mixture: Mixture,
    total: f64,
    onsets: Onsets,
    firing: Option<Box<Firing>>,
    episodes: Option<Box<Episodes>>,
    totals: Option<Box<Totals>>,
}

/// The line that still grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct OpenLine {
    end: u32,
    views: f32,
    units: f32,
    predicted: f32,
}

/// The step that still grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct OpenStep {
    secs: f32,
    views: f32,
    units: f32,
    /// Σ views × boundary.
    boundary: f32,
    predicted: f32,
    /// Variance over mean.
    phi: f32,
    omega: f32,
}

impl Detector {
    /// A stream seen for the first time at `now` (seconds since the epoch).
    pub fn new(now: f64) -> Self {
        Self {
            born: now,
            seen: now,
            baseline: Baseline::default(),
            noise: LineNoise::default(),
            slow: Wander::slow(),
            fast: Wander::fast(),
            wander: Wander::slow().sigma() as f32,
            suspicious_since: now as u32,
            pending: Pending::default(),
            line: OpenLine::default(),
            step: OpenStep::default(),
            mixture: Mixture::default(),
            total: 0.0,
            onsets: Onsets::new(now),
            firing: None,
            episodes: None,
            totals: None,
        }
    }

    /// Takes the counts of one look. `now` never decreases; `zone_secs` is the site's offset from UTC; `deploy` when a release came.
    pub fn look(&mut self, now: f64, counts: Counts, zone_secs: f64, deploy: Option<f64>) -> Look {
        self.roll(now, zone_secs);
        if !self.is_held_up(now) {
            self.learn(now, zone_secs);
        }
        let forecast = self.forecast(now, zone_secs);
        let boundary = self.boundary(now, &forecast);
        let elapsed = self.extend(now, counts, &forecast, boundary, deploy);
        let over = self.weigh_end(now + zone_secs, elapsed, counts, &forecast, boundary);
        if over.is_none() {
            let open = self.observation();
            self.total = self.mixture.look(&open);
        }
        self.onsets.add(now, counts, boundary, f64::from(self.step.phi), self.firing.is_some());
        let recurs = self.weigh_recurrence(now, zone_secs);
        Look { recurs, ..self.describe(&forecast, boundary, over) }
    }

    /// What is usual of a source that reports totals; while it fires, what was usual when it began.
    fn usual_total(&self) -> Option<Spread> {
        self.firing.as_ref().map_or_else(|| self.learned_total(), |firing| firing.totals)
    }

    fn learned_total(&self) -> Option<Spread> {
        self.totals.as_ref().and_then(|totals| totals.usual())
    }

    fn forecast(&self, now: f64, zone_secs: f64) -> Forecast {
        if let Some(Spread { rate, .. }) = self.usual_total() {
            return Forecast { rate, seasonal: rate, season: 1.0, local: 1.0, fast: 1.0 };
        }
        self.baseline.forecast(now + zone_secs, f64::from(self.wander), self.fast.sigma())
    }

    /// What the last look showed, seen from `now`.
    pub fn show(&self, now: f64, zone_secs: f64) -> Look {
        let forecast = self.forecast(now, zone_secs);
        self.describe(&forecast, self.boundary(now, &forecast), None)
    }

    fn describe(&self, forecast: &Forecast, boundary: f64, over: Option<Over>) -> Look {
        let (shape, rate) = (self.shape(), forecast.rate);
        Look {
            evidence: self.total,
            usual: rate,
            usual_range: (rate * quantile_factor(shape, -1.2816), rate * quantile_factor(shape, 1.2816)),
            boundary,
            phi: f64::from(self.step.phi).max(1.0),
            season: forecast.season,
            recurs: false,
            over,
        }
    }

    /// Evidence as of the last look.
    pub const fn evidence(&self) -> f64 {
        self.total
    }

    /// A rule fires on this stream: the baseline is frozen from here on.
    pub fn fire(&mut self, now: f64) {
        match &mut self.firing {
            Some(firing) => firing.told = true,
            None => self.firing = Some(Box::new(Firing::new(now, &self.since(), true, self.learned_total()))),
        }
    }

    /// Whether a rule fires on it.
    pub fn is_firing(&self) -> bool {
        self.firing.as_ref().is_some_and(|firing| firing.told)
    }

    /// Counts since the estimated onset: that of the change which explains most.
    pub fn since(&self) -> Since {
        self.onsets.best()
    }

    /// While firing: nats of evidence so far that it is over.
    pub fn calm(&self) -> f64 {
        self.firing.as_ref().map_or(0.0, |firing| firing.closed)
    }

    /// Ends a firing that cannot be judged any more: its traffic is gone for good (a release that was replaced).
    pub fn abandon(&mut self) {
        self.forget_firing();
        self.pending.clear();
    }

    /// The usual rate at a time, as far as it is known.
    pub fn usual(&self, now: f64, zone_secs: f64) -> Option<f64> {
        let known = self.baseline.day_errors() > PRIOR_ERRORS || self.baseline.learned_to() > 0;
        known.then(|| self.forecast(now, zone_secs).rate)
    }

    /// Seconds since the stream was first seen, or since its last new beginning.
    pub fn age(&self, now: f64) -> f64 {
        now - self.born
    }

    /// Closes the open step and the open line when new ones begin.
    fn roll(&mut self, now: f64, zone_secs: f64) {
        let is_over = |secs: f64| (now / secs).floor() > (self.seen / secs).floor();
        let (step, line) = (is_over(STEP_SECS), is_over(LINE_SECS));
        if step {
            if self.step.omega > 0.0 {
                let hours = f64::from(self.step.secs).min(3600.0) / 3600.0;
                self.mixture.close((-LEAK_PER_HOUR * hours).exp());
            }
            self.step = OpenStep::default();
        }
        if line {
            self.close_line(zone_secs);
            self.line = OpenLine::default();
        }
    }

    /// Effective counts behind the forecast.
    fn shape(&self) -> f64 {
        if let Some(Spread { rate, sd }) = self.usual_total() {
            return (rate / sd.max(1e-3 * rate)).powi(2);
        }
        let phi = self.noise.phi();
        let local = self.baseline.local_errors() + shrinkage(f64::from(self.wander));
        1.0 / (phi / self.baseline.day_errors() + 0.5 * phi / local)
    }

    /// The null boundary: what is usual, its uncertainty, and the smallest effect worth an alert.
    fn boundary(&self, now: f64, forecast: &Forecast) -> f64 {
        if let Some(Spread { rate, .. }) = self.usual_total() {
            return (rate * FLOOR.1).min(BOUNDARY_MAX);
        }
        let age = now - self.born;
        let deviate = DEVIATE.0 + DEVIATE.1 * (-age / 1800.0).exp() + DEVIATE.2 * PRIOR_ERRORS / self.baseline.day_errors();
        let floor = if (YOUNG..=86_400.0).contains(&age) { FLOOR.1 } else { FLOOR.0 };
        let wander = WANDER_CAUTION * f64::from(self.wander);
        let slow =
            forecast.seasonal * forecast.local.max(LOCAL_MIN) * upper_factor(self.shape(), deviate) * floor.max(wander.exp());
        if wander <= FLOOR.0.ln() {
            return slow.min(BOUNDARY_MAX);
        }
        // The rate wanders by the hour: then the fast level is another upper bound, often a lower one.
        let phi = self.noise.phi();
        let sigma = self.fast.sigma();
        let shape = 1.0 / (phi / self.baseline.day_errors() + phi / (self.baseline.fast_errors() + shrinkage(sigma)));
        let quick = forecast.seasonal
            * forecast.fast.max(LOCAL_MIN)
            * upper_factor(shape, deviate)
            * floor.max((WANDER_CAUTION * sigma).exp());
        slow.min(quick).min(BOUNDARY_MAX)
    }

    /// Adds the counts to the open line; returns the seconds since the look before.
    fn extend(&mut self, now: f64, counts: Counts, forecast: &Forecast, boundary: f64, deploy: Option<f64>) -> f64 {
        let elapsed = (now - self.seen).max(0.0);
        let total = self.usual_total();
        self.seen = now;
        let fresh_release = deploy.is_some_and(|at| now >= at && now < at + DEPLOY_SECS);
        // An error without a view of its own (its view is counted elsewhere) is judged as one try.
        let views = counts.views.max(if counts.units > 0.0 { 1.0 } else { 0.0 });
        let predicted = views * forecast.rate;
        let line = &mut self.line;
        line.end = now as u32;
        line.views += views as f32;
        line.units += counts.units as f32;
        line.predicted += predicted as f32;
        let step = &mut self.step;
        let secs = f64::from(step.secs);
        let exposure = elapsed.min((OMEGA_SECS_MAX - secs).max(0.0)).max(1e-3);
        step.omega += (exposure / WEEK_SECS * if fresh_release { DEPLOY_FACTOR } else { 1.0 }) as f32;
        let secs = secs + elapsed;
        step.secs = secs as f32;
        step.views += views as f32;
        step.units += counts.units as f32;
        step.boundary += (views * boundary) as f32;
        step.predicted += predicted as f32;
        // The noise is known of lines: a step of a line has the dispersion of the whole line.
        let line = f64::from(step.predicted) * (LINE_SECS / secs.max(STEP_SECS)).max(1.0);
        step.phi = total.map_or_else(|| self.noise.phi_for(line), |usual| usual.of(step.views.into()).powi(2) / line) as f32;
        elapsed
    }

    fn observation(&self) -> Observation {
        let open = &self.step;
        let (views, predicted, phi) = (f64::from(open.views), f64::from(open.predicted), f64::from(open.phi));
        let multiplies = phi >= (0.05 * predicted).max(4.0) || !self.noise.is_known();
        // What multiplies the rate from minute to minute averages out in a line of an hour.
        let breadth = (f64::from(open.secs) / LINE_SECS).max(1.0).sqrt();
        let cap = match (predicted >= 5.0 && multiplies, self.noise.is_a_guess()) {
            (true, _) => CENSOR * breadth,
            (false, true) => CENSOR_GUESS,
            (false, false) => CENSOR_NONE,
        };
        let boundary = if views > 0.0 { f64::from(open.boundary) / views } else { BOUNDARY_MAX };
        let seen = Observation {
            count: f64::from(open.units),
            views: views.max(1.0),
            boundary,
            phi,
            omega: f64::from(open.omega),
            cap,
            sd: None,
        };
        match self.usual_total() {
            Some(usual) => Observation { phi: 1.0, cap: CENSOR_NONE, sd: Some(usual.of(views)), ..seen },
            None => seen,
        }
    }
}
