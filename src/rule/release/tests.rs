//! Trials on traffic that is made up, with the same numbers on every machine.

use super::*;
use crate::model::Metric;
use crate::rule::{BudgetPer, ErrorFilter, FalseAlarms};

const DAY: i64 = 86_400;

fn rule() -> ReleaseRule {
    let false_alarms = FalseAlarms { count: 1.0, period: Duration::from_secs(7 * 86_400), per: BudgetPer::Series };
    ReleaseRule {
        of: Metric::ErrorRate,
        errors: ErrorFilter::default(),
        min_ratio: 1.5,
        min_errors: 3,
        min_views: 0,
        within: Duration::from_secs(86_400),
        false_alarms,
    }
}

/// Traffic of one group, minute by minute.
struct Traffic {
    trials: Trials,
    seed: u64,
    minute: i64,
    bar: f64,
}

impl Traffic {
    /// A group that has been quiet for two hours, a hundred views a minute.
    fn new(bar: f64) -> Self {
        let start = 28_000_000;
        let trials = Trials::new(Timestamp::from_secs(start * 60), rule().within);
        let mut traffic = Self { trials, seed: 42, minute: start, bar };
        for _ in 0..120 {
            traffic.minute(&[("web@1", 100.0, 0.01)]);
        }
        traffic
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_secs(self.minute * 60)
    }

    fn uniform(&mut self) -> f64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.seed >> 11) as f64) / (1u64 << 53) as f64
    }

    /// Clusters of one to three errors.
    fn errors(&mut self, mean: f64) -> f64 {
        let (limit, mut product, mut count) = ((-mean / 2.0).exp(), self.uniform(), 0.0);
        while product > limit {
            count += 1.0 + (3.0 * self.uniform()).floor();
            product *= self.uniform();
        }
        count
    }

    fn newcomer(&mut self, name: &str) {
        let newcomer = Newcomer { hash: hash(name), name: name.to_owned(), at: self.now() };
        self.trials.meet(&newcomer, self.now());
    }

    /// A minute of releases with views and a rate of errors each. Whether the alert's condition holds at its end.
    fn minute(&mut self, releases: &[(&str, f64, f64)]) -> bool {
        self.minute_of(releases, Visited::Unknown)
    }

    fn minute_of(&mut self, releases: &[(&str, f64, f64)], visit: Visited) -> bool {
        let mut all = Counts::default();
        for (name, views, rate) in releases {
            let errors = self.errors(views * rate);
            let counts = Counts { views: *views, units: errors, errors };
            let error = u64::from(errors > 0.0) * u64::from(hash(name));
            let came = Came { now: self.now(), at: self.now(), hash: hash(name), release: name, visit, counts, error };
            self.trials.count(&came);
            (all.views, all.units) = (all.views + views, all.units + errors);
        }
        self.minute += 1;
        self.trials.learn(self.now(), &all);
        self.trials.judge(&rule(), self.now(), self.bar)
    }

    /// Minutes until it fires or is over, whichever comes next.
    fn until(&mut self, fires: bool, most: u32, releases: &[(&str, f64, f64)]) -> Option<u32> {
        (1..=most).find(|_| self.minute(releases) == fires)
    }
}

fn hash(name: &str) -> u32 {
    crate::model::batch::hash_text(name) as u32
}

#[test]
fn a_worse_release_is_found_and_told_with_its_numbers() {
    let mut traffic = Traffic::new(100.0);
    traffic.newcomer("web@2");
    let minutes = traffic.until(true, 60, &[("web@1", 90.0, 0.01), ("web@2", 10.0, 0.2)]);
    assert!(minutes.is_some_and(|minutes| (3..=40).contains(&minutes)), "{minutes:?}");
    let shown = traffic.trials.lead().unwrap();
    assert_eq!(shown.release.name, "web@2");
    assert!(shown.since.rate(0).unwrap() > 0.1 && shown.since.rate(1).unwrap() < 0.03, "{shown:?}");
    assert_eq!(shown.kinds, [(u64::from(hash("web@2")), shown.since.errors[0] as u64)]);
    assert!(shown.evidence > 100.0);
}

#[test]
fn what_hits_both_says_nothing() {
    let mut traffic = Traffic::new(100.0);
    traffic.newcomer("web@2");
    for rate in [0.01, 0.4, 0.9, 0.4, 0.01] {
        assert_eq!(traffic.until(true, 60, &[("web@1", 300.0, rate), ("web@2", 300.0, rate)]), None, "at {rate}");
    }
}

