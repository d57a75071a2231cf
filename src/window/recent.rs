//! What was seen within the last while: ids (to drop retries) and sessions (one error of each counts once an hour).

use std::collections::VecDeque;
use std::collections::hash_map::Entry;

use serde::{Deserialize, Serialize};

use crate::model::limits::IDS_PER_SITE;
use crate::model::{HashedMap, Timestamp};

/// Remembers 64-bit hashes for a fixed time of arrival. Exact up to [`IDS_PER_SITE`]; beyond, the oldest are forgotten sooner.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Recent {
    seen: HashedMap<i64>,
    order: VecDeque<(i64, u64)>,
}

impl Recent {
    /// Whether `hash` was seen in the last `keep_ms` milliseconds; remembers it if not.
    pub fn is_repeat(&mut self, now: Timestamp, hash: u64, keep_ms: i64) -> bool {
        while let Some(&(at, old)) = self.order.front() {
            if at + keep_ms > now.millis() && self.order.len() < IDS_PER_SITE {
                break;
            }
            self.order.pop_front();
            if self.seen.get(&old) == Some(&at) {
                self.seen.remove(&old);
            }
        }
        match self.seen.entry(hash) {
            Entry::Occupied(_) => return true,
            Entry::Vacant(free) => drop(free.insert(now.millis())),
        }
        self.order.push_back((now.millis(), hash));
        false
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_is_known_for_the_stated_time_and_no_longer() {
        let mut recent = Recent::default();
        assert!(!recent.is_repeat(Timestamp(0), 7, 1000));
        assert!(recent.is_repeat(Timestamp(999), 7, 1000));
        assert!(!recent.is_repeat(Timestamp(1000), 7, 1000));
        assert!(!recent.is_repeat(Timestamp(5000), 8, 1000));
        assert_eq!(recent.len(), 1);
    }
}
