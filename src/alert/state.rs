//! Inactive, pending, firing, resolved: the state of one rule for one group, with `for` and `keep_firing_for`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::Timestamp;

/// Where an alert stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AlertState {
    /// The condition does not hold.
    #[default]
    Inactive,
    /// It has held since then, but not yet for the rule's `for`.
    Pending(Timestamp),
    /// It has been told. `clear` is set while the condition does not hold any more but `keep_firing_for` has not passed.
    Firing {
        /// Since when the condition has been clear.
        clear: Option<Timestamp>,
    },
}

/// What a step changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// It begins to fire.
    Fire,
    /// It is resolved.
    Resolve,
}

impl AlertState {
    /// Takes the condition's verdict at `now`: `Some(true)` holds, `Some(false)` does not, `None` cannot be told. No data is not
    /// good news: it neither fires nor resolves, and a pending alert keeps waiting.
    pub fn step(&mut self, now: Timestamp, holds: Option<bool>, hold: Duration, keep: Duration) -> Option<Edge> {
        let holds = match holds {
            Some(holds) => holds,
            // A clear time that is already running goes on; otherwise all stays as it is.
            None => match *self {
                Self::Firing { clear: Some(_) } => false,
                _ => return None,
            },
        };
        match (*self, holds) {
            (Self::Inactive, true) => {
                if hold.is_zero() {
                    *self = Self::Firing { clear: None };
                    return Some(Edge::Fire);
                }
                *self = Self::Pending(now);
                None
            }
            (Self::Pending(since), true) => {
                if now.since(since) < hold {
                    return None;
                }
                *self = Self::Firing { clear: None };
                Some(Edge::Fire)
            }
            (Self::Pending(_), false) => {
                *self = Self::Inactive;
                None
            }
            (Self::Firing { .. }, true) => {
                *self = Self::Firing { clear: None };
                None
            }
            (Self::Firing { clear }, false) => {
                let since = clear.unwrap_or(now);
                if now.since(since) < keep {
                    *self = Self::Firing { clear: Some(since) };
                    return None;
                }
                *self = Self::Inactive;
                Some(Edge::Resolve)
            }
            (Self::Inactive, false) => None,
        }
    }

    /// When it must be stepped again even if nothing comes.
    pub fn deadline(&self, hold: Duration, keep: Duration) -> Option<Timestamp> {
        match *self {
            Self::Pending(since) => Some(since + hold),
            Self::Firing { clear: Some(since) } => Some(since + keep),
            _ => None,
        }
    }

    /// Whether it has been told and is not over.
    pub const fn is_firing(&self) -> bool {
        matches!(self, Self::Firing { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `T` holds, `F` does not, `?` unknown, one a second; says the seconds of the edges.
    #[track_caller]
    fn check(verdicts: &str, hold: u64, keep: u64, expected: &str) {
        let mut state = AlertState::default();
        let mut edges = String::new();
        for (second, verdict) in verdicts.chars().enumerate() {
            let holds = match verdict {
                'T' => Some(true),
                'F' => Some(false),
                _ => None,
            };
            let now = Timestamp::from_secs(second as i64);
            match state.step(now, holds, Duration::from_secs(hold), Duration::from_secs(keep)) {
                Some(Edge::Fire) => edges.extend(["fire@".to_owned(), second.to_string(), " ".to_owned()]),
                Some(Edge::Resolve) => edges.extend(["resolve@".to_owned(), second.to_string(), " ".to_owned()]),
                None => {}
            }
        }
        assert_eq!(edges.trim_end(), expected, "{verdicts}");
    }

    #[test]
    fn without_for_it_fires_at_once_and_resolves_at_once() {
        check("FFTTFF", 0, 0, "fire@2 resolve@4");
    }

    #[test]
    fn pending_until_it_has_held_for_the_whole_time() {
        check("TTFTTTT", 3, 0, "fire@6");
        check("TTF", 3, 0, "");
    }

    #[test]
    fn keeps_firing_and_a_return_meanwhile_is_no_news() {
        check("TFFTFFFF", 0, 3, "fire@0 resolve@7");
    }

    #[test]
    fn no_data_neither_fires_nor_resolves() {
        check("T????", 0, 0, "fire@0");
        check("T?F", 0, 0, "fire@0 resolve@2");
        check("?TF", 0, 0, "fire@1 resolve@2");
    }
}
