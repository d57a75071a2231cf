//! The kinds of clean traffic, and what is drawn for one series of each.
//!
//! Ranges are wide on purpose: from five views an hour to 20,000 a minute, from one error in ten million views to one in twenty.
//! Whatever happens to a series here, its error *rate* does nothing that someone should be woken for: no more than a factor of
//! two over days, 20 % at once, or what the hour and the weekday always do.

use super::chance::Chance;

/// Seconds of an hour and a day.
pub(crate) const HOUR: f64 = 3_600.0;
pub(crate) const DAY: f64 = 86_400.0;

/// A kind of clean traffic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Class {
    /// What tables call it.
    pub(crate) name: &'static str,
    /// Its share of all series-weeks, beside the others'.
    pub(crate) weight: f64,
    /// How long a series runs, in days: from, to.
    days: (f64, f64),
    /// Days that a watch is given to see for the first time what always happens; they are neither exposure nor alarms.
    pub(crate) seen_after: f64,
    /// Whether the promise about false alarms covers it. A rate that jumps at fixed times is reported beside the others.
    pub(crate) promised: bool,
    shape: fn(&mut Chance, &mut Traits),
}

/// All kinds, in the order of the tables.
pub(crate) const CLASSES: [Class; 20] = [
    class("plain", 20.0, 7.0, |_, _| {}),
    class("ten-second lines", 3.0, 7.0, |_, traits| traits.line_secs = 10.0),
    class("four browsers", 3.0, 7.0, |chance, traits| traits.slices = shares(chance, 4)),
    class("low traffic, single events", 6.0, 7.0, low_traffic),
    class("near-zero rate", 5.0, 7.0, |chance, traits| traits.rate = chance.magnitude(1e-7, 1e-5)),
    class("over-dispersed", 8.0, 7.0, |chance, traits| traits.phi = chance.magnitude(1.5, 8.0)),
    class("bursty traffic", 6.0, 7.0, bursty),
    class("lognormal noise", 5.0, 7.0, lognormal),
    class("wander", 8.0, 7.0, wander),
    class("drift", 5.0, 7.0, drift),
    class("small step", 4.0, 7.0, small_step),
    class("seasonal rate", 10.0, 9.0, seasonal),
    class("surge", 8.0, 7.0, surge),
    class("views of bots", 4.0, 7.0, bots),
    class("looping session", 4.0, 7.0, looping),
    class("outage", 4.0, 7.0, outage),
    class("gaps, late lines", 6.0, 7.0, gaps),
    Class { days: (0.05, 0.3), ..class("cold start", 1.0, 0.0, |_, _| {}) },
    // From the second weekend, and from the fourth night on.
    Class { seen_after: 9.0, promised: false, ..class("weekend rate", 4.0, 37.0, weekend) },
    Class { seen_after: 3.0, promised: false, ..class("nightly batch", 4.0, 17.0, nightly) },
];

const fn class(name: &'static str, weight: f64, days: f64, shape: fn(&mut Chance, &mut Traits)) -> Class {
    Class { name, weight, days: (days, days), seen_after: 0.0, promised: true, shape }
}

/// What a stretch of time does to a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Effect {
    /// That many times the views, with their errors.
    Surge(f64),
    /// That many times the views, the additional ones without errors.
    Bots(f64),
    /// Nothing comes: a page that is down, or data that is lost.
    Silence,
    /// One session throws that many errors a minute.
    Loop(f64),
}

/// An effect from one second to another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) effect: Effect,
}

/// What is drawn for one series. Times are seconds since its first one.
#[derive(Clone, Debug)]
pub(crate) struct Traits {
    /// How long it runs; a whole number of minutes.
    pub(crate) secs: f64,
    /// When its week begins, in seconds after a Monday's midnight.
    pub(crate) start: f64,
    /// Mean views a minute.
    pub(crate) views: f64,
    /// Variance over mean of views in a line.
    pub(crate) views_phi: f64,
    /// Height and hour of the daily peak of views, and what the weekend has of them.
    pub(crate) day_height: f64,
    pub(crate) day_peak: f64,
    pub(crate) weekend_views: f64,
    /// Errors a view.
    pub(crate) rate: f64,
    /// Variance over mean of errors given the views.
    pub(crate) phi: f64,
    /// Height (in logs) and hour of the daily peak of the rate.
    pub(crate) rate_height: f64,
    pub(crate) rate_peak: f64,
    /// What the rate is multiplied by on weekends.
    pub(crate) weekend_rate: f64,
    /// An hour of each night, and what multiplies the rate in it.
    pub(crate) night: Option<(f64, f64)>,
    /// Standard deviation (in logs) and relaxation time of an Ornstein–Uhlenbeck process that multiplies the rate.
    pub(crate) wander: Option<(f64, f64)>,
    /// What the rate is multiplied by over the whole time, evenly in logs.
    pub(crate) drift: f64,
    /// A release that multiplies the rate from then on.
    pub(crate) step: Option<(f64, f64)>,
    /// Standard deviation (in logs) of independent noise that multiplies the rate in each line.
    pub(crate) noise: f64,
    pub(crate) stretches: Vec<Stretch>,
    /// A fifth of the lines comes late, by a minute on average and five at most.
    pub(crate) late: bool,
    /// Seconds that a line stands for; 0: each view and each error is an event of its own, with its session.
    pub(crate) line_secs: f64,
    /// Shares of the values of a dimension; empty where lines say none.
    pub(crate) slices: Vec<f64>,
}

