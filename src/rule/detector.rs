//! One stream of errors over views, watched for a rise: the machine behind `spike`.
//!
//! A stream is a group or one slice of it. It learns late and only while all is quiet, draws a boundary above what is usual, and
//! gathers evidence that the rate is beyond it. It has no threshold of its own: the rules that look at it have, so one stream
//! serves several rules, and an edited rule keeps what was learned. While a rule fires on it the baseline is frozen, and the
//! stream gathers evidence of the opposite: that the rate is back.
//!
//! Counts come as they arrive, at most once a second. Evidence is closed in steps of ten seconds and the open step is judged at
//! each look as if it ended now, so the answer hardly depends on how often one looks. What is learned are lines of a minute.

use serde::{Deserialize, Serialize};

use crate::stats::baseline::{Baseline, Forecast, Line, PRIOR_ERRORS, shrinkage};
use crate::stats::dispersion::{LineNoise, Wander};
use crate::stats::gamma::{quantile_factor, upper_factor};
use crate::stats::nb1::log_likelihood_ratio;
use crate::stats::shiryaev_roberts::{Mixture, Observation};
use crate::stats::{WEEK_SECS, decay};

/// Seconds of a line, the unit of learning.
const LINE_SECS: f64 = 60.0;
/// Seconds of a step, the unit of evidence: a jump is not diluted by more than this of what came before it.
const STEP_SECS: f64 = 10.0;
/// One step stands for at most so many seconds of exposure.
const OMEGA_SECS_MAX: f64 = 120.0;
/// Lines are learned when they are this old; sooner while the stream is young.
const LAG: f64 = 1200.0;
/// The same for the fast level.
const LAG_FAST: f64 = 300.0;
/// A young stream learns at this share of its age.
const LAG_YOUNG: f64 = 0.5;
/// Unlearned lines kept; when learning is held up for longer, the oldest are joined.
const PENDING_MAX: usize = 24;
/// Evidence above one line's share at which learning stops: young, and later.
const SUSPICION: (f64, f64) = (6.0, 8.0);
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
/// Nats of evidence for "it is over".
const RESOLVE_NATS: f64 = 7.0;
/// A release raises the prior by this factor for half an hour.
const DEPLOY_FACTOR: f64 = 20.0;
const DEPLOY_SECS: f64 = 1800.0;

/// What a look at a stream shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// Evidence ΣwR, to be held against a rule's threshold.
    pub evidence: f64,
    /// What is usual now.
    pub usual: f64,
    /// An 80 % interval of it.
    pub usual_range: (f64, f64),
    /// Variance over mean of the open line.
    pub phi: f64,
    /// Season factor.
    pub season: f64,
    /// While firing: the stream has just found that it is over.
    pub over: Option<Over>,
}

/// Why a firing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Over {
    /// The rate is back.
    Back,
    /// It lasted so long that it is the new usual.
    NewUsual,
}

/// Counts since the estimated onset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Since {
    /// Estimated start, seconds since the epoch.
    pub began: f64,
    /// Errors as counted (not deduplicated by session).
    pub errors: f64,
    /// Views.
    pub views: f64,
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

/// The state of one stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detector {
    born: f64,
    seen: f64,
    baseline: Baseline,
    noise: LineNoise,
    slow: Wander,
    fast: Wander,
    wander: f64,
    learned_end: f64,
    pending: Vec<Line>,
    /// How many of `pending`, from the front, the fast level has learned.
    fast_learned: usize,
    line: OpenLine,
    step: OpenStep,
    mixture: Mixture,
    total: f64,
    onset: [Onset; ONSET_RATIOS.len()],
    firing: Option<Firing>,
}

/// The line that still grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct OpenLine {
    number: i64,
    end: f64,
    secs: f64,
    views: f64,
    units: f64,
    predicted: f64,
    season: f64,
}

/// The step that still grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct OpenStep {
    number: i64,
    secs: f64,
    views: f64,
    units: f64,
    /// Σ views × boundary.
    boundary: f64,
    predicted: f64,
    /// Variance over mean.
    phi: f64,
    omega: f64,
}

/// Page's CUSUM (Biometrika 41, 1954) against one size of change: its last zero is the most likely start of the trouble.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Onset {
    score: f64,
    since: Since,
}

