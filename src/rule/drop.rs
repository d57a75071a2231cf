//! `drop`: a stream of views (or of a named event) fell beneath what is usual for the hour: the machine of `spike` turned down.
//!
//! Counts are gathered in minutes of event time and judged by the clock, minute by minute: a silent minute is an observation too.
//! Evidence that the traffic lies beneath even a share of what is expected is gathered by a Shiryaev–Roberts mixture in units of
//! weeks, so the budget is false alarms per series-week (see [`crate::stats::shiryaev_roberts`]). The deeper the drop that is
//! looked for, the larger that share: silence is told from a normal day more easily than a bad hour is. Whoever owns a stream
//! asks [`Traffic::wake`] when to look at the latest. Minutes are judged in order and one by one, whenever they are caught up
//! with, so the answer does not depend on how often one looks.
//!
//! Where lines come late as a habit, a minute stays open while they may come, and until then it counts for no more than the
//! stream's own lateness allows ([`super::lateness`]).
//!
//! A `conversion` is judged alike: what is counted are sessions at the next step, and what is expected is not so many a minute but
//! so many of the sessions that came to this step ([`super::flow`]): the exposure of a minute.
//!
//! It learns a mean for each hour of the day and a local level, only while nothing is suspicious. The level is capped at the
//! usual one, and a minute teaches the hours no more than a multiple of what is usual: the end of a campaign or of a visit of
//! bots is not a drop, nor is the same hour on the day after. The first day knows no hours, so only near-silence counts there.
//!
//! Where little comes, all of this is measured in counts and not in minutes: an hour in which one view came is known to one count,
//! and an hour in which none came may be any other. Counts that come in clusters are worth their number over φ.

use serde::{Deserialize, Serialize};

use super::flow::Flow;
use super::lateness::{HOLLOW, Lateness, OPEN, temper};
use super::week::Week;
use crate::stats::decay;
use crate::stats::gamma::quantile_factor;
use crate::stats::nb1::log_likelihood_ratio;

/// The drops looked for, with equal weights: the null boundary as a share of what is expected, and what is left of it.
const DROPS: [(f64, f64); 3] = [(0.5, 0.4), (0.7, 0.15), (0.9, 0.03)];
/// The null boundaries' share on the first day, when no hours are known.
const FIRST_DAY: f64 = 0.5;
/// A minute's share of a week.
const OMEGA: f64 = 1.0 / 10_080.0;
/// Minutes of a day, and those before anything may be said.
const DAY: i64 = 1_440;
const YOUNG: i64 = 60;
/// Evidence at which learning stops, in nats above the share of a minute, or of the minutes that bring so many counts' worth. What
/// pauses sooner never sees the gaps between two views, and takes a slow stream for a busier one than it is.
const SUSPICION: f64 = 4.0;
const SUSPICION_COUNTS: f64 = 0.3;
/// Nats of evidence for "traffic is back": 70 % of what is expected against 20 %.
const RESOLVE_NATS: f64 = 5.0;
const BACK: (f64, f64) = (0.2, 0.7);
/// Minutes by which an hour's mean is drawn to the day's, and the local level to 1; of a conversion, sessions.
const MINUTES_PRIOR: (f64, f64) = (5.0, 20.0);
const SESSIONS_PRIOR: (f64, f64) = (50.0, 50.0);
/// The hour's prior is never worth more than so many counts: a busy night says soon enough that it is one.
const COUNTS_PRIOR: f64 = 10.0;
/// Where an hour runs above the day's mean, and for the local level, priors are worth at least so many counts (times φ).
const HOUR_COUNTS: f64 = 8.0;
const LEVEL_COUNTS: f64 = 20.0;
/// A conversion is not judged before so many sessions.
const SESSIONS_MIN: f64 = 50.0;
/// Minutes in which something came, before anything may be said.
const HEARD_MIN: f32 = 10.0;
/// After so many minutes, a minute teaches at most this multiple of what is usual, and what chance may add to it (in standard
/// deviations, one, and so many times φ − 1: a cluster).
const SURGE: (i64, f64, f64, f64) = (60, 1.5, 3.0, 4.0);
/// A difference of two minutes says no more of the noise than six standard deviations, two counts, or twice φ − 1: a cluster.
const NOISE_MOST: (f64, f64, f64) = (36.0, 4.0, 2.0);
/// Minutes in which something came, by which their share is drawn to what the noise model expects.
const BUSY_PRIOR: f32 = 20.0;
/// While it fired: a silence before something came is worth at most so many counts at the usual rate.
const SILENCE_COUNTS: f64 = 3.0;
/// Half-lives in minutes: the hours of the day, the local level.
const HOUR_HALF: f64 = 10_080.0;
const LEVEL_HALF: f64 = 60.0;
/// Per minute that is kept of the day's mean and of the dispersion.
const DAY_KEEP: f64 = 0.9995;
const NOISE_KEEP: f64 = 0.9998;
/// A stream is looked at again after so many minutes at the latest, as seasons turn.
const WAKE_MOST: i64 = 60;
/// What is expected is never less, a minute.
const EXPECTED_MIN: f64 = 1e-6;
/// Lateness is worth a memory when so large a part of a minute's expectation came late.
const LATE_SHARE: f64 = 0.2;
/// Evidence is clamped here.
const CLAMP: f64 = 1e200;

