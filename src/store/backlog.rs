//! What the database has not taken yet, while it cannot be written: the newest word on each thing, in order.

use std::collections::BTreeSet;

use crate::desk::Record;

/// Records from which on older words on the same thing are thrown out, whenever their number has doubled.
const TIDY_FROM: usize = 1024;

/// Records kept at most. Beyond, the oldest settled messages are forgotten: they are history, and only that.
const RECORDS_MAX: usize = 100_000;

/// Records that wait for the database. All go in one transaction.
#[derive(Debug, Default)]
pub struct Backlog {
    records: Vec<Record>,
    tidied: usize,
}

/// What a record speaks of. An incident and its closing are two things: both must be stored.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    Taken(u32),
    Counters,
    Incident(u64),
    IncidentClosed(u64),
    Group(String, String),
    Delivery(u64),
    Target(crate::model::delivery::Target),
    Silence(String),
}

fn thing(record: &Record) -> Thing {
    match record {
        Record::Taken(id) => Thing::Taken(id.shard),
        Record::Counters(_) => Thing::Counters,
        Record::Incident(incident) => Thing::Incident(incident.number),
        Record::IncidentClosed(number) => Thing::IncidentClosed(*number),
        Record::Group(group) => Thing::Group(group.receiver.clone(), group.key.clone()),
        Record::GroupGone(receiver, key) => Thing::Group(receiver.clone(), key.clone()),
        Record::Delivery(queued) => Thing::Delivery(queued.delivery.id),
        Record::Settled(settled) => Thing::Delivery(settled.delivery.id),
        Record::Target(state) => Thing::Target(state.target.clone()),
        Record::Silence(silence) => Thing::Silence(silence.id.clone()),
        Record::SilenceGone(id) => Thing::Silence(id.clone()),
    }
}

impl Backlog {
    /// Adds what was decided since.
    pub fn extend(&mut self, records: Vec<Record>) {
        self.records.extend(records);
        if self.records.len() >= TIDY_FROM.max(2 * self.tidied) {
            self.tidy(RECORDS_MAX);
        }
    }

    /// All that waits, oldest first.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// It is stored.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn tidy(&mut self, most: usize) {
        let mut seen = BTreeSet::new();
        let mut newest: Vec<Record> = std::mem::take(&mut self.records);
        newest.reverse();
        newest.retain(|record| seen.insert(thing(record)));
        newest.reverse();
        let mut excess = newest.len().saturating_sub(most);
        newest.retain(|record| {
            let goes = excess > 0 && matches!(record, Record::Settled(_));
            excess -= usize::from(goes);
            !goes
        });
        self.records = newest;
        self.tidied = self.records.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desk::{Counters, Restored};
    use crate::dispatch::Group;
    use crate::dispatch::group::Timing;
    use crate::model::{Labels, Timestamp, TransitionId};

    #[test]
    fn the_newest_word_on_each_thing_is_kept_and_means_the_same() {
        let group = |key: &str| Group::new("web", key.to_owned(), Labels::new(), Timing::default(), Timestamp(0));
        let mut records = Vec::new();
        for turn in 0..700u64 {
            records.push(Record::Taken(TransitionId { shard: turn as u32 % 3, offset: turn, number: 0 }));
            records.push(Record::Counters(Counters { incident: turn, delivery: turn }));
            records.push(Record::Group(Box::new(group(&format!("{}", turn % 5)))));
            records.push(Record::GroupGone("web".into(), format!("{}", turn % 2)));
        }
        let mut backlog = Backlog::default();
        let (mut all, mut kept) = (Restored::default(), Restored::default());
        for record in &records {
            backlog.extend(vec![record.clone()]);
            all.apply(record);
        }
        assert!(backlog.records().len() < TIDY_FROM, "{}", backlog.records().len());
        backlog.tidy(usize::MAX);
        assert_eq!(backlog.records().len(), 3 + 1 + 5);
        backlog.records().iter().for_each(|record| kept.apply(record));
        assert_eq!(kept, all);
    }
}