/// Changes for which an onset is kept. The larger the change, the sooner its score forgets a chance error.
const ONSET_RATIOS: [f64; 3] = [1.25, 3.5, 12.0];

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Firing {
    at: f64,
    closed: f64,
    recent: (f64, f64),
    peak: f64,
}

impl Detector {
    /// A stream seen for the first time at `now` (seconds since the epoch).
    pub fn new(now: f64) -> Self {
        let onset = Onset { score: 0.0, since: Since { began: now, ..Since::default() } };
        Self {
            born: now,
            seen: now,
            baseline: Baseline::default(),
            noise: LineNoise::default(),
            slow: Wander::slow(),
            fast: Wander::fast(),
            wander: Wander::slow().sigma(),
            learned_end: 0.0,
            pending: Vec::new(),
            fast_learned: 0,
            line: OpenLine { number: i64::MIN, ..OpenLine::default() },
            step: OpenStep { number: i64::MIN, ..OpenStep::default() },
            mixture: Mixture::default(),
            total: 0.0,
            onset: [onset; ONSET_RATIOS.len()],
            firing: None,
        }
    }

    /// Takes the counts of one look. `now` never decreases; `zone_secs` is the site's offset from UTC; `deploy` when a release came.
    pub fn look(&mut self, now: f64, counts: Counts, zone_secs: f64, deploy: Option<f64>) -> Look {
        self.roll(now);
        if !self.is_hot(now) {
            self.learn(now, zone_secs);
        }
        let forecast = self.baseline.forecast(now + zone_secs, self.wander, self.fast.sigma());
        let boundary = self.boundary(now, &forecast);
        let elapsed = self.extend(now, counts, &forecast, boundary, deploy);
        let over = self.weigh_end(now, elapsed, counts, &forecast, boundary);
        if over.is_none() {
            self.total = self.mixture.with(&self.observation()).0;
        }
        self.track_onset(now, counts, boundary);
        self.describe(&forecast, over)
    }

    /// What the last look showed, seen from `now`.
    pub fn show(&self, now: f64, zone_secs: f64) -> Look {
        self.describe(&self.baseline.forecast(now + zone_secs, self.wander, self.fast.sigma()), None)
    }

    fn describe(&self, forecast: &Forecast, over: Option<Over>) -> Look {
        let (shape, rate) = (self.shape(), forecast.rate);
        Look {
            evidence: self.total,
            usual: rate,
            usual_range: (rate * quantile_factor(shape, -1.2816), rate * quantile_factor(shape, 1.2816)),
            phi: self.step.phi.max(1.0),
            season: forecast.season,
            over,
        }
    }

    /// Forgets that a rule fired, and keeps what was learned.
    pub fn forget_firing(&mut self) {
        if self.firing.take().is_some() {
            self.mixture.reset();
            self.total = 0.0;
        }
    }

    /// A rule fires on this stream: the baseline is frozen from here on.
    pub fn fire(&mut self, now: f64) {
        if self.firing.is_none() {
            let recent = (self.step.units, self.step.views.max(1.0));
            self.firing = Some(Firing { at: now, closed: 0.0, recent, peak: 0.0 });
        }
    }

    /// Whether a rule fires on it.
    pub const fn is_firing(&self) -> bool {
        self.firing.is_some()
    }

    /// Counts since the estimated onset: that of the change which explains most.
    pub fn since(&self) -> Since {
        let best = self.onset.iter().max_by(|a, b| a.score.total_cmp(&b.score));
        best.map(|onset| onset.since).unwrap_or_default()
    }

    /// While firing: nats of evidence so far that it is over.
    pub fn calm(&self) -> f64 {
        self.firing.map_or(0.0, |firing| firing.closed)
    }

    /// Ends a firing that cannot be judged any more: its traffic is gone for good (a release that was replaced).
    pub fn abandon(&mut self) {
        self.forget_firing();
        self.pending.clear();
        self.fast_learned = 0;
    }

    /// The usual rate at a time, as far as it is known.
    pub fn usual(&self, now: f64, zone_secs: f64) -> Option<f64> {
        (self.baseline.day_errors() > PRIOR_ERRORS || self.learned_end > 0.0)
            .then(|| self.baseline.forecast(now + zone_secs, self.wander, self.fast.sigma()).rate)
    }

