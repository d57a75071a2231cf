//! What of the desk is stored, and how it comes back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::alert::Incident;
use crate::dispatch::{Group, Silence};
use crate::model::TransitionId;
use crate::outbox::{Queued, Settled, TargetState};

/// One thing to store. All records of one `Save` belong into one transaction.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// The newest transition taken from its shard.
    Taken(TransitionId),
    /// The numbers that come next.
    Counters(Counters),
    /// An incident as it is now.
    Incident(Box<Incident>),
    /// The desk does not need this incident any more: it is history.
    IncidentClosed(u64),
    /// A group as it is now.
    Group(Box<Group>),
    /// The group is gone: receiver and key.
    GroupGone(String, String),
    /// A message as it is now in the queue.
    Delivery(Box<Queued>),
    /// A message that left the queue.
    Settled(Box<Settled>),
    /// How a target fares.
    Target(TargetState),
    /// A silence as it is now.
    Silence(Silence),
    /// A silence to forget.
    SilenceGone(String),
}

/// The numbers that come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Of incidents.
    pub incident: u64,
    /// Of deliveries.
    pub delivery: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Self { incident: 1, delivery: 1 }
    }
}

/// All that a desk needs to go on after a restart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Restored {
    /// The newest transition taken, by shard.
    pub taken: BTreeMap<u32, TransitionId>,
    /// The numbers that come next.
    pub counters: Counters,
    /// Live incidents by number.
    pub incidents: BTreeMap<u64, Incident>,
    /// Groups by receiver and key.
    pub groups: BTreeMap<(String, String), Group>,
    /// The queue by delivery id.
    pub queue: BTreeMap<u64, Queued>,
    /// Targets that are not quite well.
    pub targets: Vec<TargetState>,
    /// Silences by id.
    pub silences: BTreeMap<String, Silence>,
}

impl Restored {
    /// What a store would give back after it took the record: the store's contract in one place.
    pub fn apply(&mut self, record: &Record) {
        match record.clone() {
            Record::Taken(id) => drop(self.taken.insert(id.shard, id)),
            Record::Counters(counters) => self.counters = counters,
            Record::Incident(incident) => drop(self.incidents.insert(incident.number, *incident)),
            Record::IncidentClosed(number) => drop(self.incidents.remove(&number)),
            Record::Group(group) => drop(self.groups.insert((group.receiver.clone(), group.key.clone()), *group)),
            Record::GroupGone(receiver, key) => drop(self.groups.remove(&(receiver, key))),
            Record::Delivery(queued) => drop(self.queue.insert(queued.delivery.id, *queued)),
            Record::Settled(settled) => drop(self.queue.remove(&settled.delivery.id)),
            Record::Target(state) => {
                self.targets.retain(|t| t.target != state.target);
                self.targets.push(state);
                self.targets.sort_by(|a, b| a.target.cmp(&b.target));
            }
            Record::Silence(silence) => drop(self.silences.insert(silence.id.clone(), silence)),
            Record::SilenceGone(id) => drop(self.silences.remove(&id)),
        }
    }
}
