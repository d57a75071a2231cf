//! What a transition says: the numbers of the decision, who is hit, what changed just before, and one sentence of why.

use std::collections::BTreeSet;

use crate::model::finding::{ChartPoint, Facet, FunnelPlace, TopError};
use crate::model::{
    Batch, Event, Finding, Labels, Metric, Severity, State, Timestamp, Transition, TransitionId, format_duration,
};
use crate::rule::detector::Look;
use crate::rule::matcher::glob_matches;
use crate::rule::release::Shown;
use crate::rule::spike::{SpikeState, Stream, thresholds};
use crate::rule::window::Measured;
use crate::rule::{Condition, Rule, SeverityChoice};

use super::drop::{Fall, WholeSite};
use super::group::{Group, OpenError, Said};
use super::judge::zone_secs;
use super::site::Site;
use super::slices::Slice;
use super::{Output, SitePlan, Watch};

/// Steps of the chart that goes with an alert: two minutes each, two hours in all.
pub(super) const CHART: (i64, usize) = (120, 60);

/// A facet carries at least this share of the excess …
const FACET_SHARE: f64 = 0.6;
/// … and is this much more frequent among the errors than among the views.
const FACET_LIFT: f64 = 1.5;
/// Dimensions named at most.
const FACETS_MAX: usize = 3;

/// Where a transition happens.
pub(super) struct Scene<'a> {
    pub(super) group: &'a Group,
    pub(super) site: &'a Site,
    pub(super) plan: &'a SitePlan,
    pub(super) rule: &'a Rule,
    /// The alert stands for all groups of the site that the rule watches.
    pub(super) whole_site: Option<WholeSite>,
}

/// Why an alert begins to fire.
pub(super) enum Cause {
    /// A stream's evidence crossed its bar.
    Spike { stream: Stream, look: Look, bar: f64 },
    /// What had crossed has held for the rule's `for`.
    Again,
    /// A fixed window's value.
    Window { measured: Measured, secs: i64 },
    /// Nothing came.
    Silence { last: Timestamp, secs: i64 },
    /// Too little came.
    Fell(Fall),
    /// A new release is worse than those beside it, on this evidence.
    Worse { shown: Shown, bar: f64 },
}

impl Watch {
    pub(super) fn say_firing(&mut self, cut: u32, index: u32, place: usize, now: Timestamp, cause: Cause, out: &mut Output) {
        let cause = match cause {
            Cause::Again => self.cause_again(cut, index, place, now),
            cause => cause,
        };
        let scene = self.scene(cut, index, place);
        let (finding, began, reason) = scene.finding(now, &cause);
        let slice = finding.slice();
        let severity = scene.severity(&finding);
        let mut transition = scene.transition(State::Firing, now, began, severity, finding);
        transition.slice.clone_from(&slice);
        transition.reason = reason;
        let baseline = transition.finding.baseline;
        let said = Said { began, at: now, slice, severity, baseline };
        self.state.cuts[cut as usize].groups[index as usize].rules[place].said = Some(Box::new(said));
        self.push(transition, out);
    }

    /// [`Transition::key`] of every alert that fires.
    pub fn firing(&self) -> BTreeSet<u64> {
        let mut keys = BTreeSet::new();
        for (cut, state) in self.state.cuts.iter().enumerate() {
            for (index, group) in state.groups.awake() {
                for (place, rule) in group.rules.iter().enumerate() {
                    let errors = rule.novelty.as_ref().map(|novelty| novelty.open.as_slice()).unwrap_or_default();
                    if !rule.alert.is_firing() && errors.is_empty() {
                        continue;
                    }
                    let scene = self.scene(cut as u32, index as u32, place);
                    let labels = scene.group_labels().with("alertname", scene.rule.alert.clone());
                    if rule.alert.is_firing() {
                        keys.insert(labels.fingerprint());
                    }
                    keys.extend(errors.iter().map(|error| labels.clone().with("fingerprint", &*error.fingerprint).fingerprint()));
                }
            }
        }
        keys
    }