    /// Seconds since the stream was first seen, or since its last new beginning.
    pub fn age(&self, now: f64) -> f64 {
        now - self.born
    }

    /// Closes the open step and the open line when new ones begin.
    fn roll(&mut self, now: f64) {
        let step = (now / STEP_SECS).floor() as i64;
        if step != self.step.number {
            if self.step.omega > 0.0 {
                self.mixture.close(&self.observation());
            }
            self.step = OpenStep { number: step, ..OpenStep::default() };
        }
        let line = (now / LINE_SECS).floor() as i64;
        if line != self.line.number {
            if self.line.views > 0.0 && self.firing.is_none() {
                self.push_pending();
            }
            self.line = OpenLine { number: line, ..OpenLine::default() };
        }
    }

    fn push_pending(&mut self) {
        if self.pending.len() >= PENDING_MAX {
            let second = self.pending.remove(1);
            let first = &mut self.pending[0];
            first.end = second.end;
            first.secs += second.secs;
            first.views += second.views;
            first.errors += second.errors;
            first.predicted += second.predicted;
            self.fast_learned = self.fast_learned.saturating_sub(1);
        }
        let open = &self.line;
        self.pending.push(Line {
            end: open.end,
            secs: open.secs as f32,
            views: open.views as f32,
            errors: open.units as f32,
            predicted: open.predicted as f32,
            season: open.season as f32,
        });
    }

    /// Evidence is building up, or a rule fires: nothing is learned.
    fn is_hot(&self, now: f64) -> bool {
        let nats = if now - self.born > YOUNG { SUSPICION.1 } else { SUSPICION.0 };
        self.firing.is_some() || (self.total > 0.0 && self.total.ln() > (LINE_SECS / WEEK_SECS).ln() + nats)
    }

    fn learn(&mut self, now: f64, zone_secs: f64) {
        let age = now - self.born;
        let (slow, quick) = (now - LAG.min(LAG_YOUNG * age), now - LAG_FAST.min(LAG_YOUNG * age));
        let ready = self.pending.iter().take_while(|line| line.end <= slow).count();
        for i in 0..ready {
            let line = self.pending[i];
            self.learn_line(&line, now, zone_secs);
        }
        let quick_ready = self.pending.iter().take_while(|line| line.end <= quick).count();
        for line in &self.pending[self.fast_learned.min(quick_ready)..quick_ready] {
            self.baseline.learn_fast(line);
        }
        self.fast_learned = self.fast_learned.max(quick_ready) - ready;
        self.pending.drain(..ready);
        if ready > 0 {
            let young = now - self.born < 21_600.0;
            self.wander = if young { self.slow.sigma().max(2.0 * self.fast.sigma()) } else { self.slow.sigma() };
        }
    }

    fn learn_line(&mut self, line: &Line, now: f64, zone_secs: f64) {
        let elapsed = (line.end - self.learned_end).min(now);
        self.learned_end = line.end;
        self.baseline.learn(line, line.end + zone_secs);
        if line.predicted <= 0.0 {
            return;
        }
        self.noise.learn(line, elapsed);
        let uncertainty = 1.0 / self.shape();
        let phi = self.noise.phi();
        self.slow.learn(line, phi, uncertainty, line.end - self.born > 3600.0);
        self.fast.learn(line, phi, 0.0, true);
    }

    /// Effective counts behind the forecast.
    fn shape(&self) -> f64 {
        let phi = self.noise.phi();
        let local = self.baseline.local_errors() + shrinkage(self.wander);
        1.0 / (phi / self.baseline.day_errors() + 0.5 * phi / local)
    }

