//! `first_seen`: an error that this page has never shown before.
//!
//! Each page keeps the kinds of error it knows and how often novelty comes by itself. A kind that is new on a clean page is told
//! at once; on a page where novelty never ends it must repeat faster than new kinds do (see [`crate::stats::good_turing`]).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::HashedMap;
use crate::model::limits::FINGERPRINTS_PER_PAGE;
use crate::stats::good_turing::{Weighing, is_news, novelty_rate};
use crate::stats::{WEEK_SECS, decay};

/// A site's errors are learned for this long before anything is new.
pub const LEARN_SECS: f64 = 36.0 * 3600.0;

/// A fingerprint is told at most once in this time.
pub const TOLD_SECS: f64 = 90.0 * 86_400.0;

/// A told error is over when it has not come for this long.
pub const RESOLVE_SECS: i64 = 3600;

/// Half-life of the novelty sums.
const HALF_LIFE: f64 = 7.0 * 86_400.0;

/// A kind that was not told within this time of its first is not news any more.
const CANDIDATE_SECS: f64 = 86_400.0;

/// The share of a rule's budget that is spent on announcements that turn out to be noise: measured on pages of many kinds so
/// that the noise stays well inside of the budget.
const BUDGET_SHARE: f64 = 0.4;

/// After a release new kinds are expected and wanted: the budget is so many times larger for half an hour.
const DEPLOY_FACTOR: f64 = 3.0;

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Kind {
    count: u32,
    /// Minutes since the epoch.
    seen: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Candidate {
    first: f64,
    errors_at_first: u64,
    last_session: u64,
    seen: u64,
    told: bool,
}

/// What one page knows of its errors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Page {
    kinds: HashedMap<Kind>,
    candidates: BTreeMap<u64, Candidate>,
    errors: u64,
    singletons: u64,
    novelties: f64,
    weeks: f64,
    last: f64,
}

/// One error as this condition sees it.
#[derive(Clone, Copy, Debug)]
pub struct Sighting {
    /// Arrival, seconds since the epoch.
    pub now: f64,
    /// Hash of the fingerprint.
    pub fingerprint: u64,
    /// Session hash; 0 where unknown.
    pub session: u64,
    /// How often (`count` of the line).
    pub count: u32,
    /// When the site was first heard of.
    pub site_born: f64,
    /// A release came within the last half hour.
    pub after_deploy: bool,
}

impl Page {
    /// Takes one error. Whether it is to be told now, for a budget of `per_week` announcements of noise a week.
    pub fn see(&mut self, sighting: &Sighting, per_week: f64) -> bool {
        let now = sighting.now;
        let learned_at = sighting.site_born + LEARN_SECS;
        if self.last > 0.0 {
            let fade = decay(now - self.last, HALF_LIFE);
            self.novelties *= fade;
            self.weeks = self.weeks * fade + (now - self.last) / WEEK_SECS;
        } else {
            // The page had no error since learning ended: that time was exposure, too.
            self.weeks = (now - learned_at).clamp(0.0, HALF_LIFE) / WEEK_SECS;
        }
        self.last = now;
        let is_first = self.count(sighting);
        if now < learned_at {
            self.weeks = 0.0;
            return false;
        }
        if is_first {
            let candidate = Candidate { first: now, errors_at_first: self.errors, last_session: 0, seen: 0, told: false };
            self.candidates.insert(sighting.fingerprint, candidate);
            self.novelties += 1.0;
        }
        self.weigh(sighting, per_week)
    }

    /// Counts the error; whether its kind is new to the page.
    fn count(&mut self, sighting: &Sighting) -> bool {
        let minute = (sighting.now / 60.0) as u32;
        self.errors += u64::from(sighting.count);
        let before = self.kinds.get(&sighting.fingerprint).map_or(0, |kind| kind.count);
        let after = before.saturating_add(sighting.count);
        match (before, after) {
            (0, 1) => self.singletons += 1,
            (1, _) => self.singletons = self.singletons.saturating_sub(1),
            _ => {}
        }
        self.kinds.insert(sighting.fingerprint, Kind { count: after, seen: minute });
        if self.kinds.len() > FINGERPRINTS_PER_PAGE {
            self.evict(sighting.fingerprint);
        }
        before == 0
    }

    /// Forgets the eighth of the kinds not seen for the longest; singletons among them stay counted as singletons.
    fn evict(&mut self, keep: u64) {
        let mut by_age: Vec<(u32, u64)> = self.kinds.iter().map(|(hash, kind)| (kind.seen, *hash)).collect();
        by_age.sort_unstable();
        for (_, hash) in by_age.into_iter().filter(|(_, hash)| *hash != keep).take(FINGERPRINTS_PER_PAGE / 8) {
            self.kinds.remove(&hash);
            self.candidates.remove(&hash);
        }
    }

