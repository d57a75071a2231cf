//! One series as it comes to the watch: its lines minute by minute, in the order in which they arrive.
//!
//! Views are counts around a profile of the day and the week; errors, given the views, have the mean `rate × views` and a variance
//! of `phi` times that. A line is stamped at the end of the time it stands for. Only a few minutes are in memory at a time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use spiked::model::batch::Text;
use spiked::model::event::ErrorPart;
use spiked::model::{Batch, Dim, Event, Kind, SeriesKey, Timestamp};

use super::chance::Chance;
use super::class::{DAY, Effect, HOUR, Traits};

/// 2026-03-02T00:00:00Z, a Monday.
const BASE_MS: i64 = 1_772_409_600_000;
/// A page's error rate never exceeds this.
const RATE_MAX: f64 = 0.9;
/// The share of lines that is late where lines are, by how many seconds on average, and at most: what is later is not counted, and
/// at the very limit a view would not be, while its error is.
const LATE: (f64, f64, f64) = (0.2, 60.0, 295.0);
/// Milliseconds before the end of its line at which views, and errors, are stamped.
const STAMP_MS: (i64, i64) = (2, 1);
/// Minutes of a day.
const DAY_MINUTES: usize = 1_440;

/// The traffic of one series.
pub(crate) struct Series {
    traits: Traits,
    chance: Chance,
    /// Factors of views and of the rate for each minute of the day; the mean of the first is 1.
    day_views: Vec<f64>,
    day_rate: Vec<f64>,
    /// The end of the last line, in seconds since the start.
    clock: f64,
    /// The wander's logarithm.
    wander: f64,
    /// Lines that have not arrived yet: arrival, number, and what.
    waiting: BinaryHeap<Reverse<(i64, u64, Line)>>,
    number: u64,
    names: Names,
    told_step: bool,
}

/// One line before it is an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    at: i64,
    kind: u8,
    slice: u8,
    count: u32,
    session: u64,
}

const VIEW: u8 = 0;
const ERROR: u8 = 1;
const DEPLOY: u8 = 2;

/// Texts that stay in the batch for all lines.
#[derive(Clone, Debug, Default)]
struct Names {
    site: Text,
    env: Text,
    page: Text,
    step: Text,
    release: Text,
    browsers: Vec<Text>,
    series: u64,
}

impl Series {
    /// The series from its first second; its texts go into `batch`, of which only the events may be emptied from now on.
    pub(crate) fn new(traits: Traits, mut chance: Chance, batch: &mut Batch) -> Self {
        batch.clear();
        let (site, env, page, step) = ("shop", "production", "/p", "product");
        let mut names = Names {
            site: batch.add_text(site),
            env: batch.add_text(env),
            page: batch.add_text(page),
            step: batch.add_text(step),
            release: batch.add_text("web@2"),
            browsers: Vec::new(),
            series: SeriesKey::hash_of(site, env, page, step),
        };
        names.browsers = (0..traits.slices.len()).map(|browser| batch.add_text(&format!("browser {browser}"))).collect();
        let class = batch.add_text("TypeError");
        let fingerprint = batch.add_text("4f1c9a7e2b60d835");
        batch.errors.push(ErrorPart {
            class,
            message: Text::NONE,
            frame: Text::NONE,
            fingerprint,
            fingerprint_hash: u64::from(fingerprint.hash()),
            level: Text::NONE,
            handled: None,
            status: 0,
        });
        let wander = traits.wander.map_or(0.0, |(sd, _)| sd * chance.normal());
        let (day_views, day_rate) = (day_of_views(&traits), day_of_rate(&traits));
        Self {
            traits,
            chance,
            day_views,
            day_rate,
            clock: 0.0,
            wander,
            waiting: BinaryHeap::new(),
            number: 0,
            names,
            told_step: false,
        }
    }

    /// Puts the arrivals of the next so many minutes in place of the batch's events. False: the series has ended.
    pub(crate) fn fill(&mut self, minutes: u32, batch: &mut Batch) -> bool {
        batch.events.clear();
        let end = (self.clock + 60.0 * f64::from(minutes)).min(self.traits.secs);
        while self.clock < end {
            self.next_line();
            // What is still on its way at the end is not waited for: time would pass without traffic.
            let until = self.millis(self.clock);
            while let Some(Reverse((arrival, _, line))) = self.waiting.peek().filter(|line| line.0.0 < until) {
                batch.events.push(self.event(*arrival, line));
                self.waiting.pop();
            }
        }
        end < self.traits.secs
    }

