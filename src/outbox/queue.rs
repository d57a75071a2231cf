//! The queue of unsettled messages. Within an incident and target (a *chain*) they go in order, one at a time; chains are
//! independent. A chain holds at most one message on its way and one that waits: a newer one takes the waiting one's place, so
//! that after an outage there is one up-to-date message instead of a replay.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::retry::{backoff, clamp_retry_after};
use super::target::{PROBE_EVERY, Stopped, TargetState};
use crate::model::delivery::Target;
use crate::model::{AttemptResult, Delivery, Notification, Reason, Timestamp};

/// A message on its way that nobody answered for is tried again after this time (the longest time-out of a channel is 30 s).
pub const LEASE: Duration = Duration::from_secs(120);
/// After this time of failing a message is given up aloud.
pub const GIVE_UP: Duration = Duration::from_secs(6 * 3600);
/// The same for the end of what was told: nobody else will close it.
pub const GIVE_UP_RESOLVE: Duration = Duration::from_secs(72 * 3600);
/// A message that is told later than this says so.
pub const LATE: Duration = Duration::from_secs(60);
/// Chains of which it is remembered what was enqueued; beyond, all are forgotten, and a fallback may hear a message again.
const CHAINS_MAX: usize = 10_000;
/// Fallbacks of fallbacks that are followed.
const HOPS_MAX: usize = 4;

/// A message that is not settled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Queued {
    /// The message.
    pub delivery: Delivery,
    /// On its way since then.
    pub leased: Option<Timestamp>,
    /// How the last try ended; empty before the first.
    pub last_error: String,
    /// The incident is over and the target hears of no ends: this try was the last.
    pub last_try: bool,
}

/// How a message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Taken by the service.
    Delivered,
    /// A newer message of the same incident took its place.
    Superseded,
    /// Its incident was over before it was told; nothing is left to say.
    Folded,
    /// Handed to the fallback.
    Rerouted,
    /// Given up.
    GivenUp,
    /// Its target is not configured any more.
    Undeliverable,
}

impl End {
    /// The name as in metrics and the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Superseded => "superseded",
            Self::Folded => "folded",
            Self::Rerouted => "rerouted",
            Self::GivenUp => "given_up",
            Self::Undeliverable => "undeliverable",
        }
    }
}

/// A message that left the queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settled {
    /// The message as it was last.
    pub delivery: Delivery,
    /// How it ended.
    pub end: End,
    /// When.
    pub at: Timestamp,
    /// What happened, without secrets; may be empty.
    pub detail: String,
}

/// Something the desk must take note of in its groups.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// The target was told; later messages need the reference.
    Reference(Notification, Target, String),
    /// The target was certainly never told of the incident.
    Never(Notification, Target),
    /// The target hears of the incident in place of another.
    Instead(Notification, Target),
    /// The target stopped to take anything.
    Stopped(Target, String),
    /// The target takes messages again.
    Back(Target),
}

/// The queue and the state of its targets.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    pub(crate) queue: BTreeMap<u64, Queued>,
    pub(crate) targets: BTreeMap<Target, TargetState>,
    pub(crate) fallbacks: BTreeMap<Target, Vec<Target>>,
    pub(crate) next_id: u64,
    pub(crate) seed: u64,
    /// Changed since the last [`Outbox::drain`].
    pub(crate) dirty: BTreeSet<u64>,
    pub(crate) dirty_targets: BTreeSet<Target>,
    pub(crate) settled: Vec<Settled>,
    /// The newest message of each chain that was enqueued, by its sequence: a fallback needs no message twice that is meant for two
    /// broken targets. After a restart it is made anew of what groups know of who was told.
    pub(crate) newest: BTreeMap<(Target, String), u32>,
    pub(crate) heard: Vec<Heard>,
}

impl Outbox {
    /// Enqueues a notification for a target; it is due at once.
    pub fn enqueue(&mut self, now: Timestamp, target: Target, notification: Notification, reference: Option<String>) {
        let created = now;
        let delivery =
            Delivery { id: self.next_id, target, notification, attempts: 0, due: now, created, reference, plain: false };
        self.next_id += 1;
        self.insert(now, delivery, 0);
    }

