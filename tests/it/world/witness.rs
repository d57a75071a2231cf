//! What the services have heard, and the laws that it must obey.

use std::collections::{BTreeMap, BTreeSet};

use spiked::desk::Desk;
use spiked::model::delivery::Target;
use spiked::model::{AlertView, Delivery, Reason, State, Timestamp};

/// What one service knows of one chain of messages.
#[derive(Clone, Debug)]
struct Chain {
    sequence: u32,
    id: String,
    ended: bool,
}

/// All that was heard.
#[derive(Default)]
pub(super) struct Witness {
    /// After a crash while the store could not be written, only the end is promised.
    pub(super) loose: bool,
    /// Alerts that somebody has ended by hand, and that still fire.
    pub(super) closed: BTreeSet<u64>,
    pub(super) story: Vec<String>,
    /// Crashes so far.
    pub(super) lives: u32,
    first: BTreeMap<(Target, String), u32>,
    chains: BTreeMap<(Target, String), Chain>,
    heard: BTreeMap<(Target, String), u32>,
    excuses: BTreeMap<(Target, String), u32>,
}

impl Witness {
    /// A message goes out: what is silenced or acknowledged stays quiet.
    pub(super) fn sent(now: Timestamp, delivery: &Delivery, desk: &Desk) {
        let note = &delivery.notification;
        if note.reason == Reason::Resolve {
            return;
        }
        let silenced = |alert: &AlertView| {
            let (from, until) = (alert.firing.at, note.at);
            desk.silences().any(|s| s.starts_at <= from && until < s.ends_at && s.mutes(&alert.firing.labels, until))
        };
        // Quiet from before it began until this was decided.
        assert!(!note.alerts.iter().all(silenced), "{now}: told of what is silenced: {} {}", note.id, note.dedup_key);
        let acked = |alert: &AlertView| {
            let mut same = desk.incidents().filter(|incident| incident.key == alert.firing.key() && incident.is_firing());
            same.any(|incident| incident.acked.as_ref().is_some_and(|ack| ack.at < note.at))
        };
        let told_again =
            note.reason == Reason::Repeat && note.alerts.iter().filter(|alert| alert.state() == State::Firing).all(acked);
        assert!(!told_again, "{now}: repeated what somebody has: {} {}", note.id, note.dedup_key);
    }

    /// A service has got a message.
    pub(super) fn heard(&mut self, now: Timestamp, delivery: &Delivery) {
        let (note, target) = (&delivery.notification, &delivery.target);
        let (channel, reason) = (format!("{}/{}", target.receiver, target.channel), note.reason.as_str());
        self.story.push(format!("{now} {channel} {reason} {} {} #{}", note.id, note.dedup_key, delivery.id));
        let times = self.heard.entry((target.clone(), format!("{} {}", note.dedup_key, note.id))).or_default();
        *times += 1;
        let first = *self.first.entry((target.clone(), format!("{} {}", note.dedup_key, note.id))).or_insert(self.lives);
        // What a fallback was told already is not remembered through a crash: it may hear it for another target as well.
        let instead = target.receiver == "ops" && first != self.lives;
        let excused = self.excuses.get(&(target.clone(), format!("{} {}", note.dedup_key, note.id))).copied().unwrap_or(0);
        let ended = note.reason == Reason::Resolve;
        let chain = Chain { sequence: note.sequence, id: note.id.clone(), ended };
        let last = self.chains.insert((target.clone(), note.dedup_key.clone()), chain.clone());
        if self.loose || instead {
            return;
        }
        assert!(*times <= 1 + excused, "{now}: told {times} times, {excused} excused: {} {} {reason}", note.id, note.dedup_key);
        let Some(last) = last else { return };
        assert!(chain.sequence >= last.sequence, "{now}: {chain:?} after {last:?}");
        assert!(!last.ended || chain.id == last.id, "{now}: {chain:?} after the end, {last:?}");
    }

    /// The daemon cannot know that this was heard: it may say it once more.
    pub(super) fn excuse(&mut self, delivery: &Delivery) {
        let note = &delivery.notification;
        *self.excuses.entry((delivery.target.clone(), format!("{} {}", note.dedup_key, note.id))).or_default() += 1;
    }

    /// Chains of which the end was not told.
    pub(super) fn open(&self) -> Vec<String> {
        let open = self.chains.iter().filter(|(_, chain)| !chain.ended);
        open.map(|((target, key), chain)| format!("{target:?} {key} {}", chain.id)).collect()
    }
}