    /// When it begins.
    pub(crate) fn start(&self) -> Timestamp {
        Timestamp(self.millis(0.0))
    }

    /// When it ends.
    pub(crate) fn end(&self) -> Timestamp {
        Timestamp(self.millis(self.traits.secs))
    }

    fn millis(&self, secs: f64) -> i64 {
        BASE_MS + ((self.traits.start + secs) * 1000.0).round() as i64
    }

    /// Draws the line that comes next, or the single events of its minute.
    fn next_line(&mut self) {
        let secs = if self.traits.line_secs > 0.0 { self.traits.line_secs } else { 60.0 };
        let middle = self.clock + 0.5 * secs;
        self.clock += secs;
        self.tell_step();
        let (views, bots) = self.expected_views(middle, secs);
        let rate = self.rate(middle, secs);
        if self.traits.line_secs == 0.0 {
            self.single_events(views, rate);
            return;
        }
        let delay = self.delay();
        if self.traits.slices.is_empty() {
            self.lines(views, bots, rate, 0, delay);
        }
        for slice in 0..self.traits.slices.len() {
            let share = self.traits.slices[slice];
            self.lines(views * share, bots * share, rate, slice as u8 + 1, delay);
        }
        self.looping_session(middle, secs);
    }

    fn lines(&mut self, views: f64, bots: f64, rate: f64, slice: u8, delay: i64) {
        let people = self.chance.clustered(views, self.traits.views_phi);
        let errors = self.chance.clustered(rate * people as f64, self.traits.phi);
        let robots = self.chance.poisson(bots);
        let end = self.millis(self.clock);
        for (kind, count, before) in [(VIEW, people + robots, STAMP_MS.0), (ERROR, errors, STAMP_MS.1)] {
            if count > 0 {
                // A client sends its views and errors together.
                self.wait(end - STAMP_MS.1 + delay, Line { at: end - before, kind, slice, count: count as u32, session: 0 });
            }
        }
    }

    /// Views of a minute one by one, each of a session of its own; a failed one shows its error shortly after, at times again.
    fn single_events(&mut self, views: f64, rate: f64) {
        let begin = self.millis(self.clock - 60.0);
        for _ in 0..self.chance.poisson(views) {
            let at = begin + (self.chance.share() * 60_000.0) as i64;
            let session = self.chance.word() | 1;
            self.wait(at, Line { at, kind: VIEW, slice: 0, count: 1, session });
            if !self.chance.happens(rate) {
                continue;
            }
            let mut at = at;
            loop {
                at += 50 + self.chance.wait(2_000.0) as i64;
                self.wait(at, Line { at, kind: ERROR, slice: 0, count: 1, session });
                if self.chance.happens(0.7) {
                    break;
                }
            }
        }
    }

    fn looping_session(&mut self, middle: f64, secs: f64) {
        let mut errors = 0.0;
        for stretch in &self.traits.stretches {
            if let Effect::Loop(a_minute) = stretch.effect
                && stretch.from <= middle
                && middle < stretch.to
            {
                errors += a_minute * secs / 60.0;
            }
        }
        let count = self.chance.poisson(errors) as u32;
        if count > 0 {
            let at = self.millis(self.clock) - STAMP_MS.1;
            self.wait(at, Line { at, kind: ERROR, slice: 0, count, session: 0x10_0b });
        }
    }

    /// The release marker of a small step.
    fn tell_step(&mut self) {
        let Some((at, _)) = self.traits.step.filter(|(at, _)| !self.told_step && *at <= self.clock) else { return };
        self.told_step = true;
        let at = self.millis(at);
        self.wait(at, Line { at, kind: DEPLOY, slice: 0, count: 1, session: 0 });
    }

    /// Expected views of people and of bots in a line around `middle`.
    fn expected_views(&self, middle: f64, secs: f64) -> (f64, f64) {
        let day_part = self.day_views[self.minute_of_day(middle)];
        let weekend = if self.is_weekend(middle) { self.traits.weekend_views } else { 1.0 };
        let (mut people, mut bots) = (self.traits.views * day_part * weekend * secs / 60.0, 0.0);
        for stretch in self.traits.stretches.iter().filter(|stretch| stretch.from <= middle && middle < stretch.to) {
            match stretch.effect {
                Effect::Surge(factor) => people *= factor,
                Effect::Bots(factor) => bots += people * (factor - 1.0),
                Effect::Silence => return (0.0, 0.0),
                Effect::Loop(_) => {}
            }
        }
        (people, bots)
    }