/// The traffic of one group, minute by minute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    born: i64,
    /// The oldest open minute, since the epoch.
    minute: i64,
    /// All minutes before this one have been judged.
    judged: i64,
    /// What has come for the open minutes.
    open: [f64; OPEN],
    late: Option<Box<Lateness>>,
    /// Of a conversion: the sessions at this step.
    flow: Option<Box<Flow>>,
    evidence: [f64; 3],
    /// Counts and exposure (minutes, or sessions of a conversion) for each hour of the local day.
    hours: [(f32, f32); 24],
    week: Week,
    day: (f64, f64),
    level: (f64, f64),
    noise: (f64, f64),
    /// Minutes in which something came, of those that taught something.
    heard: f32,
    /// The same and how many the noise model expects of them, both forgotten as the noise is.
    busy: (f32, f32),
    /// Count and expectation of the minute learned before.
    before: Option<(f64, f64)>,
    onset: Since,
    score: f64,
    firing: Option<Firing>,
}

/// From the estimated start on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Since {
    /// The first minute of the trouble, since the epoch.
    pub minute: i64,
    /// What came since.
    pub count: f64,
    /// What was expected.
    pub expected: f64,
    /// Minutes, or of a conversion sessions that may have gone on.
    pub exposure: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Firing {
    since: i64,
    /// ΣwR when it fell.
    evidence: f64,
    back: f64,
    /// What came meanwhile, for the hours to learn when it is over: a night that was told once is not told every night.
    hours: Box<[(f32, f32); 24]>,
    /// Exposure since something came.
    silence: f64,
}

/// What a closed minute changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The evidence crossed its threshold.
    Fell,
    /// Traffic is back at what was usual.
    Back,
    /// It stayed low for a day, and is the new usual.
    NewUsual,
}

/// What is known of a stream now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// Expected count a minute, or conversion.
    pub expected: f64,
    /// An 80 % interval of it.
    pub expected_range: (f64, f64),
    /// ΣwR.
    pub evidence: f64,
    /// Variance over mean of a minute's count.
    pub phi: f64,
    /// How this hour compares with the day.
    pub season: f64,
    /// Since the estimated start.
    pub since: Since,
}

/// The threshold on the evidence for `alpha` false alarms per series-week: the theorem's bound.
pub fn threshold(alpha: f64) -> f64 {
    1.0 / alpha
}

impl Traffic {
    /// A stream first heard of in this minute.
    pub fn new(minute: i64) -> Self {
        Self {
            born: minute,
            minute,
            judged: minute,
            open: [0.0; OPEN],
            late: None,
            flow: None,
            evidence: [0.0; 3],
            hours: [(0.0, 0.0); 24],
            week: Week::default(),
            day: (1.0, 1.0),
            level: (1.0, 1.0),
            noise: (30.0, 15.0),
            heard: 0.0,
            busy: (BUSY_PRIOR, BUSY_PRIOR),
            before: None,
            onset: Since { minute, ..Since::default() },
            score: 0.0,
            firing: None,
        }
    }

    /// The sessions that go on to the next step, of those of a step first heard of in this minute.
    pub fn conversion(minute: i64) -> Self {
        Self { flow: Some(Box::default()), day: (0.1, 1.0), ..Self::new(minute) }
    }

    /// Counts sessions at this step into the minute in which they came, where it is a conversion that is judged.
    pub fn add_sessions(&mut self, minute: i64, sessions: f64) {
        let place = (minute - self.minute).clamp(0, OPEN as i64 - 1) as usize;
        if let Some(flow) = &mut self.flow {
            flow.add(place, sessions);
        }
    }

