//! From groups to notifications: who is quiet, what is due, what it says, and to whom it goes.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Count, Desk};
use crate::dispatch::Group;
use crate::dispatch::group::{Lead, Standing, Told};
use crate::model::delivery::Target;
use crate::model::limits::ALERTS_PER_NOTIFICATION;
use crate::model::{Notification, Reason, Severity, Timestamp};
use crate::outbox::queue::Heard;

impl Desk {
    /// Tells what is due in every group; without `all` only in groups whose time has come.
    pub(super) fn notify(&mut self, now: Timestamp, all: bool) {
        let ripe = |g: &Group| all || g.next.is_some_and(|next| next <= now);
        let names: Vec<_> = self.groups.iter().filter(|(_, g)| ripe(g)).map(|(name, _)| name.clone()).collect();
        for name in names {
            let Some(mut group) = self.groups.remove(&name) else { continue };
            let before = group.clone();
            self.tend(now, &mut group);
            if !group.members.is_empty() {
                let changed = group != before;
                self.groups.insert(name.clone(), group);
                if !changed {
                    continue;
                }
            }
            self.dirty_groups.insert(name);
        }
    }

    /// One group: forgets what ended untold, sends what is due, and sets the time to look again.
    fn tend(&mut self, now: Timestamp, group: &mut Group) {
        group.members.retain(|n, m| m.told.is_some() || self.incidents.get(n).is_some_and(crate::alert::Incident::is_firing));
        let muted = self.is_muted(now, group);
        let standing = self.standing(now, group, muted);
        let (reason, _) = group.decide(now, &standing);
        if let Some(reason) = reason {
            let shown = group.shown(reason, &standing);
            self.tell(now, group, reason, &shown);
            group.sent(now, reason, &shown, &standing);
            self.trim(group);
        }
        let (_, next) = group.decide(now, &standing);
        // Mutes begin and end on full minutes.
        let minute = Timestamp::from_secs((now.secs().div_euclid(60) + 1) * 60);
        let held = muted && !group.orphan && standing.values().any(|s| s.firing);
        group.next = if held { Some(next.map_or(minute, |next| next.min(minute))) } else { next };
    }

    fn is_muted(&self, now: Timestamp, group: &Group) -> bool {
        let holds = |name: &String| self.config.time_intervals.iter().any(|i| i.name == *name && i.contains(now));
        let timing = &group.timing;
        timing.mute.iter().any(holds) || (!timing.active.is_empty() && !timing.active.iter().any(holds))
    }

    fn standing(&self, now: Timestamp, group: &Group, muted: bool) -> BTreeMap<u64, Standing> {
        let quiet = |number: u64, labels| {
            muted || self.silences.values().any(|s| s.mutes(labels, now)) || self.is_inhibited(number, labels)
        };
        let member = |number: &u64| {
            let incident = self.incidents.get(number)?;
            let standing = Standing {
                firing: incident.is_firing(),
                severity: incident.worst,
                quiet: incident.is_firing() && quiet(*number, incident.labels()),
                acked: incident.acked.is_some(),
            };
            Some((*number, standing))
        };
        group.members.keys().filter_map(member).collect()
    }

    fn is_inhibited(&self, number: u64, labels: &crate::model::Labels) -> bool {
        self.config.inhibit_rules.iter().any(|rule| {
            let firing = self.incidents.values().filter(|i| i.is_firing() && i.number != number);
            firing.into_iter().any(|source| rule.inhibits(source.labels(), labels))
        })
    }

    /// Makes the notification and enqueues it for everyone who is to hear it.
    fn tell(&mut self, now: Timestamp, group: &mut Group, reason: Reason, shown: &[u64]) {
        if reason != Reason::Resolve {
            self.set_lead(group, shown);
        }
        let Some(notification) = self.notification(now, group, reason, shown) else { return };
        let plan = self.config.receivers.iter().find(|r| r.name == group.receiver);
        let plan = plan.map(|p| p.targets.clone()).unwrap_or_default();
        if reason == Reason::Resolve {
            for told in group.told.values().cloned().collect::<Vec<_>>() {
                if self.hears_ends(&told.target) {
                    self.outbox.enqueue(now, told.target, notification.clone(), told.reference);
                } else {
                    self.outbox.fold(now, &notification.dedup_key, &told.target);
                }
            }
            return;
        }
        for target in plan.into_iter().map(|p| p.target) {
            let told = group.told.get(&name(&target));
            let reference = told.and_then(|t| t.reference.clone());
            // While a broken target's fallback hears instead, the target itself is not told.
            let instead = self.outbox.is_closed(now, &target) && group.told.values().any(|t| t.target.receiver != group.receiver);
            let reason = if told.is_some() || instead { reason } else { Reason::Fire };
            if !instead {
                note_told(&mut group.told, &target, notification.sequence);
            }
            self.outbox.enqueue(now, target, Notification { reason, ..notification.clone() }, reference);
        }
    }

