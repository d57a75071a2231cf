//! `drop`: a stream of views (or of a named event) fell beneath what is usual for the hour: the machine of `spike` turned down.
//!
//! Counts are gathered in minutes of event time, and a minute is closed when the clock has passed it. Where a stream's lines come
//! late as a habit, so much longer is waited: its own lateness is learned, so that silence is never mistaken for delay. Each closed minute is held against a null boundary, a share of what is expected:
//! evidence that the traffic lies beneath even that is gathered by a Shiryaev–Roberts mixture in units of weeks, so the budget
//! is false alarms per series-week (see [`crate::stats::shiryaev_roberts`]). A silent minute is an observation too: whoever owns
//! a stream asks [`Traffic::wake`] when to look at the latest. Minutes are closed in order and one by one, whenever they are
//! caught up with, so the answer does not depend on how often one looks.
//!
//! It learns a mean for each hour of the day and a local level, only while nothing is suspicious. The level is capped at the
//! usual one, and a minute teaches the hours no more than a multiple of what is usual: the end of a campaign or of a visit of
//! bots is not a drop, nor is the same hour on the day after. The first day knows no hours, so only near-silence counts there.

use serde::{Deserialize, Serialize};

use crate::stats::decay;
use crate::stats::gamma::quantile_factor;
use crate::stats::nb1::log_likelihood_ratio;

/// The null boundary as a share of what is expected; on the first day the second.
const FLOOR: (f64, f64) = (0.5, 0.1);
/// The drops looked for, as shares of the null boundary, with equal weights.
const RATIOS: [f64; 3] = [0.4, 0.15, 0.03];
/// A minute's share of a week.
const OMEGA: f64 = 1.0 / 10_080.0;
/// Minutes of a day, and those before anything may be said.
const DAY: i64 = 1_440;
const YOUNG: i64 = 60;
/// Evidence above one minute's share at which learning stops, in nats.
const SUSPICION: f64 = 4.0;
/// Nats of evidence for "traffic is back": 70 % of what is expected against 10 %.
const RESOLVE_NATS: f64 = 5.0;
const BACK: (f64, f64) = (0.1, 0.7);
/// Minutes by which an hour's mean is drawn to the day's, and the local level to 1.
const HOUR_PRIOR: f64 = 5.0;
const LEVEL_PRIOR: f64 = 20.0;
/// After so many minutes, a minute teaches at most this multiple of what is usual, and what chance may add to it (in standard
/// deviations, and one).
const SURGE: (i64, f64, f64) = (240, 1.5, 3.0);
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
/// Minutes that are open at once: the lateness allowed by default and the one that runs.
const OPEN: usize = 6;
/// Lateness is learned from so large a part of a minute's expectation, and forgotten with this half-life in minutes.
const LATE_SHARE: f64 = 0.2;
const LATE_HALF: f64 = 2_880.0;
/// Most evidence of one minute in such a stream, in nats: half of what an alert needs.
const LATE_CAP: f64 = 9.0;
/// Evidence is clamped here.
const CLAMP: f64 = 1e200;

