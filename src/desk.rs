//! The second core: transitions in, deliveries out. It owns incidents, groups, silences and the outbox; it decides, and does
//! nothing itself: no clock, no I/O, no randomness but a seed.
//!
//! After each [`Desk::handle`] the caller performs all outputs in order: first [`Output::Save`] in one transaction, then the
//! sends. A crash in between loses nothing: what was leased is sent again. Every input may be repeated.

mod notices;
mod reconcile;
pub mod record;
mod routing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_restart;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use record::{Counters, Record, Restored};

use crate::alert::Incident;
use crate::alert::incident::{Ack, BACK_WITHIN};
use crate::dispatch::inhibit::InhibitRule;
use crate::dispatch::time_interval::TimeInterval;
use crate::dispatch::{Group, Route, Silence};
use crate::model::delivery::Target;
use crate::model::{AttemptResult, Delivery, Finding, Reason, State, Timestamp, Transition, TransitionId};
use crate::outbox::target::fallbacks;
use crate::outbox::{End, Outbox, Queued, ReceiverPlan};

/// How long an ended silence is kept for people to look at (Alertmanager's 120 h).
const SILENCE_KEPT: Duration = Duration::from_secs(120 * 3600);

/// The part of the configuration that the desk reads.
#[derive(Clone, Debug)]
pub struct DeskConfig {
    /// The route tree.
    pub route: Route,
    /// All receivers.
    pub receivers: Vec<ReceiverPlan>,
    /// Which alerts keep which quiet.
    pub inhibit_rules: Vec<InhibitRule>,
    /// Named times for mutes.
    pub time_intervals: Vec<TimeInterval>,
    /// Base of links in messages.
    pub external_url: String,
}

/// What the desk hears.
#[derive(Clone, Debug)]
pub enum Input {
    /// An alert began to fire, or is over.
    Transition(Box<Transition>),
    /// Several at once: what changes at the same time is told together.
    Transitions(Vec<Transition>),
    /// Time passed.
    Tick,
    /// The configuration is a new one.
    SetConfig(Box<DeskConfig>),
    /// A try to deliver has ended.
    AttemptDone {
        /// The delivery's id.
        delivery: u64,
        /// How.
        result: AttemptResult,
    },
    /// A silence was made or changed.
    Silence(Silence),
    /// A silence ends now.
    ExpireSilence {
        /// Its id.
        id: String,
    },
    /// Somebody has it: no repeats until it is worse.
    Ack {
        /// The incident's number.
        incident: u64,
        /// Who.
        by: String,
    },
    /// Somebody says that it is over.
    ResolveIncident {
        /// The incident's number.
        incident: u64,
        /// Who.
        by: String,
    },
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Store all of these in one transaction before anything else is done.
    Save(Vec<Record>),
    /// Send it now and answer with [`Input::AttemptDone`].
    Send(Box<Delivery>),
    /// Something to count, and to say aloud where an operator is needed.
    Count(Count),
}

/// What happened, for metrics and logs.
#[derive(Clone, Debug, PartialEq)]
pub enum Count {
    /// A transition was taken.
    Taken(State),
    /// A transition was there before, or resolves what does not fire.
    Ignored(TransitionId),
    /// A message left the queue.
    Settled {
        /// The delivery's id.
        delivery: u64,
        /// Where it was to go.
        target: Target,
        /// What it was to say.
        reason: Reason,
        /// How it ended.
        end: End,
        /// What happened; may be empty.
        detail: String,
    },
    /// A target takes nothing until someone repairs it. An operator is needed.
    TargetStopped {
        /// Which.
        target: Target,
        /// What it said.
        reason: String,
    },
    /// A stopped target takes messages again.
    TargetBack(Target),
}

/// The second core.
#[derive(Clone, Debug)]
pub struct Desk {
    config: DeskConfig,
    incidents: BTreeMap<u64, Incident>,
    by_key: BTreeMap<u64, u64>,
    groups: BTreeMap<(String, String), Group>,
    silences: BTreeMap<String, Silence>,
    outbox: Outbox,
    taken: BTreeMap<u32, TransitionId>,
    next_incident: u64,
    /// Routes are to be looked up anew before anything else.
    rebind: bool,
    last_handled: Option<Timestamp>,
    saved_counters: Counters,
    records: Vec<Record>,
    dirty_incidents: BTreeSet<u64>,
    dirty_groups: BTreeSet<(String, String)>,
    counts: Vec<Count>,
}

