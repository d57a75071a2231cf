//! `spike`: a rate rose beyond what is usual.
//!
//! The evidence is that of the group's [`Detector`](super::detector::Detector) and of its slices; this file shares the budget
//! among them and holds the gates that a rule sets beside the evidence.

use serde::{Deserialize, Serialize};

use super::Spike;
use super::detector::{Look, Over, Since};
use crate::stats::shiryaev_roberts::threshold;

/// The share of a group's budget that its slices have together.
const SLICES_SHARE: f64 = 0.9;

/// Which stream of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stream {
    /// The group as a whole.
    Whole,
    /// One value of a dimension: the dimension's index and the value's hash.
    Slice(u8, u32),
}

/// Nats of "it is over" that are enough for a stream that only echoes the alert.
const ECHO_NATS: f64 = 2.0;

/// A rule's memory for one group: the streams it has fired on and that are not over yet, the one that raised the alert first.
///
/// A real trouble is seen by the whole and by several slices at once. The alert lasts until the whole and the slice that raised
/// it are over by the full statistics; the others are its echoes and need only lean that way. An echo that is left behind is
/// remembered, so that it does not raise the same alert again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SpikeState {
    /// The stream that raised the alert, until it is over.
    lead: Option<Stream>,
    fired: Vec<Stream>,
    /// Streams that were left behind by an alert that is over.
    echoes: Vec<Stream>,
    /// Whether the last alert ended because what it told of is the new usual.
    new_usual: bool,
}

/// Thresholds on the evidence for a group and for each of its slices, for a budget of `alpha` false alarms per week.
///
/// Σ 1/A over all streams of the group stays 1/A(α), so that a series with its slices shares one budget.
pub fn thresholds(alpha: f64, slices: usize) -> (f64, f64) {
    let whole = threshold(alpha);
    if slices == 0 { (whole, f64::INFINITY) } else { (whole / (1.0 - SLICES_SHARE), whole * slices as f64 / SLICES_SHARE) }
}

impl SpikeState {
    /// Notes that a stream is over.
    pub fn over(&mut self, stream: Stream, why: Over) {
        if self.lead == Some(stream) || stream == Stream::Whole {
            self.new_usual = why == Over::NewUsual;
        }
        self.fired.retain(|fired| *fired != stream);
        self.echoes.retain(|echo| *echo != stream);
        self.lead = self.lead.filter(|lead| *lead != stream);
    }

    /// Considers one stream. Whether it crosses now (and had not before).
    pub fn consider(&mut self, rule: &Spike, stream: Stream, look: &Look, since: Since, threshold: f64) -> bool {
        let known = self.fired.contains(&stream) || self.echoes.contains(&stream);
        if known || look.recurs || look.evidence <= threshold || !gates_pass(rule, look, since) {
            return false;
        }
        self.fired.push(stream);
        true
    }

    /// Names the stream that raises the alert.
    pub fn lead_with(&mut self, stream: Stream) {
        self.lead = Some(stream);
    }

    /// Whether the alert holds. `calm` tells for a stream how many nats of "it is over" it has.
    pub fn holds(&mut self, calm: impl Fn(Stream) -> f64) -> bool {
        let led = self.lead.is_some() || self.fired.contains(&Stream::Whole);
        if !self.fired.is_empty() && (led || self.fired.iter().any(|stream| calm(*stream) < ECHO_NATS)) {
            return true;
        }
        self.echoes.append(&mut self.fired);
        false
    }

    /// The stream that raised the alert, or another that fired.
    pub fn first(&self) -> Option<Stream> {
        self.lead.or_else(|| self.fired.first().copied())
    }

    /// Whether the last alert ended because it lasted so long that it is the new usual.
    pub fn is_new_usual(&self) -> bool {
        self.new_usual
    }