    /// Counts into the minute in which it happened; `now` is the minute in which it came.
    pub fn add(&mut self, minute: i64, now: i64, count: f64) {
        let is_late = minute < self.minute && self.late.is_none() && self.firing.is_none();
        let exposure = self.flow.as_ref().map_or(1.0, |flow| flow.ahead()[0].max(1.0));
        if is_late && count >= LATE_SHARE * exposure * self.day.0 / self.day.1 {
            self.late = Some(Box::new(Lateness::new(now - minute)));
        }
        self.open[(minute - self.minute).clamp(0, OPEN as i64 - 1) as usize] += count;
    }

    /// Minutes for which a minute stays open.
    fn lag(&self) -> i64 {
        if self.late.is_some() { OPEN as i64 - 1 } else { 0 }
    }

    /// Judges the next minute that is over at `now` (a minute since the epoch that has begun). `None`: all are judged.
    ///
    /// `zone_secs` is the site's offset from UTC, `threshold` that of the rule.
    pub fn judge_next(&mut self, now: i64, zone_secs: f64, threshold: f64) -> Option<Option<Change>> {
        if self.judged >= now {
            return None;
        }
        self.judged += 1;
        let mut change = None;
        while self.minute + self.lag() < self.judged {
            change = change.or(self.close(zone_secs, threshold));
        }
        Some(change.or_else(|| self.judge_open(zone_secs, threshold)))
    }

    /// Leaves out all minutes before `minute`: nobody was there to count them.
    pub fn skip_to(&mut self, minute: i64) {
        if self.judged < minute {
            (self.minute, self.judged, self.open) = (minute, minute, [0.0; OPEN]);
            if let Some(late) = &mut self.late {
                late.skip();
            }
            self.flow.iter_mut().for_each(|flow| flow.skip());
            self.calm();
        }
    }

    /// The oldest open minute is complete.
    fn close(&mut self, zone_secs: f64, threshold: f64) -> Option<Change> {
        let (minute, count) = (self.minute, self.open[0]);
        self.open.rotate_left(1);
        self.open[OPEN - 1] = 0.0;
        self.minute += 1;
        if let Some(late) = &mut self.late {
            late.close(count, self.firing.is_none());
        }
        let exposure = self.flow.as_mut().map_or(1.0, |flow| flow.close());
        let season = self.season(minute, zone_secs);
        let by_hour = self.by_hour(minute, zone_secs);
        let taught = self.firing.as_mut().map_or(exposure, |firing| firing.exposure(count, exposure, by_hour));
        if taught > 0.0 {
            self.week.learn(minute, zone_secs, count / (by_hour * taught).max(1e-9), taught);
        }
        let expected = (self.rate_from(season) * exposure).max(EXPECTED_MIN);
        let phi = self.phi();
        self.onset.count += count;
        self.onset.expected += expected;
        self.onset.exposure += exposure;
        if let Some(firing) = &mut self.firing {
            // A line that comes late tells of the time before.
            if minute > firing.since {
                firing.back = (firing.back + back_nats(count, expected, phi)).max(0.0);
            }
            if count > 0.0 {
                let hour = &mut firing.hours[hour_of(minute, zone_secs).0];
                *hour = (hour.0 + count as f32, hour.1 + taught as f32);
            }
            let lasting = minute - firing.since > DAY && count > 0.0;
            if firing.back >= RESOLVE_NATS {
                self.forget_firing();
                return Some(Change::Back);
            }
            if lasting {
                self.accept(minute + 1);
                return Some(Change::NewUsual);
            }
            return None;
        }
        if !self.is_known_at(minute) {
            // Of the first minute it is known beforehand that something came.
            if minute > self.born || self.flow.is_some() {
                self.learn(minute, zone_secs, count, (season, exposure), expected);
            }
            self.onset = Since { minute: self.minute, ..Since::default() };
            return None;
        }
        let floors = expected * self.caution(minute);
        let worth = self.worth(count);
        weigh(&mut self.evidence, |floor, left| worth * log_likelihood_ratio(count, floor * floors, left * floor * floors, phi));
        self.score_minute(count, expected, phi);
        if self.crosses(&self.evidence, threshold) {
            return Some(self.fall(total(&self.evidence)));
        }
        if total(&self.evidence) < SUSPICION.exp() * OMEGA * (SUSPICION_COUNTS * phi / expected).max(1.0) {
            self.learn(minute, zone_secs, count, (season, exposure), expected);
        }
        None
    }