impl Desk {
    /// A desk that goes on where `restored` left off. `seed` spreads retries; the same seed gives the same times.
    pub fn new(config: DeskConfig, restored: Restored, seed: u64) -> Self {
        let mut outbox = Outbox {
            queue: restored.queue,
            targets: restored.targets.into_iter().map(|t| (t.target.clone(), t)).collect(),
            next_id: restored.counters.delivery,
            seed,
            ..Outbox::default()
        };
        outbox.set_fallbacks(fallbacks(&config.receivers), false);
        // Nobody will answer for what was on its way: the lease is over.
        for queued in outbox.queue.values_mut() {
            queued.leased = queued.leased.map(|_| Timestamp(i64::MIN));
        }
        for group in restored.groups.values() {
            for (told, lead) in group.told.values().zip(group.lead.iter().cycle()) {
                outbox.newest.insert((told.target.clone(), lead.dedup_key.clone()), told.sequence);
            }
        }
        let by_key = restored.incidents.values().map(|i| (i.key, i.number)).collect();
        Self {
            config,
            by_key,
            incidents: restored.incidents,
            groups: restored.groups,
            silences: restored.silences,
            outbox,
            taken: restored.taken,
            next_incident: restored.counters.incident,
            rebind: true,
            last_handled: None,
            saved_counters: restored.counters,
            records: Vec::new(),
            dirty_incidents: BTreeSet::new(),
            dirty_groups: BTreeSet::new(),
            counts: Vec::new(),
        }
    }

    /// Takes one input at `now`, and says what is to be done.
    pub fn handle(&mut self, now: Timestamp, input: Input) -> Vec<Output> {
        // A clock that was set back does not bring back what was.
        let now = self.last_handled.map_or(now, |last| last.max(now));
        let mut all = std::mem::take(&mut self.rebind);
        if all {
            self.rebind(now);
        }
        all |= !matches!(input, Input::Tick | Input::AttemptDone { .. });
        match input {
            Input::Tick => {}
            Input::Transition(transition) => self.transition(now, *transition),
            Input::Transitions(transitions) => transitions.into_iter().for_each(|t| self.transition(now, t)),
            Input::SetConfig(config) => {
                self.outbox.set_fallbacks(fallbacks(&config.receivers), true);
                self.config = *config;
                self.rebind(now);
            }
            Input::AttemptDone { delivery, result } => self.outbox.done(now, delivery, result),
            Input::Silence(silence) => self.silence(silence),
            Input::ExpireSilence { id } => {
                if let Some(silence) = self.silences.get(&id).filter(|s| s.ends_at > now) {
                    let starts_at = silence.starts_at.min(now);
                    self.silence(Silence { starts_at, ends_at: now, updated_at: now, ..silence.clone() });
                }
            }
            Input::Ack { incident, by } => {
                if let Some(known) = self.incidents.get_mut(&incident) {
                    known.acked.get_or_insert(Ack { by, at: now });
                    self.dirty_incidents.insert(incident);
                }
            }
            Input::ResolveIncident { incident, by } => {
                if let Some(known) = self.incidents.get_mut(&incident) {
                    known.resolve_by(&by, now);
                    self.dirty_incidents.insert(incident);
                }
            }
        }
        all |= self.silences.values().any(|s| s.ends_at <= now && self.last_handled.is_none_or(|last| last < s.ends_at));
        self.last_handled = Some(now);
        self.note_heard();
        self.notify(now, all);
        let sends = self.outbox.take_due(now);
        self.note_heard();
        self.tidy(now);
        self.outputs(sends)
    }