    /// Errors a view in a line around `middle`.
    fn rate(&mut self, middle: f64, secs: f64) -> f64 {
        let traits = &self.traits;
        let mut rate = traits.rate * self.day_rate[self.minute_of_day(middle)];
        if traits.weekend_rate != 1.0 && self.is_weekend(middle) {
            rate *= traits.weekend_rate;
        }
        if traits.drift != 1.0 {
            rate *= traits.drift.powf(middle / traits.secs);
        }
        if let Some((_, factor)) = traits.step.filter(|(at, _)| *at <= middle) {
            rate *= factor;
        }
        // What multiplies at random has the mean 1.
        if let Some((sd, relax)) = traits.wander {
            let keep = (-secs / relax).exp();
            self.wander = keep * self.wander + sd * (1.0 - keep * keep).sqrt() * self.chance.normal();
            rate *= (self.wander - 0.5 * sd * sd).exp();
        }
        if traits.noise > 0.0 {
            rate *= (traits.noise * self.chance.normal() - 0.5 * traits.noise * traits.noise).exp();
        }
        rate.min(RATE_MAX)
    }

    fn minute_of_day(&self, at: f64) -> usize {
        ((self.traits.start + at) / 60.0) as usize % DAY_MINUTES
    }

    fn is_weekend(&self, at: f64) -> bool {
        ((self.traits.start + at) / DAY) as u64 % 7 >= 5
    }

    fn delay(&mut self) -> i64 {
        if !self.traits.late || !self.chance.happens(LATE.0) {
            return 0;
        }
        (self.chance.wait(LATE.1).min(LATE.2) * 1000.0) as i64
    }

    fn wait(&mut self, arrival: i64, line: Line) {
        self.number += 1;
        self.waiting.push(Reverse((arrival, self.number, line)));
    }

    fn event(&self, arrival: i64, line: &Line) -> Event {
        let names = &self.names;
        let mut dims = [Text::NONE; Dim::COUNT];
        if line.slice > 0 {
            dims[Dim::Browser as usize] = names.browsers[usize::from(line.slice) - 1];
        }
        let kind = match line.kind {
            VIEW => Kind::View,
            ERROR => Kind::Error,
            _ => {
                dims[Dim::Release as usize] = names.release;
                Kind::Deploy
            }
        };
        Event {
            at: Timestamp(line.at),
            arrival: Timestamp(arrival),
            kind,
            count: line.count,
            companion: false,
            site: names.site,
            env: names.env,
            page: names.page,
            step: names.step,
            series: names.series,
            session: line.session,
            id: 0,
            dims,
            tags: (0, 0),
            part: 0,
        }
    }
}

fn minutes_of_day() -> impl Iterator<Item = f64> {
    (0..DAY_MINUTES).map(|minute| (minute as f64 + 0.5) / 60.0)
}

fn turn(hour: f64, peak: f64) -> f64 {
    (hour - peak) * std::f64::consts::TAU / 24.0
}

/// Views around the clock: one peak, leaning towards the evening; the mean of a day is 1.
fn day_of_views(traits: &Traits) -> Vec<f64> {
    let (height, peak) = (traits.day_height, traits.day_peak);
    let factor = |hour: f64| (height * turn(hour, peak).cos() + 0.25 * height * (2.0 * turn(hour, peak + 2.0)).cos()).exp();
    let day: Vec<f64> = minutes_of_day().map(factor).collect();
    let mean = day.iter().sum::<f64>() / day.len() as f64;
    day.iter().map(|factor| factor / mean).collect()
}

/// The rate around the clock: a cosine in logs, and the nightly batch.
fn day_of_rate(traits: &Traits) -> Vec<f64> {
    let factor = |hour: f64| {
        let batch = traits.night.filter(|(from, _)| (*from..from + HOUR).contains(&(hour * HOUR))).map_or(1.0, |(_, f)| f);
        batch * (traits.rate_height * turn(hour, traits.rate_peak).cos()).exp()
    };
    minutes_of_day().map(factor).collect()
}
