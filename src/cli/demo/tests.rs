//! The promise of the demo, held against the real cores: history is quiet, the failure is told in time and by name, and so is
//! its end.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::ingest::native::Reader;
use crate::ingest::{ArrivalClock, Door, Report, Salts, Scratch};
use crate::model::transition::State;
use crate::model::{Batch, Severity, Timestamp, Transition};
use crate::watch::{Input, Output, SitePlan, Watch, WatchConfig};

use super::script::Script;
use super::shop::Shop;

/// A watch behind the real door.
struct Bench {
    config: Config,
    watch: Watch,
    watch_config: Arc<WatchConfig>,
    clock: ArrivalClock,
    scratch: Scratch,
    offset: u64,
}

impl Bench {
    fn new() -> Self {
        let (config, rules) = super::config::load(Path::new("demo")).unwrap();
        let site = &config.sites["shop"];
        let steps = |funnel: &crate::config::Funnel| funnel.steps.iter().map(|step| step.step.clone()).collect();
        let plan = SitePlan {
            time_zone: site.time_zone,
            funnels: site.funnels.iter().map(|funnel| (funnel.name.clone(), steps(funnel))).collect(),
            owners: site.owners.iter().map(|owner| (owner.pages.clone(), owner.owner.clone())).collect(),
        };
        let sites = [("shop".to_owned(), plan)].into();
        let watch_config = Arc::new(WatchConfig { rules, sites, ..WatchConfig::default() });
        let watch = Watch::new(0, Arc::clone(&watch_config));
        Self { config, watch, watch_config, clock: ArrivalClock::Running(None), scratch: Scratch::default(), offset: 0 }
    }

    /// Feeds lines, a batch of a thousand at a time; what the watch says.
    fn feed(&mut self, lines: &[String]) -> Vec<Transition> {
        let door = Door::new(&self.config, Salts::fixed(&[7; 32]));
        let reader = Reader { door: &door, key_site: None, line_bytes: self.config.limits.line_bytes };
        let mut out = Output::default();
        for body in lines.chunks(1000) {
            let (mut batch, mut report) = (Batch::default(), Report::default());
            reader.read(body.join("\n").as_bytes(), &mut self.clock, &mut batch, &mut self.scratch, &mut report);
            assert!(report.rejected.is_empty(), "{:?}", report.rejected);
            self.offset += 1;
            self.watch.handle(self.offset, Input::Events(&batch), &mut out);
        }
        out.transitions
    }
}

fn show(transitions: &[Transition]) -> String {
    let line = |t: &Transition| {
        let (state, page) = (t.state.as_str(), t.group.get("page"));
        format!("{} {state} {} {page} {:?} {}\n", t.at, t.alert, t.slice, t.reason)
    };
    transitions.iter().map(line).collect()
}

/// Plays the first story of a demo that starts at `start` after `days` of history, as several shops would live it.
fn check(start: &str, days: u32, seeds: std::ops::Range<u64>) {
    let start = Timestamp::parse_rfc3339(start).unwrap();
    let mut bench = Bench::new();
    let history: Vec<String> = Shop::new(1).history(start, days).collect();
    let told = bench.feed(&history);
    let last_day: Vec<Transition> =
        told.into_iter().filter(|t| t.state == State::Firing && start.since(t.at) < Duration::from_secs(86_400)).collect();
    assert!(last_day.len() <= 2, "history is not quiet:\n{}", show(&last_day));
    let mut out = Output::default();
    bench.offset += 1;
    bench.watch.handle(bench.offset, Input::EndOfHistory, &mut out);
    let learned = bench.watch.checkpoint();
    let mut ends = Vec::new();
    for seed in seeds {
        bench.watch = Watch::restore(&learned, Arc::clone(&bench.watch_config)).unwrap();
        bench.clock = ArrivalClock::Running(Some(start));
        ends.push(check_story(&mut bench, Shop::new(seed), start).unwrap_or(u64::MAX));
    }
    // Each hit slice must prove that it is well again, and a stray error sets it back: the typical shop is in time.
    ends.sort_unstable();
    assert!(ends[ends.len() / 2] <= 150, "seconds to the resolve: {ends:?}");
}

/// Lives the first five minutes; how many seconds after the repair the end was told, if it was.
fn check_story(bench: &mut Bench, mut shop: Shop, start: Timestamp) -> Option<u64> {
    let at = |secs: u64| start + Duration::from_secs(secs);
    let script = Script::new(start);
    let mut told = Vec::new();
    for second in 0..300 {
        told.extend(bench.feed(&shop.live(&script, at(second), at(second + 1))));
        let mut out = Output::default();
        bench.offset += 1;
        bench.watch.handle(bench.offset, Input::Tick(at(second + 1)), &mut out);
        told.append(&mut out.transitions);
    }
    let all = show(&told);
    let urgent: Vec<&Transition> = told.iter().filter(|t| t.severity <= Severity::P1).collect();
    assert!(!urgent.is_empty() && urgent.len() <= 2, "one alert and its end:\n{all}");
    let fired = urgent[0];
    assert_eq!((fired.alert.as_str(), fired.state), ("CheckoutErrorSpike", State::Firing), "{all}");
    assert_eq!(fired.group.get("page"), "/checkout/payment");
    assert!((at(35)..at(120)).contains(&fired.at), "{all}");
    let named = fired.slice.get("browser") == "Mobile Safari" || fired.slice.get("release") == "web@4.2.1";
    assert!(named, "{all}");
    urgent.get(1).map(|over| {
        assert_eq!((over.state, &over.group), (State::Resolved, &fired.group), "{all}");
        assert!(over.at > at(120), "{all}");
        over.at.since(at(120)).as_secs()
    })
}

#[test]
fn the_first_failure_is_told_in_time_and_by_name_and_so_is_its_end() {
    check("2026-11-21T12:00:00Z", 2, 1..8);
}
