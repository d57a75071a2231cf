//! The daemon without threads, clock, disk and network: both cores, a log, a checkpoint and a store that outlive a crash, and
//! services that fail, delay and lie. All chance comes from a seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use spiked::config::{load_rules_for, parse_str};
use spiked::daemon::Settings;
use spiked::desk::{Desk, DeskConfig, Input, Output, Restored};
use spiked::ingest::native::Reader;
use spiked::ingest::{ArrivalClock, Door, Report, Salts, Scratch};
use spiked::model::delivery::Target;
use spiked::model::{AttemptResult, Batch, Delivery, State, Timestamp, Transition, TransitionId};
use spiked::store::Backlog;
use spiked::wal::Entry;
use spiked::watch::{Input as WatchInput, Output as WatchOutput, Watch, WatchConfig};

use super::witness::Witness;
use crate::scenarios::NoFiles;
use crate::sim::chance::Chance;

const CONFIG: &str = r#"
route: {receiver: web, group_by: [page], group_wait: WAIT, group_interval: 30s, repeat_interval: 10m}
receivers:
  - name: web
    fallback: ops
    webhook_configs: [{url: "http://web.example/"}]
    pagerduty_configs: [{routing_key: 0123456789abcdef0123456789abcdef}]
  - {name: ops, webhook_configs: [{url: "http://ops.example/"}]}
"#;

/// The sets of rules that edits go back and forth between.
const RULES: [&str; 3] = [
    "rules:
  - {alert: Burst, frequency: {of: errors, more_than: 5, within: 1m}, severity: P1}
  - {alert: High, threshold: {of: error_rate, above: 50%, over: 2m, min_views: 5}, for: 20s, keep_firing_for: 30s}
",
    "rules:
  - {alert: Burst, frequency: {of: errors, more_than: 5, within: 1m}, severity: P1}
",
    "rules:
  - {alert: Extra, frequency: {of: errors, more_than: 2, within: 3m}, severity: P2}
  - {alert: Burst, frequency: {of: errors, more_than: 5, within: 1m}, severity: P0}
",
];

/// Pages in as many sites.
pub(super) const PAGES: usize = 4;

/// How a service fares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Service {
    Up,
    /// Answers 5xx; with a time, 429 and when to come again.
    Down(Option<u64>),
    /// Takes so many seconds.
    Slow(f64),
    /// Takes the message and drops the connection before it answers.
    Lies,
    /// Takes nothing until somebody repairs it.
    Gone,
}

/// A try that is under way.
struct Flight {
    ends: Timestamp,
    delivery: Delivery,
    result: AttemptResult,
    heard: bool,
}