    fn weigh(&mut self, sighting: &Sighting, per_week: f64) -> bool {
        let now = sighting.now;
        let Some(candidate) = self.candidates.get_mut(&sighting.fingerprint) else { return false };
        let same_client = sighting.session != 0 && candidate.last_session == sighting.session;
        candidate.last_session = sighting.session;
        candidate.seen += if same_client { 0 } else { u64::from(sighting.count) };
        let candidate = *candidate;
        if candidate.told {
            if candidate.seen >= 3 {
                // Confirmed: it was news, not noise.
                self.novelties = (self.novelties - decay(now - candidate.first, HALF_LIFE)).max(0.0);
                self.candidates.remove(&sighting.fingerprint);
            }
            return false;
        }
        let weeks_of_site = ((now - sighting.site_born) / WEEK_SECS).max(1.0 / 7.0);
        let singletons = self.singletons.saturating_sub(u64::from(candidate.seen == 1)) as f64;
        let errors = self.errors as f64;
        let first_look = candidate.seen <= 1;
        let novelties = if first_look { (self.novelties - 1.0).max(0.0) } else { self.novelties };
        let weighing = Weighing {
            novelty_rate: novelty_rate(novelties, self.weeks, errors / weeks_of_site, errors, singletons),
            seen: candidate.seen.max(1),
            errors_since: self.errors.saturating_sub(candidate.errors_at_first),
            errors_before: candidate.errors_at_first,
            singleton_share: self.singletons as f64 / self.kinds.len().max(1) as f64,
        };
        let budget = BUDGET_SHARE * per_week * if sighting.after_deploy { DEPLOY_FACTOR } else { 1.0 };
        if is_news(&weighing, budget) {
            if let Some(candidate) = self.candidates.get_mut(&sighting.fingerprint) {
                candidate.told = true;
            }
            return true;
        }
        if now - candidate.first > CANDIDATE_SECS {
            self.candidates.remove(&sighting.fingerprint);
        }
        false
    }

    /// How many kinds the page knows.
    pub fn known(&self) -> usize {
        self.kinds.len()
    }
}

/// Fingerprints that were told for a site and environment, so that none is told twice in 90 days.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Told {
    at: BTreeMap<u64, f64>,
}

impl Told {
    /// Whether the fingerprint may be told now; notes it if so.
    pub fn may_tell(&mut self, now: f64, fingerprint: u64) -> bool {
        if self.at.get(&fingerprint).is_some_and(|at| now - at < TOLD_SECS) {
            return false;
        }
        if self.at.len() >= 100_000 {
            self.at.retain(|_, at| now - *at < TOLD_SECS);
        }
        self.at.insert(fingerprint, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: f64 = 86_400.0;

    fn see(page: &mut Page, now: f64, fingerprint: u64) -> bool {
        let sighting = Sighting { now, fingerprint, session: 0, count: 1, site_born: 0.0, after_deploy: false };
        page.see(&sighting, 1.0)
    }

    #[test]
    fn nothing_is_new_while_a_site_is_learned() {
        let mut page = Page::default();
        assert!(!see(&mut page, 3600.0, 1));
        assert!(!see(&mut page, LEARN_SECS - 1.0, 2));
    }

    #[test]
    fn a_clean_page_tells_the_first_occurrence_and_only_that() {
        let mut page = Page::default();
        for hour in 0..120 {
            assert!(!see(&mut page, f64::from(hour) * 3600.0, 1));
        }
        assert!(see(&mut page, 5.0 * DAY + 10.0, 42));
        assert!(!see(&mut page, 5.0 * DAY + 20.0, 42));
    }

    #[test]
    fn a_page_of_endless_novelty_waits_for_repetition() {
        let mut page = Page::default();
        let mut told = 0;
        for minute in 0..14_400u32 {
            let fingerprint = 1000 + u64::from(minute) / 2 * u64::from(minute % 2);
            told += u32::from(see(&mut page, f64::from(minute) * 60.0, fingerprint));
        }
        assert!(told <= 1, "{told} announcements of noise in ten days");
        let mut news = None;
        for i in 1..=6u32 {
            if see(&mut page, 10.0 * DAY + f64::from(i), 7) && news.is_none() {
                news = Some(i);
            }
        }
        assert!((2..=4).contains(&news.unwrap()), "{news:?}");
    }

    #[test]
    fn a_fingerprint_is_told_once_in_ninety_days() {
        let mut told = Told::default();
        assert!(told.may_tell(0.0, 7));
        assert!(!told.may_tell(89.0 * DAY, 7));
        assert!(told.may_tell(90.0 * DAY, 7));
    }
}