    /// Forgets what has fired.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// The rule's gates on the estimate since `began`.
pub fn gates_pass(rule: &Spike, look: &Look, since: Since) -> bool {
    // A client in a loop is one client: what is counted here is what the evidence counts.
    let rate = since.units / since.views.max(1.0);
    // Errors whose views nobody counts have no rate, whatever their number: `frequency` is for them.
    let views_min = rule.min_views.max(1) as f64;
    since.units >= rule.min_errors as f64 && since.views >= views_min && rate >= rule.min_ratio * look.usual
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Metric;
    use crate::rule::{BudgetPer, ErrorFilter, FalseAlarms};
    use std::time::Duration;

    fn rule() -> Spike {
        let false_alarms = FalseAlarms { count: 1.0, period: Duration::from_secs(7 * 86_400), per: BudgetPer::Series };
        Spike {
            of: Metric::ErrorRate,
            errors: ErrorFilter::default(),
            min_ratio: 2.0,
            min_errors: 5,
            min_views: 10,
            false_alarms,
        }
    }

    #[test]
    fn a_group_and_its_slices_share_one_budget() {
        for slices in [0, 1, 7, 40] {
            let (whole, slice) = thresholds(0.01, slices);
            let spent = 1.0 / whole + slices as f64 / slice;
            assert!((spent * threshold(0.01) - 1.0).abs() < 1e-9, "{slices} slices spend {spent}");
        }
    }

    #[test]
    fn gates_hold_back_what_is_not_worth_waking_for() {
        let look = Look {
            evidence: 1e9,
            usual: 0.01,
            usual_range: (0.009, 0.011),
            boundary: 0.0,
            phi: 1.0,
            season: 1.0,
            recurs: false,
            over: None,
        };
        let passes = |errors, views| gates_pass(&rule(), &look, Since { began: 0.0, errors, units: errors, views });
        assert!(passes(5.0, 100.0));
        assert!(!passes(4.0, 20.0), "too few errors");
        assert!(!passes(5.0, 400.0), "too small a rise");
        assert!(!passes(5.0, 9.0), "too few views");
    }

    #[test]
    fn fires_once_for_each_stream_and_holds_until_all_are_over() {
        let look = Look {
            evidence: 1e9,
            usual: 0.01,
            usual_range: (0.009, 0.011),
            boundary: 0.0,
            phi: 1.0,
            season: 1.0,
            recurs: false,
            over: None,
        };
        let since = Since { began: 0.0, errors: 50.0, units: 50.0, views: 100.0 };
        let mut state = SpikeState::default();
        assert!(state.consider(&rule(), Stream::Slice(1, 7), &look, since, 1e3));
        assert!(!state.consider(&rule(), Stream::Slice(1, 7), &look, since, 1e3));
        assert!(state.consider(&rule(), Stream::Whole, &look, since, 1e3));
        state.lead_with(Stream::Slice(1, 7));
        state.over(Stream::Whole, Over::Back);
        assert!(state.holds(|_| 5.0), "the slice that raised it is not over");
        state.over(Stream::Slice(1, 7), Over::Back);
        assert!(!state.holds(|_| 5.0));
    }

    #[test]
    fn an_echo_neither_holds_the_alert_nor_raises_it_again() {
        let look = Look {
            evidence: 1e9,
            usual: 0.01,
            usual_range: (0.009, 0.011),
            boundary: 0.0,
            phi: 1.0,
            season: 1.0,
            recurs: false,
            over: None,
        };
        let since = Since { began: 0.0, errors: 50.0, units: 50.0, views: 100.0 };
        let mut state = SpikeState::default();
        assert!(state.consider(&rule(), Stream::Whole, &look, since, 1e3));
        assert!(state.consider(&rule(), Stream::Slice(4, 9), &look, since, 1e3));
        state.lead_with(Stream::Whole);
        state.over(Stream::Whole, Over::Back);
        assert!(state.holds(|_| 0.5), "the slice does not lean towards its end");
        assert!(!state.holds(|_| 2.5));
        assert!(!state.consider(&rule(), Stream::Slice(4, 9), &look, since, 1e3));
        state.over(Stream::Slice(4, 9), Over::Back);
        assert!(state.consider(&rule(), Stream::Slice(4, 9), &look, since, 1e3), "what comes after its end is news");
    }
}
