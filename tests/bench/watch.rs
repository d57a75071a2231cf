//! Measures the first core: time for each event through the watch, from a thousand series to a hundred thousand, against counting
//! the same events in a hash map in the same process; how that grows with the number of series; and memory for each series.
//!
//! ```sh
//! cargo bench --bench watch                # up to 100,000 series
//! cargo bench --bench watch -- --large     # up to 1,000,000: several GB with dimensions
//! cargo bench --bench watch -- --large --draw      # also draws docs/pictures/growth.svg
//! ```
//!
//! Events come in batches of a thousand, 2,000 in a second of event time, a hundredth of them errors; a few pages have most of the
//! traffic (Zipf). All series exist before anything is measured. Making and parsing events is not in the figures, the
//! judgement of every second is. Times are medians of five runs. Ratios can be compared between machines, nanoseconds cannot.
//!
//! `growth` is the time against that of the first size. Memory is the growth of the resident set by the whole watch. Each row is
//! measured in a process of its own.
#![allow(clippy::print_stdout, reason = "a bench prints its tables")]

#[path = "../sim/chance.rs"]
#[allow(dead_code, reason = "traffic needs more kinds of chance than a bench")]
mod chance;
mod growth;
#[allow(dead_code, reason = "each bench uses its part")]
mod measure;
#[path = "../sim/rules.rs"]
mod rules;

use chance::Chance;
use measure::{Zipf, counting, in_own_process, median, one, resident, sizes, timed};
use rules::config_of;
use spiked::model::Text;
use spiked::model::event::ErrorPart;
use spiked::model::{Batch, Dim, Event, Kind, SeriesKey, Timestamp};
use spiked::watch::{Input, Output, Watch};

/// 2026-03-02T00:00:00Z in milliseconds.
const BASE_MS: i64 = 1_772_409_600_000;
/// Events of a batch, of a second, in memory at once, of a run; and runs.
const BATCH: usize = 1_000;
const A_SECOND: usize = 2_000;
const CHUNK: usize = 100_000;
const EVENTS: usize = 400_000;
const RUNS: usize = 5;
const ERRORS: f64 = 0.01;

const SPIKE: &str = "  - alert: Spike\n    spike: {of: error_rate}\n";
const OTHERS: &str = "  - alert: Drop\n    drop: {of: views}\n  \
     - alert: Often\n    frequency: {of: errors, more_than: 1000, within: 5m}\n  \
     - alert: New\n    first_seen: {of: error}\n  \
     - alert: Silent\n    by: []\n    absent: {of: views, for: 15m}\n";

/// Rules and traffic of one table.
struct Load {
    name: &'static str,
    rules: String,
    dims: bool,
    sessions: bool,
}

/// All texts and events of a size.
struct Traffic {
    batch: Batch,
    site: (Text, Text),
    pages: Vec<(Text, u64)>,
    browsers: Vec<Text>,
    countries: Vec<Text>,
    zipf: Zipf,
    chance: Chance,
    sent: usize,
    /// Batches that are made before they are sent; kept, so that their memory is nobody's.
    ready: Vec<Vec<Event>>,
}

fn loads() -> [Load; 5] {
    let one = format!("rules:\n{SPIKE}");
    let five = format!("{one}{OTHERS}");
    [
        Load { name: "no rule", rules: "rules: []\n".to_owned(), dims: false, sessions: false },
        Load { name: "one spike rule", rules: one.clone(), dims: false, sessions: false },
        Load { name: "five rules", rules: five.clone(), dims: false, sessions: false },
        Load { name: "one spike rule, two dimensions", rules: one, dims: true, sessions: false },
        Load { name: "five rules, two dimensions, sessions", rules: five, dims: true, sessions: true },
    ]
}