/// The traffic of one group, minute by minute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    born: i64,
    /// The minute that is being filled, since the epoch.
    minute: i64,
    /// What has come for that minute and those after it.
    open: [f64; OPEN],
    /// Minutes by which a good part of a minute's count came late of late.
    late: f64,
    evidence: [f64; 3],
    /// Views and minutes for each hour of the local day.
    hours: [(f32, f32); 24],
    day: (f64, f64),
    level: (f64, f64),
    noise: (f64, f64),
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
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Firing {
    since: i64,
    back: f64,
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
    /// Expected count a minute.
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
            open: [0.0; OPEN],
            late: 0.0,
            evidence: [0.0; 3],
            hours: [(0.0, 0.0); 24],
            day: (1.0, 1.0),
            level: (1.0, 1.0),
            noise: (30.0, 15.0),
            before: None,
            onset: Since { minute, ..Since::default() },
            score: 0.0,
            firing: None,
        }
    }

    /// Counts into the minute in which it happened; `now` is the minute in which it came.
    pub fn add(&mut self, minute: i64, now: i64, count: f64) {
        if minute < self.minute && count >= LATE_SHARE * self.day.0 / self.day.1 {
            self.late = self.late.max((now - minute) as f64).min((OPEN - 1) as f64);
        }
        self.open[(minute - self.minute).clamp(0, OPEN as i64 - 1) as usize] += count;
    }

    fn lag(&self) -> i64 {
        (self.late - 0.1).ceil() as i64
    }

    /// Closes the next minute that is over at `now` (a minute since the epoch that has begun). `None`: all are closed.
    ///
    /// `zone_secs` is the site's offset from UTC, `threshold` that of the rule.
    pub fn close_next(&mut self, now: i64, zone_secs: f64, threshold: f64) -> Option<Option<Change>> {
        (self.minute + self.lag() < now).then(|| self.close(zone_secs, threshold))
    }

    /// Leaves out all minutes before `minute`: nobody was there to count them.
    pub fn skip_to(&mut self, minute: i64) {
        if self.minute < minute {
            (self.minute, self.open, self.before, self.score) = (minute, [0.0; OPEN], None, 0.0);
            self.evidence = [0.0; 3];
            self.onset = Since { minute, ..Since::default() };
        }
    }

    fn close(&mut self, zone_secs: f64, threshold: f64) -> Option<Change> {
        let (minute, count) = (self.minute, self.open[0]);
        self.open.rotate_left(1);
        self.open[OPEN - 1] = 0.0;
        self.minute += 1;
        self.late *= decay(1.0, LATE_HALF);
        let season = self.season(minute, zone_secs);
        let expected = self.expected_from(season);
        let phi = self.phi();
        self.onset.count += count;
        self.onset.expected += expected;
        if let Some(firing) = &mut self.firing {
            let (low, high) = (BACK.0 * expected, BACK.1 * expected);
            firing.back = (firing.back + log_likelihood_ratio(count, low, high, phi)).max(0.0);
            let lasting = minute - firing.since > DAY && count > 0.0;
            if firing.back < RESOLVE_NATS && !lasting {
                return None;
            }
            if lasting && firing.back < RESOLVE_NATS {
                *self = Self::new(minute + 1);
                return Some(Change::NewUsual);
            }
            self.forget_firing();
            return Some(Change::Back);
        }
        let boundary = expected * self.floor(minute);
        self.weigh(count, boundary, phi);
        if minute - self.born > YOUNG && self.total() > threshold {
            self.firing = Some(Firing { since: minute, back: 0.0 });
            return Some(Change::Fell);
        }
        if self.total() < SUSPICION.exp() * OMEGA {
            self.learn(minute, zone_secs, count, season, expected);
        }
        None
    }

    fn weigh(&mut self, count: f64, boundary: f64, phi: f64) {
        // Where lines come late, one that is missing is never enough alone.
        let cap = if self.lag() > 0 { LATE_CAP } else { f64::INFINITY };
        for (evidence, ratio) in self.evidence.iter_mut().zip(RATIOS) {
            let llr = log_likelihood_ratio(count, boundary, boundary * ratio, phi).min(cap);
            *evidence = ((*evidence + OMEGA) * llr.exp()).min(CLAMP);
        }
        // Page's CUSUM: its last zero is the most likely start.
        self.score += log_likelihood_ratio(count, boundary, boundary * RATIOS[1], phi);
        if self.score <= 0.0 {
            self.score = 0.0;
            self.onset = Since { minute: self.minute, ..Since::default() };
        }
    }

    fn learn(&mut self, minute: i64, zone_secs: f64, count: f64, season: f64, expected: f64) {
        let keep = decay(24.0, HOUR_HALF) as f32;
        let most = SURGE.1 * season + SURGE.2 * (self.phi() * season).sqrt() + 1.0;
        let taught = if minute - self.born < SURGE.0 { count } else { count.min(most) };
        let (views, minutes) = &mut self.hours[hour_of(minute, zone_secs).0];
        (*views, *minutes) = (*views * keep + taught as f32, *minutes * keep + 1.0);
        self.day = (self.day.0 * DAY_KEEP + taught, self.day.1 * DAY_KEEP + 1.0);
        let keep = decay(1.0, LEVEL_HALF);
        self.level = (self.level.0 * keep + count / season.max(1e-9), self.level.1 * keep + 1.0);
        if let Some((last, mean)) = self.before {
            let both = expected + mean;
            let (v, d) = (expected * mean / both, (count * mean - last * expected) / both);
            let most = 36.0 * self.phi() * v + 4.0;
            self.noise = (self.noise.0 * NOISE_KEEP + (d * d).min(most), self.noise.1 * NOISE_KEEP + v);
        }
        self.before = Some((count, expected));
    }

    /// Usual count a minute at the middle of a minute, linear between the middles of hours.
    fn season(&self, minute: i64, zone_secs: f64) -> f64 {
        let (hour, at) = hour_of(minute, zone_secs);
        let of = |hour| self.hour_mean(hour);
        if at < 0.5 {
            (0.5 - at) * of(hour + 23) + (0.5 + at) * of(hour)
        } else {
            (1.5 - at) * of(hour) + (at - 0.5) * of(hour + 1)
        }
    }

    /// Usual count a minute of an hour of the day, drawn to the day's mean while little is known.
    fn hour_mean(&self, hour: usize) -> f64 {
        let (views, minutes) = self.hours[hour % 24];
        (f64::from(views) + HOUR_PRIOR * self.day.0 / self.day.1) / (f64::from(minutes) + HOUR_PRIOR)
    }

    /// The season at today's level; a level above the usual one is not believed.
    fn expected_from(&self, season: f64) -> f64 {
        (season * ((self.level.0 + LEVEL_PRIOR) / (self.level.1 + LEVEL_PRIOR)).min(1.0)).max(EXPECTED_MIN)
    }

    fn floor(&self, minute: i64) -> f64 {
        if minute - self.born < DAY { FLOOR.1 } else { FLOOR.0 }
    }

    fn phi(&self) -> f64 {
        (self.noise.0 / self.noise.1).max(1.0)
    }

    fn total(&self) -> f64 {
        self.evidence.iter().sum::<f64>() / RATIOS.len() as f64
    }

    /// The minute at whose beginning the stream must be looked at even if nothing comes: not later than its silence could cross.
    pub fn wake(&self, zone_secs: f64, threshold: f64) -> i64 {
        if self.firing.is_some() {
            let something = self.open.iter().sum::<f64>() > 0.0;
            return self.minute + self.lag() + if something { 1 } else { WAKE_MOST };
        }
        // Seasons are linear between the middles of hours: their greatest value lies there or at the ends.
        let seasons = [0, 30, WAKE_MOST].map(|ahead| self.season(self.minute + ahead, zone_secs));
        let (hour, _) = hour_of(self.minute, zone_secs);
        let middles = [0, 1].map(|ahead| self.hour_mean(hour + ahead));
        // What the open minute still teaches may raise it a little.
        let most = seasons.into_iter().chain(middles).fold(EXPECTED_MIN, f64::max) * FLOOR.0 * 1.1;
        let gain = log_likelihood_ratio(0.0, most, most * RATIOS[2], self.phi());
        let total = self.total();
        let reaches = |minutes: i64| (total + minutes as f64 * OMEGA).ln() + minutes as f64 * gain > threshold.ln();
        let wait = (1..WAKE_MOST).find(|minutes| reaches(*minutes)).unwrap_or(WAKE_MOST);
        self.minute + self.lag() + wait
    }

    /// Whether it fell and is not back.
    pub const fn is_firing(&self) -> bool {
        self.firing.is_some()
    }

    /// Forgets that it fell, and the evidence; keeps what was learned.
    pub fn forget_firing(&mut self) {
        (self.firing, self.evidence, self.before, self.score) = (None, [0.0; 3], None, 0.0);
        self.onset = Since { minute: self.minute, ..Since::default() };
    }

    /// What is known now.
    pub fn view(&self, zone_secs: f64) -> View {
        let season = self.season(self.minute, zone_secs);
        let expected = self.expected_from(season);
        let shape = ((self.level.1 + LEVEL_PRIOR) * expected / self.phi()).max(0.1);
        View {
            expected,
            expected_range: (expected * quantile_factor(shape, -1.2816), expected * quantile_factor(shape, 1.2816)),
            evidence: self.total(),
            phi: self.phi(),
            season: season / (self.day.0 / self.day.1).max(1e-9),
            since: Since { count: self.onset.count + self.open.iter().sum::<f64>(), ..self.onset },
        }
    }

    /// Whether enough was heard to expect anything.
    pub const fn is_known(&self) -> bool {
        self.minute - self.born > YOUNG
    }
}