    /// The null boundary: what is usual, its uncertainty, and the smallest effect worth an alert.
    fn boundary(&self, now: f64, forecast: &Forecast) -> f64 {
        let age = now - self.born;
        let deviate = DEVIATE.0 + DEVIATE.1 * (-age / 1800.0).exp() + DEVIATE.2 * PRIOR_ERRORS / self.baseline.day_errors();
        let floor = if (YOUNG..=86_400.0).contains(&age) { FLOOR.1 } else { FLOOR.0 };
        let wander = WANDER_CAUTION * self.wander;
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
        self.seen = now;
        let fresh_release = deploy.is_some_and(|at| now >= at && now < at + DEPLOY_SECS);
        // An error without a view of its own (its view is counted elsewhere) is judged as one try.
        let views = counts.views.max(if counts.units > 0.0 { 1.0 } else { 0.0 });
        let predicted = views * forecast.rate;
        let line = &mut self.line;
        line.end = now;
        line.secs += elapsed;
        line.views += views;
        line.units += counts.units;
        line.predicted += predicted;
        line.season = forecast.season;
        let step = &mut self.step;
        let exposure = elapsed.min((OMEGA_SECS_MAX - step.secs).max(0.0)).max(1e-3);
        step.omega += exposure / WEEK_SECS * if fresh_release { DEPLOY_FACTOR } else { 1.0 };
        step.secs += elapsed;
        step.views += views;
        step.units += counts.units;
        step.boundary += views * boundary;
        step.predicted += predicted;
        // The noise is known of lines: a step of a line has the dispersion of the whole line.
        step.phi = self.noise.phi_for(step.predicted * (LINE_SECS / step.secs.max(STEP_SECS)).max(1.0));
        elapsed
    }

    fn observation(&self) -> Observation {
        let open = &self.step;
        let views = open.views.max(1.0);
        let multiplies = open.phi >= (0.05 * open.predicted).max(4.0) || !self.noise.is_known();
        let cap = if open.predicted >= 5.0 && multiplies { CENSOR } else { 300.0 };
        let boundary = if open.views > 0.0 { open.boundary / open.views } else { BOUNDARY_MAX };
        Observation { count: open.units, views, boundary, phi: open.phi, omega: open.omega, cap }
    }

    /// While firing: is it over? Evidence for "back to usual" against "still at two thirds of its height".
    fn weigh_end(&mut self, now: f64, elapsed: f64, counts: Counts, forecast: &Forecast, boundary: f64) -> Option<Over> {
        let phi = self.noise.phi();
        let line_phi = self.step.phi;
        let age_at_fire = self.firing.map(|f| f.at - self.born)?;
        let firing = self.firing.as_mut()?;
        let lasting = now - firing.at > (3.0 * age_at_fire).clamp(3600.0, 86_400.0);
        let views = counts.views.max(1.0);
        firing.recent.0 = firing.recent.0 * decay(elapsed, 600.0) + counts.units;
        firing.recent.1 = firing.recent.1 * decay(elapsed, 600.0) + views;
        let (errors, tries) = firing.recent;
        firing.peak = (firing.peak * decay(elapsed, 14_400.0)).max((errors - (phi * errors).sqrt()) / tries);
        let middle = (1.25 * boundary).max(firing.peak.max(boundary * 1.3) / 1.5);
        let back = forecast.rate.min(middle / 1.2);
        let llr = log_likelihood_ratio(counts.units, views * middle, views * back, line_phi);
        firing.closed = (firing.closed + llr).max(0.0);
        if lasting {
            *self = Self::new(now);
            return Some(Over::NewUsual);
        }
        if firing.closed < RESOLVE_NATS {
            return None;
        }
        self.firing = None;
        self.mixture.reset();
        self.total = 0.0;
        self.pending.clear();
        self.fast_learned = 0;
        self.line = OpenLine { number: self.line.number, end: now, ..OpenLine::default() };
        self.step = OpenStep { number: self.step.number, ..OpenStep::default() };
        self.noise.cut();
        self.slow.cut();
        self.fast.cut();
        Some(Over::Back)
    }