    /// What has lasted for a day is the new usual: the day keeps its shape, and caution begins anew. Where it was a weekend, the
    /// hours still know what comes after it.
    fn accept(&mut self, minute: i64) {
        self.week.scale(self.onset.count / self.onset.expected.max(EXPECTED_MIN));
        (self.level, self.born) = ((1.0, 1.0), minute);
        self.forget_firing();
    }

    /// Judges the minutes that are over and still open, by what their lateness leaves of them.
    fn judge_open(&mut self, zone_secs: f64, threshold: f64) -> Option<Change> {
        let mut late = self.late.take()?;
        let phi = self.phi();
        let (mut evidence, mut back) = (self.evidence, self.firing.as_ref().map_or(0.0, |firing| firing.back));
        let mut after_hollow = false;
        let exposure = self.flow.as_ref().map_or([1.0; OPEN], |flow| flow.ahead());
        for (place, exposure) in exposure.into_iter().enumerate().take((self.judged - self.minute).max(0) as usize) {
            let minute = self.minute + place as i64;
            let (age, count) = ((self.judged - 1 - minute) as usize, self.open[place]);
            late.note(place, age, count);
            let whole = (self.rate_from(self.season(minute, zone_secs)) * exposure).max(EXPECTED_MIN);
            let (expected, hollow) = (whole * late.share(age), late.hollow(age, after_hollow));
            after_hollow = count <= HOLLOW * whole;
            if self.firing.as_ref().is_some_and(|firing| minute > firing.since) {
                back = (back - temper(-back_nats(count, expected, phi), hollow)).max(0.0);
            }
            let floors = expected * self.caution(minute);
            let worth = self.worth(count);
            let llr = |floor: f64, left| worth * log_likelihood_ratio(count, floor * floors, left * floor * floors, phi);
            weigh(&mut evidence, |floor, left| temper(llr(floor, left), hollow));
        }
        self.late = Some(late);
        if self.firing.is_none() {
            return self.crosses(&evidence, threshold).then(|| self.fall(total(&evidence)));
        }
        (back >= RESOLVE_NATS).then(|| {
            // What is open is of the drop, or of its end.
            self.leave_open();
            self.forget_firing();
            Change::Back
        })
    }

    /// Leaves out the minutes that are over and open.
    fn leave_open(&mut self) {
        while self.minute < self.judged {
            self.open.rotate_left(1);
            self.open[OPEN - 1] = 0.0;
            self.minute += 1;
            self.flow.iter_mut().for_each(|flow| _ = flow.close());
        }
        self.late.iter_mut().for_each(|late| late.skip());
    }

    fn crosses(&self, evidence: &[f64; 3], threshold: f64) -> bool {
        self.is_known() && total(evidence) > threshold
    }

    fn fall(&mut self, evidence: f64) -> Change {
        self.firing = Some(Firing { since: self.judged - 1, evidence, back: 0.0, hours: Box::default(), silence: 0.0 });
        Change::Fell
    }

    /// Page's CUSUM: its last zero is the most likely start.
    fn score_minute(&mut self, count: f64, expected: f64, phi: f64) {
        let (floor, left) = DROPS[1];
        self.score += log_likelihood_ratio(count, floor * expected, left * floor * expected, phi);
        if self.score <= 0.0 {
            self.score = 0.0;
            self.onset = Since { minute: self.minute, ..Since::default() };
        }
    }

    fn learn(&mut self, minute: i64, zone_secs: f64, count: f64, (season, exposure): (f64, f64), expected: f64) {
        let keep = decay(24.0, HOUR_HALF) as f32;
        let (by_hour, cluster) = (self.by_hour(minute, zone_secs), self.phi() - 1.0);
        let usual = by_hour * exposure;
        let most = SURGE.1 * usual + SURGE.2 * (self.phi() * usual).sqrt() + 1.0 + SURGE.3 * cluster;
        self.heard += f32::from(u8::from(count > 0.0));
        let empty = (log_likelihood_ratio(0.0, expected, EXPECTED_MIN * expected, self.phi())).exp().recip();
        self.busy = (
            self.busy.0 * NOISE_KEEP as f32 + f32::from(u8::from(count > 0.0)),
            self.busy.1 * NOISE_KEEP as f32 + (1.0 - empty) as f32,
        );
        // While the whole hour runs high, only what is beyond that teaches: a surge that lasts does not add up.
        let high = (self.local_level() * season / (SURGE.1 * by_hour).max(EXPECTED_MIN)).max(1.0);
        let taught = if minute - self.born < SURGE.0 { count } else { (count / high).min(most) };
        let (counts, exposures) = &mut self.hours[hour_of(minute, zone_secs).0];
        (*counts, *exposures) = (*counts * keep + taught as f32, *exposures * keep + exposure as f32);
        self.day = (self.day.0 * DAY_KEEP + taught, self.day.1 * DAY_KEEP + exposure);
        // What was just learned is in it: a stream's first minutes are no surge of it.
        let season = self.season(minute, zone_secs);
        let keep = decay(1.0, LEVEL_HALF);
        self.level = (self.level.0 * keep + count / season.max(1e-9), self.level.1 * keep + exposure);
        if let Some((last, mean)) = self.before {
            let both = expected + mean;
            let (v, d) = (expected * mean / both, (count * mean - last * expected) / both);
            let most = NOISE_MOST.0 * self.phi() * v + NOISE_MOST.1 + (NOISE_MOST.2 * cluster).powi(2);
            self.noise = (self.noise.0 * NOISE_KEEP + (d * d).min(most), self.noise.1 * NOISE_KEEP + v);
        }
        self.before = Some((count, expected));
    }