    /// Forgets that targets are broken: the configuration may have repaired them.
    pub fn set_fallbacks(&mut self, fallbacks: BTreeMap<Target, Vec<Target>>, retry_stopped: bool) {
        self.fallbacks = fallbacks;
        for state in self.targets.values_mut().filter(|_| retry_stopped) {
            if let Some(stopped) = &mut state.stopped {
                stopped.probe_at = Timestamp(0);
                self.dirty_targets.insert(state.target.clone());
            }
        }
    }

    /// Whether a target is broken, with a fallback that takes its messages until it is tried again.
    pub fn is_closed(&self, now: Timestamp, target: &Target) -> bool {
        let stopped = self.targets.get(target).and_then(|s| s.stopped.as_ref());
        stopped.is_some_and(|s| now < s.probe_at) && self.has_fallback(target)
    }

    /// Leases what is due: the caller sends it and answers with [`Outbox::done`].
    pub fn take_due(&mut self, now: Timestamp) -> Vec<Delivery> {
        self.expire(now);
        let mut flying: BTreeMap<Target, usize> = BTreeMap::new();
        for queued in self.queue.values().filter(|q| q.leased.is_some()) {
            *flying.entry(queued.delivery.target.clone()).or_default() += 1;
        }
        let mut sends = Vec::new();
        for id in self.heads() {
            let Some(queued) = self.queue.get_mut(&id) else { continue };
            let state = self.targets.get(&queued.delivery.target);
            let open_at = state.map_or(Timestamp(i64::MIN), TargetState::open_at);
            let width = state.map_or(super::target::IN_FLIGHT_MAX, TargetState::width);
            let flying = flying.entry(queued.delivery.target.clone()).or_default();
            if queued.delivery.due.max(open_at) > now || *flying >= width {
                continue;
            }
            *flying += 1;
            queued.leased = Some(now);
            queued.delivery.attempts += 1;
            self.dirty.insert(id);
            let mut delivery = queued.delivery.clone();
            let since = delivery.notification.late_since.unwrap_or(delivery.created);
            delivery.notification.late_since = (now.since(since) > LATE).then_some(since);
            sends.push(delivery);
        }
        sends
    }

    /// Takes the answer to a try. An answer to what is settled already means nothing.
    pub fn done(&mut self, now: Timestamp, id: u64, result: AttemptResult) {
        let Some(mut queued) = self.queue.remove(&id) else { return };
        self.dirty.insert(id);
        queued.leased = None;
        match result {
            AttemptResult::Delivered { reference } => self.delivered(now, queued, reference),
            AttemptResult::Transient { reason, retry_after } => {
                let state = self.state(&queued.delivery.target);
                state.failures = state.failures.saturating_add(1);
                let mut due = now + backoff(self.seed, id, queued.delivery.attempts);
                if let Some(asked) = retry_after {
                    due = now + clamp_retry_after(asked);
                    let state = self.state(&queued.delivery.target);
                    state.hold_until = Some(state.hold_until.map_or(due, |hold| hold.max(due)));
                }
                queued.delivery.due = due;
                queued.last_error = reason;
                self.put_back(now, queued);
            }
            AttemptResult::Partial { reference, reason, retry_after } => {
                // The service is well: only this message waits, for those who have not got it.
                let wait = retry_after.map_or_else(|| backoff(self.seed, id, queued.delivery.attempts), clamp_retry_after);
                queued.delivery.due = now + wait;
                queued.delivery.reference = Some(reference);
                queued.last_error = reason;
                self.put_back(now, queued);
            }
            AttemptResult::BadMessage { reason } => {
                queued.last_error = reason;
                if queued.delivery.plain {
                    self.give_up(now, queued);
                } else {
                    queued.delivery.plain = true;
                    queued.delivery.due = now;
                    self.put_back(now, queued);
                }
            }
            AttemptResult::BadTarget { reason } => {
                queued.last_error.clone_from(&reason);
                self.stop(now, queued, reason);
            }
        }
    }

