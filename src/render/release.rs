//! The words for a release that is worse than those beside it: it is compared in the same minutes, so it may be named as the
//! difference, where a deploy before an ordinary spike is only told as a coincidence.

use super::foreign;
use super::numbers;
use super::phrase::Phrase;
use super::words::{Facts, capital};
use crate::model::Transition;
use crate::model::transition::{COMPARISON_OVER, TRAFFIC_GONE};

impl Facts<'_> {
    /// `web@4.3.0`; for marketers `the new version`.
    pub(super) fn release(&self) -> String {
        let name = self.finding().deploy.as_ref().map(|deploy| foreign::name(&deploy.release)).unwrap_or_default();
        if name.is_empty() || self.business() { "the new version".into() } else { name }
    }

    /// (`3 in 100 tries fail with web@4.3.0`, `about 1 in 100`): the second is that of the other releases.
    pub(super) fn release_measure(&self) -> (String, Option<String>) {
        let (share, others) = self.failing_share();
        (format!("{share} with {}", self.release()), others)
    }

    /// When it came, without the doubt that stands behind other deploys.
    pub(super) fn release_row(&self) -> Option<Phrase> {
        let deploy = self.finding().deploy.as_ref()?;
        let at = numbers::clock(deploy.at, self.now, self.audience.time_zone);
        let name = Phrase::new().code(foreign::name(&deploy.release));
        Some(name.plain(format!(", since {at}; compared with the others in the same minutes")))
    }

    /// Whether the alert ends because the release is compared no longer: nobody knows whether it is mended.
    pub(super) fn is_only_unwatched(&self) -> bool {
        self.alert.resolved.as_ref().is_some_and(|resolved| resolved.reason.contains(COMPARISON_OVER))
    }

    /// How it ended, in place of "Over since …, after ….".
    pub(super) fn release_over(&self, resolved: &Transition) -> Phrase {
        let (at, release) = (self.time(resolved.at), self.release());
        if self.is_only_unwatched() {
            let phrase = Phrase::new().strong(format!("No longer compared since {at}"));
            return phrase.plain(format!(": {release} is not so new any more. Whether it still fails more often is not known."));
        }
        let release = if self.business() { capital(&release) } else { release };
        let lasted = numbers::duration(resolved.at.since(self.firing().began));
        let how = if resolved.reason.ends_with(TRAFFIC_GONE) {
            format!("{release} has no traffic any more")
        } else {
            format!("{release} fails no more often than the others")
        };
        Phrase::new().strong(format!("Over since {at}")).plain(format!(", after {lasted}. {how}."))
    }
}