impl Class {
    /// Draws the traits of the series of that number.
    pub(crate) fn draw(&self, chance: &mut Chance) -> Traits {
        let days = chance.between(self.days.0, self.days.1);
        let mut traits = Traits {
            secs: (days * DAY / 60.0).floor() * 60.0,
            start: (chance.between(0.0, 7.0 * DAY) / 60.0).floor() * 60.0,
            views: chance.magnitude(0.05, 20_000.0),
            views_phi: 1.2,
            day_height: chance.between(0.0, 0.9),
            day_peak: chance.between(10.0, 20.0),
            weekend_views: chance.between(0.4, 1.3),
            rate: chance.magnitude(1e-5, 0.05),
            phi: if chance.happens(0.5) { 1.0 } else { chance.magnitude(1.2, 3.0) },
            rate_height: 0.0,
            rate_peak: chance.between(0.0, 24.0),
            weekend_rate: 1.0,
            night: None,
            wander: None,
            drift: 1.0,
            step: None,
            noise: 0.0,
            stretches: Vec::new(),
            late: false,
            line_secs: 60.0,
            slices: Vec::new(),
        };
        (self.shape)(chance, &mut traits);
        traits
    }
}

impl Traits {
    /// A stretch of some length that begins in the second half.
    fn stretch(&mut self, chance: &mut Chance, secs: (f64, f64), effect: Effect) {
        let length = chance.magnitude(secs.0, secs.1);
        let from = chance.between(0.35 * self.secs, (self.secs - length - 2.0 * HOUR).max(0.4 * self.secs));
        self.stretches.push(Stretch { from, to: from + length, effect });
    }
}

/// A factor up or down.
fn ratio(chance: &mut Chance, low: f64, high: f64) -> f64 {
    let factor = chance.magnitude(low, high);
    if chance.happens(0.5) { factor } else { 1.0 / factor }
}

fn shares(chance: &mut Chance, count: usize) -> Vec<f64> {
    let parts: Vec<f64> = (0..count).map(|_| chance.wait(1.0) + 0.05).collect();
    let sum: f64 = parts.iter().sum();
    parts.iter().map(|part| part / sum).collect()
}

fn low_traffic(chance: &mut Chance, traits: &mut Traits) {
    traits.line_secs = 0.0;
    traits.views = chance.magnitude(1.0, 30.0) / 60.0;
    traits.rate = chance.magnitude(1e-3, 0.1);
}

/// Views come in crowds: crawlers, feeds, a message to all phones.
fn bursty(chance: &mut Chance, traits: &mut Traits) {
    traits.views_phi = chance.magnitude(5.0, 50.0);
    traits.phi = chance.magnitude(1.2, 5.0);
    let each = traits.secs / 21.0;
    let mut from = chance.wait(each);
    while from < traits.secs {
        let to = from + chance.magnitude(60.0, 600.0);
        traits.stretches.push(Stretch { from, to, effect: Effect::Surge(chance.magnitude(3.0, 20.0)) });
        from = to + chance.wait(each);
    }
}

fn lognormal(chance: &mut Chance, traits: &mut Traits) {
    traits.noise = chance.between(0.1, 0.6);
    traits.rate_height = chance.between(0.0, 0.3);
    traits.phi = [1.0, 1.5, 3.0][(chance.word() % 3) as usize];
}

fn wander(chance: &mut Chance, traits: &mut Traits) {
    traits.wander = Some((chance.between(0.1, 0.3), chance.magnitude(1_800.0, 10_800.0)));
}

fn drift(chance: &mut Chance, traits: &mut Traits) {
    traits.drift = ratio(chance, 1.3, 2.0);
}

fn small_step(chance: &mut Chance, traits: &mut Traits) {
    let at = (chance.between(0.5, 0.9) * traits.secs / 60.0).floor() * 60.0;
    traits.step = Some((at, chance.between(1.08, 1.2)));
}

fn seasonal(chance: &mut Chance, traits: &mut Traits) {
    traits.rate_height = chance.between(0.2, 0.5);
    traits.day_height = chance.between(0.6, 1.2);
}

fn weekend(chance: &mut Chance, traits: &mut Traits) {
    traits.weekend_rate = ratio(chance, 1.2, 1.8);
}

fn nightly(chance: &mut Chance, traits: &mut Traits) {
    traits.night = Some(((chance.between(0.0, 5.0) * 4.0).floor() / 4.0 * HOUR, chance.magnitude(3.0, 10.0)));
}

fn surge(chance: &mut Chance, traits: &mut Traits) {
    traits.views = traits.views.min(3_000.0);
    let factor = chance.magnitude(3.0, 30.0);
    traits.stretch(chance, (1_200.0, 4.0 * HOUR), Effect::Surge(factor));
}

fn bots(chance: &mut Chance, traits: &mut Traits) {
    let factor = chance.magnitude(2.0, 20.0);
    traits.stretch(chance, (1_200.0, 2.0 * HOUR), Effect::Bots(factor));
}

fn looping(chance: &mut Chance, traits: &mut Traits) {
    for _ in 0..3 {
        let errors = chance.magnitude(5.0, 300.0);
        traits.stretch(chance, (120.0, 1.5 * HOUR), Effect::Loop(errors));
    }
}

fn outage(chance: &mut Chance, traits: &mut Traits) {
    traits.views = traits.views.max(20.0);
    traits.stretch(chance, (1_200.0, 2.0 * HOUR), Effect::Silence);
}

fn gaps(chance: &mut Chance, traits: &mut Traits) {
    traits.late = true;
    for _ in 0..2 {
        traits.stretch(chance, (1_200.0, 6.0 * HOUR), Effect::Silence);
    }
}