/// The world at one moment.
pub(super) struct World {
    pub(super) chance: Chance,
    pub(super) now: Timestamp,
    pub(super) watch: Watch,
    pub(super) desk: Desk,
    pub(super) services: BTreeMap<Target, Service>,
    pub(super) failing: [bool; PAGES],
    pub(super) store_fails: bool,
    pub(super) witness: Witness,
    door: Door,
    desk_config: DeskConfig,
    rules: Vec<Arc<WatchConfig>>,
    /// Which rules are to be in force.
    in_force: usize,
    log: Vec<Entry>,
    /// The state, where in the log it stands, and the rules that were in force.
    checkpoint: Option<(usize, usize, Vec<u8>)>,
    stored: Restored,
    backlog: Backlog,
    between: VecDeque<Vec<Transition>>,
    flights: Vec<Flight>,
    seed: u64,
    /// What was said under which id: a replay must say the same.
    said: BTreeMap<TransitionId, Transition>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed, 0, 0);
        let wait = ["0s", "10s", "40s"][chance.word() as usize % 3];
        let (config, found) = parse_str(&NoFiles, "spiked.yaml", &CONFIG.replace("WAIT", wait));
        let config = config.unwrap_or_else(|| panic!("{}", found.iter().map(|d| d.render(false)).collect::<String>()));
        let of = |text: &str| {
            let (rules, found) = load_rules_for(&NoFiles, &[("rules.yaml".to_owned(), text.to_owned())], &[]);
            assert!(found.iter().all(|d| !d.is_error()), "{}", found.iter().map(|d| d.render(false)).collect::<String>());
            Settings { config: config.clone(), rules }
        };
        let rules: Vec<Arc<WatchConfig>> = RULES.iter().map(|text| Arc::new(of(text).watch())).collect();
        let desk_config = of(RULES[0]).desk();
        let targets = desk_config.receivers.iter().flat_map(|r| &r.targets).map(|plan| (plan.target.clone(), Service::Up));
        Self {
            now: Timestamp::from_secs(1_800_000_000),
            watch: Watch::new(0, Arc::clone(&rules[0])),
            desk: Desk::new(desk_config.clone(), Restored::default(), seed),
            services: targets.collect(),
            failing: [false; PAGES],
            store_fails: false,
            witness: Witness::default(),
            door: Door::new(&config, Salts::fixed(&[7; 32])),
            desk_config,
            rules,
            in_force: 0,
            log: Vec::new(),
            checkpoint: None,
            stored: Restored::default(),
            backlog: Backlog::default(),
            between: VecDeque::new(),
            flights: Vec::new(),
            seed,
            said: BTreeMap::new(),
            chance,
        }
    }

    /// Time passes; all that is due happens in its order.
    pub(super) fn pass(&mut self, secs: f64) {
        let until = self.now + Duration::from_secs_f64(secs);
        for turn in 0.. {
            assert!(turn < 20_000, "the world spins at {}", self.now);
            let flight = self.flights.iter().map(|flight| flight.ends).min();
            let (watch, desk) = (self.watch.next_deadline(), self.desk.next_deadline());
            let next = [flight, watch, desk].into_iter().flatten().min().map(|next| next.max(self.now));
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.now = next;
            if flight.is_some_and(|at| at <= next) {
                self.land();
            } else if watch.is_some_and(|at| at <= next) {
                self.append(Entry::Tick(self.now));
            } else {
                self.tell(Input::Tick);
            }
        }
        self.now = until;
        self.hand_over();
    }

    /// Views of all pages, and errors of those that fail.
    pub(super) fn traffic(&mut self) {
        let mut batch = Batch::new();
        let (mut scratch, mut report) = (Scratch::default(), Report::default());
        let reader = Reader { door: &self.door, key_site: None, line_bytes: 1 << 16 };
        for page in 0..PAGES {
            let mut line = |kind: &str, count: u64| {
                let line = format!(r#"{{"type":"{kind}","site":"s{page}","page":"/p","count":{count}}}"#);
                reader.read_line(line.as_bytes(), 1, &mut ArrivalClock::Fixed(self.now), &mut batch, &mut scratch, &mut report);
            };
            line("view", 1 + self.chance.word() % 5);
            if self.failing[page] {
                line("error", 1 + self.chance.word() % 5);
            }
        }
        assert_eq!(report.rejected, []);
        self.append(Entry::Batch { source: "native".into(), batch, positions: Vec::new() });
    }

    /// A durable entry: from here on it is judged, now or after a crash.
    fn append(&mut self, entry: Entry) {
        let offset = self.log.len();
        let said = judge(&mut self.watch, &self.rules, offset, &entry);
        self.log.push(entry);
        self.note(&said);
        self.between.push_back(said);
        // Now and then the desk is behind.
        if self.chance.happens(0.8) {
            self.hand_over();
        }
    }

    fn note(&mut self, said: &[Transition]) {
        for transition in said {
            let before = self.said.insert(transition.id, transition.clone());
            assert!(before.is_none_or(|before| before == *transition), "said otherwise in a replay: {transition:?}");
        }
    }

    /// The desk takes what the watch has said.
    pub(super) fn hand_over(&mut self) {
        while let Some(said) = self.between.pop_front() {
            if !said.is_empty() {
                self.tell(Input::Transitions(said));
            }
        }
        self.agree();
    }

    /// The two cores agree on what fires, but for what somebody has ended by hand.
    fn agree(&mut self) {
        let fires = self.watch.firing();
        self.witness.closed.retain(|key| fires.contains(key));
        let open: Vec<u64> = self.desk.incidents().filter(|incident| incident.is_firing()).map(|i| i.key).collect();
        let unique: BTreeSet<u64> = open.iter().copied().collect();
        assert_eq!(unique.len(), open.len(), "one open incident for each alert");
        let keys: BTreeSet<String> = self.desk.incidents().map(spiked::alert::Incident::dedup_key).collect();
        assert_eq!(keys.len(), self.desk.incidents().count(), "one dedup key for each incident");
        assert!(unique.is_subset(&fires), "the desk holds open what is over");
        let untold: Vec<&u64> = fires.iter().filter(|key| !unique.contains(key) && !self.witness.closed.contains(key)).collect();
        assert_eq!(untold, Vec::<&u64>::new(), "these fire, and the desk does not know");
    }

    /// An input of the desk, and all that follows from it.
    pub(super) fn tell(&mut self, input: Input) {
        for output in self.desk.handle(self.now, input) {
            match output {
                Output::Save(records) => {
                    self.backlog.extend(records);
                    self.store();
                }
                Output::Send(delivery) => self.send(*delivery),
                Output::Count(_) => {}
            }
        }
    }

    fn store(&mut self) {
        if !self.store_fails {
            self.backlog.records().iter().for_each(|record| self.stored.apply(record));
            self.backlog.clear();
        }
    }

    fn send(&mut self, delivery: Delivery) {
        Witness::sent(self.now, &delivery, &self.desk);
        let (reason, seconds) = (String::new(), Duration::from_secs);
        let taken = AttemptResult::Delivered { reference: Some(format!("ref{}", delivery.id)) };
        let (takes, heard, result) = match self.services[&delivery.target] {
            Service::Up => (0.02, true, taken),
            Service::Down(after) => (0.1, false, AttemptResult::Transient { reason, retry_after: after.map(seconds) }),
            Service::Slow(takes) => (takes, true, taken),
            Service::Lies => (1.0, true, AttemptResult::Transient { reason, retry_after: None }),
            Service::Gone => (0.1, false, AttemptResult::BadTarget { reason }),
        };
        let ends = self.now + Duration::from_secs_f64(takes);
        self.flights.push(Flight { ends, delivery, result, heard });
    }

    /// The try that ends first ends.
    fn land(&mut self) {
        let Some(first) = (0..self.flights.len()).min_by_key(|place| self.flights[*place].ends) else { return };
        let flight = self.flights.remove(first);
        if flight.heard {
            self.witness.heard(self.now, &flight.delivery);
            if !matches!(flight.result, AttemptResult::Delivered { .. }) {
                self.witness.excuse(&flight.delivery);
            }
        }
        self.tell(Input::AttemptDone { delivery: flight.delivery.id, result: flight.result });
    }

    /// A state goes to disk, if all that was decided before is stored.
    pub(super) fn put_away(&mut self) {
        self.hand_over();
        self.store();
        if self.backlog.records().is_empty() {
            self.checkpoint = Some((self.log.len(), self.in_force, self.watch.checkpoint()));
            let offset = self.log.len() as u64;
            self.said.retain(|id, _| id.offset >= offset);
        }
    }

    /// Other rules, while it runs.
    pub(super) fn edit(&mut self) {
        self.in_force = self.chance.word() as usize % self.rules.len();
        self.append(Entry::Config { hash: self.in_force as u64 });
        if self.chance.happens(0.7) {
            self.put_away();
        }
    }

    /// The process is killed, and starts again.
    pub(super) fn crash(&mut self, edited: bool) {
        for flight in std::mem::take(&mut self.flights) {
            // What was on its way may have arrived; nobody knows.
            if flight.heard && self.chance.happens(0.5) {
                self.witness.heard(self.now, &flight.delivery);
                self.witness.excuse(&flight.delivery);
            }
        }
        self.between.clear();
        self.witness.lives += 1;
        if !self.backlog.records().is_empty() {
            // What was told meanwhile is told again: only the end is promised.
            self.witness.loose = true;
            self.backlog.clear();
        }
        self.desk = Desk::new(self.desk_config.clone(), self.stored.clone(), self.seed);
        let (from, then) = self.checkpoint.as_ref().map_or((0, 0), |(offset, rules, _)| (*offset, *rules));
        let config = Arc::clone(&self.rules[then]);
        self.watch = match &self.checkpoint {
            Some((_, _, state)) => Watch::restore(state, config).unwrap(),
            None => Watch::new(0, config),
        };
        let mut began = BTreeMap::new();
        for offset in from..self.log.len() {
            let said = judge(&mut self.watch, &self.rules, offset, &self.log[offset]);
            self.note(&said);
            for transition in &said {
                match transition.state {
                    State::Firing => drop(began.insert(transition.key(), transition.clone())),
                    State::Resolved => drop(began.remove(&transition.key())),
                }
            }
            if !said.is_empty() {
                self.tell(Input::Transitions(said));
            }
        }
        let firing = self.watch.firing();
        began.retain(|key, _| firing.contains(key));
        let stands = self.desk.reconcile(self.now, &firing, began.into_values().collect());
        self.tell(Input::Transitions(stands));
        self.agree();
        if edited {
            self.in_force = self.chance.word() as usize % self.rules.len();
            self.append(Entry::Config { hash: self.in_force as u64 });
        }
        self.append(Entry::Resume(self.now));
    }

    /// How the world stands, for a failed run.
    pub(super) fn describe(&self) -> String {
        let mut text = format!("now {}, services {:?}, store fails: {}\n", self.now, self.services, self.store_fails);
        for incident in self.desk.incidents() {
            let _ = writeln!(text, "{} {} firing: {}", incident.dedup_key(), incident.firing.group, incident.is_firing());
        }
        for queued in self.desk.deliveries() {
            let (note, delivery) = (&queued.delivery.notification, &queued.delivery);
            let _ = writeln!(text, "queued {} {:?} {} {}", delivery.id, delivery.target, note.id, note.reason.as_str());
        }
        text
    }
}

/// One entry of the log, as the live daemon and a replay judge it.
fn judge(watch: &mut Watch, rules: &[Arc<WatchConfig>], offset: usize, entry: &Entry) -> Vec<Transition> {
    let mut out = WatchOutput::default();
    let input = match entry {
        Entry::Batch { batch, .. } => WatchInput::Events(batch),
        Entry::Tick(now) => WatchInput::Tick(*now),
        Entry::Resume(now) => WatchInput::Resume(*now),
        Entry::Config { hash } => {
            watch.set_config(Arc::clone(&rules[*hash as usize]), offset as u64, &mut out);
            return out.transitions;
        }
    };
    watch.handle(offset as u64, input, &mut out);
    out.transitions
}