    fn cause_again(&self, cut: u32, index: u32, place: usize, now: Timestamp) -> Cause {
        let group = &self.state.cuts[cut as usize].groups[index as usize];
        let stream = group.rules[place].spike.first().unwrap_or(Stream::Whole);
        let secs = now.secs_f64();
        let look = stream_of(group, stream).map(|detector| detector.show(secs, self.zone_secs(group.site, now)));
        let (whole, slice) = thresholds(self.alpha(group.rules[place].rule), group.watched_slices());
        let bar = if stream == Stream::Whole { whole } else { slice };
        Cause::Spike { stream, look: look.unwrap_or_default(), bar }
    }

    pub(super) fn say_resolved(&mut self, cut: u32, index: u32, place: usize, now: Timestamp, out: &mut Output) {
        let said = self.state.cuts[cut as usize].groups[index as usize].rules[place].said.take();
        let scene = self.scene(cut, index, place);
        let began = said.as_ref().map_or(now, |said| said.began);
        let tally = scene.group.ring.sum_since(began);
        let mut finding = Finding { metric: scene.metric(), errors: tally.errors, views: tally.views, ..Finding::default() };
        finding.value = match &scene.rule.condition {
            Condition::Drop(c) if c.of != Metric::Conversion => scene.views_a_minute(tally.views, began, now),
            _ => match finding.metric {
                Metric::ErrorRate | Metric::SessionErrorRate | Metric::Conversion => share(tally.errors, tally.views),
                Metric::Errors => Some(tally.errors as f64),
                Metric::Views | Metric::Track(_) => Some(tally.views as f64),
                Metric::AffectedSessions => scene.affected(began, tally.errors).map(|affected| affected as f64),
            },
        };
        if finding.metric == Metric::Conversion {
            // Where a conversion is counted, sessions at the next step stand in their place.
            finding.errors = 0;
        }
        finding.sessions = scene.affected(began, finding.errors);
        finding.baseline = said.as_ref().and_then(|said| said.baseline);
        finding.ratio = ratio(finding.value, finding.baseline);
        scene.fill_release_end(&mut finding);
        finding.chart = scene.chart(now);
        let severity = said.as_ref().map_or(Severity::P2, |said| said.severity);
        let lasted = format_duration(std::time::Duration::from_secs(now.since(began).as_secs()));
        let mut transition = scene.transition(State::Resolved, now, began, severity, finding);
        transition.slice = said.map(|said| said.slice).unwrap_or_default();
        transition.reason = format!("over after {lasted}: {}", scene.why_over(&scene.group.rules[place].spike));
        self.push(transition, out);
    }

    pub(super) fn say_new_error(&mut self, cut: u32, index: u32, place: usize, batch: &Batch, event: &Event, out: &mut Output) {
        let error = batch.error(event);
        let text = |text| batch.str(text).to_owned();
        let top = TopError {
            fingerprint: text(error.fingerprint),
            class: text(error.class),
            message: text(error.message),
            frame: text(error.frame),
            count: u64::from(event.count),
        };
        let now = event.arrival;
        let scene = self.scene(cut, index, place);
        let known = scene.group.rules[place].novelty.as_ref().map_or(0, |novelty| novelty.page.known());
        let tally = scene.group.ring.sum(now, 3600);
        let sessions = (event.session != 0).then_some(1);
        let mut finding =
            Finding { metric: Metric::Errors, errors: top.count, views: tally.views, sessions, ..Finding::default() };
        finding.value = Some(top.count as f64);
        finding.deploy = scene.site.release_before(&scene.group.key.page, event.at);
        finding.funnel = scene.funnel_place();
        finding.chart = scene.chart(now);
        finding.top_errors = vec![top];
        let severity = scene.severity(&finding);
        let fingerprint = finding.top_errors[0].fingerprint.clone();
        let mut transition = scene.transition(State::Firing, now, event.at, severity, finding);
        transition.reason =
            format!("error {fingerprint} was never seen on this page before, among {known} kinds of error known there");
        with_fingerprint(&mut transition, &fingerprint);
        let hash = error.fingerprint_hash;
        let count = u64::from(event.count);
        let open = OpenError { hash, fingerprint, began: event.at, seen: now, count, severity };
        self.novelty_mut(cut, index, place).open.push(open);
        self.push(transition, out);
    }