    /// Usual count a minute (or conversion) at the middle of a minute, linear between the middles of hours.
    fn season(&self, minute: i64, zone_secs: f64) -> f64 {
        self.by_hour(minute, zone_secs) * self.week.factor(minute, zone_secs)
    }

    fn by_hour(&self, minute: i64, zone_secs: f64) -> f64 {
        let (hour, at) = hour_of(minute, zone_secs);
        let of = |hour| self.hour_mean(hour);
        let between = if at < 0.5 {
            (0.5 - at) * of(hour + 23) + (0.5 + at) * of(hour)
        } else {
            (1.5 - at) * of(hour) + (at - 0.5) * of(hour + 1)
        };
        // Where the hours turn sharply, a line between their middles runs above what comes.
        between.min(of(hour))
    }

    /// Usual count a minute (or conversion) in an hour of the day, drawn to the day's mean while little is known.
    fn hour_mean(&self, hour: usize) -> f64 {
        let (counts, exposures) = self.hours[hour % 24];
        let mean = self.day.0 / self.day.1;
        let drawn = |prior: f64| (f64::from(counts) + prior * mean) / (f64::from(exposures) + prior);
        // A high hour needs more to be believed than a low one: what is expected too high is told night for night.
        drawn(self.prior().0.min(COUNTS_PRIOR / mean)).min(drawn(HOUR_COUNTS * self.phi() / mean))
    }

    /// The season at the local level; a level above the usual one is not believed.
    fn rate_from(&self, season: f64) -> f64 {
        season * self.local_level().min(1.0)
    }

    const fn prior(&self) -> (f64, f64) {
        if self.flow.is_some() { SESSIONS_PRIOR } else { MINUTES_PRIOR }
    }

    /// Exposure by which the local level is drawn to 1: an hour in which a few views were to come says little of it.
    fn level_prior(&self) -> f64 {
        self.prior().1.max(LEVEL_COUNTS * self.phi() * self.day.1 / self.day.0)
    }

    /// How the last hour compares with what is usual for it.
    fn local_level(&self) -> f64 {
        let prior = self.level_prior();
        (self.level.0 + prior) / (self.level.1 + prior)
    }

    /// By how much the null boundaries are lowered.
    fn caution(&self, minute: i64) -> f64 {
        if minute - self.born < DAY { FIRST_DAY } else { 1.0 }
    }

    /// By how much the evidence of an empty minute is lowered: variance tells how large clusters are but not how often they come, and
    /// where fewer minutes are busy than the noise model expects, silence is commoner than it says.
    fn worth(&self, count: f64) -> f64 {
        if count > 0.0 { 1.0 } else { f64::from(self.busy.0 / self.busy.1).min(1.0) }
    }

    fn phi(&self) -> f64 {
        (self.noise.0 / self.noise.1).max(1.0)
    }

