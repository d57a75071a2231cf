//! Incidents: one for each alert (rule and group), with a name for people and a key that services use to fold repeats.
//!
//! An *episode* lasts from firing to resolved. An alert that fires again within [`BACK_WITHIN`] of its end is the same
//! incident, "back": it keeps its number and gets a new episode and a new dedup key, because services such as `PagerDuty` take
//! nothing more for a key that was resolved. After that time it is a new incident with a new number.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{AlertView, Labels, Severity, State, Timestamp, Transition};

/// An alert that fires again within this time of its end is the same incident.
pub const BACK_WITHIN: Duration = Duration::from_secs(30 * 60);

/// Characters of the site, and of the rule's name, inside a dedup key; with the hash and the numbers it stays below 255.
const KEY_PART_CHARS: usize = 90;

/// One alert's incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Rising over all incidents, from 1. `SPK-<number>` is its name.
    pub number: u64,
    /// From 1; rises each time the incident is back.
    pub episode: u32,
    /// [`Transition::key`].
    pub key: u64,
    /// When this episode began to fire (decision time).
    pub opened: Timestamp,
    /// When the first episode began.
    pub first_opened: Timestamp,
    /// The newest firing transition.
    pub firing: Transition,
    /// The transition that ended it, where it is over.
    pub resolved: Option<Transition>,
    /// The worst severity of this episode.
    pub worst: Severity,
    /// Who acknowledged it, and when.
    pub acked: Option<Ack>,
    /// Notifications told so far, by receiver: their ids go on from there.
    pub sequences: BTreeMap<String, u32>,
}

/// Somebody said "I have it".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

impl Incident {
    /// A new incident, from the transition that fired.
    pub fn open(number: u64, firing: Transition) -> Self {
        Self {
            number,
            episode: 1,
            key: firing.key(),
            opened: firing.at,
            first_opened: firing.at,
            worst: firing.severity,
            firing,
            resolved: None,
            acked: None,
            sequences: BTreeMap::new(),
        }
    }

    /// Takes a firing transition of the same alert: more news of an open episode, or the begin of the next one.
    pub fn fire(&mut self, firing: Transition) {
        if self.resolved.take().is_some() {
            self.episode += 1;
            self.opened = firing.at;
            self.worst = firing.severity;
            self.acked = None;
        }
        self.worst = self.worst.max(firing.severity);
        self.firing = firing;
    }

    /// Ends the episode. What is over already stays as it is.
    pub fn resolve(&mut self, resolved: Transition) {
        self.resolved.get_or_insert(resolved);
    }

    /// Ends the episode by hand.
    pub fn resolve_by(&mut self, by: &str, now: Timestamp) {
        let resolved = Transition { at: now, state: State::Resolved, reason: format!("resolved by {by}"), ..self.firing.clone() };
        self.resolve(resolved);
    }

    /// Whether it fires.
    pub const fn is_firing(&self) -> bool {
        self.resolved.is_none()
    }

    /// Whether a firing transition at `now` continues it rather than opening a new one.
    pub fn continues(&self, now: Timestamp) -> bool {
        self.resolved.as_ref().is_none_or(|r| now.since(r.at) <= BACK_WITHIN)
    }

    /// Whether this is the second or a later episode.
    pub const fn is_back(&self) -> bool {
        self.episode > 1
    }

    /// `SPK-12`.
    pub fn name(&self) -> String {
        format!("SPK-{}", self.number)
    }

    /// The number in `SPK-12`, `spk-12` or `12`.
    pub fn parse_name(text: &str) -> Option<u64> {
        let digits = text.get(..4).filter(|p| p.eq_ignore_ascii_case("SPK-")).map_or(text, |_| &text[4..]);
        digits.parse().ok()
    }

    /// `<site>:<alert>:<hash of the group>:<number>.<episode>`, at most 255 characters, the same for the whole episode.
    pub fn dedup_key(&self) -> String {
        let cut = |text: &str| text.chars().take(KEY_PART_CHARS).collect::<String>();
        let (site, alert) = (cut(self.firing.group.get("site")), cut(&self.firing.alert));
        format!("{site}:{alert}:{:016x}:{}.{}", self.key, self.number, self.episode)
    }

    /// What routes, silences and inhibition see.
    pub const fn labels(&self) -> &Labels {
        &self.firing.labels
    }

    /// The site it belongs to.
    pub fn site(&self) -> &str {
        self.firing.group.get("site")
    }

    /// As a part of a notification.
    pub fn view(&self) -> AlertView {
        AlertView { incident: self.name(), firing: self.firing.clone(), resolved: self.resolved.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Finding, TransitionId};

    fn transition(secs: i64, state: State, severity: Severity) -> Transition {
        let group = Labels::new().with("site", "s".repeat(300)).with("page", "/pay");
        Transition {
            id: TransitionId::default(),
            at: Timestamp::from_secs(secs),
            alert: "a".repeat(300),
            state,
            labels: group.clone(),
            group,
            slice: Labels::new(),
            annotations: Labels::new(),
            severity,
            owner: String::new(),
            began: Timestamp::from_secs(secs),
            finding: Finding::default(),
            reason: String::new(),
            condition: "spike".into(),
        }
    }

    #[test]
    fn an_alert_that_is_back_keeps_its_number_and_gets_a_new_key() {
        let mut incident = Incident::open(12, transition(0, State::Firing, Severity::P0));
        let first = incident.dedup_key();
        assert!(first.chars().count() <= 255 && first.ends_with(":12.1"), "{first}");
        incident.fire(transition(10, State::Firing, Severity::P2));
        assert_eq!((incident.dedup_key(), incident.worst), (first.clone(), Severity::P0));
        incident.resolve(transition(60, State::Resolved, Severity::P2));
        assert!(incident.continues(Timestamp::from_secs(60 + 1800)) && !incident.continues(Timestamp::from_secs(60 + 1801)));
        incident.fire(transition(90, State::Firing, Severity::P2));
        assert!(incident.is_back() && incident.is_firing() && incident.worst == Severity::P2);
        assert_ne!(incident.dedup_key(), first);
    }

    #[test]
    fn names_are_read_back() {
        for (text, number) in [("SPK-12", Some(12)), ("spk-3", Some(3)), ("7", Some(7)), ("SPK-", None), ("é-12", None)] {
            assert_eq!(Incident::parse_name(text), number, "{text}");
        }
    }
}
