//! Notification groups: what one receiver hears as one message, and when. The timers are exact: nothing waits for a tick.
//!
//! A group's *episode* lasts from its first notification to the resolve. Its dedup key is the one of its lead incident and
//! stays through updates, restarts and reloads. Who was told is remembered here, so that exactly those hear of the end.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::route::Route;
use crate::model::delivery::Target;
use crate::model::{Labels, Reason, Severity, Timestamp};

/// A group of alerts for one receiver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Who hears.
    pub receiver: String,
    /// `<route path>:<labels>`, as Alertmanager spells it.
    pub key: String,
    /// The labels that name it.
    pub labels: Labels,
    /// Timers and mutes of its route.
    pub timing: Timing,
    /// No route leads here any more: it only waits to tell the end.
    pub orphan: bool,
    /// It takes what a storm would otherwise open as groups of their own.
    pub storm: bool,
    /// When its first alert came, or when it was emptied last.
    pub opened: Timestamp,
    /// The newest join.
    pub joined: Timestamp,
    /// The incident it is named by; none before the first notification.
    pub lead: Option<Lead>,
    /// Its alerts by incident number.
    pub members: BTreeMap<u64, Member>,
    /// Who was told in this episode, with what later messages need to know (Slack's `ts`).
    pub told: BTreeMap<String, Told>,
    /// The newest notification of this episode.
    pub last_sent: Option<Timestamp>,
    /// When to look again.
    pub next: Option<Timestamp>,
}

/// What a group takes from its route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// `group_wait`
    pub wait: Duration,
    /// `group_interval`
    pub interval: Duration,
    /// `repeat_interval`
    pub repeat: Duration,
    /// `mute_time_intervals`
    pub mute: Vec<String>,
    /// `active_time_intervals`
    pub active: Vec<String>,
}

impl From<&Route> for Timing {
    fn from(route: &Route) -> Self {
        Self {
            wait: route.group_wait,
            interval: route.group_interval,
            repeat: route.repeat_interval,
            mute: route.mute_time_intervals.clone(),
            active: route.active_time_intervals.clone(),
        }
    }
}

/// The incident that names a group's episode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lead {
    /// Its number.
    pub number: u64,
    /// Its name.
    pub name: String,
    /// Its dedup key when the group's episode began.
    pub dedup_key: String,
    /// When it opened.
    pub opened: Timestamp,
}

/// One alert of a group, and what the receiver knows of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The worst severity told; none: never told.
    pub told: Option<Severity>,
    /// Its end was told too.
    pub over: bool,
}

/// A target that was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The target.
    pub target: Target,
    /// What the channel must know of the first message.
    pub reference: Option<String>,
    /// The newest message it was told, by its sequence.
    #[serde(default)]
    pub sequence: u32,
}

/// What the group must know of an alert to decide.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// Whether it fires.
    pub firing: bool,
    /// How urgent.
    pub severity: Severity,
    /// Silenced, inhibited or muted: nothing new is told of it.
    pub quiet: bool,
    /// Somebody has it: no repeats.
    pub acked: bool,
}

impl Group {
    /// An empty group.
    pub fn new(receiver: &str, key: String, labels: Labels, timing: Timing, now: Timestamp) -> Self {
        Self {
            receiver: receiver.to_owned(),
            key,
            labels,
            timing,
            orphan: false,
            storm: false,
            opened: now,
            joined: now,
            lead: None,
            members: BTreeMap::new(),
            told: BTreeMap::new(),
            last_sent: None,
            next: None,
        }
    }

    /// Whether anything was told in this episode.
    pub const fn is_told(&self) -> bool {
        self.last_sent.is_some()
    }

    /// What is due at `now`, if anything, and when to look again. `standing` knows every member.
    pub fn decide(&self, now: Timestamp, standing: &BTreeMap<u64, Standing>) -> (Option<Reason>, Option<Timestamp>) {
        let members = || self.members.iter().filter_map(|(number, m)| standing.get(number).map(|s| (m, s)));
        let Some(last) = self.last_sent else {
            let news = !self.orphan && members().any(|(_, s)| s.firing && !s.quiet);
            return if news { due(now, self.opened + self.timing.wait, Reason::Fire) } else { (None, None) };
        };
        let knows = |m: &Member| m.told.is_some() && !m.over;
        let open = members().any(|(m, s)| s.firing && (knows(m) || (!s.quiet && !self.orphan)));
        let flush = last + self.timing.interval;
        if !open {
            return due(now, flush, Reason::Resolve);
        }
        if self.orphan {
            return (None, None);
        }
        let changed = members().any(|(m, s)| {
            let news = s.firing && !s.quiet && (!knows(m) || m.told.is_some_and(|told| s.severity > told));
            news || (!s.firing && knows(m))
        });
        let repeats = members().any(|(m, s)| s.firing && !s.quiet && !s.acked && knows(m));
        let update = if changed { due(now, flush, Reason::Update) } else { (None, None) };
        let again = last + self.timing.repeat.max(Duration::from_secs(1));
        let repeat = if repeats { due(now, again, Reason::Repeat) } else { (None, None) };
        (update.0.or(repeat.0), [update.1, repeat.1].into_iter().flatten().min())
    }

