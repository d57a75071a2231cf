//! What a site knows of its releases: which have traffic, which is new, and what counts as a deploy.
//!
//! Many sites send no release marker. So a release that is first seen in traffic, on a site that is known for a while and knows
//! another release, counts as a deploy too, as soon as it carries enough of the traffic not to be junk: old clients that come
//! once a day, a scanner's invention.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::finding::Deploy;
use crate::model::limits::{RELEASES_PER_SITE, SLICE_NAMED_SESSIONS_MIN};
use crate::model::{Batch, Dim, Event, Kind, Timestamp};
use crate::rule::release::Newcomer;

use super::plan::dim_of;

/// In the first hour of a site all its releases are seen for the first time.
const KNOWN_SECS: i64 = 3600;
/// A release counts from so many views on …
const VIEWS_MIN: u64 = 20;
/// … if they are this share of all views with a release since it was first seen.
const SHARE_MIN: f64 = 0.01;
/// A deploy is dated back to the first sight by no more than this: before, it was somebody's trial.
const DATED_BACK_SECS: u64 = 600;
/// New releases remembered at a time, and for how long: no rule compares for longer.
const NEWCOMERS_MAX: usize = 16;
const NEWCOMER_SECS: u64 = 7 * 86_400;

/// The releases of a site and environment.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Releases {
    /// By page, empty for the whole site: the newest marker.
    deploys: Vec<(String, Deploy)>,
    known: BTreeMap<String, Known>,
    newcomers: Vec<Newcomer>,
    /// Views with a release, in all.
    views: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Known {
    /// Event time of the first sight.
    first: Timestamp,
    /// Newest arrival.
    seen: Timestamp,
    views: u64,
    /// All views with a release when it was first seen.
    views_before: u64,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Stage {
    /// In traffic; perhaps junk.
    Seen,
    /// By a marker; no views yet.
    Announced,
    /// One of the site's.
    Settled,
}

impl Releases {
    /// Notes a release marker; `page` is empty for one of the whole site.
    pub(crate) fn note_deploy(&mut self, page: &str, release: &str, at: Timestamp) {
        self.push_deploy(page, release, at);
        if release.is_empty() {
            return;
        }
        let known = self.entry(release, at, at);
        known.stage = known.stage.max(Stage::Announced);
    }

    fn push_deploy(&mut self, page: &str, release: &str, at: Timestamp) {
        self.deploys.retain(|(of, _)| of != page);
        self.deploys.push((page.to_owned(), Deploy { release: release.to_owned(), at }));
        if self.deploys.len() > RELEASES_PER_SITE {
            self.deploys.remove(0);
        }
    }

    fn entry(&mut self, release: &str, first: Timestamp, now: Timestamp) -> &mut Known {
        if !self.known.contains_key(release) {
            if self.known.len() >= RELEASES_PER_SITE
                && let Some(idle) = self.known.iter().min_by_key(|(_, k)| (k.stage, k.seen)).map(|(name, _)| name.clone())
            {
                self.known.remove(&idle);
            }
            let known = Known { first, seen: now, views: 0, views_before: self.views, stage: Stage::Seen };
            self.known.insert(release.to_owned(), known);
        }
        self.known.get_mut(release).expect("it was just put there")
    }

    /// Notes the release of an accepted event; `born` is when the site was first heard of.
    pub(crate) fn note_event(&mut self, batch: &Batch, event: &Event, born: Timestamp) {
        let text = dim_of(event, Dim::Release);
        if text.is_empty() {
            return;
        }
        let (name, now) = (batch.str(text), event.arrival);
        let views = if event.kind == Kind::View { u64::from(event.count) } else { 0 };
        self.views += views;
        let all = self.views;
        let known = self.entry(name, event.at, now);
        known.seen = now;
        known.views += views;
        if known.stage == Stage::Settled || known.views == 0 {
            return;
        }
        let share = known.views as f64 / (all - known.views_before.min(all)).max(1) as f64;
        let carries = known.views >= VIEWS_MIN && share >= SHARE_MIN;
        let (was, first) = (known.stage, known.first);
        if was == Stage::Seen && !carries {
            return;
        }
        known.stage = Stage::Settled;
        let of_site = |(other, known): (&String, &Known)| other != name && known.stage == Stage::Settled;
        let is_new = was == Stage::Announced || first.secs() > born.secs() + KNOWN_SECS;
        if !is_new || !self.known.iter().any(of_site) {
            return;
        }
        if was == Stage::Seen {
            let at = if now.since(first).as_secs() <= DATED_BACK_SECS { first } else { now };
            self.push_deploy("", name, at);
        }
        self.newcomers.retain(|known| now.since(known.at).as_secs() < NEWCOMER_SECS && known.hash != text.hash());
        if self.newcomers.len() >= NEWCOMERS_MAX {
            self.newcomers.remove(0);
        }
        self.newcomers.push(Newcomer { hash: text.hash(), name: name.to_owned(), at: now });
    }

    /// The release with this hash, if it is new to the site.
    pub(crate) fn newcomer(&self, hash: u32) -> Option<&Newcomer> {
        self.newcomers.iter().find(|newcomer| newcomer.hash == hash)
    }

    /// The newest deploy that holds for a page: its own or the site's.
    pub(crate) fn deploy_of(&self, page: &str) -> Option<&Deploy> {
        self.deploys.iter().filter(|(of, _)| of.is_empty() || of == page).map(|(_, deploy)| deploy).max_by_key(|d| d.at)
    }

    /// A release that came within the two hours before `began` (or ten minutes after, as onsets are estimates): announced, or
    /// first seen in traffic when the site was known already.
    pub(crate) fn release_before(&self, page: &str, began: Timestamp, born: Timestamp) -> Option<Deploy> {
        let (from, to) = (began.secs() - 7200, began.secs() + 600);
        let near = |at: Timestamp| at.secs() >= from && at.secs() <= to;
        if let Some(deploy) = self.deploy_of(page).filter(|deploy| near(deploy.at)) {
            return Some(deploy.clone());
        }
        let may_be_named =
            |known: &Known| known.views >= SLICE_NAMED_SESSIONS_MIN && known.first.secs() > born.secs() + KNOWN_SECS;
        let near = |known: &&Known| near(known.first) && may_be_named(known);
        let (name, known) = self.known.iter().filter(|(_, known)| near(known)).max_by_key(|(_, known)| known.first)?;
        Some(Deploy { release: name.clone(), at: known.first })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds after the birth of the site, release, views.
    fn note(releases: &mut Releases, secs: i64, release: &str, views: u32) {
        let mut batch = Batch::new();
        let at = Timestamp::from_secs(1_000_000 + secs);
        let mut dims = [crate::model::Text::NONE; Dim::COUNT];
        dims[Dim::Release as usize] = batch.add_text(release);
        let none = crate::model::Text::NONE;
        let event = Event {
            at,
            arrival: at,
            kind: Kind::View,
            count: views,
            companion: false,
            site: none,
            env: none,
            page: none,
            step: none,
            series: 0,
            session: 0,
            id: 0,
            dims,
            tags: (0, 0),
            part: 0,
        };
        releases.note_event(&batch, &event, Timestamp::from_secs(1_000_000));
    }

    fn deployed(releases: &Releases) -> Option<(&str, i64)> {
        releases.deploy_of("/pay").map(|deploy| (deploy.release.as_str(), deploy.at.secs() - 1_000_000))
    }

    #[test]
    fn a_release_first_seen_in_traffic_is_a_deploy_once_it_carries_views() {
        let mut releases = Releases::default();
        note(&mut releases, 0, "web@1", 500);
        note(&mut releases, 10, "web@2", 500);
        assert_eq!(deployed(&releases), None, "both were there before us");
        note(&mut releases, 9000, "web@3", 5);
        assert_eq!(deployed(&releases), None, "five views are perhaps somebody's trial");
        note(&mut releases, 9060, "web@3", 15);
        assert_eq!(deployed(&releases), Some(("web@3", 9000)));
        assert_eq!(releases.newcomers.len(), 1);
        note(&mut releases, 9100, "web@1", 500);
        assert_eq!(deployed(&releases), Some(("web@3", 9000)), "an old one is no deploy");
    }

    #[test]
    fn junk_is_no_deploy_and_pushes_nothing_out() {
        let mut releases = Releases::default();
        note(&mut releases, 0, "web@1", 1000);
        for n in 0..3000 {
            note(&mut releases, 7200 + n, &format!("scan-{n}"), 1);
            note(&mut releases, 7200 + n, "web@0-stale", u32::from(n % 100 == 0));
            note(&mut releases, 7200 + n, "web@1", 50);
        }
        assert_eq!(deployed(&releases), None);
        assert!(releases.known.len() <= RELEASES_PER_SITE && releases.known.contains_key("web@1"));
    }

    #[test]
    fn an_announced_release_is_new_with_its_first_view_and_is_deployed_when_announced() {
        let mut releases = Releases::default();
        note(&mut releases, 0, "web@1", 100);
        releases.note_deploy("", "web@2", Timestamp::from_secs(1_000_300));
        assert_eq!((deployed(&releases), releases.newcomers.len()), (Some(("web@2", 300)), 0));
        note(&mut releases, 400, "web@2", 1);
        assert_eq!((deployed(&releases), releases.newcomers.len()), (Some(("web@2", 300)), 1));
        releases.note_deploy("", "web@1", Timestamp::from_secs(1_000_900));
        note(&mut releases, 1000, "web@1", 100);
        assert_eq!(releases.newcomers.len(), 1, "a rollback brings nothing new");
    }
}