/// The hour of the local day in which the middle of a minute lies, and how far it is gone (0 to 1).
fn hour_of(minute: i64, zone_secs: f64) -> (usize, f64) {
    let hours = ((minute as f64 + 0.5) * 60.0 + zone_secs) / 3600.0;
    ((hours.floor() as i64).rem_euclid(24) as usize, hours - hours.floor())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds minutes with a steady rate; the changes with the minutes after which they came.
    fn feed(traffic: &mut Traffic, minutes: i64, rate: f64) -> Vec<(i64, Change)> {
        let start = traffic.minute;
        let mut carry = 0.5;
        let mut changes = Vec::new();
        for minute in start..start + minutes {
            carry += rate;
            traffic.add(minute, minute, carry.floor());
            carry -= carry.floor();
            let change = traffic.close_next(minute + 1, 0.0, threshold(0.001)).unwrap();
            changes.extend(change.map(|change| (minute + 1 - start, change)));
        }
        changes
    }

    #[test]
    fn silence_fires_as_soon_as_the_budget_allows_and_only_traffic_resolves() {
        for (rate, soonest, latest) in [(60.0, 1, 2), (1.0, 19, 70)] {
            let mut traffic = Traffic::new(0);
            assert_eq!(feed(&mut traffic, 2 * DAY, rate), []);
            let changes = feed(&mut traffic, 600, 0.0);
            let [(at, Change::Fell)] = changes[..] else { panic!("{changes:?}") };
            assert!((soonest..=latest).contains(&at), "rate {rate}: {at} min");
            assert_eq!(traffic.onset.count, 0.0);
            assert_eq!(feed(&mut traffic, 2 * DAY, 0.0), [], "no data resolves nothing");
            let changes = feed(&mut traffic, 60, rate);
            assert!(matches!(changes[..], [(1..=30, Change::Back)] | [(1, Change::NewUsual)]), "rate {rate}: {changes:?}");
        }
    }

    #[test]
    fn a_tenth_of_the_traffic_is_a_drop_and_half_is_none() {
        let mut traffic = Traffic::new(0);
        feed(&mut traffic, 2 * DAY, 40.0);
        assert_eq!(feed(&mut traffic.clone(), 240, 24.0), []);
        let changes = feed(&mut traffic, 30, 3.0);
        assert!(matches!(changes[..], [(1..=3, Change::Fell)]), "{changes:?}");
        let view = traffic.view(0.0);
        assert!((view.expected / 40.0 - 1.0).abs() < 0.1, "the drop was learned: {view:?}");
    }

    #[test]
    fn the_end_of_a_surge_is_no_drop_and_a_lasting_change_is_accepted() {
        let mut traffic = Traffic::new(0);
        feed(&mut traffic, 3 * DAY, 20.0);
        feed(&mut traffic, 120, 200.0);
        assert_eq!(feed(&mut traffic, 120, 20.0), []);
        let changes = feed(&mut traffic, 2 * DAY, 1.0);
        assert!(matches!(changes[..], [(_, Change::Fell), (1442..=1450, Change::NewUsual)]), "{changes:?}");
    }

    #[test]
    fn nothing_is_said_in_the_first_hour_and_only_of_near_silence_on_the_first_day() {
        let mut traffic = Traffic::new(0);
        feed(&mut traffic, 20, 100.0);
        assert_eq!(feed(&mut traffic.clone(), 40, 0.0), []);
        feed(&mut traffic, 300, 100.0);
        assert_eq!(feed(&mut traffic.clone(), 120, 20.0), []);
        assert!(matches!(feed(&mut traffic, 10, 0.0)[..], [(_, Change::Fell)]));
    }

    #[test]
    fn a_stream_whose_lines_come_late_as_a_habit_is_waited_for() {
        let mut traffic = Traffic::new(0);
        let mut changes = Vec::new();
        for now in 0..2 * DAY {
            // Every tenth line comes three minutes late.
            let lines = [(now, now % 10 != 0), (now - 3, now % 10 == 3)];
            for (minute, _) in lines.into_iter().filter(|(_, comes)| *comes) {
                traffic.add(minute, now, 600.0);
            }
            while let Some(change) = traffic.close_next(now + 1, 0.0, threshold(0.001)) {
                changes.extend(change);
            }
        }
        assert_eq!(changes, []);
        assert_eq!(traffic.lag(), 3);
    }

    #[test]
    fn the_wake_is_never_later_than_the_crossing() {
        for rate in [0.05, 0.3, 1.0, 7.0, 100.0] {
            let mut traffic = Traffic::new(0);
            feed(&mut traffic, 2 * DAY, rate);
            let mut asked = traffic.wake(0.0, threshold(0.001));
            while traffic.firing.is_none() && traffic.minute < 10 * DAY {
                if traffic.minute == asked {
                    asked = traffic.wake(0.0, threshold(0.001));
                }
                feed(&mut traffic, 1, 0.0);
                assert!(traffic.firing.is_none() || traffic.minute >= asked, "rate {rate}: crossed before the wake");
            }
        }
    }
}