    /// When [`Desk::handle`] must be called again at the latest.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        if self.rebind {
            return Some(Timestamp(0));
        }
        let groups = self.groups.values().filter_map(|g| g.next);
        let silences = self.silences.values().map(|s| s.ends_at).filter(|end| self.last_handled.is_none_or(|last| last < *end));
        groups.chain(silences).chain(self.outbox.next_deadline()).min()
    }

    /// Incidents that are open or were so lately, oldest first.
    pub fn incidents(&self) -> impl Iterator<Item = &Incident> {
        self.incidents.values()
    }

    /// Messages that are not settled, in order.
    pub fn deliveries(&self) -> impl Iterator<Item = &Queued> {
        self.outbox.queue.values()
    }

    /// Silences, also ended ones of the last days.
    pub fn silences(&self) -> impl Iterator<Item = &Silence> {
        self.silences.values()
    }

    /// Notification groups.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }

    /// How targets fare; those that never failed may be missing.
    pub fn targets(&self) -> impl Iterator<Item = &crate::outbox::TargetState> {
        self.outbox.targets.values()
    }

    /// The newest transition taken from each shard: the watch need not say it again.
    pub const fn taken(&self) -> &BTreeMap<u32, TransitionId> {
        &self.taken
    }

    fn transition(&mut self, now: Timestamp, mut transition: Transition) {
        make_finite(&mut transition.finding);
        let id = transition.id;
        if self.taken.get(&id.shard).is_some_and(|newest| id <= *newest) {
            self.counts.push(Count::Ignored(id));
            return;
        }
        self.taken.insert(id.shard, id);
        self.records.push(Record::Taken(id));
        let known = self.by_key.get(&transition.key()).copied();
        match transition.state {
            State::Firing => {
                self.counts.push(Count::Taken(State::Firing));
                let number = self.fire(now, known, transition);
                self.dirty_incidents.insert(number);
                self.join(now, number);
            }
            State::Resolved => {
                let open = known.and_then(|n| self.incidents.get_mut(&n)).filter(|i| i.is_firing());
                if let Some(incident) = open {
                    incident.resolve(transition);
                    self.dirty_incidents.insert(incident.number);
                    self.counts.push(Count::Taken(State::Resolved));
                } else {
                    self.counts.push(Count::Ignored(id));
                }
            }
        }
    }

    fn fire(&mut self, now: Timestamp, known: Option<u64>, transition: Transition) -> u64 {
        if let Some(incident) = known.and_then(|n| self.incidents.get_mut(&n)).filter(|i| i.continues(now)) {
            incident.fire(transition);
            return incident.number;
        }
        let number = self.next_incident;
        self.next_incident += 1;
        let incident = Incident::open(number, transition);
        self.by_key.insert(incident.key, number);
        self.incidents.insert(number, incident);
        number
    }

    fn silence(&mut self, silence: Silence) {
        self.records.push(Record::Silence(silence.clone()));
        self.silences.insert(silence.id.clone(), silence);
    }

    /// Forgets incidents that are over and in no group, and silences that ended long ago.
    fn tidy(&mut self, now: Timestamp) {
        let over = |i: &&Incident| i.resolved.as_ref().is_some_and(|r| now.since(r.at) > BACK_WITHIN);
        let over: Vec<u64> = self.incidents.values().filter(over).map(|i| i.number).collect();
        for number in over {
            let led = |g: &Group| g.lead.as_ref().is_some_and(|l| l.number == number);
            if self.groups.values().any(|g| led(g) || g.members.contains_key(&number)) {
                continue;
            }
            if let Some(incident) = self.incidents.remove(&number) {
                if self.by_key.get(&incident.key) == Some(&number) {
                    self.by_key.remove(&incident.key);
                }
                if self.dirty_incidents.remove(&number) {
                    self.records.push(Record::Incident(Box::new(incident)));
                }
                self.records.push(Record::IncidentClosed(number));
            }
        }
        let ended = |s: &&Silence| now.since(s.ends_at) > SILENCE_KEPT;
        let ended: Vec<String> = self.silences.values().filter(ended).map(|s| s.id.clone()).collect();
        for id in ended {
            self.silences.remove(&id);
            self.records.push(Record::SilenceGone(id));
        }
    }

    /// Gathers what changed into one save, then what is to be sent and counted.
    fn outputs(&mut self, sends: Vec<Delivery>) -> Vec<Output> {
        let mut records = std::mem::take(&mut self.records);
        let incidents = std::mem::take(&mut self.dirty_incidents);
        records.extend(incidents.iter().filter_map(|n| self.incidents.get(n)).map(|i| Record::Incident(Box::new(i.clone()))));
        for name in std::mem::take(&mut self.dirty_groups) {
            records.push(match self.groups.get(&name) {
                Some(group) => Record::Group(Box::new(group.clone())),
                None => Record::GroupGone(name.0, name.1),
            });
        }
        let queue = std::mem::take(&mut self.outbox.dirty);
        records.extend(queue.iter().filter_map(|id| self.outbox.queue.get(id)).map(|q| Record::Delivery(Box::new(q.clone()))));
        let targets = std::mem::take(&mut self.outbox.dirty_targets);
        records.extend(targets.iter().filter_map(|t| self.outbox.targets.get(t)).map(|t| Record::Target(t.clone())));
        let mut counts = std::mem::take(&mut self.counts);
        for settled in std::mem::take(&mut self.outbox.settled) {
            counts.push(Count::Settled {
                delivery: settled.delivery.id,
                target: settled.delivery.target.clone(),
                reason: settled.delivery.notification.reason,
                end: settled.end,
                detail: settled.detail.clone(),
            });
            records.push(Record::Settled(Box::new(settled)));
        }
        let counters = Counters { incident: self.next_incident, delivery: self.outbox.next_id };
        if counters != self.saved_counters {
            self.saved_counters = counters;
            records.push(Record::Counters(counters));
        }
        let save = (!records.is_empty()).then_some(Output::Save(records));
        let sends = sends.into_iter().map(|d| Output::Send(Box::new(d)));
        save.into_iter().chain(sends).chain(counts.into_iter().map(Output::Count)).collect()
    }
}

/// What is stored as JSON has no infinities: a number that is none is not known.
fn make_finite(finding: &mut Finding) {
    let finite = |pair: &(f64, f64)| pair.0.is_finite() && pair.1.is_finite();
    for value in [&mut finding.value, &mut finding.baseline, &mut finding.ratio, &mut finding.dispersion, &mut finding.season] {
        *value = value.filter(|v| v.is_finite());
    }
    finding.baseline_range = finding.baseline_range.filter(finite);
    finding.evidence = finding.evidence.filter(finite);
    finding.facets.retain(|f| f.share_of_errors.is_finite() && f.share_of_views.is_finite());
    for point in &mut finding.chart {
        point.usual = point.usual.filter(|v| v.is_finite());
    }
}
