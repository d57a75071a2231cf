//! The shop's traffic: a week of history, minute by minute, and live visits, view by view.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::Timestamp;

use super::catalogue::{ENTRIES, Fault, Page, Visitor, views_per_visit};
use super::line::Line;
use super::rng::Rng;
use super::script::{FIRST_RELEASE, Script};

/// Views a second on an average hour.
const VIEWS_PER_SEC: f64 = 28.0;
/// The release before the first, in force until three days before history ends.
const OLD_RELEASE: &str = "web@4.1.9";
/// Visits that began so long before live traffic are under way when it starts.
const WARM_UP: Duration = Duration::from_secs(900);
/// Mean seconds between two views of a visit.
const READING_SECS: f64 = 20.0;
/// Lines that a minute of a checkout page and of any other page is told in.
const LINES: (u64, u64) = (5, 2);
/// Who meets an error tries the same page again with this probability.
const TRIES_AGAIN: f64 = 0.4;

/// The synthetic shop. The same seed and script give the same lines for a time, however it is cut into spans.
#[derive(Clone, Debug)]
pub struct Shop {
    seed: u64,
    /// Views of each page in one visit, on average.
    views_per_visit: [f64; 10],
    /// Live: the first second whose visits have not begun yet.
    next_second: Option<i64>,
    /// Live: the next view of each visit, by time and number of the visit.
    visits: BTreeMap<(Timestamp, u64), Visit>,
}

/// A visit before its next view.
#[derive(Clone, Debug)]
struct Visit {
    rng: Rng,
    visitor: Visitor,
    session: String,
    page: Page,
    views: u32,
    /// The last view was spoilt by an error.
    spoilt: bool,
}

impl Shop {
    /// A shop that has not opened yet.
    pub fn new(seed: u64) -> Self {
        Self { seed, views_per_visit: views_per_visit(), next_second: None, visits: BTreeMap::new() }
    }

    /// Expected views a second: a calm night, a busy evening, a slower weekend, and hours that are a little better or worse.
    pub fn views_per_sec(&self, at: Timestamp) -> f64 {
        let hour = at.secs_f64() / 3600.0;
        let day = 1.0 + 0.12 * ((hour - 19.0) / 24.0 * std::f64::consts::TAU).cos();
        // The epoch was a Thursday: days 2 and 3 of its week are Saturday and Sunday.
        let week = if matches!((hour / 24.0) as i64 % 7, 2 | 3) { 0.92 } else { 1.0 };
        let luck = |hour: f64| Rng::new(self.seed, hour as u64).share() - 0.5;
        let (whole, part) = (hour.floor(), hour.fract());
        let wander = 1.0 + 0.12 * (luck(whole) * (1.0 - part) + luck(whole + 1.0) * part);
        VIEWS_PER_SEC * day * week * wander
    }

    /// The days before `until` as lines that stand for many like events, oldest first: for each minute and page a few of them,
    /// each with dimensions of its own, and the errors among them. Minutes are counted back from `until`, so nothing is missing.
    pub fn history(&self, until: Timestamp, days: u32) -> impl Iterator<Item = String> {
        let shop = self.clone();
        let per_visit: f64 = self.views_per_visit.iter().sum();
        let faults: Vec<(Page, Vec<(Fault, f64)>)> = Page::ALL.into_iter().map(|page| (page, page.faults())).collect();
        let minutes = i64::from(days) * 1440;
        (0..minutes).flat_map(move |minute| {
            let left = Duration::from_secs(((minutes - minute) * 60) as u64);
            let at = until - left + Duration::from_secs(30);
            let mut rng = Rng::new(shop.seed, at.0 as u64);
            let release = if left > Duration::from_secs(3 * 86_400) { OLD_RELEASE } else { FIRST_RELEASE };
            let views = shop.views_per_sec(at) * 60.0 / per_visit;
            let mut out = Vec::with_capacity(32);
            for (page, faults) in &faults {
                let expected = views * shop.views_per_visit[*page as usize];
                minute_of_page(&mut rng, at, *page, faults, expected, shop.hour_of(*page, at), release, &mut out);
            }
            out
        })
    }

    /// How much worse than usual a page is in this hour: errors come in better and worse hours, not by pure chance.
    fn hour_of(&self, page: Page, at: Timestamp) -> f64 {
        0.8 + 0.4 * Rng::new(self.seed ^ page as u64, (at.secs() / 3600) as u64).share()
    }

    /// The lines of a span of live traffic, in order of time, with the releases that the script puts live. Spans follow each
    /// other without a gap.
    pub fn live(&mut self, script: &Script, from: Timestamp, to: Timestamp) -> Vec<String> {
        self.begin_visits(from, to);
        let mut lines: Vec<(Timestamp, String)> =
            script.deploys(from, to).into_iter().map(|(at, release)| (at, Line::deploy(at, &release).text())).collect();
        while let Some(entry) = self.visits.first_entry().filter(|entry| entry.key().0 < to) {
            let ((at, number), mut visit) = entry.remove_entry();
            let seen = visit.view(at, script, self.hour_of(visit.page, at));
            if at >= from {
                lines.extend(seen.into_iter().map(|line| (at, line)));
            }
            if let Some(next) = visit.go_on(at) {
                self.visits.insert((next, number), visit);
            }
        }
        // The sort is stable: an error stays behind its view.
        lines.sort_by_key(|line| line.0);
        lines.into_iter().map(|line| line.1).collect()
    }