    /// A target that is configured no more cannot say that it wants no ends.
    fn hears_ends(&self, target: &Target) -> bool {
        let mut plans = self.config.receivers.iter().flat_map(|r| &r.targets);
        plans.find(|p| p.target == *target).is_none_or(|p| p.send_resolved)
    }

    fn set_lead(&self, group: &mut Group, shown: &[u64]) {
        if group.lead.is_some() {
            return;
        }
        let first = shown.iter().filter_map(|n| self.incidents.get(n)).min_by_key(|i| (i.opened, i.number));
        group.lead = first.map(|incident| Lead {
            number: incident.number,
            name: incident.name(),
            dedup_key: incident.dedup_key(),
            opened: incident.opened,
        });
    }

    fn notification(&mut self, now: Timestamp, group: &Group, reason: Reason, shown: &[u64]) -> Option<Notification> {
        let lead = group.lead.clone()?;
        let mut incidents: Vec<_> = shown.iter().filter_map(|n| self.incidents.get(n)).collect();
        incidents.sort_by_key(|i| (!i.is_firing(), std::cmp::Reverse(i.worst), i.number));
        let firing = incidents.iter().filter(|i| i.is_firing()).map(|i| i.worst).max();
        let severity = firing.or_else(|| incidents.iter().map(|i| i.worst).max()).unwrap_or(Severity::P3);
        let alerts: Vec<_> = incidents.iter().take(ALERTS_PER_NOTIFICATION).map(|i| i.view()).collect();
        let truncated = incidents.len() - alerts.len();
        if alerts.is_empty() {
            return None;
        }
        let leading = self.incidents.get_mut(&lead.number)?;
        let sequence = leading.sequences.entry(group.receiver.clone()).or_default();
        *sequence += 1;
        let sequence = *sequence;
        self.dirty_incidents.insert(lead.number);
        Some(Notification {
            id: format!("{}.{sequence}", lead.name),
            incident: lead.name,
            dedup_key: lead.dedup_key,
            sequence,
            reason,
            at: now,
            opened: lead.opened,
            receiver: group.receiver.clone(),
            group_key: group.key.clone(),
            group_labels: group.labels.clone(),
            severity,
            alerts,
            truncated,
            late_since: None,
            next_by: (reason != Reason::Resolve).then(|| now + group.timing.repeat.max(Duration::from_secs(1))),
        })
    }

    /// A group that never ends keeps the newest of what ended in it; all of it was told.
    fn trim(&self, group: &mut Group) {
        let lead = group.lead.as_ref().map(|l| l.number);
        let over: Vec<u64> = group.members.iter().filter(|(n, m)| m.over && Some(**n) != lead).map(|(n, _)| *n).collect();
        let firing = |n: &u64| self.incidents.get(n).is_some_and(crate::alert::Incident::is_firing);
        for number in over.iter().take(over.len().saturating_sub(ALERTS_PER_NOTIFICATION)).filter(|n| !firing(n)) {
            group.members.remove(number);
        }
    }

    /// Takes note of what the outbox learned about its targets.
    pub(super) fn note_heard(&mut self) {
        for heard in std::mem::take(&mut self.outbox.heard) {
            match heard {
                Heard::Reference(note, target, reference) => {
                    let set = |told: &mut BTreeMap<String, Told>| {
                        if let Some(told) = told.get_mut(&name(&target)) {
                            told.reference.get_or_insert(reference);
                        }
                    };
                    self.with_told(&note, set);
                }
                Heard::Never(note, target) => self.with_told(&note, |told| drop(told.remove(&name(&target)))),
                Heard::Instead(note, target) => self.with_told(&note, |told| note_told(told, &target, note.sequence)),
                Heard::Stopped(target, reason) => self.counts.push(Count::TargetStopped { target, reason }),
                Heard::Back(target) => self.counts.push(Count::TargetBack(target)),
            }
        }
    }

    fn with_told(&mut self, note: &Notification, change: impl FnOnce(&mut BTreeMap<String, Told>)) {
        let same = |g: &Group| g.lead.as_ref().is_some_and(|l| l.dedup_key == note.dedup_key) && g.key == note.group_key;
        if let Some((name, group)) = self.groups.iter_mut().find(|(_, g)| same(g)) {
            change(&mut group.told);
            self.dirty_groups.insert(name.clone());
        }
    }
}

fn note_told(told: &mut BTreeMap<String, Told>, target: &Target, sequence: u32) {
    let new = || Told { target: target.clone(), reference: None, sequence };
    let told = told.entry(name(target)).or_insert_with(new);
    told.sequence = told.sequence.max(sequence);
}

/// A target's place in the list of who was told.
fn name(target: &Target) -> String {
    format!("{}/{}/{}", target.receiver, target.channel, target.index)
}
