//! `release` rules of a watch: what comes to a group counted into its trials, and what is said of a release that is worse.

use crate::alert::state::{AlertState, Edge};
use crate::model::finding::{ChartPoint, Deploy, Facet};
use crate::model::transition::{COMPARISON_OVER, NO_WORSE, TRAFFIC_GONE};
use crate::model::{Dim, Event, Finding, Timestamp, format_duration};
use crate::rule::Condition;
use crate::rule::detector::Counts;
use crate::rule::release::{Came, End, Shown, Sums, Trials};
use crate::stats::concurrent::threshold;
use crate::window::Visited;

use super::finding::{CHART, Cause, Scene, nats, ratio};
use super::group::{Group, Hit};
use super::plan::dim_of;
use super::{Output, Watch};

/// Errors of the new release that are named.
const TOP: usize = 3;

impl Group {
    /// Counts an event into the trials of its group.
    pub(super) fn add_trials(&mut self, hit: &Hit, counts: &Counts) {
        let text = dim_of(hit.event, Dim::Release);
        if text.is_empty() {
            return;
        }
        let (now, name) = (hit.event.arrival, hit.batch.str(text));
        let error = if hit.errors > 0 { hit.batch.error(hit.event).fingerprint_hash } else { 0 };
        for trials in self.rules.iter_mut().filter_map(|state| state.release.as_mut()) {
            if let Some(newcomer) = hit.newcomer {
                trials.meet(newcomer, now);
            }
            let came = Came { now, at: hit.event.at, hash: text.hash(), release: name, visit: hit.visit, counts: *counts, error };
            trials.count(&came);
        }
    }
}

impl Watch {
    /// When the event's visit began, where a rule asks for it.
    pub(super) fn note_visit(&mut self, site: u32, event: &Event) -> Visited {
        if !self.plan.compares_releases {
            return Visited::Unknown;
        }
        self.state.sites[site as usize].starts.note(event.arrival, event.session)
    }

    /// Judges a `release` rule of a group: `came` in the second that ends now, or its deadline has come.
    pub(super) fn judge_release(
        &mut self,
        cut: u32,
        index: u32,
        place: usize,
        came: Option<&Counts>,
        now: Timestamp,
        out: &mut Output,
    ) {
        let state = &mut self.state.cuts[cut as usize].groups[index as usize].rules[place];
        let rule = &self.plan.rules[state.rule];
        let Condition::Release(condition) = &rule.condition else { return };
        let bar = threshold(self.state.budgets.alpha(state.rule));
        let trials = state.release.get_or_insert_with(|| Box::new(Trials::new(now, condition.within)));
        if let Some(counts) = came {
            trials.learn(now, counts);
        }
        let holds = trials.judge(condition, now, bar);
        let wake = trials.wake().filter(|_| state.alert != AlertState::Inactive || holds);
        match state.alert.step(now, Some(holds), rule.hold, rule.keep_firing) {
            Some(Edge::Fire) => {
                if let Some(shown) = trials.lead() {
                    self.say_firing(cut, index, place, now, Cause::Worse { shown, bar }, out);
                }
            }
            Some(Edge::Resolve) => self.say_resolved(cut, index, place, now, out),
            None => {}
        }
        self.set_wake(cut, index, place, wake, now);
    }
}

impl Scene<'_> {
    /// What is said of a release that is worse: its own counts, held against the others in the same minutes.
    pub(super) fn release_finding(&self, now: Timestamp, shown: &Shown, bar: f64) -> (Finding, Timestamp, String) {
        let began = Timestamp::from_secs(shown.since.began);
        let mut finding = Finding {
            metric: self.metric(),
            evidence: Some((nats(shown.evidence), nats(bar))),
            dispersion: Some(shown.phi),
            deploy: Some(Deploy { release: shown.release.name.clone(), at: shown.release.at }),
            funnel: self.funnel_place(),
            chart: self.release_chart(now, shown),
            ..Finding::default()
        };
        shown.since.fill(&mut finding);
        finding.facets = vec![shown.since.facet(&shown.release.name)];
        finding.top_errors = self.group.named(&shown.kinds, finding.errors, TOP);
        let percent = |side: usize| shown.since.rate(side).map_or("nothing".to_owned(), |rate| format!("{:.2} %", rate * 100.0));
        let (have, needed) = finding.evidence.unwrap_or_default();
        let reason = format!(
            "{} fails at {} of views, the other releases in the same minutes at {}: {} errors in {} views since {began}, beside {} in {}; evidence {have:.1} nats of {needed:.1} needed, noise \u{3c6} {:.1}",
            shown.release.name,
            percent(0),
            percent(1),
            finding.errors,
            finding.views,
            shown.since.errors[1],
            shown.since.views[1],
            shown.phi,
        );
        (finding, began, reason)
    }

    /// The new release's own counts, and the others' rate since it began.
    fn release_chart(&self, now: Timestamp, shown: &Shown) -> Vec<ChartPoint> {
        let dim = Dim::Release as u8;
        let slices = self.group.slices.iter().find(|of_dim| of_dim.dim == dim).map(|of_dim| &of_dim.slices);
        let Some(slice) = slices.and_then(|slices| slices.iter().find(|slice| slice.hash == shown.release.hash)) else {
            return Vec::new();
        };
        let usual = |at: Timestamp| shown.since.rate(1).filter(|_| at.secs() + CHART.0 > shown.since.began);
        let steps = slice.ring.steps(now, CHART.0, CHART.1).into_iter();
        steps.map(|(at, tally)| ChartPoint { at, views: tally.views, errors: tally.errors, usual: usual(at) }).collect()
    }

    fn release_ended(&self) -> Option<(&Sums, End)> {
        let id = self.rule.condition_id();
        let state = self.group.rules.iter().find(|state| state.condition == id)?;
        state.release.as_ref()?.ended().map(|(_, sums, end)| (sums, end))
    }

    /// The counts of a `release` alert that is over.
    pub(super) fn fill_release_end(&self, finding: &mut Finding) {
        if let Some((sums, _)) = self.release_ended() {
            sums.fill(finding);
        }
    }

    /// Why a `release` alert is over.
    pub(super) fn release_over(&self) -> String {
        match self.release_ended() {
            Some((_, End::Gone)) => TRAFFIC_GONE.to_owned(),
            Some((_, End::TimeOut)) => {
                let Condition::Release(rule) = &self.rule.condition else { return COMPARISON_OVER.to_owned() };
                format!("{COMPARISON_OVER} after {}", format_duration(rule.within))
            }
            Some((_, End::Back)) | None => NO_WORSE.to_owned(),
        }
    }
}

impl Sums {
    /// Puts the counts into what people are shown.
    fn fill(&self, finding: &mut Finding) {
        (finding.value, finding.baseline) = (self.rate(0), self.rate(1));
        finding.ratio = ratio(finding.value, finding.baseline);
        (finding.errors, finding.views) = (self.errors[0] as u64, self.views[0] as u64);
        finding.sessions = (self.sessions > 0.0).then_some(self.sessions as u64);
    }

    /// The new release as a slice: its share of the errors and of the views of all that was compared.
    fn facet(&self, release: &str) -> Facet {
        let share = |of: [f64; 2]| of[0] / (of[0] + of[1]).max(1.0);
        Facet {
            dim: Dim::Release.as_str().to_owned(),
            value: release.to_owned(),
            share_of_errors: share(self.errors),
            share_of_views: share(self.views),
        }
    }
}