fn main() {
    if let Some(words) = one() {
        let number = |place: usize| words[place].parse::<usize>().expect("a load and a number of series");
        cost(&loads()[number(0)], number(1));
        return;
    }
    println!("| load | series | ns an event | counting, ns an event | ratio | growth | resident bytes a series |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    let mut curves = Vec::new();
    for (place, load) in loads().iter().enumerate() {
        let (mut first, mut points) = (None, Vec::new());
        for series in sizes(&[1_000, 10_000, 100_000]) {
            let found = in_own_process(&[place.to_string(), series.to_string()]);
            let [event, counting, bytes] = found[..] else { panic!("three numbers, not {found:?}") };
            let (ratio, growth) = (event / counting, event / *first.get_or_insert(event));
            points.push((series, growth));
            println!("| {} | {series} | {event:.0} | {counting:.1} | {ratio:.1} | {growth:.2} | {bytes:.0} |", load.name);
        }
        curves.push(growth::Curve { name: load.name, points });
    }
    if std::env::args().any(|word| word == "--draw") {
        growth::draw(&curves);
    }
}

/// Measures and prints: nanoseconds an event through the watch and through a hash map, and resident bytes a series.
fn cost(load: &Load, series: usize) {
    let mut traffic = Traffic::new(series);
    let mut keys = vec![1; EVENTS];
    keys.clear();
    let before = resident();
    let (mut watch, mut out) = (Watch::new(0, config_of(&load.rules)), Output::default());
    for from in (0..series).step_by(CHUNK) {
        let places: Vec<usize> = (from..(from + CHUNK).min(series)).collect();
        traffic.send(&places, load, &mut watch, &mut out);
    }
    let mut runs = Vec::new();
    // The first run is not counted: the busy series learn their slices.
    for run in 0..=RUNS {
        let mut spent = 0.0;
        for _ in 0..EVENTS / CHUNK {
            let places: Vec<usize> = (0..CHUNK).map(|_| traffic.zipf.draw(&mut traffic.chance)).collect();
            spent += traffic.send(&places, load, &mut watch, &mut out);
            if run == 0 {
                keys.extend(places.iter().map(|place| traffic.pages[*place].1));
            }
            out.transitions.clear();
        }
        if run > 0 {
            runs.push(spent / EVENTS as f64);
        }
    }
    let bytes = (resident() - before).max(0.0) / series as f64;
    let known: Vec<u64> = traffic.pages.iter().map(|page| page.1).collect();
    println!("{} {} {bytes}", median(runs), counting(&keys, &known));
}

impl Traffic {
    fn new(series: usize) -> Self {
        let mut batch = Batch::new();
        let site = (batch.add_text("shop"), batch.add_text("production"));
        let page = |place: usize| format!("/p/{place}");
        let pages = (0..series)
            .map(|place| (batch.add_text(&page(place)), SeriesKey::hash_of("shop", "production", &page(place), "")))
            .collect();
        let browsers = ["Chrome", "Mobile Safari", "Firefox", "Edge"].map(|name| batch.add_text(name)).to_vec();
        let countries = ["DE", "AT", "CH", "FR", "NL", "PL"].map(|name| batch.add_text(name)).to_vec();
        for number in 0..16u64 {
            let fingerprint = batch.add_text(&format!("{number:016x}"));
            let class = batch.add_text("TypeError");
            let (message, frame, level) = (Text::NONE, Text::NONE, Text::NONE);
            let fingerprint_hash = number + 1;
            batch.errors.push(ErrorPart {
                class,
                message,
                frame,
                fingerprint,
                fingerprint_hash,
                level,
                handled: None,
                status: 0,
            });
        }
        let (zipf, chance) = (Zipf::new(series), Chance::new(1, 0, 0));
        let mut traffic = Self { batch, site, pages, browsers, countries, zipf, chance, sent: 0, ready: Vec::new() };
        traffic.ready = (0..CHUNK / BATCH).map(|_| (0..BATCH).map(|_| traffic.event(0, &loads()[0])).collect()).collect();
        traffic.sent = 0;
        traffic
    }

    /// Sends an event of each of these series; returns the nanoseconds that the watch took.
    fn send(&mut self, places: &[usize], load: &Load, watch: &mut Watch, out: &mut Output) -> f64 {
        let mut ready = std::mem::take(&mut self.ready);
        for (events, places) in ready.iter_mut().zip(places.chunks(BATCH)) {
            events.clear();
            events.extend(places.iter().map(|place| self.event(*place, load)));
        }
        let took = timed(|| {
            for events in &mut ready[..places.len().div_ceil(BATCH)] {
                std::mem::swap(&mut self.batch.events, events);
                watch.handle(self.sent as u64, Input::Events(&self.batch), out);
                std::mem::swap(&mut self.batch.events, events);
            }
        });
        self.ready = ready;
        took
    }

    fn event(&mut self, place: usize, load: &Load) -> Event {
        let at = Timestamp(BASE_MS + (self.sent * 1000 / A_SECOND) as i64);
        self.sent += 1;
        let is_error = self.chance.happens(ERRORS);
        let mut dims = [Text::NONE; Dim::COUNT];
        if load.dims {
            dims[Dim::Browser as usize] = self.browsers[(self.chance.word() % 4) as usize];
            dims[Dim::Country as usize] = self.countries[(self.chance.word() % 6) as usize];
        }
        let (page, series) = self.pages[place];
        Event {
            at,
            arrival: at,
            kind: if is_error { Kind::Error } else { Kind::View },
            count: 1,
            companion: false,
            site: self.site.0,
            env: self.site.1,
            page,
            step: Text::NONE,
            series,
            // A session sees some ten pages.
            session: if load.sessions { 1 + self.chance.word() % (1 + self.sent as u64 / 10) } else { 0 },
            id: 0,
            dims,
            tags: (0, 0),
            part: (self.chance.word() % 16) as u32,
        }
    }
}
