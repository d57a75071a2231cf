//! `threshold` and `frequency`: fixed bounds on what a rolling window holds; `absent`: nothing came for a time.
//!
//! All three are judged on window sums alone, so their only state is the alert's. What cannot be told (too few views, or no data
//! from the site at all) is `None`: it neither fires nor resolves.

use crate::model::{Metric, Timestamp};
use crate::window::{Ring, Sessions, Tally};

use super::flow::STEP_MINUTES;
use super::{Absent, Bound, Frequency, Threshold};

/// Who came to a funnel step later than this may still be on the way to the next.
const STEP_SECS: i64 = (STEP_MINUTES * 60.0) as i64;

/// What a rolling window shows of a group.
pub struct Sight<'a> {
    /// The group's counts.
    pub ring: &'a Ring,
    /// The group's sessions.
    pub sessions: &'a Sessions,
    /// When the group's site was last heard of at all.
    pub site_seen: Timestamp,
}

/// A metric's value with what it was made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// The value; `None` where it cannot be told.
    pub value: Option<f64>,
    /// Counts of the window.
    pub tally: Tally,
    /// Distinct sessions and those with an error, where known.
    pub sessions: Option<(u64, u64)>,
}

/// A metric over the window of `secs` seconds that ends at `now`.
pub fn measure(sight: &Sight, of: &Metric, now: Timestamp, secs: i64) -> Measured {
    let mut tally = sight.ring.sum(now, secs);
    if *of == Metric::Conversion {
        // Those who came just now had no time to go on yet; and where this step is silent, those who came before prove nothing.
        let earlier = sight.ring.sum(now, secs + STEP_SECS).views - sight.ring.sum(now, STEP_SECS).views;
        tally.views = tally.views.min(earlier);
    }
    let from = Timestamp::from_secs(now.secs() - secs);
    let needs_sessions = matches!(of, Metric::SessionErrorRate | Metric::AffectedSessions);
    let sessions = if needs_sessions && sight.sessions.can_judge(from) { sight.sessions.since(from) } else { None };
    let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
    let value = match of {
        Metric::ErrorRate | Metric::Conversion => share(tally.errors, tally.views),
        Metric::SessionErrorRate => sessions.and_then(|(all, affected)| share(affected, all)),
        Metric::Errors => Some(tally.errors as f64),
        Metric::Views | Metric::Track(_) => Some(tally.views as f64),
        Metric::AffectedSessions => sessions.map(|(_, affected)| affected as f64),
    };
    Measured { value, tally, sessions }
}

/// Whether data is there: the site was heard of within the window. If not, nothing is resolved.
fn is_heard(sight: &Sight, now: Timestamp, secs: i64) -> bool {
    // A second is judged when it is over: the oldest of the window's seconds counts.
    sight.site_seen.secs() >= now.secs() - secs
}

/// `threshold`: does the condition hold?
pub fn threshold_holds(rule: &Threshold, sight: &Sight, now: Timestamp) -> (Option<bool>, Measured) {
    let secs = rule.over.as_secs() as i64;
    let measured = measure(sight, &rule.of, now, secs);
    let enough = measured.tally.views >= rule.min_views;
    let holds = measured.value.filter(|_| enough && is_heard(sight, now, secs)).map(|value| match rule.bound {
        Bound::Above(bound) => value > bound,
        Bound::Below(bound) => value < bound,
    });
    (holds, measured)
}

/// `frequency`: does the condition hold?
pub fn frequency_holds(rule: &Frequency, sight: &Sight, now: Timestamp) -> (Option<bool>, Measured) {
    let secs = rule.within.as_secs() as i64;
    let measured = measure(sight, &rule.of, now, secs);
    let above = measured.value.map(|value| value > rule.more_than as f64);
    let holds = if is_heard(sight, now, secs) { above } else { above.filter(|above| *above) };
    (holds, measured)
}

/// `absent`: fires when nothing came for the rule's time; `last` is when something last came, or the watch (re)started.
pub fn absent_holds(rule: &Absent, last: Timestamp, now: Timestamp) -> bool {
    now.since(last) >= rule.over
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::ErrorFilter;
    use std::time::Duration;

    fn ts(secs: i64) -> Timestamp {
        Timestamp::from_secs(1_000_000 + secs)
    }

    fn rule(bound: Bound, min_views: u64) -> Threshold {
        let over = Duration::from_secs(300);
        Threshold { of: Metric::ErrorRate, errors: ErrorFilter::default(), bound, over, min_views }
    }

    #[test]
    fn a_rate_is_never_judged_without_its_sample_size() {
        let mut ring = Ring::default();
        ring.add(ts(0), ts(0), 4, 3);
        let sight = Sight { ring: &ring, sessions: &Sessions::default(), site_seen: ts(0) };
        assert_eq!(threshold_holds(&rule(Bound::Above(0.05), 50), &sight, ts(10)).0, None);
        assert_eq!(threshold_holds(&rule(Bound::Above(0.05), 4), &sight, ts(10)).0, Some(true));
        assert_eq!(threshold_holds(&rule(Bound::Below(0.9), 4), &sight, ts(10)).0, Some(true));
        assert_eq!(threshold_holds(&rule(Bound::Above(0.05), 1), &sight, ts(1000)).0, None, "no data");
    }

    #[test]
    fn frequency_counts_and_silence_of_the_site_resolves_nothing() {
        let frequency =
            Frequency { of: Metric::Errors, errors: ErrorFilter::default(), more_than: 5, within: Duration::from_secs(60) };
        let mut ring = Ring::default();
        ring.add(ts(0), ts(0), 0, 6);
        let sight = Sight { ring: &ring, sessions: &Sessions::default(), site_seen: ts(0) };
        assert_eq!(frequency_holds(&frequency, &sight, ts(10)).0, Some(true));
        assert_eq!(frequency_holds(&frequency, &sight, ts(200)).0, None);
        let heard = Sight { site_seen: ts(190), ..sight };
        assert_eq!(frequency_holds(&frequency, &heard, ts(200)).0, Some(false));
        // A window of one second is judged when that second is over.
        let shortest = Frequency { within: Duration::from_secs(1), ..frequency };
        assert_eq!(frequency_holds(&shortest, &heard, ts(191)).0, Some(false));
    }
}