#[test]
fn where_nothing_else_has_traffic_nothing_is_told() {
    let mut traffic = Traffic::new(100.0);
    traffic.newcomer("web@2");
    assert_eq!(traffic.until(true, 60, &[("web@2", 100.0, 0.5)]), None);
    assert_eq!(traffic.until(true, 60, &[("web@2", 100.0, 0.5), ("ios@7", 100.0, 0.001)]), None, "another product");
}

#[test]
fn visits_from_before_the_release_are_left_out() {
    let mut traffic = Traffic::new(100.0);
    traffic.newcomer("web@2");
    let before = Visited::Since(Timestamp::from_secs(traffic.minute * 60 - 600));
    for _ in 0..60 {
        assert!(!traffic.minute_of(&[("web@1", 50.0, 0.0)], before), "the old release keeps visits that met their errors before");
        assert!(!traffic.minute(&[("web@2", 50.0, 0.05)]));
    }
}

#[test]
fn it_is_over_when_the_release_is_mended_or_gone_or_not_new_any_more() {
    let worse = [("web@1", 100.0, 0.01), ("web@2", 100.0, 0.1)];
    let fired = || {
        let mut traffic = Traffic::new(100.0);
        traffic.newcomer("web@2");
        assert!(traffic.until(true, 60, &worse).is_some());
        traffic
    };
    let end = |traffic: &Traffic| traffic.trials.ended().map(|(_, _, end)| end);

    let mut mended = fired();
    let minutes = mended.until(false, 600, &[("web@1", 100.0, 0.01), ("web@2", 100.0, 0.01)]);
    assert!(minutes.is_some_and(|minutes| (10..=300).contains(&minutes)), "{minutes:?}");
    assert_eq!(end(&mended), Some(End::Back));
    assert!(mended.until(true, 60, &worse).is_some(), "and it may break again");

    let mut rolled_back = fired();
    assert_eq!(rolled_back.until(false, 60, &[]), None, "silence of all is no news");
    assert_eq!(rolled_back.until(false, 60, &[("web@1", 200.0, 0.01)]), Some(1), "an hour of silence, then the old one alone");
    assert_eq!(end(&rolled_back), Some(End::Gone));

    let mut lasting = fired();
    let minutes = lasting.until(false, 1500, &worse);
    assert!(minutes.is_some_and(|minutes| minutes > 1300), "{minutes:?}");
    assert_eq!(end(&lasting), Some(End::TimeOut));
    let known = Newcomer { hash: hash("web@2"), name: "web@2".to_owned(), at: Timestamp::from_secs(lasting.minute * 60 - DAY) };
    lasting.trials.meet(&known, lasting.now());
    assert_eq!(lasting.until(true, 60, &worse), None, "it is new once");
}

#[test]
fn releases_that_are_alike_stay_within_the_budget_for_weeks() {
    // A release a day for eight weeks, each taking over from a canary of a tenth; outages that hit all; one alarm a week allowed.
    let (mut traffic, mut alarms) = (Traffic::new(1.0), 0);
    for day in 0..56 {
        let (old, new) = (format!("web@{}", day + 1), format!("web@{}", day + 2));
        traffic.newcomer(&new);
        let mut was = false;
        for minute in 0..1440 {
            let share = if minute < 240 { 0.1 } else { (f64::from(minute) / 1440.0).max(0.3) };
            let rate = if (600..640).contains(&minute) { 0.3 } else { 0.012 };
            let fires = traffic.minute(&[(&old, 100.0 * (1.0 - share), rate), (&new, 100.0 * share, rate)]);
            alarms += u32::from(fires && !was);
            was = fires;
        }
    }
    assert!(alarms <= 8, "{alarms} alarms in 8 weeks");
}

#[test]
fn trials_are_few_and_the_exposure_of_a_week_is_a_week() {
    let mut traffic = Traffic::new(f64::INFINITY);
    let (mut omega, names) = (0.0, ["web@2", "web@3", "web@4", "web@5", "web@6", "web@7"]);
    let views: Vec<(&str, f64, f64)> = names.iter().chain(&["web@1"]).map(|name| (*name, 10.0, 0.0)).collect();
    for minute in 0..1000 {
        if minute == 60 {
            for name in names {
                traffic.newcomer(name);
            }
        }
        traffic.minute(&views);
        let newest = (traffic.minute - 1) * 60;
        let cells = traffic.trials.running.iter().flat_map(|trial| &trial.cells);
        omega += cells.filter(|cell| cell.sums.began == newest).map(|cell| cell.omega).sum::<f64>();
    }
    assert_eq!(traffic.trials.running.len(), RELEASE_TRIALS);
    let time = (DAY + 1000 * 60) as f64 / WEEK_SECS;
    assert!(omega <= time && omega > 0.9 * time, "{omega} weeks of {time}, with a day in advance");
}
