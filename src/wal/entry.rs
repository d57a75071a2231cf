//! One entry of the log: what a replay needs to be exact.

use serde::{Deserialize, Serialize};

use crate::model::{Batch, Timestamp};

/// What the Watch is told, in the order in which it is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Entry {
    /// Events that arrived.
    Batch {
        /// Which source they came from, for the counters: `native`, `access_log`, …
        source: String,
        /// The events.
        batch: Batch,
        /// How far each source has been read with these events: its name, and a position that only the source understands.
        positions: Vec<(String, Vec<u8>)>,
    },
    /// The clock moved on to this arrival time without events.
    Tick(Timestamp),
    /// From here on another configuration holds.
    Config {
        /// Hash of the configuration's text.
        hash: u64,
    },
    /// The process was away until this arrival time.
    Resume(Timestamp),
}

impl Entry {
    /// About how many bytes it takes, to bound queues by; not exact.
    pub fn size_hint(&self) -> usize {
        match self {
            Self::Batch { batch, positions, .. } => {
                let positions: usize = positions.iter().map(|(name, at)| name.len() + at.len()).sum();
                64 + batch.text_bytes() + 128 * batch.events.len() + positions
            }
            Self::Tick(_) | Self::Config { .. } | Self::Resume(_) => 16,
        }
    }

    /// Raises arrival times that lie before `last`, and `last` to the latest one. Two requests may be stamped in one order and
    /// reach the log in the other; the log's order is the order of arrivals.
    pub(super) fn order_arrivals(&mut self, last: &mut Timestamp) {
        match self {
            Self::Batch { batch, .. } => {
                for event in &mut batch.events {
                    *last = event.arrival.max(*last);
                    event.arrival = *last;
                }
            }
            Self::Tick(at) | Self::Resume(at) => {
                *last = (*at).max(*last);
                *at = *last;
            }
            Self::Config { .. } => {}
        }
    }

    /// Whether its handles are sound: asked of what was read from disk.
    pub(super) fn is_sound(&self) -> bool {
        match self {
            Self::Batch { batch, .. } => batch.is_sound(),
            Self::Tick(_) | Self::Config { .. } | Self::Resume(_) => true,
        }
    }
}