    /// Members that a notification of this reason names.
    pub fn shown(&self, reason: Reason, standing: &BTreeMap<u64, Standing>) -> Vec<u64> {
        let shows = |number: &u64, m: &Member| match (reason, standing.get(number)) {
            (Reason::Resolve, _) => m.told.is_some(),
            (_, Some(s)) if s.firing => !s.quiet || (m.told.is_some() && !m.over),
            (_, Some(_)) => m.told.is_some() && !m.over,
            (_, None) => false,
        };
        self.members.iter().filter(|(number, m)| shows(number, m)).map(|(number, _)| *number).collect()
    }

    /// Takes note that `shown` was told at `now`. After a resolve only what was never told stays.
    pub fn sent(&mut self, now: Timestamp, reason: Reason, shown: &[u64], standing: &BTreeMap<u64, Standing>) {
        if reason == Reason::Resolve {
            // What fires again, held back by a silence, has its news still to come.
            let is_on = !self.orphan;
            self.members.retain(|number, member| {
                let fires = is_on && standing.get(number).is_some_and(|s| s.firing);
                if fires {
                    *member = Member::default();
                }
                fires || member.told.is_none()
            });
            self.told.clear();
            self.lead = None;
            self.last_sent = None;
            self.opened = now;
            return;
        }
        for number in shown {
            let (Some(member), Some(s)) = (self.members.get_mut(number), standing.get(number)) else { continue };
            let before = if member.over { None } else { member.told };
            member.over = !s.firing;
            member.told = Some(before.map_or(s.severity, |told| told.max(s.severity)));
        }
        self.last_sent = Some(now);
    }
}

fn due(now: Timestamp, at: Timestamp, reason: Reason) -> (Option<Reason>, Option<Timestamp>) {
    if now >= at { (Some(reason), None) } else { (None, Some(at)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn standing(firing: bool, severity: Severity, quiet: bool) -> BTreeMap<u64, Standing> {
        BTreeMap::from([(1, Standing { firing, severity, quiet, acked: false })])
    }

    fn group() -> Group {
        let secs = Duration::from_secs;
        let timing = Timing { wait: secs(30), interval: secs(300), repeat: secs(1000), ..Timing::default() };
        let mut group = Group::new("r", "{}:{}".into(), Labels::new(), timing, at(0));
        group.members.insert(1, Member::default());
        group
    }

    #[test]
    fn the_first_notice_waits_and_the_repeat_is_exact() {
        let mut group = group();
        let fires = standing(true, Severity::P2, false);
        assert_eq!(group.decide(at(29), &fires), (None, Some(at(30))));
        assert_eq!(group.decide(at(30), &fires), (Some(Reason::Fire), None));
        group.sent(at(30), Reason::Fire, &[1], &fires);
        assert_eq!(group.decide(at(31), &fires), (None, Some(at(1030))));
        assert_eq!(group.decide(at(1030), &fires), (Some(Reason::Repeat), None));
        let worse = standing(true, Severity::P0, false);
        assert_eq!(group.decide(at(31), &worse), (None, Some(at(330))));
        assert_eq!(group.decide(at(330), &worse), (Some(Reason::Update), Some(at(1030))));
    }

    #[test]
    fn quiet_alerts_are_not_told_but_their_end_is_once_they_were() {
        let mut group = group();
        assert_eq!(group.decide(at(60), &standing(true, Severity::P2, true)), (None, None));
        group.sent(at(60), Reason::Fire, &[1], &standing(true, Severity::P2, false));
        assert_eq!(group.decide(at(2000), &standing(true, Severity::P0, true)), (None, None));
        assert_eq!(group.decide(at(2000), &standing(false, Severity::P0, true)), (Some(Reason::Resolve), None));
    }
}
