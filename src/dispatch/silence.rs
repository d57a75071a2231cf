//! Silences: for a time, alerts that match are not told. What was told is still resolved.

use serde::{Deserialize, Serialize};

use super::matcher::{Matcher, Op};
use crate::model::{Labels, Timestamp};

/// One silence. An expired one is kept for people to look at until the store forgets it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Silence {
    /// Its name, chosen by who makes it (a UUID for Alertmanager's tools).
    pub id: String,
    /// All must match.
    pub matchers: Vec<Matcher>,
    /// From then on, inclusive.
    pub starts_at: Timestamp,
    /// Until then, exclusive.
    pub ends_at: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// Why.
    pub comment: String,
    /// When it was made or last changed.
    pub updated_at: Timestamp,
}

impl Silence {
    /// Whether it is in force.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.starts_at <= now && now < self.ends_at
    }

    /// Whether it keeps an alert with these labels quiet now.
    pub fn mutes(&self, labels: &Labels, now: Timestamp) -> bool {
        self.is_active(now) && self.matchers.iter().all(|m| m.matches(labels))
    }
}

/// How a silence is written down: matchers as plain words.
#[derive(Serialize, Deserialize)]
struct Stored {
    id: String,
    matchers: Vec<(String, String, String)>,
    starts_at: Timestamp,
    ends_at: Timestamp,
    created_by: String,
    comment: String,
    updated_at: Timestamp,
}

impl From<Silence> for Stored {
    fn from(silence: Silence) -> Self {
        let word = |op| match op {
            Op::Equal => "=",
            Op::NotEqual => "!=",
            Op::Regex => "=~",
            Op::NotRegex => "!~",
        };
        Self {
            id: silence.id,
            matchers: silence.matchers.into_iter().map(|m| (m.name, word(m.op).to_owned(), m.value)).collect(),
            starts_at: silence.starts_at,
            ends_at: silence.ends_at,
            created_by: silence.created_by,
            comment: silence.comment,
            updated_at: silence.updated_at,
        }
    }
}

impl TryFrom<Stored> for Silence {
    type Error = String;

    fn try_from(stored: Stored) -> Result<Self, String> {
        let mut matchers = Vec::with_capacity(stored.matchers.len());
        for (name, op, value) in stored.matchers {
            let op = match op.as_str() {
                "=" => Op::Equal,
                "!=" => Op::NotEqual,
                "=~" => Op::Regex,
                "!~" => Op::NotRegex,
                other => return Err(format!("`{other}` does not compare labels; use =, !=, =~ or !~")),
            };
            matchers.push(Matcher::new(name, op, value)?);
        }
        Ok(Self {
            id: stored.id,
            matchers,
            starts_at: stored.starts_at,
            ends_at: stored.ends_at,
            created_by: stored.created_by,
            comment: stored.comment,
            updated_at: stored.updated_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_comes_back_from_its_text_and_holds_in_its_time() {
        let silence = Silence {
            id: "s1".into(),
            matchers: vec![Matcher::new("page", Op::Regex, "/a|/b").unwrap()],
            starts_at: Timestamp::from_secs(10),
            ends_at: Timestamp::from_secs(20),
            created_by: "kim".into(),
            comment: "deploy".into(),
            updated_at: Timestamp::from_secs(5),
        };
        let text = serde_json::to_string(&silence).unwrap();
        let back: Silence = serde_json::from_str(&text).unwrap();
        assert_eq!(back, silence);
        let labels = Labels::new().with("page", "/b");
        let held = [9, 10, 19, 20].map(|secs| back.mutes(&labels, Timestamp::from_secs(secs)));
        assert_eq!(held, [false, true, true, false]);
    }
}