    /// The minute at whose beginning the stream must be looked at even if nothing comes: not later than its silence could cross.
    pub fn wake(&self, zone_secs: f64, threshold: f64) -> i64 {
        let next = self.judged + 1;
        if self.firing.is_some() {
            let something = self.open.iter().sum::<f64>() > 0.0;
            return if something { next } else { next + WAKE_MOST };
        }
        if let Some(flow) = &self.flow {
            return if flow.is_idle() { next + WAKE_MOST } else { next };
        }
        // Seasons are linear between the middles of hours: their greatest value lies there or at the ends.
        let seasons = [0, 30, WAKE_MOST].map(|ahead| self.by_hour(self.minute + ahead, zone_secs));
        let (hour, _) = hour_of(self.minute, zone_secs);
        let middles = [0, 1].map(|ahead| self.hour_mean(hour + ahead));
        // What the open minutes still teach may raise it a little.
        let most = seasons.into_iter().chain(middles).fold(EXPECTED_MIN, f64::max) * 1.1;
        let gains = DROPS.map(|(floor, left)| log_likelihood_ratio(0.0, floor * most, left * floor * most, self.phi()));
        let gain = gains.into_iter().fold(0.0, f64::max);
        let sum = total(&self.evidence);
        let reaches = |minutes: i64| (sum + minutes as f64 * OMEGA).ln() + minutes as f64 * gain > threshold.ln();
        let wait = (1..WAKE_MOST).find(|minutes| reaches(*minutes)).unwrap_or(WAKE_MOST);
        (self.minute + wait).max(next)
    }

    /// Whether it fell and is not back.
    pub const fn is_firing(&self) -> bool {
        self.firing.is_some()
    }

    /// Forgets that it fell, and the evidence; keeps what was learned.
    pub fn forget_firing(&mut self) {
        for (hour, came) in self.hours.iter_mut().zip(self.firing.take().map(|firing| *firing.hours).unwrap_or_default()) {
            *hour = (hour.0 + came.0, hour.1 + came.1);
        }
        self.calm();
    }

    fn calm(&mut self) {
        (self.evidence, self.before, self.score) = ([0.0; 3], None, 0.0);
        self.onset = Since { minute: self.minute, ..Since::default() };
    }

    /// What is known now.
    pub fn view(&self, zone_secs: f64) -> View {
        let season = self.season(self.minute, zone_secs);
        let expected = self.rate_from(season).max(EXPECTED_MIN);
        let shape = ((self.level.1 + self.level_prior()) * expected / self.phi()).max(0.1);
        // How much of a conversion is still on its way is not known.
        let open = if self.flow.is_some() { 0.0 } else { self.open.iter().sum::<f64>() };
        View {
            expected,
            expected_range: (expected * quantile_factor(shape, -1.2816), expected * quantile_factor(shape, 1.2816)),
            evidence: self.firing.as_ref().map_or_else(|| total(&self.evidence), |firing| firing.evidence),
            phi: self.phi(),
            season: season / (self.day.0 / self.day.1).max(1e-9),
            since: Since { count: self.onset.count + open, ..self.onset },
        }
    }

    /// Whether enough was heard to expect anything.
    pub fn is_known(&self) -> bool {
        self.is_known_at(self.judged - 1)
    }

    fn is_known_at(&self, minute: i64) -> bool {
        minute - self.born > YOUNG && self.heard >= HEARD_MIN && (self.flow.is_none() || self.day.1 >= SESSIONS_MIN)
    }
}

impl Firing {
    /// What a minute may teach: nothing while silence lasts, and with the first count after it the silence that is usual before one.
    fn exposure(&mut self, count: f64, exposure: f64, by_hour: f64) -> f64 {
        if count <= 0.0 {
            self.silence += exposure;
            return 0.0;
        }
        exposure + std::mem::take(&mut self.silence).min(SILENCE_COUNTS / by_hour.max(1e-9))
    }
}

/// Nats for "traffic is back" that a minute gives.
fn back_nats(count: f64, expected: f64, phi: f64) -> f64 {
    log_likelihood_ratio(count, BACK.0 * expected, BACK.1 * expected, phi)
}

/// Adds a minute to the evidence. `llr` is the log likelihood ratio for a null boundary (a share of what is expected) and the
/// share of it that is left in a drop.
fn weigh(evidence: &mut [f64; 3], llr: impl Fn(f64, f64) -> f64) {
    for (evidence, (floor, left)) in evidence.iter_mut().zip(DROPS) {
        *evidence = ((*evidence + OMEGA) * llr(floor, left).exp()).min(CLAMP);
    }
}

fn total(evidence: &[f64; 3]) -> f64 {
    evidence.iter().sum::<f64>() / DROPS.len() as f64
}

/// The hour of the local day in which the middle of a minute lies, and how far it is gone (0 to 1).
fn hour_of(minute: i64, zone_secs: f64) -> (usize, f64) {
    let hours = ((minute as f64 + 0.5) * 60.0 + zone_secs) / 3600.0;
    ((hours.floor() as i64).rem_euclid(24) as usize, hours - hours.floor())
}

#[cfg(test)]
mod tests;