    fn track_onset(&mut self, now: f64, counts: Counts, boundary: f64) {
        let phi = self.step.phi.max(1.0);
        let mean = counts.views.max(1.0) * boundary;
        for (onset, ratio) in self.onset.iter_mut().zip(ONSET_RATIOS) {
            onset.score += (counts.units * ratio.ln() - mean * (ratio - 1.0)) / phi;
            onset.since.errors += counts.errors;
            onset.since.views += counts.views;
            if onset.score <= 0.0 && self.firing.is_none() {
                *onset = Onset { score: 0.0, since: Since { began: now, ..Since::default() } };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::shiryaev_roberts::threshold;

    /// Feeds `minutes` of `views` a minute with an error every `1/rate` views; returns the last look and the first minute at
    /// which the evidence passed the threshold of α = 0.001.
    fn feed(detector: &mut Detector, from: i64, minutes: i64, views: f64, rate: f64, carry: &mut f64) -> (Look, Option<i64>) {
        let mut fired = None;
        let mut last = None;
        for minute in from..from + minutes {
            *carry += views * rate;
            let errors = carry.floor();
            *carry -= errors;
            let counts = Counts { views, units: errors, errors };
            let look = detector.look(minute as f64 * 60.0 + 59.0, counts, 0.0, None);
            if look.evidence > threshold(0.001) && fired.is_none() {
                fired = Some(minute - from);
            }
            last = Some(look);
        }
        (last.unwrap(), fired)
    }

    #[test]
    fn a_jump_is_found_within_minutes_frozen_and_found_over() {
        let mut detector = Detector::new(0.0);
        let mut carry = 0.0;
        let (_, quiet) = feed(&mut detector, 0, 2880, 200.0, 0.004, &mut carry);
        assert_eq!(quiet, None);
        let (look, fired) = feed(&mut detector, 2880, 10, 200.0, 0.06, &mut carry);
        assert!(fired.unwrap() <= 2, "{fired:?}");
        assert!((look.usual / 0.004 - 1.0).abs() < 0.1, "{}", look.usual);
        let since = detector.since();
        assert!((since.began - 2880.0 * 60.0).abs() <= 120.0, "{since:?}");
        detector.fire(2890.0 * 60.0);
        let (look, _) = feed(&mut detector, 2890, 120, 200.0, 0.06, &mut carry);
        assert!((look.usual / 0.004 - 1.0).abs() < 0.1, "a spike became its own baseline: {}", look.usual);
        assert_eq!(look.over, None);
        let mut over = None;
        for minute in 3010..3040 {
            let (look, _) = feed(&mut detector, minute, 1, 200.0, 0.004, &mut carry);
            if look.over.is_some() {
                over = Some(minute - 3010);
                break;
            }
        }
        assert!(over.unwrap() <= 3, "{over:?}");
    }

    #[test]
    fn looking_every_second_or_every_minute_gives_the_same_evidence() {
        let (mut often, mut seldom) = (Detector::new(0.0), Detector::new(0.0));
        for minute in 0..300 {
            let mut look = None;
            for second in 0..60 {
                let counts = Counts { views: 2.0, units: f64::from(u8::from(second == 7)), errors: 0.0 };
                look = Some(often.look(f64::from(minute * 60 + second), counts, 0.0, None));
            }
            let counts = Counts { views: 120.0, units: 1.0, errors: 0.0 };
            let once = seldom.look(f64::from(minute * 60 + 59), counts, 0.0, None);
            let many = look.unwrap();
            assert!((many.usual / once.usual - 1.0).abs() < 0.05, "minute {minute}: {many:?} against {once:?}");
        }
    }

    #[test]
    fn three_of_four_on_a_quiet_page_is_not_enough_and_many_on_a_clean_page_is() {
        let mut detector = Detector::new(0.0);
        let mut carry = 0.0;
        feed(&mut detector, 0, 2880, 5.0 / 60.0, 0.0, &mut carry);
        let counts = Counts { views: 4.0, units: 3.0, errors: 3.0 };
        let look = detector.look(2880.0 * 60.0, counts, 0.0, None);
        assert!(look.evidence < threshold(0.001), "{look:?}");
        let counts = Counts { views: 60.0, units: 40.0, errors: 40.0 };
        let look = detector.look(2881.0 * 60.0, counts, 0.0, None);
        assert!(look.evidence > threshold(0.001), "{look:?}");
    }

    #[test]
    fn what_lasts_becomes_the_new_usual() {
        let mut detector = Detector::new(0.0);
        let mut carry = 0.0;
        feed(&mut detector, 0, 2880, 200.0, 0.004, &mut carry);
        detector.fire(2880.0 * 60.0);
        for minute in 2880..2880 + 1442 {
            let (look, _) = feed(&mut detector, minute, 1, 200.0, 0.06, &mut carry);
            if let Some(over) = look.over {
                assert_eq!(over, Over::NewUsual);
                return;
            }
        }
        panic!("the lasting change was never accepted");
    }
}