    /// Lets the visits of the seconds up to `to` begin.
    fn begin_visits(&mut self, from: Timestamp, to: Timestamp) {
        let per_visit: f64 = self.views_per_visit.iter().sum();
        let first = self.next_second.unwrap_or((from - WARM_UP).secs());
        let end = (to.millis() + 999).div_euclid(1000);
        for second in first..end {
            let start = Timestamp::from_secs(second);
            let mut rng = Rng::new(self.seed, second as u64);
            for place in 0..rng.count(self.views_per_sec(start) / per_visit) {
                let number = second as u64 * 1000 + place;
                let at = Timestamp(start.millis() + rng.below(1000) as i64);
                self.visits.insert((at, number), Visit::new(Rng::new(self.seed, number)));
            }
        }
        self.next_second = Some(end.max(first));
    }
}

/// One minute of one page as a few lines.
fn minute_of_page(
    rng: &mut Rng,
    at: Timestamp,
    page: Page,
    faults: &[(Fault, f64)],
    expected: f64,
    hour: f64,
    release: &str,
    out: &mut Vec<String>,
) {
    let lines = if page.is_checkout() { LINES.0 } else { LINES.1 };
    for _ in 0..lines {
        let count = rng.count(expected / lines as f64);
        if count == 0 {
            continue;
        }
        let visitor = Visitor::any(rng);
        let line = Line::view(at, page, rng.below(9000), release, &visitor);
        out.push(line.clone().times(count).text());
        for (fault, share) in faults {
            let errors = rng.count(count as f64 * share * hour);
            if errors > 0 {
                out.push(line.clone().times(errors).spoilt_by(fault).text());
            }
        }
    }
}

impl Visit {
    fn new(mut rng: Rng) -> Self {
        let visitor = Visitor::any(&mut rng);
        let session = format!("s-{:012x}", rng.word() >> 16);
        let page = rng.pick(ENTRIES, |entry| entry.1).map_or(Page::Home, |entry| entry.0);
        Self { rng, visitor, session, page, views: 0, spoilt: false }
    }

    /// The view as a line, and the error that spoils it, if one does.
    fn view(&mut self, at: Timestamp, script: &Script, hour: f64) -> Vec<String> {
        let release = script.release(at);
        let product = self.rng.below(9000);
        let line = Line::view(at, self.page, product, &release, &self.visitor).of_session(&self.session, self.views);
        let mut lines = vec![line.text()];
        let usual = self.page.faults();
        let trouble = script.trouble(at, self.page, &self.visitor).filter(|trouble| self.rng.chance(trouble.1));
        let fault = match &trouble {
            Some((fault, _)) => Some(*fault),
            None => self.rng.pick(&usual, |fault| fault.1 * hour).map(|fault| &fault.0),
        };
        if let Some(fault) = fault {
            lines.push(line.spoilt_by(fault).text());
        }
        self.spoilt = fault.is_some();
        self.views += 1;
        lines
    }

    /// When the next view comes, if there is one. Whoever met an error may try the same page again.
    fn go_on(&mut self, at: Timestamp) -> Option<Timestamp> {
        if !(self.spoilt && self.rng.chance(TRIES_AGAIN)) {
            self.page = self.rng.pick(self.page.next(), |next| next.1)?.0;
        }
        let secs = 2.0 + self.rng.wait(READING_SECS - 2.0).min(120.0);
        Some(at + Duration::from_secs_f64(secs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noon() -> Timestamp {
        Timestamp::parse_rfc3339("2026-11-21T12:00:00Z").unwrap()
    }

    #[test]
    fn live_lines_do_not_depend_on_how_the_time_is_cut() {
        let (from, to) = (noon(), noon() + Duration::from_secs(90));
        let script = Script::new(from);
        let whole = Shop::new(7).live(&script, from, to);
        let mut cut = Shop::new(7);
        let mut pieces = Vec::new();
        let mut at = from;
        for millis in [1, 1499, 500, 13_777, 60_000, 14_223] {
            let next = at + Duration::from_millis(millis);
            pieces.extend(cut.live(&script, at, next));
            at = next;
        }
        assert_eq!(at, to);
        assert!(whole == pieces, "{} lines in one piece, {} in several", whole.len(), pieces.len());
        assert!(whole.iter().any(|line| line.contains("\"deploy\"")));
    }

    #[test]
    fn live_traffic_is_as_dense_as_history_from_its_first_second() {
        let shop = Shop::new(7);
        let per_minute = |lines: &[String]| {
            let count = |line: &String| {
                let event: serde_json::Value = serde_json::from_str(line).unwrap();
                if event["type"] == "view" { event["count"].as_u64().unwrap_or(1) } else { 0 }
            };
            lines.iter().map(count).sum::<u64>() as f64
        };
        let history: Vec<String> = shop.history(noon(), 1).skip(30_000).collect();
        assert!(history.is_sorted_by_key(|line| line[..30].to_owned()));
        let day: Vec<String> = shop.history(noon(), 1).collect();
        let expected: f64 = (0..1440).map(|m| shop.views_per_sec(noon() - Duration::from_secs(m * 60 + 30)) * 60.0).sum();
        assert!((per_minute(&day) / expected - 1.0).abs() < 0.02, "{} of {expected}", per_minute(&day));
        let script = Script::new(noon());
        let live = per_minute(&shop.clone().live(&script, noon(), noon() + Duration::from_secs(300)));
        let ratio = live / (shop.views_per_sec(noon()) * 300.0);
        assert!((ratio - 1.0).abs() < 0.1, "{ratio}");
    }
}
