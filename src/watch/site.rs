//! What the watch knows of a site and environment as a whole.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::finding::Deploy;
use crate::model::{Batch, Event, Timestamp};
use crate::rule::first_seen::Told;
use crate::window::Recent;

use super::drop::SiteDrop;

/// Releases remembered to know a new one by.
const RELEASES_MAX: usize = 256;

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
    deploys: Vec<(String, Deploy)>,
    releases: BTreeMap<String, Timestamp>,
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
            deploys: Vec::new(),
            releases: BTreeMap::new(),
        }
    }

    /// Notes a release marker; `page` is empty for one of the whole site.
    pub(crate) fn note_deploy(&mut self, page: &str, release: &str, at: Timestamp) {
        self.deploys.retain(|(of, _)| of != page);
        self.deploys.push((page.to_owned(), Deploy { release: release.to_owned(), at }));
        if self.deploys.len() > RELEASES_MAX {
            self.deploys.remove(0);
        }
        self.note_release(release, at);
    }

    /// Notes that a release was seen in traffic.
    pub(crate) fn note_release(&mut self, release: &str, at: Timestamp) {
        if release.is_empty() || self.releases.contains_key(release) {
            return;
        }
        if self.releases.len() >= RELEASES_MAX
            && let Some(oldest) = self.releases.iter().min_by_key(|(_, at)| **at).map(|(name, _)| name.clone())
        {
            self.releases.remove(&oldest);
        }
        self.releases.insert(release.to_owned(), at);
    }

    /// The newest release marker that holds for a page: its own or the site's.
    pub(crate) fn deploy_of(&self, page: &str) -> Option<&Deploy> {
        self.deploys.iter().filter(|(of, _)| of.is_empty() || of == page).map(|(_, deploy)| deploy).max_by_key(|d| d.at)
    }

    /// A release that came within the two hours before `began` (or ten minutes after, as onsets are estimates): announced, or
    /// first seen in traffic when the site was known already.
    pub(crate) fn release_before(&self, page: &str, began: Timestamp) -> Option<Deploy> {
        let (from, to) = (began.secs() - 7200, began.secs() + 600);
        let near = |at: Timestamp| at.secs() >= from && at.secs() <= to;
        if let Some(deploy) = self.deploy_of(page).filter(|deploy| near(deploy.at)) {
            return Some(deploy.clone());
        }
        let known = |at: Timestamp| at.secs() > self.born.secs() + 3600;
        let seen = self.releases.iter().filter(|(_, at)| near(**at) && known(**at)).max_by_key(|(_, at)| **at)?;
        Some(Deploy { release: seen.0.clone(), at: *seen.1 })
    }

    /// Notes an event's release dimension.
    pub(crate) fn note_event(&mut self, batch: &Batch, event: &Event) {
        self.seen = event.arrival;
        let release = event.dims[crate::model::Dim::Release as usize];
        if !release.is_empty() {
            self.note_release(batch.str(release), event.at);
        }
    }
}