    /// When something is due next, or a lease or a message's time ends.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let mut flying: BTreeMap<&Target, usize> = BTreeMap::new();
        for queued in self.queue.values().filter(|q| q.leased.is_some()) {
            *flying.entry(&queued.delivery.target).or_default() += 1;
        }
        let leases = self.queue.values().filter_map(|q| q.leased.map(|since| since + LEASE));
        let heads = self.heads();
        let tries = heads.iter().filter_map(|id| {
            let delivery = &self.queue.get(id)?.delivery;
            if !self.fallbacks.contains_key(&delivery.target) {
                return Some(delivery.created);
            }
            let state = self.targets.get(&delivery.target);
            let width = state.map_or(super::target::IN_FLIGHT_MAX, TargetState::width);
            let ends = delivery.created + lifetime(delivery);
            let open_at = state.map_or(Timestamp(i64::MIN), TargetState::open_at);
            let free = flying.get(&delivery.target).copied().unwrap_or(0) < width;
            Some(if free { delivery.due.max(open_at).min(ends) } else { ends })
        });
        leases.chain(tries).min()
    }

    /// First of each chain, without those on their way.
    fn heads(&self) -> Vec<u64> {
        let mut seen = BTreeSet::new();
        let mut heads = Vec::new();
        for queued in self.queue.values() {
            let first = seen.insert((queued.delivery.notification.dedup_key.as_str(), &queued.delivery.target));
            if first && queued.leased.is_none() {
                heads.push(queued.delivery.id);
            }
        }
        heads
    }

    fn state(&mut self, target: &Target) -> &mut TargetState {
        self.dirty_targets.insert(target.clone());
        self.targets.entry(target.clone()).or_insert_with(|| TargetState::new(target.clone()))
    }

    /// The waiting message of a chain, other than `not`.
    fn waiting(&self, delivery: &Delivery) -> Option<u64> {
        let same = |d: &Delivery| d.notification.dedup_key == delivery.notification.dedup_key && d.target == delivery.target;
        self.queue
            .values()
            .find(|q| q.leased.is_none() && q.delivery.id != delivery.id && same(&q.delivery))
            .map(|q| q.delivery.id)
    }

    /// Puts a message into the queue, in the place of one that waits, or hands it to the fallback of a broken target.
    fn insert(&mut self, now: Timestamp, delivery: Delivery, hops: usize) {
        let note = &delivery.notification;
        let twin = |q: &Queued| {
            let other = &q.delivery.notification;
            q.delivery.target == delivery.target && (&other.id, &other.group_key) == (&note.id, &note.group_key)
        };
        if self.queue.values().any(twin) {
            return;
        }
        self.newest.insert((delivery.target.clone(), note.dedup_key.clone()), note.sequence);
        if self.newest.len() > CHAINS_MAX {
            self.newest.clear();
        }
        let closed = self.is_closed(now, &delivery.target);
        let queued = Queued { delivery, leased: None, last_error: String::new(), last_try: false };
        if closed && hops < HOPS_MAX && !is_owed(&queued) {
            return self.reroute(now, queued, hops);
        }
        match self.waiting(&queued.delivery).and_then(|older| self.queue.remove(&older)) {
            Some(older) => self.supersede(now, older, queued),
            None => self.keep(queued),
        }
    }

    fn keep(&mut self, queued: Queued) {
        self.dirty.insert(queued.delivery.id);
        self.queue.insert(queued.delivery.id, queued);
    }

    /// A message whose try failed goes back, unless a newer one of its chain waits: that takes its place.
    fn put_back(&mut self, now: Timestamp, queued: Queued) {
        if queued.last_try {
            return self.settle(now, queued, End::Folded, "over before it was told");
        }
        match self.waiting(&queued.delivery).and_then(|newer| self.queue.remove(&newer)) {
            Some(newer) => self.supersede(now, queued, newer),
            None => self.keep(queued),
        }
    }

    /// `newer` says all that `older` would have said; the chain's backoff, tries and lateness go on.
    fn supersede(&mut self, now: Timestamp, older: Queued, mut newer: Queued) {
        let untold = older.delivery.notification.reason == Reason::Fire;
        let over = newer.delivery.notification.reason == Reason::Resolve;
        let never_tried = older.delivery.attempts == 0;
        if over && untold && never_tried && older.delivery.target.channel == "pagerduty" {
            self.settle(now, older, End::Folded, "over before it was told");
            self.settle(now, newer, End::Folded, "over before it was told");
            return;
        }
        let note = &mut newer.delivery.notification;
        note.late_since = older.delivery.notification.late_since.or(Some(older.delivery.created));
        if !over {
            note.reason = earlier(older.delivery.notification.reason, note.reason);
        }
        newer.delivery.attempts = older.delivery.attempts;
        newer.delivery.due = older.delivery.due;
        newer.delivery.reference = newer.delivery.reference.take().or_else(|| older.delivery.reference.clone());
        newer.last_error.clone_from(&older.last_error);
        let end = if over && untold { End::Folded } else { End::Superseded };
        self.settle(now, older, end, "a newer message took its place");
        self.keep(newer);
    }

    /// Drops a message that will not be told any more because its incident is over and its target hears of no ends.
    pub fn fold(&mut self, now: Timestamp, dedup_key: &str, target: &Target) {
        let same = |d: &Delivery| d.notification.dedup_key == dedup_key && d.target == *target;
        let ids: Vec<u64> = self.queue.values().filter(|q| same(&q.delivery)).map(|q| q.delivery.id).collect();
        for mut queued in ids.iter().filter_map(|id| self.queue.remove(id)).collect::<Vec<_>>() {
            if queued.leased.is_some() {
                queued.last_try = true;
                self.keep(queued);
            } else {
                self.settle(now, queued, End::Folded, "over before it was told");
            }
        }
    }

    fn settle(&mut self, at: Timestamp, queued: Queued, end: End, detail: &str) {
        self.dirty.remove(&queued.delivery.id);
        if queued.delivery.notification.reason == Reason::Resolve {
            self.newest.remove(&(queued.delivery.target.clone(), queued.delivery.notification.dedup_key.clone()));
        }
        self.settled.push(Settled { delivery: queued.delivery, end, at, detail: detail.to_owned() });
    }

    fn delivered(&mut self, now: Timestamp, queued: Queued, reference: Option<String>) {
        let state = self.state(&queued.delivery.target);
        let back = state.stopped.take().is_some();
        state.failures = 0;
        if back {
            self.heard.push(Heard::Back(queued.delivery.target.clone()));
        }
        if let Some(id) = self.waiting(&queued.delivery)
            && let Some(next) = self.queue.get_mut(&id)
        {
            next.delivery.reference = next.delivery.reference.take().or_else(|| reference.clone());
            self.dirty.insert(id);
        }
        if let Some(reference) = reference {
            let (note, target) = (queued.delivery.notification.clone(), queued.delivery.target.clone());
            self.heard.push(Heard::Reference(note, target, reference));
        }
        self.settle(now, queued, End::Delivered, "");
    }

    fn stop(&mut self, now: Timestamp, queued: Queued, reason: String) {
        let target = queued.delivery.target.clone();
        let state = self.state(&target);
        state.failures = state.failures.saturating_add(1);
        let since = state.stopped.as_ref().map(|s| s.since);
        state.stopped = Some(Stopped { since: since.unwrap_or(now), probe_at: now + PROBE_EVERY, reason: reason.clone() });
        if since.is_none() {
            self.heard.push(Heard::Stopped(target.clone(), reason));
        }
        self.put_back(now, queued);
        if self.has_fallback(&target) {
            let waits = |q: &&Queued| q.leased.is_none() && q.delivery.target == target && !is_owed(q);
            let ids: Vec<u64> = self.queue.values().filter(waits).map(|q| q.delivery.id).collect();
            for queued in ids.iter().filter_map(|id| self.queue.remove(id)).collect::<Vec<_>>() {
                self.reroute(now, queued, 0);
            }
        }
    }

    fn has_fallback(&self, target: &Target) -> bool {
        self.fallbacks.get(target).is_some_and(|to| !to.is_empty())
    }

    /// Hands a message to the fallback's targets.
    fn reroute(&mut self, now: Timestamp, queued: Queued, hops: usize) {
        let delivery = queued.delivery.clone();
        let detail = queued.last_error.clone();
        self.settle(now, queued, End::Rerouted, &detail);
        self.never_told(&delivery);
        for target in self.fallbacks.get(&delivery.target).cloned().unwrap_or_default() {
            let chain = (target.clone(), delivery.notification.dedup_key.clone());
            let newest = self.newest.get(&chain).copied();
            if newest.is_some_and(|newest| newest >= delivery.notification.sequence) {
                self.heard.push(Heard::Instead(delivery.notification.clone(), target));
                continue;
            }
            let mut notification = delivery.notification.clone();
            notification.late_since.get_or_insert(delivery.created);
            self.heard.push(Heard::Instead(delivery.notification.clone(), target.clone()));
            notification.receiver.clone_from(&target.receiver);
            let id = self.next_id;
            self.next_id += 1;
            let copy = Delivery { id, target, notification, attempts: 0, due: now, created: now, reference: None, plain: false };
            self.insert(now, copy, hops + 1);
        }
    }

    fn never_told(&mut self, delivery: &Delivery) {
        if delivery.notification.reason == Reason::Fire && delivery.attempts <= 1 {
            self.heard.push(Heard::Never(delivery.notification.clone(), delivery.target.clone()));
        }
    }

    fn give_up(&mut self, now: Timestamp, queued: Queued) {
        if self.has_fallback(&queued.delivery.target) {
            return self.reroute(now, queued, 0);
        }
        let detail = queued.last_error.clone();
        self.settle(now, queued, End::GivenUp, &detail);
    }

    /// Leases that nobody answered for, messages that are too old, targets that are gone.
    fn expire(&mut self, now: Timestamp) {
        let lapsed = |q: &&Queued| q.leased.is_some_and(|since| now >= since + LEASE);
        let ids: Vec<u64> = self.queue.values().filter(lapsed).map(|q| q.delivery.id).collect();
        for mut queued in ids.iter().filter_map(|id| self.queue.remove(id)).collect::<Vec<_>>() {
            queued.leased = None;
            self.put_back(now, queued);
        }
        let mut old = Vec::new();
        for (id, queued) in &self.queue {
            if queued.leased.is_none() {
                let gone = !self.fallbacks.contains_key(&queued.delivery.target);
                if gone || now >= queued.delivery.created + lifetime(&queued.delivery) {
                    old.push((*id, gone));
                }
            }
        }
        for (id, gone) in old {
            let Some(queued) = self.queue.remove(&id) else { continue };
            if gone {
                self.never_told(&queued.delivery);
                self.settle(now, queued, End::Undeliverable, "its receiver is not configured any more");
            } else {
                self.give_up(now, queued);
            }
        }
    }
}

/// The end of what a target was told of: a broken one waits for it, as nobody else can close what it has open. Its fallback, where
/// it heard of the begin, is told of the end for itself.
fn is_owed(queued: &Queued) -> bool {
    queued.delivery.notification.reason == Reason::Resolve
}

fn lifetime(delivery: &Delivery) -> Duration {
    if delivery.notification.reason == Reason::Resolve { GIVE_UP_RESOLVE } else { GIVE_UP }
}

/// The reason that says more: what was never told stays new.
fn earlier(one: Reason, two: Reason) -> Reason {
    let rank = |reason| match reason {
        Reason::Fire => 0,
        Reason::Update => 1,
        Reason::Repeat => 2,
        Reason::Resolve => 3,
    };
    if rank(one) <= rank(two) { one } else { two }
}
