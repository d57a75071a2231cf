//! What the watch knows of a site and environment as a whole.

use serde::{Deserialize, Serialize};

use crate::model::finding::Deploy;
use crate::model::{Batch, Event, Timestamp};
use crate::rule::first_seen::Told;
use crate::window::{Recent, Starts};

use super::drop::SiteDrop;
use super::releases::Releases;

/// One site and environment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Site {
    pub(crate) name: String,
    pub(crate) env: String,
    /// First event's arrival.
    pub(crate) born: Timestamp,
    /// Newest event's arrival.
    pub(crate) seen: Timestamp,
    pub(crate) series: usize,
    /// The limit on series was reached, and that has been said.
    pub(crate) full: bool,
    pub(crate) ids: Recent,
    pub(crate) told: Told,
    /// What `drop` rules know of the site as a whole.
    pub(crate) drops: Vec<SiteDrop>,
    pub(crate) releases: Releases,
    /// When visits began, where a rule compares releases.
    pub(crate) starts: Starts,
}

impl Site {
    pub(crate) fn new(name: &str, env: &str, now: Timestamp) -> Self {
        Self {
            name: name.to_owned(),
            env: env.to_owned(),
            born: now,
            seen: now,
            series: 0,
            full: false,
            ids: Recent::default(),
            told: Told::default(),
            drops: Vec::new(),
            releases: Releases::default(),
            starts: Starts::default(),
        }
    }

    /// Notes that an event was accepted.
    pub(crate) fn note_event(&mut self, batch: &Batch, event: &Event) {
        self.seen = event.arrival;
        self.releases.note_event(batch, event, self.born);
    }

    /// [`Releases::release_before`] for this site.
    pub(crate) fn release_before(&self, page: &str, began: Timestamp) -> Option<Deploy> {
        self.releases.release_before(page, began, self.born)
    }
}