    pub(super) fn say_error_gone(
        &mut self,
        cut: u32,
        index: u32,
        place: usize,
        error: &OpenError,
        now: Timestamp,
        out: &mut Output,
    ) {
        let scene = self.scene(cut, index, place);
        let finding =
            Finding { metric: Metric::Errors, value: Some(error.count as f64), errors: error.count, ..Finding::default() };
        let mut transition = scene.transition(State::Resolved, now, error.began, error.severity, finding);
        transition.reason = String::from("it has not come for an hour");
        with_fingerprint(&mut transition, &error.fingerprint);
        self.push(transition, out);
    }

    fn push(&mut self, mut transition: Transition, out: &mut Output) {
        transition.id = TransitionId { shard: self.state.shard, offset: self.offset, number: self.number };
        self.number += 1;
        out.transitions.push(transition);
    }
}

fn with_fingerprint(transition: &mut Transition, fingerprint: &str) {
    transition.group.set("fingerprint", fingerprint);
    transition.labels.set("fingerprint", fingerprint);
}

fn stream_of(group: &Group, stream: Stream) -> Option<&crate::rule::detector::Detector> {
    super::judge::stream_in(group.detector.as_deref(), &group.slices, stream)
}

fn slice_of(group: &Group, stream: Stream) -> Option<(&'static str, &Slice)> {
    let Stream::Slice(dim, hash) = stream else { return None };
    let of_dim = group.slices.iter().find(|of_dim| of_dim.dim == dim)?;
    of_dim.slices.iter().find(|slice| slice.hash == hash).map(|slice| (of_dim.name(), slice))
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Evidence in nats above the share that a single quiet minute has: what people can compare.
pub(super) fn nats(evidence: f64) -> f64 {
    (evidence.max(1e-300) * crate::stats::WEEK_SECS / 60.0).ln()
}

pub(super) fn ratio(value: Option<f64>, baseline: Option<f64>) -> Option<f64> {
    value.zip(baseline).filter(|(_, baseline)| *baseline > 0.0).map(|(value, baseline)| value / baseline)
}

impl Scene<'_> {
    /// The group's labels: site and env always, absent keys left out.
    pub(super) fn group_labels(&self) -> Labels {
        let mut labels = Labels::new().with("site", self.site.name.clone()).with("env", self.site.env.clone());
        if self.whole_site.is_some() {
            return labels;
        }
        labels.set("page", self.group.key.page.clone());
        labels.set("step", self.group.key.step.clone());
        for (name, value) in &self.group.key.others {
            labels.set(name.clone(), value.clone());
        }
        labels
    }

    fn transition(&self, state: State, at: Timestamp, began: Timestamp, severity: Severity, finding: Finding) -> Transition {
        let group = self.group_labels();
        let owner = self.owner();
        let mut labels = self.rule.labels.clone();
        for (name, value) in group.iter() {
            labels.set(name, value);
        }
        labels.set("alertname", self.rule.alert.clone());
        labels.set("severity", severity.as_str());
        labels.set("owner", owner.clone());
        Transition {
            id: TransitionId::default(),
            at,
            alert: self.rule.alert.clone(),
            state,
            group,
            slice: Labels::new(),
            labels,
            annotations: self.rule.annotations.clone(),
            severity,
            owner,
            began: began.min(at),
            finding,
            reason: String::new(),
            condition: self.rule.condition.name().to_owned(),
        }
    }

    pub(super) fn metric(&self) -> Metric {
        self.rule.condition.metric().cloned().unwrap_or(Metric::Errors)
    }

    fn owner(&self) -> String {
        if !self.rule.owner.is_empty() {
            return self.rule.owner.clone();
        }
        if self.whole_site.is_some() {
            return String::new();
        }
        let page = &self.group.key.page;
        let fits = |globs: &Vec<String>| globs.iter().any(|glob| glob_matches(glob, page));
        self.plan.owners.iter().find(|(globs, _)| fits(globs)).map(|(_, owner)| owner.clone()).unwrap_or_default()
    }

    pub(super) fn funnel_place(&self) -> Option<FunnelPlace> {
        if self.whole_site.is_some() {
            return None;
        }
        let step = &self.group.key.step;
        self.plan.funnels.iter().find_map(|(funnel, steps)| {
            let place = steps.iter().position(|name| name == step && !step.is_empty())?;
            Some(FunnelPlace { funnel: funnel.clone(), step: place + 1, of: steps.len() })
        })
    }

    /// `auto`: how many are hit, how hard, and whether it is on the way to an order.
    fn severity(&self, finding: &Finding) -> Severity {
        if let SeverityChoice::Fixed(severity) = self.rule.severity {
            return severity;
        }
        let fell = matches!(self.rule.condition, Condition::Drop(_));
        let people = if fell { Self::missing(finding) } else { finding.sessions.unwrap_or(finding.errors) };
        let hard = finding.value.is_some_and(|value| if fell { value == 0.0 } else { finding.metric.is_rate() && value >= 0.25 });
        match (self.funnel_place().is_some(), people) {
            (true, 50..) if hard => Severity::P0,
            (true, 20..) => Severity::P1,
            (false, 200..) if hard => Severity::P1,
            (true, _) | (false, 20..) => Severity::P2,
            _ => Severity::P3,
        }
    }

    fn chart(&self, now: Timestamp) -> Vec<ChartPoint> {
        if self.whole_site.is_some() {
            return Vec::new();
        }
        let usual =
            |at: Timestamp| self.group.detector.as_ref().and_then(|d| d.usual(at.secs_f64(), zone_secs(self.plan.time_zone, at)));
        self.group
            .ring
            .steps(now, CHART.0, CHART.1)
            .into_iter()
            .map(|(at, tally)| ChartPoint { at, views: tally.views, errors: tally.errors, usual: usual(at) })
            .collect()
    }

    /// The numbers, the onset and the sentence of a firing.
    fn finding(&self, now: Timestamp, cause: &Cause) -> (Finding, Timestamp, String) {
        let (mut finding, began, reason) = match cause {
            Cause::Spike { stream, look, bar } => self.spike_finding(*stream, look, *bar),
            Cause::Window { measured, secs } => self.window_finding(now, measured, *secs),
            Cause::Silence { last, secs } => {
                let finding = Finding { metric: self.metric(), value: Some(0.0), ..Finding::default() };
                let span = format_duration(std::time::Duration::from_secs(*secs as u64));
                (finding, *last, format!("no {} for {span}", self.metric().as_str()))
            }
            Cause::Fell(fall) => self.drop_finding(now, fall),
            Cause::Worse { shown, bar } => return self.release_finding(now, shown, *bar),
            Cause::Again => unreachable!("`say_firing` has replaced it"),
        };
        finding.sessions = self.affected(began, finding.errors);
        finding.deploy = self.site.release_before(&self.group.key.page, began);
        finding.funnel = self.funnel_place();
        finding.chart = self.chart(now);
        finding.top_errors = self.group.top(now, finding.errors, 3);
        (finding, began, reason)
    }

    fn spike_finding(&self, stream: Stream, look: &Look, bar: f64) -> (Finding, Timestamp, String) {
        let since = stream_of(self.group, stream).map(crate::rule::detector::Detector::since).unwrap_or_default();
        let began = Timestamp((since.began * 1000.0) as i64);
        let value = (since.views > 0.0).then(|| since.errors / since.views).or(Some(since.errors));
        let mut finding = Finding {
            metric: self.metric(),
            value,
            baseline: Some(look.usual),
            baseline_range: Some(look.usual_range),
            ratio: ratio(value, Some(look.usual)),
            errors: since.errors as u64,
            views: since.views as u64,
            evidence: Some((nats(look.evidence), nats(bar))),
            dispersion: Some(look.phi),
            season: Some(look.season),
            ..Finding::default()
        };
        finding.facets = self.facets(began, look.usual);
        if let Some((dim, slice)) = slice_of(self.group, stream).filter(|(_, slice)| slice.may_be_named()) {
            let known = finding.facets.iter().position(|facet| facet.dim == dim && facet.value == slice.value);
            let facet = known.map_or_else(|| self.facet(dim, slice, began), |place| finding.facets.remove(place));
            finding.facets.retain(|facet| facet.dim != dim);
            finding.facets.insert(0, facet);
        }
        let (nats, needed) = finding.evidence.unwrap_or_default();
        let percent = |rate: f64| format!("{:.3}", rate * 100.0);
        let reason = format!(
            "{} errors in {} views since {began}, usually {} % ({} to {} %, at this hour {:.2} times the day's), held against {} %; \
             evidence {nats:.1} nats of {needed:.1} needed, noise \u{3c6} {:.1}",
            finding.errors,
            finding.views,
            percent(look.usual),
            percent(look.usual_range.0),
            percent(look.usual_range.1),
            look.season,
            percent(look.boundary),
            look.phi,
        );
        (finding, began, reason)
    }

    fn window_finding(&self, now: Timestamp, measured: &Measured, secs: i64) -> (Finding, Timestamp, String) {
        let span = format_duration(std::time::Duration::from_secs(secs as u64));
        let value = measured.value.unwrap_or_default();
        let metric = self.metric();
        let shown = if metric.is_rate() { format!("{:.2} %", value * 100.0) } else { format!("{value}") };
        let finding = Finding {
            value: measured.value,
            errors: if metric == Metric::Conversion { 0 } else { measured.tally.errors },
            views: measured.tally.views,
            metric: metric.clone(),
            ..Finding::default()
        };
        let bound = match &self.rule.condition {
            Condition::Frequency(c) => format!("more than {}", c.more_than),
            Condition::Threshold(c) => match (c.bound, metric.is_rate()) {
                (crate::rule::Bound::Above(bound), true) => format!("above {} %", bound * 100.0),
                (crate::rule::Bound::Below(bound), true) => format!("below {} %", bound * 100.0),
                (crate::rule::Bound::Above(bound), false) => format!("above {bound}"),
                (crate::rule::Bound::Below(bound), false) => format!("below {bound}"),
            },
            _ => String::new(),
        };
        let reason = format!("{} is {shown} over {span}, {bound}", metric.as_str());
        (finding, Timestamp::from_secs(now.secs() - secs), reason)
    }

    fn facet(&self, dim: &str, slice: &Slice, began: Timestamp) -> Facet {
        let (all, part) = (self.group.ring.sum_since(began), slice.ring.sum_since(began));
        Facet {
            dim: dim.to_owned(),
            value: slice.value.clone(),
            share_of_errors: share(part.errors, all.errors).unwrap_or(0.0),
            share_of_views: share(part.views, all.views).unwrap_or(0.0),
        }
    }

    /// The values that carry most of the excess, one for each dimension at most, the most telling first.
    fn facets(&self, began: Timestamp, usual: f64) -> Vec<Facet> {
        let all = self.group.ring.sum_since(began);
        let excess_of = |errors: u64, views: u64| (errors as f64 - usual * views as f64).max(0.0);
        let total = excess_of(all.errors, all.views);
        if total <= 0.0 {
            return Vec::new();
        }
        let mut found: Vec<(f64, Facet)> = Vec::new();
        for of_dim in &self.group.slices {
            let named = of_dim.slices.iter().filter(|slice| slice.may_be_named());
            let best = named
                .map(|slice| {
                    let tally = slice.ring.sum_since(began);
                    (excess_of(tally.errors, tally.views) / total, slice)
                })
                .filter(|(share, _)| *share >= FACET_SHARE)
                .max_by(|a, b| a.0.total_cmp(&b.0));
            if let Some((_, slice)) = best {
                let facet = self.facet(of_dim.name(), slice, began);
                let lift = facet.share_of_errors / facet.share_of_views.max(1e-6);
                if lift >= FACET_LIFT {
                    found.push((lift.min(1e3) * facet.share_of_errors, facet));
                }
            }
        }
        found.sort_by(|a, b| b.0.total_cmp(&a.0));
        found.into_iter().take(FACETS_MAX).map(|(_, facet)| facet).collect()
    }

    /// Sessions with an error since a time, where errors are what it is about. A sample that holds none of them is no proof of none.
    fn affected(&self, began: Timestamp, errors: u64) -> Option<u64> {
        let sessions = self.group.sessions.since(began).map(|(_, affected)| affected).filter(|_| errors > 0)?;
        Some(sessions.max(1))
    }

    fn why_over(&self, spike: &SpikeState) -> String {
        let why = match &self.rule.condition {
            Condition::Spike(_) if spike.is_new_usual() => "it lasted so long that it is the new usual",
            Condition::Spike(_) => "the rate is back at what is usual",
            Condition::Drop(_) if self.is_new_usual() => "it lasted for a day and is the new usual",
            Condition::Drop(_) => "traffic is back",
            Condition::FirstSeen(_) => "it has not come for an hour",
            Condition::Frequency(_) | Condition::Threshold(_) => "back within the bound",
            Condition::Absent(_) => "it came again",
            Condition::Release(_) => return self.release_over(),
        };
        why.to_owned()
    }
}
