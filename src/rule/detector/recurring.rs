//! What comes again at its time: a nightly batch, a weekend. It is told once, and again only when it is higher or longer.

use serde::{Deserialize, Serialize};

use super::Detector;
use super::firing::Firing;

const DAY_SECS: f64 = 86_400.0;
/// Episodes remembered; a new one takes the place of the oldest.
const EPISODES: usize = 4;
/// An episode may come again for so many days.
const DAYS_MAX: f64 = 8.0;
/// It begins within an eighth of its length of the time of day, within these bounds (schedules are exact, weekends are not) …
const PUNCTUAL_SECS: (f64, f64) = (900.0, 10_800.0);
/// … or, once it has come again, while this share of it would not be over: the better its hours are known, the later what is left
/// of it stands out.
const WITHIN: f64 = 0.75;
/// Nothing that lasts for longer is held back.
const LASTS_MAX: f64 = 0.9 * DAY_SECS;
/// It is the same while it is not this many times as high …
const HIGHER: f64 = 2.0;
/// … nor this many times as long, and a little.
const LONGER: f64 = 1.5;
const LONGER_SECS: f64 = 900.0;
/// Suspicion, in nats, at which it is worth asking.
const ASK_NATS: f64 = 8.0;

/// Past episodes of a stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Episodes([Episode; EPISODES]);

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Episode {
    /// On the site's own clock, seconds since the epoch.
    began: f64,
    lasted: f32,
    /// Errors over views. Not a ratio to what is usual: that includes more and more of it.
    rate: f32,
    /// How often it came again at its time.
    again: u16,
}

impl Episode {
    /// Whether something that began at `began` and fails at `rate` at `now` is this one again.
    fn is_again(&self, began: f64, now: f64, rate: f64) -> bool {
        let longest = (LONGER * f64::from(self.lasted) + LONGER_SECS).min(LASTS_MAX);
        let within = if self.again > 0 { WITHIN * f64::from(self.lasted) } else { 0.0 };
        let in_time = |late: f64| late <= self.punctual().max(within) && now - began + late.max(0.0) <= longest;
        rate <= HIGHER * f64::from(self.rate) && self.lateness(began).is_some_and(in_time)
    }

    /// How much later in the day than this one something began, in seconds, on a day on which it may come again.
    fn lateness(&self, began: f64) -> Option<f64> {
        let days = ((began - self.began + self.punctual()) / DAY_SECS).floor();
        // What took half a day and more belongs to a day of the week.
        let comes = if f64::from(self.lasted) < DAY_SECS / 2.0 { (1.0..=DAYS_MAX).contains(&days) } else { days == 7.0 };
        (self.began > 0.0 && comes).then_some(began - self.began - days * DAY_SECS)
    }

    fn punctual(&self) -> f64 {
        (f64::from(self.lasted) / 8.0).clamp(PUNCTUAL_SECS.0, PUNCTUAL_SECS.1)
    }
}

impl Detector {
    /// Notes an episode that has ended. `local` is now on the site's own clock.
    pub(super) fn remember(&mut self, local: f64, firing: &Firing) {
        let lasted = (firing.held_to - firing.began).max(60.0);
        let began = local - (self.seen - firing.began);
        let new = Episode { began, lasted: lasted as f32, rate: firing.rate() as f32, again: 0 };
        let Episodes(known) = &mut **self.episodes.get_or_insert_default();
        let is_same = |old: &Episode| old.lateness(began).is_some_and(|late| late <= old.punctual());
        if let Some(old) = known.iter_mut().find(|old| is_same(old)) {
            let again = old.again.saturating_add(1);
            *old = if firing.told {
                // A weak night does not make the next a surprise.
                Episode { lasted: new.lasted.max(old.lasted), rate: new.rate.max(old.rate), again, ..new }
            } else {
                // Nobody was told: what people know of its size is what they were told.
                Episode { began, again, ..*old }
            };
        } else if firing.told {
            let oldest = (0..EPISODES).min_by(|a, b| known[*a].began.total_cmp(&known[*b].began)).unwrap_or(0);
            known[oldest] = new;
        }
    }

    /// Whether the trouble that builds up is one that came at this time before. If so the stream holds still until it is over,
    /// and learns it as a season.
    pub(super) fn weigh_recurrence(&mut self, now: f64, zone_secs: f64) -> bool {
        let Some(episodes) = &self.episodes else { return false };
        if self.is_firing() || self.suspicion() < ASK_NATS {
            return self.firing.as_ref().is_some_and(|firing| !firing.told);
        }
        let since = self.since();
        let rate = since.units / since.views.max(1.0);
        let again = episodes.0.iter().any(|old| old.is_again(since.began + zone_secs, now + zone_secs, rate));
        if again && self.firing.is_none() {
            self.firing = Some(Box::new(Firing::new(now, &since, false, self.learned_total())));
        }
        again
    }
}
